"""`talkhead weights`: list, verify, download, add and publish weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from talkhead.cli.output import (
    JsonOption,
    OfflineOption,
    QuietOption,
    in_megabytes,
    print_columns,
    print_json,
)
from talkhead.errors import WeightsError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from talkhead.weights.fetch import Watch

app = typer.Typer(help="List, verify, download, add and publish weights.", no_args_is_help=False)

NamesArgument = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", show_default=False)]


@app.command("list")
def list_weights(as_json: JsonOption = False) -> None:
    """List known weights."""
    from talkhead.weights import list_entries

    entries = list_entries()
    if as_json:
        print_json([dataclasses.asdict(entry) for entry in entries])
        return
    print_columns(
        [
            ("NAME", "KIND", "WHERE", "SIZE", "LICENCE", "ABOUT"),
            *(
                (
                    entry.name,
                    entry.kind,
                    entry.where,
                    in_megabytes(entry.num_bytes) if entry.files else "-",
                    entry.licence,
                    entry.about,
                )
                for entry in entries
            ),
        ]
    )


@app.command("verify")
def verify_weights(names: NamesArgument = None, as_json: JsonOption = False) -> None:
    """Compare files with their digests; without NAME, all of them. Exits 4 if one differs.

    Weights that have not been downloaded yet only count as broken if you name them.
    """
    from talkhead.weights import installed_list

    weights = installed_list()
    states: dict[str, str] = {}
    faults = []
    for name in names or weights.entries:
        try:
            states[name] = "ok" if weights.verify(name) else "not fetched"
        except WeightsError as error:
            weights.entry(name)  # raises if the name is unknown
            states[name] = "broken"
            faults.append(str(error))
        if names and states[name] == "not fetched":
            faults.append(f"{name} is not on this machine: run `talkhead weights download {name}`")
    if as_json:
        print_json(states)
    else:
        print_columns(list(states.items()))
    if faults:
        more = f" ({len(faults) - 1} more)" if len(faults) > 1 else ""
        raise WeightsError(faults[0] + more)


@app.command("download")
def download_weights(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", show_default=False)],
    as_json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Download weights that do not ship with talkhead.

    The same command continues a download that broke off.
    """
    from talkhead.weights import installed_list

    weights = installed_list()
    for name in names:  # reject unknown names before fetching anything
        weights.entry(name)
    with _download_bars(quiet=quiet or as_json) as watch:
        folders = {name: str(weights.resolve(name, offline=offline, watch=watch)) for name in names}
    if as_json:
        print_json(folders)
    else:
        print_columns(list(folders.items()))


@app.command("path")
def path_of_weights(
    name: Annotated[str, typer.Argument(metavar="NAME|FOLDER|OWNER/NAME@REVISION")],
    as_json: JsonOption = False,
    offline: OfflineOption = False,
) -> None:
    """Print the folder of verified weights; download them first if necessary."""
    from talkhead.weights import resolve_weights

    folder = resolve_weights(name, offline=offline)
    if as_json:
        print_json({"name": name, "path": str(folder)})
    else:
        typer.echo(folder)


@app.command("add")
def add_weights_command(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    source: Annotated[str, typer.Argument(metavar="FOLDER|OWNER/NAME@REVISION|URL")],
    about: Annotated[
        str | None, typer.Option("--about", metavar="TEXT", help="Description.", show_default=False)
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", metavar="NAME", help="Licence.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Give your own weights a name, and record their digests.

    A folder stays where it is. A hub repository needs a full commit. A URL starts with https:// and
    names a file or, with a slash at its end, a folder. Digests only prove that the weights do not
    change later: whether to trust their source is up to you.
    """
    from talkhead.weights import add_weights, installed_list

    with _download_bars(quiet=quiet or as_json) as watch:
        entry = add_weights(
            installed_list(),
            name,
            source,
            about=about,
            licence=licence,
            check=_check_networks,
            watch=watch,
        )
    if as_json:
        print_json(dataclasses.asdict(entry))
    else:
        print_columns([(file.path, in_megabytes(file.num_bytes)) for file in entry.files])


@app.command("remove")
def remove_weights_command(
    name: Annotated[str, typer.Argument(metavar="NAME")], as_json: JsonOption = False
) -> None:
    """Forget a name that `add` gave; the files stay."""
    from talkhead.weights import installed_list, remove_weights

    entry = remove_weights(installed_list(), name)
    if as_json:
        print_json(dataclasses.asdict(entry))
    else:
        typer.echo(f"{name} removed")


@app.command("publish")
def publish_weights(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER")],
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME")],
    private: Annotated[
        bool, typer.Option("--private", help="Create a private repository.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the files; upload nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Upload a pipeline folder to the hub, and print the name to use with --weights.

    Each model needs a card, README.md. Only model files and cards are uploaded.
    """
    from talkhead.weights import is_offline, plan_upload, upload

    planned = plan_upload(folder, repo)
    _check_networks(folder, "pipeline")
    files = [(file.path, in_megabytes(file.num_bytes)) for file in planned.files]
    facts = {"repo": repo, "files": [dataclasses.asdict(file) for file in planned.files]}
    if dry_run:
        if as_json:
            print_json(facts | {"revision": None, "weights": None})
        else:
            print_columns(files)
        return
    if is_offline():
        raise WeightsError(f"cannot publish to {repo}: HF_HUB_OFFLINE forbids the network")
    address = upload(planned, private=private)
    if as_json:
        print_json(facts | {"revision": address.revision, "weights": str(address)})
    else:
        print_columns([("revision", address.revision), ("use", f"--weights {address}")])


@app.command("pin", hidden=True)
def pin_weights(names: NamesArgument = None, as_json: JsonOption = False) -> None:
    """For maintainers: count and digest shipped files again and rewrite weights.toml."""
    from talkhead.weights import installed_list

    pinned = installed_list().pin(*(names or []))
    if as_json:
        print_json([dataclasses.asdict(entry) for entry in pinned])
    else:
        print_columns([(entry.name, in_megabytes(entry.num_bytes)) for entry in pinned])


def _check_networks(folder: Path, kind: Literal["model", "pipeline"]) -> None:
    """Reject a pipeline whose files do not fit the networks of this version of talkhead."""
    if kind != "pipeline":
        return
    import torch

    from talkhead.pipelines.loading import load_any_pipeline

    load_any_pipeline(folder, torch.device("cpu"), torch.float32)


@contextmanager
def _download_bars(*, quiet: bool) -> Iterator[Watch]:
    """Show a progress bar for each file downloaded over https, if stderr is a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    ) as progress:
        bars: dict[str, TaskID] = {}

        def watch(name: str, here: int, total: int | None) -> None:
            if name not in bars:
                bars[name] = progress.add_task(name, total=total)
            progress.update(bars[name], completed=here, total=total)

        yield watch

"""`talkhead weights`: what there is, whether it is intact, how to get it, add it and publish it."""

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

app = typer.Typer(
    help="List, verify, fetch, locate, add and publish weights.", no_args_is_help=False
)

NamesArgument = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", show_default=False)]


@app.command("list")
def list_weights(as_json: JsonOption = False) -> None:
    """List the weights that talkhead knows."""
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
    """Compare files with their digests; no NAME means all of them. Exits 4 when one differs.

    Weights that are fetched on demand and are not on this machine yet do not count as broken,
    unless they are named.
    """
    from talkhead.weights import installed_list

    weights = installed_list()
    states: dict[str, str] = {}
    faults = []
    for name in names or weights.entries:
        try:
            states[name] = "ok" if weights.verify(name) else "not fetched"
        except WeightsError as error:
            weights.entry(name)  # an unknown name ends the command
            states[name] = "broken"
            faults.append(str(error))
        if names and states[name] == "not fetched":
            faults.append(
                f"{name} is not on this machine: `talkhead weights download {name}` gets it"
            )
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
    """Fetch weights that do not come with talkhead; what is here already is only verified.

    A download that breaks off goes on where it stopped when the command is given again.
    """
    from talkhead.weights import installed_list

    weights = installed_list()
    for name in names:  # a wrong name is told before anything is fetched
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
    """Print the folder of verified weights, fetching them first where that is needed."""
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
        str | None, typer.Option("--about", help="What it is, for `list`.", show_default=False)
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="Its licence.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Give weights of your own a name, and note their digests as they are now.

    A folder stays where it is. A repository of the hub is a pipeline at a commit of 40 digits. A
    URL starts with https:// and is a file, or, with / at its end, a folder with a pipeline. What is
    noted is what arrived: who sends it is yours to trust.
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
    """Take a name off that `add` has given; folders of your own and the hub's cache stay."""
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
        bool, typer.Option("--private", help="Make a repository that others cannot see.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and list the files, upload nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Upload a pipeline folder with its cards to the hub, and print how others name it.

    The three models have to fit their networks, and each needs its card, README.md. Nothing else of
    the folder is uploaded but a README.md of the whole, where there is one.
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
    """Refuse a pipeline whose files do not fit the networks of this talkhead."""
    if kind != "pipeline":
        return
    import torch

    from talkhead.synthesis import load_any_pipeline

    load_any_pipeline(folder, torch.device("cpu"), torch.float32)


@contextmanager
def _download_bars(*, quiet: bool) -> Iterator[Watch]:
    """Show a bar for every file that arrives over https, where stderr is a terminal."""
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

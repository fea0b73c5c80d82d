"""`talkhead weights`: list, verify, download, publish, convert and average weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from talkhead.cli.output import (
    JsonOption,
    OfflineOption,
    QuietOption,
    in_megabytes,
    print_columns,
    print_json,
    tell_revision,
)
from talkhead.errors import WeightsError

app = typer.Typer(help="List, verify, download and publish weights.", no_args_is_help=False)

NamesArgument = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", show_default=False)]


@app.command("list")
def list_weights(as_json: JsonOption = False) -> None:
    """List known weights."""
    from talkhead.weights import list_entries

    entries = list_entries()
    sizes = {entry.name: entry.num_bytes for entry in entries}
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
                    in_megabytes(sum(sizes[name] for name in (entry.name, *entry.components))),
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
    if quiet or as_json:
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
    folders = {name: str(weights.resolve(name, offline=offline)) for name in names}
    if as_json:
        print_json(folders)
    else:
        print_columns(list(folders.items()))


@app.command("path")
def path_of_weights(
    name: Annotated[str, typer.Argument(metavar="NAME|FOLDER|OWNER/NAME[@REVISION]")],
    as_json: JsonOption = False,
    offline: OfflineOption = False,
) -> None:
    """Print the folder of verified weights; download them first if necessary.

    OWNER/NAME is a repository on the hub, and REVISION a branch, a tag or a commit, by default
    main. The commit in use is printed on stderr.
    """
    from talkhead.weights import locate_weights

    found = locate_weights(name, offline=offline)
    tell_revision(found)
    if as_json:
        print_json({"name": found.name, "revision": found.revision, "path": str(found.folder)})
    else:
        typer.echo(found.folder)


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

    Only model files and cards (README.md) are uploaded. If neither FOLDER nor the repository has a
    card, publish adds one for you to complete on the hub.
    """
    from talkhead.weights import is_offline, plan_publication, publish

    files = plan_publication(folder, repo)
    _check_networks(folder)
    facts = {"repo": repo, "files": [dataclasses.asdict(file) for file in files]}
    if dry_run:
        if as_json:
            print_json(facts | {"revision": None, "weights": None})
        else:
            print_columns([(file.path, in_megabytes(file.num_bytes)) for file in files])
        return
    if is_offline():
        raise WeightsError(f"cannot publish to {repo}: HF_HUB_OFFLINE forbids the network")
    address = publish(folder, repo, private=private, files=files)
    if as_json:
        print_json(facts | {"revision": address.revision, "weights": str(address)})
    else:
        print_columns([("revision", address.revision), ("use", f"--weights {address}")])


@app.command("convert")
def convert_weights(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER")],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="NEW", help="The new folder.", show_default=False),
    ],
) -> None:
    """Convert a pipeline of talkhead 0.2 to the present layout."""
    from talkhead.pipelines.convert import convert_pipeline

    convert_pipeline(folder, output)
    typer.echo(output)


@app.command("average")
def average_weights(
    checkpoints: Annotated[list[str], typer.Argument(metavar="FOLDER[=SHARE]...")],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="NEW", help="The new folder.", show_default=False),
    ],
) -> None:
    """Average checkpoints of one network; a share is how much a checkpoint counts."""
    from talkhead.weights.average import average, parse_shares

    average(parse_shares(checkpoints), output)
    typer.echo(output)


@app.command("pin", hidden=True)
def pin_weights(names: NamesArgument = None, as_json: JsonOption = False) -> None:
    """For maintainers: count and digest shipped files again and rewrite weights.toml."""
    from talkhead.weights import installed_list

    pinned = installed_list().pin(*(names or []))
    if as_json:
        print_json([dataclasses.asdict(entry) for entry in pinned])
    else:
        print_columns([(entry.name, in_megabytes(entry.num_bytes)) for entry in pinned])


def _check_networks(folder: Path) -> None:
    """Reject a pipeline whose files do not fit the networks of this version of talkhead."""
    import torch

    from talkhead.pipelines import FacePipeline

    FacePipeline.from_folder(folder, device=torch.device("cpu"), dtype=torch.float32)

"""`talkhead weights`: what there is, whether it is intact, where it lies, and how to get it."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from talkhead.cli.output import (
    JsonOption,
    OfflineOption,
    in_megabytes,
    print_columns,
    print_json,
)
from talkhead.errors import WeightsError

app = typer.Typer(help="List, verify, fetch and locate weights.", no_args_is_help=False)

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
) -> None:
    """Fetch weights that do not come with talkhead; what is here already is only verified.

    A download that breaks off goes on where it stopped when the command is given again.
    """
    from talkhead.weights import installed_list

    weights = installed_list()
    for name in names:  # a wrong name is told before anything is fetched
        weights.entry(name)
    folders = {name: str(weights.resolve(name)) for name in names}
    if as_json:
        print_json(folders)
    else:
        print_columns(list(folders.items()))


@app.command("path")
def path_of_weights(
    name: Annotated[str, typer.Argument(metavar="NAME|FOLDER")],
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


@app.command("pin", hidden=True)
def pin_weights(names: NamesArgument = None, as_json: JsonOption = False) -> None:
    """For maintainers: count and digest shipped files again and rewrite weights.toml."""
    from talkhead.weights import installed_list

    pinned = installed_list().pin(*(names or []))
    if as_json:
        print_json([dataclasses.asdict(entry) for entry in pinned])
    else:
        print_columns([(entry.name, in_megabytes(entry.num_bytes)) for entry in pinned])

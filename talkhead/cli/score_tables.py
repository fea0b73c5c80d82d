"""Print scores as tables in a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from talkhead.cli.output import print_columns

if TYPE_CHECKING:
    from rich.table import Table

TITLE_WIDTH, CELL_WIDTH = 52, 20


def print_tables(result: Mapping[str, Any], report: Path) -> None:
    """Print the tables of scores.json on stderr."""
    from rich.console import Console

    num_systems = max((len(group["systems"]) for group in result["groups"].values()), default=0)
    needed = TITLE_WIDTH + CELL_WIDTH * num_systems
    console = Console(stderr=True)
    if not console.is_terminal:
        console = Console(stderr=True, width=needed)
    # Leave out intervals if they do not fit; scores.csv and the page have them.
    with_intervals = console.width >= needed
    times = _times(report)
    for name in result["groups"]:
        console.print(_table(result, name, times, with_intervals))
    reasons: dict[str, list[str]] = {}
    for key, why in result["not_computed"].items():
        reasons.setdefault(why, []).append(key)
    for why, keys in reasons.items():
        console.print(f"{', '.join(keys)}: {why}", highlight=False)
    facts = {"talkhead": result["talkhead"], "stage": result["stage"], **result["protocol"]}
    facts |= {f"weights {name}": digests for name, digests in result["weights"].items()}
    for name, value in facts.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{key} {str(text)[:12]}" for key, text in value.items()) or "none"
        console.print(f"{name.replace('_', ' ')}: {value}", highlight=False, markup=False)
    for warning in result["warnings"]:
        console.print(f"warning: {warning}", highlight=False)


def _table(
    result: Mapping[str, Any], name: str, times: Mapping[str, str], with_intervals: bool
) -> Table:
    """Return a group's table: systems as columns, measures as rows."""
    from rich.table import Table

    from talkhead.evaluation.scores import ARROWS

    group = result["groups"][name]
    systems = group["systems"]
    table = Table(
        title=f"{name}: {group['clips']} clips, {group['people']} people, {group['frames']} frames"
        + ("; means with 95 % intervals over clips" if with_intervals else ""),
        title_justify="left",
    )
    table.add_column("", no_wrap=True)
    for system in systems:
        table.add_column(system, justify="right")
    for key, measure in result["measures"].items():
        cells = [
            _cell(system["values"].get(key), measure["digits"], with_intervals)
            for system in systems.values()
        ]
        if any(cells):
            unit = f", {measure['unit']}" if measure["unit"] else ""
            title = f"{measure['title']}{unit} {ARROWS[measure['better']]}".rstrip()
            table.add_row(title, *cells)
    without_face = (str(system["frames_without_face"]) for system in systems.values())
    table.add_row("frames without a face", *without_face)
    if times:
        table.add_row("milliseconds per frame", *(times.get(name, "") for name in systems))
    return table


def _cell(value: Mapping[str, float] | None, digits: int, with_interval: bool) -> str:
    if value is None:
        return ""
    text = f"{value['mean']:.{digits}f}"
    if with_interval and "low" in value:
        text += f" ±{(value['high'] - value['low']) / 2:.{digits}f}"
    return text


def _times(report: Path) -> dict[str, str]:
    """Return the milliseconds per frame of each system, as text."""
    from talkhead.evaluation.plan import TIMINGS

    path = report / TIMINGS
    if not path.is_file():
        return {}
    spent = json.loads(path.read_text(encoding="utf-8"))
    return {name: f"{1000 * one['seconds'] / one['frames']:.1f}" for name, one in spent.items()}


def print_comparison(result: Mapping[str, Any]) -> None:
    """Print the differences between two scores.json files on stdout."""
    for name, group in result["groups"].items():
        for pair in group["pairs"]:
            title = " -> ".join(dict.fromkeys((pair["before"], pair["after"])))
            typer.echo(f"{name}, {title}: {group['clips']} clips in both")
            rows = []
            for key, one in pair["values"].items():
                digits = result["measures"][key]["digits"]
                interval = ""
                if "low" in one:
                    interval = f"[{one['low']:+.{digits}f}, {one['high']:+.{digits}f}]"
                rows.append(
                    (
                        f"  {result['measures'][key]['title']}",
                        f"{one['before']:.{digits}f}",
                        f"{one['after']:.{digits}f}",
                        f"{one['mean']:+.{digits}f}",
                        interval,
                        one["verdict"],
                    )
                )
            print_columns(rows)
    for side in ("only_before", "only_after"):
        if result[side]:
            typer.echo(f"{side.replace('_', ' ')}: {len(result[side])} clips", err=True)
    for fact, values in result["changed_facts"].items():
        typer.echo(f"{fact} changed: {values[0]} -> {values[1]}", err=True)

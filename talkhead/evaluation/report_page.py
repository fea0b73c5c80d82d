"""The skeleton of the report's page, and the formatting of names and numbers.

All text is escaped, and the page's own policy forbids it to load anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

from talkhead.evaluation.report_plots import NUM_COLOURS, marker_path
from talkhead.evaluation.scores import ARROWS, CEILING, REAL, TRUTH

Scores = Mapping[str, Any]

POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
TRUTHS = (REAL, TRUTH)
NEVER_BEST = (*TRUTHS, CEILING)
"""Systems that present or start from the truth: a reference for the others, never the best."""
MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"
NOTHING = f'<span class="nothing">{DASH}</span>'


@dataclass(frozen=True)
class Chosen:
    """The page's main system and measure."""

    system: str
    measure: str


def page(title: str, sections: Iterable[tuple[str, str, str]], head: str, foot: str) -> str:
    """Assemble the page.

    Args:
        title: the document's title, not escaped.
        sections: (id, heading, content); those without content are left out.
        head: HTML above the sections.
        foot: HTML below the sections.
    """
    shown = [section for section in sections if section[2]]
    links = "\n".join(f'<a href="#{key}">{escape(heading)}</a>' for key, heading, _ in shown)
    bodies = "\n".join(
        f'<section id="{key}" aria-labelledby="{key}-heading">\n'
        f'<h2 id="{key}-heading">{escape(heading)}</h2>\n{content}\n</section>'
        for key, heading, content in shown
    )
    style = files("talkhead.evaluation").joinpath("report.css").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<header>
{head}
<nav aria-label="Parts of the report">
{links}
</nav>
</header>
<main>
{bodies}
</main>
<footer>
{foot}
</footer>
</body>
</html>
"""


def list_systems(scores: Scores) -> list[str]:
    """Return the systems in the order of scoring."""
    in_groups = (name for group in scores["groups"].values() for name in group["systems"])
    return list(dict.fromkeys([*(clip["system"] for clip in scores["clips"]), *in_groups]))


def colours(scores: Scores) -> dict[str, int | None]:
    """Return the colour index of every system; None for the truth."""
    found: dict[str, int | None] = {}
    for system in list_systems(scores):
        taken = sum(colour is not None for colour in found.values())
        found[system] = None if system in TRUTHS else taken
    return found


def swatch(colour: int | None) -> str:
    """Return a system's marker for a legend."""
    kind = "real" if colour is None else f"system-{colour % NUM_COLOURS}"
    return (
        f'<svg class="swatch {"hollow" if colour is None else ""}" viewBox="0 0 12 12"'
        f' aria-hidden="true"><path d="{marker_path(colour, 12)}" style="color: var(--{kind})"/>'
        "</svg>"
    )


def legend(scores: Scores, systems: Iterable[str]) -> str:
    """Return a list of systems with their markers."""
    paint = colours(scores)
    items = "".join(f"<li>{swatch(paint[name])} {escape(name)}</li>" for name in systems)
    return f'<ul class="legend" aria-label="Systems">{items}</ul>'


def number(value: float, digits: int, *, signed: bool = False) -> str:
    """Format a number with a true minus sign, none for zero, and a plus sign if `signed`."""
    text = f"{abs(value):,.{digits}f}"
    if not float(text.replace(",", "")):
        return text
    if value < 0:
        return f"{MINUS}{text}"
    return f"+{text}" if signed else text


def with_unit(value: float, measure: Mapping[str, Any]) -> str:
    """Format a value with its measure's unit."""
    unit = f" {measure['unit']}" if measure["unit"] else ""
    return escape(number(value, measure["digits"]) + unit)


def measure_name(measure: Mapping[str, Any]) -> str:
    """Return a measure's title, unit, and an arrow in its better direction."""
    arrow, said = ARROWS[measure["better"]], f"{measure['better']} is better"
    unit = f' <span class="unit">{escape(measure["unit"])}</span>' if measure["unit"] else ""
    if not arrow:
        return f"{escape(measure['title'])}{unit}"
    return (
        f'{escape(measure["title"])}{unit}&nbsp;<span class="arrow" title="{said}">'
        f'<span aria-hidden="true">{arrow}</span><span class="unseen">, {said}</span></span>'
    )


def count(things: int, one: str, many: str | None = None) -> str:
    """Format a count with its noun."""
    return f"{things:,} {one if things == 1 else many or one + 's'}"


def capital(text: str) -> str:
    """Return a text with its first letter capitalised."""
    return text[:1].upper() + text[1:]

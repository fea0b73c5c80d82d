"""What the report's page shows of scores.json: results, facts, tables, and plots by clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from talkhead.evaluation.compare import Verdict, verdict
from talkhead.evaluation.intervals import Interval, paired_difference
from talkhead.evaluation.report_plots import TRUTHS, Series, colour_indices, plot_by_clip
from talkhead.evaluation.report_ranking import (
    Ranking,
    Scores,
    list_systems,
    rank_clips,
    rows_with,
)
from talkhead.evaluation.scores import BASELINES, CEILING, MEASURES
from talkhead.evaluation.tables import SEEN

MINUS = "\N{MINUS SIGN}"
REFERENCES = (*TRUTHS, CEILING)
"""Systems that use the real frames or landmarks: never marked as the best."""


def count(num: int, one: str, many: str | None = None) -> str:
    """Format a count with its noun."""
    return f"{num:,} {one if num == 1 else many or one + 's'}"


def format_number(value: float, digits: int, *, signed: bool = False) -> str:
    """Format a number with a true minus sign, none for zero, and a plus sign if `signed`."""
    text = f"{abs(value):,.{digits}f}"
    if not float(text.replace(",", "")):
        return text
    if value < 0:
        return f"{MINUS}{text}"
    return f"+{text}" if signed else text


def format_title(scores: Scores) -> str:
    """Return the page's title, which names the scored systems."""
    scored = [name for name in list_systems(scores) if name not in BASELINES]
    return f"Scores of {' and '.join(scored)}" if scored else "Scores of the baselines"


def format_size(scores: Scores) -> str:
    """Return the number of clips, people and frames."""
    frames = {row["clip"]: int(row["frames"]) for row in scores["clips"]}
    people = {row["person"] for row in scores["clips"]}
    return (
        f"{count(len(frames), 'clip')} of {count(len(people), 'person', 'people')},"
        f" {count(sum(frames.values()), 'frame')}"
    )


@dataclass(frozen=True)
class Card:
    """The main result in a group of clips, and its difference from the other systems' results."""

    group: str
    measure: Mapping[str, Any]
    value: Mapping[str, float]
    num_people: int
    comparisons: list[tuple[str, Interval, Verdict]]


def make_cards(scores: Scores, ranking: Ranking) -> list[Card]:
    """Return a card for every group in which the system has a value."""
    measure = scores["measures"][ranking.measure]
    cards = []
    for name, group in scores["groups"].items():
        value = group["systems"].get(ranking.system, {}).get("values", {}).get(ranking.measure)
        if value is not None:
            comparisons = [
                (system, difference, verdict(difference, measure["better"]))
                for system in group["systems"]
                if system not in (*REFERENCES, ranking.system)
                and (difference := _difference(scores, name, ranking, system))
            ]
            cards.append(Card(name, measure, value, group["people"], comparisons))
    return cards


def _difference(scores: Scores, group: str, ranking: Ranking, system: str) -> Interval | None:
    """Return the ranked system's measure minus another's, paired over a group's clips."""
    ours, theirs = (
        {
            row["clip"]: float(row["values"][ranking.measure])
            for row in rows_with(scores, name, ranking.measure)
            if bool(row["is_seen_person"]) == (group == SEEN)
        }
        for name in (ranking.system, system)
    )
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        return None
    return paired_difference([theirs[clip] for clip in both], [ours[clip] for clip in both])


def list_facts(scores: Scores) -> dict[str, Any]:
    """Return all facts of the protocol by name; some are tables of digests."""
    facts = {"talkhead": scores["talkhead"], "stage": scores["stage"]}
    facts |= {
        "protocol" if key == "name" else key.replace("_", " "): value
        for key, value in scores["protocol"].items()
    }
    return facts | {f"weights of {name}": value for name, value in scores["weights"].items()}


def format_fact(value: Any) -> str:
    """Return a fact in words."""
    if value is None or value in ({}, []):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {format_fact(part)}" for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(format_fact(part) for part in value)
    return str(value)


@dataclass(frozen=True)
class Row:
    """A measure in a table of scores.

    Attributes:
        measure: its description.
        cells: by system, the entry of scores.json; None without a value.
        best: the systems with the best value.
        num_clips: number of clips behind the values; single cells may have fewer.
    """

    measure: Mapping[str, Any]
    cells: Mapping[str, Mapping[str, Any] | None]
    best: set[str]
    num_clips: int


def make_tables(scores: Scores) -> dict[str, list[Row]]:
    """Return the rows of every group's table."""
    tables: dict[str, list[Row]] = {}
    for name, group in scores["groups"].items():
        rows = tables.setdefault(name, [])
        for key, measure in scores["measures"].items():
            cells = {system: one["values"].get(key) for system, one in group["systems"].items()}
            found = {system: value for system, value in cells.items() if value is not None}
            if found:
                num_clips = max(value["clips"] for value in found.values())
                rows.append(Row(measure, cells, _best(measure, found), num_clips))
    return tables


def _best(measure: Mapping[str, Any], values: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return the systems with the best mean, after rounding; empty for fewer than two systems."""
    means = {
        system: round(float(value["mean"]), measure["digits"])
        for system, value in values.items()
        if system not in REFERENCES
    }
    if measure["better"] == "neither" or len(means) < 2:
        return set()
    top = max(means.values()) if measure["better"] == "higher" else min(means.values())
    return {system for system, mean in means.items() if mean == top}


def list_not_computed(scores: Scores) -> list[tuple[str, str]]:
    """Return the titles of measures without values, and the reasons."""
    computed = {
        key
        for group in scores["groups"].values()
        for system in group["systems"].values()
        for key in system["values"]
    }
    reasons = dict(scores["not_computed"])
    for key in scores["measures"]:
        if key not in computed:
            reasons.setdefault(key, "no clip has a value")
    titles = {key: measure.title for key, measure in MEASURES.items()}
    titles |= {key: measure["title"] for key, measure in scores["measures"].items()}
    return [(titles.get(key, key), reason) for key, reason in reasons.items()]


@dataclass(frozen=True)
class ClipPlots:
    """A plot for every measure, with a point for every clip and system.

    Attributes:
        clips: names and people, in the order of the plots.
        figures: descriptions of the measures, and `svg` elements.
        has_both_groups: whether a line divides people never seen from people seen in training.
    """

    clips: list[tuple[str, str]]
    figures: list[tuple[Mapping[str, Any], str]]
    has_both_groups: bool


def make_clip_plots(scores: Scores, ranking: Ranking | None) -> ClipPlots:
    """Plot every measure by clip: people never seen first, then from best to worst."""
    people = {row["clip"]: row["person"] for row in scores["clips"]}
    seen = {row["clip"] for row in scores["clips"] if row["is_seen_person"]}
    ranked = rank_clips(scores, ranking) if ranking else []
    ranks = {clip: rank for rank, clip in enumerate(ranked)}
    clips = sorted(people, key=lambda clip: (clip in seen, ranks.get(clip, len(ranks)), clip))
    has_both_groups = 0 < len(seen) < len(clips)
    figures = []
    for index, (key, measure) in enumerate(scores["measures"].items()):
        if series := _series(scores, clips, key, measure["digits"]):
            plot = plot_by_clip(
                series,
                len(clips),
                divider=len(clips) - len(seen) if has_both_groups else None,
                key=f"by-clip-{index}",
                title=f"{measure['title']} by clip and system",
            )
            figures.append((measure, plot))
    return ClipPlots([(clip, people[clip]) for clip in clips], figures, has_both_groups)


def _series(scores: Scores, clips: Sequence[str], key: str, digits: int) -> list[Series]:
    """Return the values of one measure for every system that has some."""
    places = {clip: index for index, clip in enumerate(clips)}
    series = []
    for system, colour in colour_indices(list_systems(scores)).items():
        if rows := rows_with(scores, system, key):
            series.append(
                Series(
                    colour=colour,
                    at=[places[row["clip"]] for row in rows],
                    values=[float(row["values"][key]) for row in rows],
                    hints=[
                        f"{row['clip']}, {system}: {format_number(row['values'][key], digits)}"
                        for row in rows
                    ],
                )
            )
    return series

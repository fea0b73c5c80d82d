"""Tables of scores, plots by clip, missing measures and broken clips on the report's page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from talkhead.evaluation.intervals import CONFIDENCE, NUM_DRAWS
from talkhead.evaluation.report_page import (
    DASH,
    NEVER_BEST,
    NOTHING,
    Chosen,
    Scores,
    capital,
    colours,
    count,
    legend,
    list_systems,
    measure_name,
    number,
    swatch,
)
from talkhead.evaluation.report_plots import MAX_HINTS, Series, plot_by_clip
from talkhead.evaluation.scores import MEASURES


def score_tables(scores: Scores) -> str:
    """Return a table for every group: systems as columns, measures as rows."""
    if not scores["groups"]:
        return "<p>No clips were scored.</p>"
    tables = "\n".join(_group_table(scores, name) for name in scores["groups"])
    return (
        f'<p class="quiet">Means over clips, with {CONFIDENCE:.0%} intervals below, from'
        f" {NUM_DRAWS:,} bootstrap resamples of the clips."
        ' <span aria-hidden="true">↑</span> higher is better, <span aria-hidden="true">↓</span>'
        " lower is better. The best generated result is"
        ' <b class="best-sample">marked</b>; systems that use the real frames never are.</p>\n'
        f"{tables}"
    )


def _group_table(scores: Scores, group: str) -> str:
    found = scores["groups"][group]
    systems: Mapping[str, Any] = found["systems"]
    paint = colours(scores)
    heads = "\n".join(
        f'<th scope="col"{_real_class(name)}><span>{swatch(paint[name])} {escape(name)}</span></th>'
        for name in systems
    )
    rows = "\n".join(
        _measure_row(measure, [(name, one["values"].get(key)) for name, one in systems.items()])
        for key, measure in scores["measures"].items()
        if any(key in one["values"] for one in systems.values())
    )
    frames = "\n".join(
        f'<tr><th scope="row">{title}</th>'
        + "".join(
            f"<td{_real_class(name)}><span>{one[key]:,}</span></td>"
            for name, one in systems.items()
        )
        + "</tr>"
        for key, title in (("frames", "frames"), ("frames_without_face", "frames without a face"))
    )
    size = (
        f"{count(found['clips'], 'clip')} of {count(found['people'], 'person', 'people')},"
        f" {count(found['frames'], 'frame')}"
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Scores, {escape(group)}">\n'
        f'<table class="scores"><caption><span><b>{escape(capital(group))}</b> {size}</span>'
        "</caption>\n"
        f'<thead><tr><th scope="col"><span class="unseen">Measure</span></th>\n{heads}</tr>'
        f"</thead>\n<tbody>\n{rows}\n</tbody>\n"
        f'<tbody class="counts">\n{frames}\n</tbody></table>\n</div>'
    )


def _real_class(system: str) -> str:
    return ' class="real"' if system in NEVER_BEST else ""


def _measure_row(
    measure: Mapping[str, Any], values: Sequence[tuple[str, Mapping[str, Any] | None]]
) -> str:
    best = _best(measure, values)
    most = max(value["clips"] for _, value in values if value is not None)
    cells = []
    for system, value in values:
        if value is None:
            cells.append(f"<td{_real_class(system)}>{NOTHING}</td>")
            continue
        digits = measure["digits"]
        lines = f"<span>{number(value['mean'], digits)}</span>"
        if system in best:
            lines = f'<b>{number(value["mean"], digits)}<span class="unseen">, best</span></b>'
        if "low" in value:
            edges = number(value["low"], digits), number(value["high"], digits)
            lines += f"<small>{edges[0]} to {edges[1]}</small>"
        if value["clips"] < most:
            lines += f"<small>of {count(value['clips'], 'clip')}</small>"
        kind = ' class="best"' if system in best else _real_class(system)
        cells.append(f"<td{kind}>{lines}</td>")
    return f'<tr><th scope="row">{measure_name(measure)}</th>{"".join(cells)}</tr>'


def _best(
    measure: Mapping[str, Any], values: Sequence[tuple[str, Mapping[str, Any] | None]]
) -> set[str]:
    """Return the systems with the best mean, after rounding; empty for fewer than two systems."""
    made = {
        system: round(float(value["mean"]), measure["digits"])
        for system, value in values
        if value is not None and system not in NEVER_BEST
    }
    if measure["better"] == "neither" or len(made) < 2:
        return set()
    top = max(made.values()) if measure["better"] == "higher" else min(made.values())
    return {system for system, mean in made.items() if mean == top}


def not_computed(scores: Scores) -> str:
    """Return the measures without values, and the reasons."""
    in_groups = {
        key
        for group in scores["groups"].values()
        for system in group["systems"].values()
        for key in system["values"]
    }
    reasons = dict(scores.get("not_computed") or {})
    for key in scores["measures"]:
        if key not in in_groups:
            reasons.setdefault(key, "no clip has a value")
    if not reasons:
        return ""
    rows = "\n".join(
        f"<div><dt>{escape(_title(scores, key))}</dt><dd>{escape(str(why))}</dd></div>"
        for key, why in reasons.items()
    )
    return f'<dl class="reasons">\n{rows}\n</dl>'


def _title(scores: Scores, key: str) -> str:
    """Return the title of a measure, with or without values."""
    if key in scores["measures"]:
        return str(scores["measures"][key]["title"])
    return MEASURES[key].title if key in MEASURES else key


def broken_clips(scores: Scores) -> str:
    """Return the clips that could not be scored, and the reasons."""
    if not scores.get("broken"):
        return ""
    rows = "\n".join(
        f'<tr><th scope="row">{escape(str(one["clip"]))}</th>'
        f"<td>{escape(str(one.get('system') or DASH))}</td><td>{escape(str(one['why']))}</td></tr>"
        for one in scores["broken"]
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Broken clips">\n'
        '<table class="broken"><thead><tr><th scope="col">Clip</th><th scope="col">System</th>'
        f'<th scope="col">Why</th></tr></thead>\n<tbody>\n{rows}\n</tbody></table>\n</div>'
    )


def clip_plots(scores: Scores, chosen: Chosen | None) -> str:
    """Return a plot for every measure, with a point for every clip and system."""
    clips = _number_clips(scores, chosen)
    if not clips:
        return ""
    place = {clip: index for index, (clip, _, _) in enumerate(clips)}
    num_unseen = sum(not seen for _, _, seen in clips)
    divider = num_unseen if 0 < num_unseen < len(clips) else None
    figures = []
    for index, (key, measure) in enumerate(scores["measures"].items()):
        series = [
            Series(
                colour=colour,
                at=[place[clip["clip"]] for clip in rows],
                values=[float(clip["values"][key]) for clip in rows],
                hints=[
                    f"{clip['clip']}, {system}: {number(clip['values'][key], measure['digits'])}"
                    for clip in rows
                ],
            )
            for system, colour in colours(scores).items()
            if (rows := _rows_with(scores, system, key))
        ]
        if series:
            plot = plot_by_clip(
                series,
                len(clips),
                divider=divider,
                key=f"by-clip-{index}",
                title=f"{measure['title']} by clip and system",
            )
            figures.append(
                f"<figure><figcaption>{measure_name(measure)}</figcaption>\n{plot}</figure>"
            )
    by = ""
    if chosen is not None:
        title = scores["measures"][chosen.measure]["title"]
        by = f", from best to worst by {escape(title)} of {escape(chosen.system)}"
    hint = "Point at a mark to see its clip." if len(scores["clips"]) <= MAX_HINTS else ""
    people = "People right of the dashed line were seen in training. " if divider else ""
    items = "\n".join(
        f'<li><span>{escape(clip)}</span> <span class="quiet">{escape(person)}</span></li>'
        for clip, person, _ in clips
    )
    return (
        f"{legend(scores, list_systems(scores))}\n"
        f'<p class="quiet">Clips by number, from left to right{by}. {people}{hint}</p>\n'
        '<div class="plots">\n' + "\n".join(figures) + "\n</div>\n"
        f"<details><summary>{count(len(clips), 'clip')} by number</summary>\n"
        f'<ol class="clips">\n{items}\n</ol></details>'
    )


def _number_clips(scores: Scores, chosen: Chosen | None) -> list[tuple[str, str, bool]]:
    """Return every clip, its person, and whether that person is seen, in the order of the plots.

    People never seen come first; within a group, clips are ordered from the chosen system's best.
    """
    ranks: dict[str, float] = {}
    if chosen is not None:
        sign = 1 if scores["measures"][chosen.measure]["better"] == "lower" else -1
        for clip in _rows_with(scores, chosen.system, chosen.measure):
            ranks[clip["clip"]] = sign * float(clip["values"][chosen.measure])
    clips = {
        clip["clip"]: (bool(clip["is_seen_person"]), clip["person"]) for clip in scores["clips"]
    }
    order = sorted(clips, key=lambda clip: (clips[clip][0], ranks.get(clip, math.inf), clip))
    return [(clip, clips[clip][1], clips[clip][0]) for clip in order]


def _rows_with(scores: Scores, system: str, measure: str) -> list[Mapping[str, Any]]:
    return [
        clip for clip in scores["clips"] if clip["system"] == system and measure in clip["values"]
    ]

"""The top of the report: what was scored, the main results, and how they were measured."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from talkhead.evaluation.compare import verdict
from talkhead.evaluation.intervals import Interval, paired_difference
from talkhead.evaluation.report_page import (
    NEVER_BEST,
    Chosen,
    Scores,
    capital,
    count,
    list_systems,
    measure_name,
    number,
)
from talkhead.evaluation.scores import BASELINES
from talkhead.evaluation.tables import SEEN

STAGES = {
    "landmarks": "landmarks from audio",
    "render": "frames from real landmarks",
    "both": "frames from audio",
    "predicted": "videos from other tools",
}


def heading_of(scores: Scores) -> str:
    """Return the page's title, which names the scored systems."""
    scored = [name for name in list_systems(scores) if name not in BASELINES]
    return f"Scores of {' and '.join(scored)}" if scored else "Scores of the baselines"


def masthead(scores: Scores) -> str:
    """Return the head of the page: the systems, the stage, and the number of clips."""
    protocol = scores["protocol"]
    split = f", split {protocol['split']}" if protocol.get("split") else ""
    clips = {clip["clip"]: clip for clip in scores["clips"]}
    people = {clip["person"] for clip in scores["clips"]}
    stage = STAGES.get(scores["stage"], "")
    return (
        '<p class="eyebrow">talkhead eval</p>\n'
        f"<h1>{escape(heading_of(scores))}</h1>\n"
        f'<p class="lead">Stage <b>{escape(str(scores["stage"]))}</b>'
        f"{f' ({escape(stage)})' if stage else ''}{escape(split)}."
        f" {count(len(clips), 'clip')} of {count(len(people), 'person', 'people')},"
        f" {count(sum(int(clip['frames']) for clip in clips.values()), 'frame')}.</p>"
    )


def summary(scores: Scores, chosen: Chosen | None) -> str:
    """Return the chosen measure in every group, compared with every other system, and warnings.

    Differences are paired by clip.
    """
    cards = [] if chosen is None else [_card(scores, name, chosen) for name in scores["groups"]]
    parts = [f'<div class="cards">\n{"".join(cards)}</div>'] if any(cards) else []
    if scores.get("warnings"):
        lines = "".join(f"<li>{escape(text)}</li>" for text in scores["warnings"])
        parts.append(f'<div class="warning" role="note"><b>Warnings</b><ul>{lines}</ul></div>')
    broken = scores.get("broken") or []
    if broken:
        parts.append(
            f'<div class="warning" role="note"><b>{count(len(broken), "clip is", "clips are")}'
            ' broken</b> and not in any number: <a href="#broken">which and why</a>.</div>'
        )
    return "\n".join(parts)


def _card(scores: Scores, group: str, chosen: Chosen) -> str:
    measure = scores["measures"][chosen.measure]
    found = scores["groups"][group]
    value = found["systems"].get(chosen.system, {}).get("values", {}).get(chosen.measure)
    if value is None:
        return ""
    rows = []
    for system in found["systems"]:
        difference = _difference(scores, group, chosen, system)
        if system in NEVER_BEST or system == chosen.system or difference is None:
            continue
        said = verdict(difference, measure["better"])
        interval = ""
        if difference.low is not None and difference.high is not None:
            edges = (
                number(edge, measure["digits"], signed=True)
                for edge in (difference.low, difference.high)
            )
            interval = f"<small>{' to '.join(edges)}</small>"
        rows.append(
            f'<tr><th scope="row">{escape(system)}</th>'
            f"<td><b>{number(difference.mean, measure['digits'], signed=True)}</b>{interval}</td>"
            f'<td><span class="verdict {said.split()[0]}">{escape(said)}</span></td></tr>\n'
        )
    table = ""
    if rows:
        table = (
            '<div class="scroll"><table class="differences">\n<caption>Compared with other systems'
            " on the same clips</caption>\n"
            '<thead class="unseen"><tr><th scope="col">System</th><th scope="col">Difference</th>'
            '<th scope="col">Verdict</th></tr></thead>\n'
            f"<tbody>\n{''.join(rows)}</tbody></table></div>\n"
        )
    unit = f' <span class="unit">{escape(measure["unit"])}</span>' if measure["unit"] else ""
    interval = ""
    if "low" in value:
        edges = (number(value[edge], measure["digits"]) for edge in ("low", "high"))
        interval = f'<span class="interval">{" to ".join(edges)}</span>'
    return (
        f'<div class="card">\n<h3>{escape(capital(group))}</h3>\n'
        f'<p class="what">{measure_name({**measure, "unit": ""})}, {escape(chosen.system)}</p>\n'
        f'<p class="big">{number(value["mean"], measure["digits"])}{unit} {interval}</p>\n'
        f'{table}<p class="quiet">{count(value["clips"], "clip")}'
        f" of {count(found['people'], 'person', 'people')}</p>\n</div>\n"
    )


def _difference(scores: Scores, group: str, chosen: Chosen, system: str) -> Interval | None:
    """Return the chosen system's measure minus another system's, over a group's clips."""
    ours, theirs = (
        {
            clip["clip"]: float(clip["values"][chosen.measure])
            for clip in scores["clips"]
            if clip["system"] == name
            and bool(clip["is_seen_person"]) == (group == SEEN)
            and chosen.measure in clip["values"]
        }
        for name in (chosen.system, system)
    )
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        return None
    return paired_difference([theirs[clip] for clip in both], [ours[clip] for clip in both])


def protocol(scores: Scores) -> str:
    """Return all facts of the protocol: single values first, then tables of digests."""
    facts: dict[str, Any] = {"talkhead": scores.get("talkhead"), "stage": scores["stage"]}
    facts |= {
        "protocol" if key == "name" else key: value for key, value in scores["protocol"].items()
    }
    facts |= {f"weights of {name}": value for name, value in (scores.get("weights") or {}).items()}
    short = {key: value for key, value in facts.items() if not isinstance(value, Mapping)}
    lines = "\n".join(
        f"<div><dt>{escape(_words(key))}</dt><dd>{escape(_said(value))}</dd></div>"
        for key, value in short.items()
    )
    parts = [f'<dl class="facts">\n{lines}\n</dl>']
    for key, value in facts.items():
        if isinstance(value, Mapping) and value:
            rows = "\n".join(
                f'<tr><th scope="row">{escape(str(name))}</th>'
                f"<td><code>{escape(_said(fact))}</code></td></tr>"
                for name, fact in value.items()
            )
            parts.append(
                f'<table class="digests"><caption>{escape(capital(_words(key)))}</caption>\n'
                '<thead class="unseen"><tr><th scope="col">What</th><th scope="col">Value</th></tr>'
                f"</thead>\n<tbody>\n{rows}\n</tbody></table>"
            )
    return "\n".join(parts)


def _said(value: Any) -> str:
    if value is None or value in ({}, []):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_said(part)}" for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_said(part) for part in value)
    return str(value)


def _words(key: str) -> str:
    return key.replace("_", " ")

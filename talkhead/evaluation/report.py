"""Write report.html: one page that needs no network and no scripts.

Besides the content of scores.json, it presents the best, the median and the worst clip: their
videos, a few frames, and plots of the mouth opening over the sound.

The page is the template report.html. Each of its sections has a template of its own, which gets
what `report_scores` and `report_clips` compute. All text is escaped, and the page's own policy
forbids it to load anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from talkhead.atomic import replacing
from talkhead.evaluation.intervals import CONFIDENCE, NUM_DRAWS
from talkhead.evaluation.report_clips import (
    FRAME_SIDE_PX,
    ClipCard,
    ClipEvidence,
    data_url,
    make_clip_cards,
)
from talkhead.evaluation.report_plots import MAX_HINTS, colour_indices, css_colour, marker_path
from talkhead.evaluation.report_ranking import Scores, choose_ranking, list_systems
from talkhead.evaluation.report_scores import (
    REFERENCES,
    count,
    format_fact,
    format_number,
    format_size,
    format_title,
    list_facts,
    list_not_computed,
    make_cards,
    make_clip_plots,
    make_tables,
)
from talkhead.evaluation.scores import ARROWS, Stage

MAX_BYTES = 40_000_000
"""Size limit of the page; videos that would exceed it are left out."""
STAGES: dict[Stage, str] = {
    "landmarks": "landmarks from audio",
    "render": "frames from real landmarks",
    "both": "frames from audio",
    "dub": "clips dubbed with another stretch of their own motion",
    "silence": "clips dubbed with sounds that have no voice",
    "predicted": "videos from other tools",
}
SECTIONS = {
    "summary": "Summary",
    "protocol": "How it was measured",
    "scores": "Scores",
    "not-computed": "Not computed",
    "by-clip": "Clip by clip",
    "clips": "Best, median and worst",
    "broken": "Broken clips",
}
"""Headings by template; a section without content is left out."""

Videos = dict[str, dict[str, str]]
"""HTML elements of videos, by clip and system."""


def write_html(
    scores: Scores,
    evidence: Mapping[str, ClipEvidence],
    path: Path,
    *,
    max_bytes: int = MAX_BYTES,
) -> None:
    """Write the page; the same input gives the same bytes.

    Args:
        scores: content of scores.json.
        evidence: by clip, for those clips of `choose_clips` that can be presented.
        path: the file, replaced if it exists.
        max_bytes: videos that would make the page larger than this are left out, with a note.
            Everything else is always included.

    Raises:
        TalkheadError: a video cannot be read, or the page cannot be written.
    """
    ranking = choose_ranking(scores)
    cards = make_clip_cards(scores, evidence, ranking) if ranking else []
    environment = _environment()
    environment.globals |= {
        "scores": scores,
        "ranking": ranking,
        "colours": colour_indices(list_systems(scores)),
        "title": format_title(scores),
        "stage": STAGES[scores["stage"]],
        "size": format_size(scores),
        "cards": make_cards(scores, ranking) if ranking else [],
        "facts": list_facts(scores),
        "tables": make_tables(scores),
        "reasons": list_not_computed(scores),
        "plots": make_clip_plots(scores, ranking),
        "clips": cards,
    }

    def render(videos: Videos) -> bytes:
        rendered = {
            key: environment.get_template(f"{key}.html").render(videos=videos).strip()
            for key in SECTIONS
        }
        sections = [(key, SECTIONS[key], html) for key, html in rendered.items() if html]
        page = environment.get_template("report.html").render(sections=sections)
        return page.encode(errors="backslashreplace")

    content = render({card.name: {} for card in cards})
    if cards:
        content = render(_fitting_videos(environment, cards, max_bytes - len(content)))
    with replacing(path) as partial:
        partial.write_bytes(content)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("talkhead.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["upper_first"] = lambda text: text[:1].upper() + text[1:]
    functions: dict[str, Any] = {
        "count": count,
        "css_colour": css_colour,
        "format_fact": format_fact,
        "marker_path": marker_path,
        "number": format_number,
    }
    environment.globals |= functions | {
        "arrows": ARROWS,
        "interval": f"{CONFIDENCE:.0%}",
        "max_hints": MAX_HINTS,
        "num_draws": f"{NUM_DRAWS:,}",
        "references": REFERENCES,
        "side": FRAME_SIDE_PX,
    }
    return environment


def _fitting_videos(environment: Environment, cards: list[ClipCard], room: int) -> Videos:
    """Return as many videos as fit into `room` bytes, in the order of the clips."""
    template = environment.get_template("video.html")
    videos: Videos = {}
    for card in cards:
        found = videos.setdefault(card.name, {})
        for system, file in card.videos.items():
            if file.stat().st_size < room:  # avoids reading a video that is too large
                html = template.render(
                    card=card,
                    system=system,
                    poster=next(filter(None, card.frames[system]), None),
                    source=data_url("video/mp4", file.read_bytes()),
                )
                size = len(html.encode(errors="backslashreplace")) + 1  # and a line break
                if size <= room:
                    room -= size
                    found[system] = html
    return videos

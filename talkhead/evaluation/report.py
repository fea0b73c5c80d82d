"""One page that shows an evaluation: report.html, readable without a network and without scripts.

Beside what scores.json says there stand the best, the median and the worst clip, to be looked at
and listened to: their videos, frames of some moments, and how far the mouth opens over the sound.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

from talkhead.evaluation.report_clips import (
    ClipEvidence,
    Role,
    ShownClip,
    Videos,
    clip_cards,
    fitting_videos,
    show_clip,
)
from talkhead.evaluation.report_page import Chosen, Scores, list_systems, page
from talkhead.evaluation.report_summary import heading_of, masthead, protocol, summary
from talkhead.evaluation.report_tables import broken_clips, clip_plots, not_computed, score_tables
from talkhead.evaluation.scores import BASELINES
from talkhead.media.files import replacing

__all__ = ["ClipEvidence", "choose_clips", "choose_measure", "choose_system", "write_html"]

MAX_BYTES = 40_000_000
"""Of a page; videos that would make it larger are left out."""
PREFERRED = ("psnr", "opening_r_best")
"""Measures by which clips are chosen, if the scores have them."""


def choose_system(scores: Scores) -> str | None:
    """Return the first system that is no baseline, or the first of all; None of none."""
    systems = list_systems(scores)
    return next((name for name in systems if name not in BASELINES), next(iter(systems), None))


def choose_measure(scores: Scores) -> str | None:
    """Return the measure by which clips are chosen: of pixels, of the mouth, else the first."""
    measures = scores["measures"]
    return next((key for key in PREFERRED if key in measures), next(iter(measures), None))


def choose_clips(scores: Scores, system: str, measure: str) -> dict[Role, str]:
    """Return a system's best, median and worst clip by a measure; equal ones go by their names.

    Of an even number the better of the two in the middle is the median. One clip is all three.
    Empty where no clip has the measure.

    Args:
        scores: content of scores.json.
        system: whose clips.
        measure: its key; one with no better direction counts as if higher were better.
    """
    sign = 1 if scores["measures"].get(measure, {}).get("better") == "lower" else -1
    ranked = sorted(
        (sign * float(clip["values"][measure]), str(clip["clip"]))
        for clip in scores["clips"]
        if clip["system"] == system and measure in clip["values"]
    )
    if not ranked:
        return {}
    return {
        "best": ranked[0][1],
        "median": ranked[(len(ranked) - 1) // 2][1],
        "worst": ranked[-1][1],
    }


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
        evidence: by clip; of the clips that `choose_clips` names, those that can be shown.
        path: the file, replaced if it exists.
        max_bytes: videos are left out, and said to be, where the page would be larger than this.
            Everything else is always there.

    Raises:
        TalkheadError: a video cannot be read, or the page cannot be written.
    """
    system, measure = choose_system(scores), choose_measure(scores)
    chosen = None if system is None or measure is None else Chosen(system, measure)
    shown = [] if chosen is None else _shown_clips(scores, evidence, chosen)
    fixed = (
        ("summary", "Summary", summary(scores, chosen)),
        ("protocol", "How it was measured", protocol(scores)),
        ("scores", "Scores", score_tables(scores)),
        ("not-computed", "Not computed", not_computed(scores)),
        ("by-clip", "Clip by clip", clip_plots(scores, chosen)),
    )
    last = ("broken", "Broken clips", broken_clips(scores))

    def assemble(videos: Videos) -> bytes:
        clips = ("clips", "Best, median and worst", clip_cards(scores, shown, chosen, videos))
        foot = f"<p>Made by talkhead {escape(str(scores.get('talkhead', '')))}.</p>"
        text = page(heading_of(scores), (*fixed, clips, last), masthead(scores), foot)
        return text.encode("utf-8", errors="backslashreplace")

    content = assemble({})
    if chosen is not None:
        content = assemble(fitting_videos(scores, shown, chosen, max_bytes - len(content)))
    with replacing(path) as partial:
        partial.write_bytes(content)


def _shown_clips(
    scores: Scores, evidence: Mapping[str, ClipEvidence], chosen: Chosen
) -> list[ShownClip]:
    roles: dict[str, list[Role]] = {}
    for role, clip in choose_clips(scores, chosen.system, chosen.measure).items():
        if clip in evidence:
            roles.setdefault(clip, []).append(role)
    return [
        show_clip(evidence[clip], tuple(of_clip), list_systems(scores))
        for clip, of_clip in roles.items()
    ]

"""Clips on the report's page: videos, frames, and plots of the mouth opening."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from talkhead.evaluation.report_page import (
    TRUTHS,
    Chosen,
    Scores,
    colours,
    count,
    swatch,
    with_unit,
)
from talkhead.evaluation.report_plots import NUM_COLOURS, largest_opening, plot_opening
from talkhead.media.rates import SAMPLE_RATE_HZ
from talkhead.media.video import read_frames

Floats = npt.NDArray[np.float32]
Role = Literal["best", "median", "worst"]
Videos = Mapping[tuple[str, str], str]
"""HTML element for a video, by clip and system."""

NUM_MOMENTS = 6
FRAME_SIDE_PX = 256
FRAME_QUALITY = 88


@dataclass(frozen=True)
class ClipEvidence:
    """Material for presenting one clip.

    Attributes:
        clip: its name.
        fps: frames per second.
        waveform: shape = (N,), 16 kHz; may be empty.
        openings: mouth opening in every frame, by system, with the truth under its own name;
            shape = (T,), eye distances, nan if no face was found.
        videos: by system, an mp4 of 256 x 256 px with sound; empty if only landmarks are scored.
    """

    clip: str
    fps: float
    waveform: Floats
    openings: Mapping[str, Floats]
    videos: Mapping[str, Path]


@dataclass(frozen=True)
class _Moment:
    """A frame to present."""

    frame: int
    label: str


@dataclass(frozen=True)
class ShownClip:
    """One clip on the page, without the parts that depend on the page's size."""

    roles: tuple[Role, ...]
    evidence: ClipEvidence
    systems: tuple[str, ...]
    frames: Mapping[str, list[bytes | None]]
    moments: tuple[_Moment, ...]


def show_clip(evidence: ClipEvidence, roles: tuple[Role, ...], systems: Iterable[str]) -> ShownClip:
    """Read the frames to present for a clip; the truth comes first."""
    ordered = sorted(systems, key=lambda name: name not in TRUTHS)
    moments = _moments(evidence)
    wanted = [moment.frame for moment in moments]
    frames = {
        name: _read_moments(evidence.videos[name], wanted)
        for name in ordered
        if name in evidence.videos
    }
    return ShownClip(roles, evidence, tuple(ordered), frames, tuple(moments))


def _moments(evidence: ClipEvidence) -> list[_Moment]:
    """Choose frames throughout a clip, alternating between an open and a closed real mouth."""
    real = _real_opening(evidence)
    lengths = [len(opening) for opening in evidence.openings.values()]
    total = max([*lengths, 0]) or int(len(evidence.waveform) / SAMPLE_RATE_HZ * evidence.fps)
    edges = np.linspace(0, total, min(NUM_MOMENTS, total) + 1).astype(int)
    moments = []
    for index, (start, stop) in enumerate(pairwise(edges)):
        frame, label = int(start + stop) // 2, ""
        part = None if real is None else real[start:stop]
        if part is not None and np.isfinite(part).any():
            is_open = index % 2 == 0
            frame = int(start + (np.nanargmax(part) if is_open else np.nanargmin(part)))
            label = "open" if is_open else "shut"
        moments.append(_Moment(frame, label))
    return moments


def _real_opening(evidence: ClipEvidence) -> Floats | None:
    return next(
        (evidence.openings[name] for name in TRUTHS if name in evidence.openings),
        None,
    )


def _read_moments(video: Path, wanted: list[int]) -> list[bytes | None]:
    """Return frames as JPEG; None beyond the video's end."""
    found: dict[int, bytes] = {}
    if wanted:
        with closing(read_frames(video, size=(FRAME_SIDE_PX, FRAME_SIDE_PX))) as frames:
            for index, frame in enumerate(frames):
                if index in wanted:
                    stream = io.BytesIO()
                    Image.fromarray(frame).save(stream, "JPEG", quality=FRAME_QUALITY)
                    found[index] = stream.getvalue()
                if index >= wanted[-1]:
                    break
    return [found.get(index) for index in wanted]


def fitting_videos(
    scores: Scores, shown: Iterable[ShownClip], chosen: Chosen, room: int
) -> dict[tuple[str, str], str]:
    """Return as many videos as fit, in the order of the clips.

    Args:
        scores: content of scores.json.
        shown: the clips in the order of the page.
        chosen: the measure to print below each video.
        room: remaining bytes.
    """
    found: dict[tuple[str, str], str] = {}
    for one in shown:
        for system in (name for name in one.systems if name in one.evidence.videos):
            video = one.evidence.videos[system]
            if video.stat().st_size < room:  # avoids reading a video that is too large
                figure = _video(scores, one, system, chosen, video.read_bytes())
                size = len(figure.encode(errors="backslashreplace"))
                if size <= room:
                    room -= size
                    found[one.evidence.clip, system] = figure
    return found


def _video(scores: Scores, one: ShownClip, system: str, chosen: Chosen, content: bytes) -> str:
    clip, measure = one.evidence.clip, scores["measures"][chosen.measure]
    poster = next((frame for frame in one.frames[system] if frame is not None), None)
    still = "" if poster is None else f' poster="{_data("image/jpeg", poster)}"'
    said = "".join(
        f' <span class="quiet">{with_unit(row["values"][chosen.measure], measure)}</span>'
        for row in scores["clips"]
        if (row["clip"], row["system"]) == (clip, system) and chosen.measure in row["values"]
    )
    return (
        f'<figure><video controls playsinline preload="metadata" width="{FRAME_SIDE_PX}"'
        f' height="{FRAME_SIDE_PX}" aria-label="{escape(clip)}, {escape(system)}"{still}'
        f' src="{_data("video/mp4", content)}"></video>\n'
        f"<figcaption>{swatch(colours(scores)[system])} {escape(system)}{said}</figcaption>"
        "</figure>\n"
    )


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def clip_cards(
    scores: Scores,
    shown: list[ShownClip],
    chosen: Chosen | None,
    videos: Videos,
) -> str:
    """Return a card for every presented clip.

    Args:
        scores: content of scores.json.
        shown: the clips in the order of the page.
        chosen: the system and measure that chose the clips; None if none did.
        videos: the videos that fit on the page.
    """
    if not shown or chosen is None:
        return ""
    measure = scores["measures"][chosen.measure]
    cards = "\n".join(
        _clip_card(scores, one, index, chosen, videos) for index, one in enumerate(shown)
    )
    return (
        f'<p class="quiet">Clips of {escape(chosen.system)}, chosen by'
        f" {escape(measure['title'])}.</p>\n{cards}"
    )


def _clip_card(
    scores: Scores,
    one: ShownClip,
    index: int,
    chosen: Chosen,
    videos: Videos,
) -> str:
    clip = one.evidence.clip
    rows = {row["system"]: row for row in scores["clips"] if row["clip"] == clip}
    row = rows[chosen.system]
    value = with_unit(row["values"][chosen.measure], scores["measures"][chosen.measure])
    seen = "a person seen in training" if row["is_seen_person"] else "a person never seen"
    badges = " ".join(f'<span class="badge {role}">{role}</span>' for role in one.roles)
    return (
        f'<article class="clip">\n<h3>{badges} <span>{escape(clip)}</span></h3>\n'
        f'<p class="quiet">{escape(str(row["person"]))}, {seen};'
        f" {count(int(row['frames']), 'frame')}; {escape(chosen.system)}: {value}</p>\n"
        f"{_videos(one, videos)}"
        f"{_frame_table(scores, one)}{_curves(scores, one, index)}</article>"
    )


def _videos(one: ShownClip, videos: Videos) -> str:
    """Return the videos side by side, and a note on those left out."""
    systems = [name for name in one.systems if name in one.evidence.videos]
    if not systems:
        return ""
    clip = one.evidence.clip
    figures = "".join(videos.get((clip, name), "") for name in systems)
    html = f'<div class="videos">\n{figures}</div>\n'
    left_out = [name for name in systems if (clip, name) not in videos]
    if left_out:
        html += (
            '<p class="left-out">Too large for this page; see the folder of videos:'
            f" {escape(', '.join(left_out))}.</p>\n"
        )
    return html


def _frame_table(scores: Scores, one: ShownClip) -> str:
    """Return a table with moments as columns and systems as rows."""
    if not one.frames or not one.moments:
        return ""
    paint = colours(scores)
    clip, fps = escape(one.evidence.clip), one.evidence.fps
    times = [f"{moment.frame / fps:.2f} s" for moment in one.moments]
    heads = "".join(
        f'<th scope="col">{time}{f" <span>{moment.label}</span>" if moment.label else ""}</th>'
        for time, moment in zip(times, one.moments, strict=True)
    )
    rows = []
    for system, frames in one.frames.items():
        cells = []
        for time, frame in zip(times, frames, strict=True):
            if frame is None:
                cells.append('<td class="quiet">no frame</td>')
                continue
            cells.append(
                f'<td><img width="{FRAME_SIDE_PX}" height="{FRAME_SIDE_PX}"'
                f' alt="{escape(system)} at {time}" src="{_data("image/jpeg", frame)}"></td>'
            )
        rows.append(
            f'<tr><th scope="row"><span>{swatch(paint[system])} {escape(system)}</span></th>\n'
            + "\n".join(cells)
            + "</tr>\n"
        )
    is_labelled = any(moment.label for moment in one.moments)
    what = ", alternating between open and closed real mouth" if is_labelled else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Frames of {clip}">\n'
        f'<table class="frames"><caption><span>Frames{what}</span></caption>\n'
        f'<thead><tr><th scope="col"><span class="unseen">System</span></th>{heads}</tr></thead>\n'
        f"<tbody>\n{''.join(rows)}</tbody></table>\n</div>\n"
    )


def _curves(scores: Scores, one: ShownClip, index: int) -> str:
    """Return plots of the mouth opening, each with the real curve and one system's."""
    evidence, real = one.evidence, _real_opening(one.evidence)
    made = [name for name in one.systems if name in evidence.openings and name not in TRUTHS]
    if not made:
        return ""
    top = largest_opening(list(evidence.openings.values()))
    paint = colours(scores)
    figures = []
    for system in made:
        colour = paint[system] or 0
        plot = plot_opening(
            real,
            evidence.openings[system],
            colour=colour,
            fps=evidence.fps,
            waveform=evidence.waveform,
            top=top,
            key=f"opening-{index}-{colour}",
            title=f"Mouth opening in {evidence.clip}: real and {system}",
        )
        figures.append(
            '<figure class="opening"><figcaption>'
            f'<i style="color: var(--system-{colour % NUM_COLOURS})"></i>'
            f" {escape(system)}</figcaption>\n"
            f'<div class="scroll" tabindex="0" role="region" aria-label="Mouth opening,'
            f' {escape(system)}">\n{plot}\n</div></figure>\n'
        )
    truth = '<i style="color: var(--real)"></i> real' if real is not None else "real: unknown"
    sound = ' <i class="sound"></i> sound' if len(evidence.waveform) else " no sound"
    return (
        f'<h4>Mouth opening, eye distances <span class="key">{truth}{sound}</span></h4>\n'
        f"{''.join(figures)}"
    )

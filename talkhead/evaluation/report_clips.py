"""What the report's page shows of single clips: frames, and plots of the mouth opening."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from talkhead.evaluation.report_plots import TRUTHS, colour_indices, largest_opening, plot_opening
from talkhead.evaluation.report_ranking import Ranking, Role, Scores, choose_clips, list_systems
from talkhead.media.rates import SAMPLE_RATE_HZ
from talkhead.media.video import read_frames

Floats = npt.NDArray[np.float32]

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
        videos: by system, an mp4 of crops with sound; empty if only landmarks are scored.
    """

    clip: str
    rate_hz: float
    waveform: Floats
    openings: Mapping[str, Floats]
    videos: Mapping[str, Path]

    @property
    def real_opening(self) -> Floats | None:
        """The opening of the real mouth, if known."""
        return next((self.openings[name] for name in TRUTHS if name in self.openings), None)


@dataclass(frozen=True)
class Moment:
    """A frame to present; the label says whether the real mouth is open, if known."""

    frame: int
    time: str
    label: str


@dataclass(frozen=True)
class ClipCard:
    """One clip on the page; everything by system has the truth first.

    Attributes:
        name: name of the clip.
        roles: why the clip is on the page.
        row: the ranked system's row in scores.json.
        values: the ranking measure by system.
        videos: files by system.
        moments: the frames to present.
        frames: by system, the frames as data URLs; None beyond the video's end.
        openings: by system, an `svg` element with the mouth opening; not for the truth.
        has_real_opening: whether these plots contain the real opening.
        has_sound: whether they contain the sound.
    """

    name: str
    roles: tuple[Role, ...]
    row: Mapping[str, Any]
    values: Mapping[str, float]
    videos: Mapping[str, Path]
    moments: list[Moment]
    frames: Mapping[str, list[str | None]]
    openings: Mapping[str, str]
    has_real_opening: bool
    has_sound: bool


def make_clip_cards(
    scores: Scores, evidence: Mapping[str, ClipEvidence], ranking: Ranking
) -> list[ClipCard]:
    """Return the best, the median and the worst clip, as far as there is evidence.

    Raises:
        TalkheadError: a video cannot be read.
    """
    roles: dict[str, tuple[Role, ...]] = {}
    for role, clip in choose_clips(scores, ranking).items():
        if clip in evidence:
            roles[clip] = (*roles.get(clip, ()), role)
    return [
        _make_card(scores, evidence[clip], ranking, of_clip, index)
        for index, (clip, of_clip) in enumerate(roles.items())
    ]


def _make_card(
    scores: Scores, evidence: ClipEvidence, ranking: Ranking, roles: tuple[Role, ...], index: int
) -> ClipCard:
    systems = sorted(list_systems(scores), key=lambda name: name not in TRUTHS)
    rows = {row["system"]: row for row in scores["clips"] if row["clip"] == evidence.clip}
    videos = {name: evidence.videos[name] for name in systems if name in evidence.videos}
    moments = _choose_moments(evidence)
    wanted = [moment.frame for moment in moments]
    return ClipCard(
        name=evidence.clip,
        roles=roles,
        row=rows[ranking.system],
        values={
            name: row["values"][ranking.measure]
            for name, row in rows.items()
            if ranking.measure in row["values"]
        },
        videos=videos,
        moments=moments,
        frames={name: _read_frames(video, wanted) for name, video in videos.items()},
        openings=_plot_openings(scores, evidence, index),
        has_real_opening=evidence.real_opening is not None,
        has_sound=len(evidence.waveform) > 0,
    )


def _choose_moments(evidence: ClipEvidence) -> list[Moment]:
    """Choose frames throughout a clip, alternating between an open and a closed real mouth."""
    real = evidence.real_opening
    lengths = [len(opening) for opening in evidence.openings.values()]
    total = max([*lengths, 0]) or int(len(evidence.waveform) / SAMPLE_RATE_HZ * evidence.rate_hz)
    edges = np.linspace(0, total, min(NUM_MOMENTS, total) + 1).astype(int)
    moments = []
    for index, (start, stop) in enumerate(pairwise(edges)):
        frame, label = int(start + stop) // 2, ""
        part = None if real is None else real[start:stop]
        if part is not None and np.isfinite(part).any():
            is_open = index % 2 == 0
            frame = int(start + (np.nanargmax(part) if is_open else np.nanargmin(part)))
            label = "open" if is_open else "shut"
        moments.append(Moment(frame, f"{frame / evidence.rate_hz:.2f} s", label))
    return moments


def _read_frames(video: Path, wanted: list[int]) -> list[str | None]:
    """Return frames as data URLs; None beyond the video's end."""
    found: dict[int, str] = {}
    if wanted:
        with closing(read_frames(video, size=(FRAME_SIDE_PX, FRAME_SIDE_PX))) as frames:
            for index, frame in enumerate(frames):
                if index in wanted:
                    stream = io.BytesIO()
                    Image.fromarray(frame).save(stream, "JPEG", quality=FRAME_QUALITY)
                    found[index] = data_url("image/jpeg", stream.getvalue())
                if index >= wanted[-1]:
                    break
    return [found.get(index) for index in wanted]


def data_url(kind: str, content: bytes) -> str:
    """Return a URL that contains a file of a media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _plot_openings(scores: Scores, evidence: ClipEvidence, index: int) -> dict[str, str]:
    """Plot the mouth opening of every system but the truth, each with the real curve."""
    return {
        system: plot_opening(
            evidence.real_opening,
            evidence.openings[system],
            colour=colour,
            rate_hz=evidence.rate_hz,
            waveform=evidence.waveform,
            top=largest_opening(list(evidence.openings.values())),
            key=f"opening-{index}-{colour}",
            title=f"Mouth opening in {evidence.clip}: real and {system}",
        )
        for system, colour in colour_indices(list_systems(scores)).items()
        if colour is not None and system in evidence.openings
    }

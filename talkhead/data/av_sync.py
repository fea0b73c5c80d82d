"""Lag between sound and lips.

`best_lag` compares two series. `measure_agreement` asks the landmark generator which opening a
sound calls for: loudness alone says little, because a mouth is not open just because a voice is
loud. Sound that does not belong to the lips shows up as low agreement.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from talkhead.data.clips import ClipInfo, read_clip, read_manifest, write_manifest
from talkhead.face.mesh import mouth_opening
from talkhead.face.motion import opening_direction, proportions, rest_of_clip
from talkhead.media.files import replacing
from talkhead.media.loudness import frame_levels, normalise_speech

if TYPE_CHECKING:
    from talkhead.models.landmarks import LandmarkGenerator

Floats = npt.NDArray[np.float32]

MAX_LAG_FRAMES = 8
METHOD = "generator"
MIN_LAG_GAIN = 0.08
"""A lag has to agree better than no lag by this much, or the clip counts as in time."""
LAG_COST = 0.015
"""Of agreement per frame of lag: large lags are rare, and a short clip finds some by chance."""


def loudness(waveform: Floats, num_frames: int, fps: float) -> Floats:
    """Return every frame's level in decibels, at most 50 under the loudest, shape = (T,)."""
    level = frame_levels(waveform, num_frames, fps)
    return np.maximum(level, level.max(initial=-100.0) - 50).astype(np.float32)


def best_lag(
    seen: Floats,
    expected: Floats,
    max_lag: int = MAX_LAG_FRAMES,
    detrend_frames: int | None = 50,
    cost: float = 0.0,
) -> tuple[int, float]:
    """Return the lag of `seen` behind `expected` with the highest Pearson correlation, and that.

    Slow drift is taken out first, if asked: a head that turns or a voice that fades is not lip
    motion.

    Args:
        seen: shape = (T,).
        expected: shape = (T,).
        max_lag: largest lag looked at, in frames, either way.
        detrend_frames: length of the running mean that is subtracted; None leaves the series as
            they are.
        cost: what a frame of lag takes off the correlation in the choice between lags.
    """
    if detrend_frames is not None:
        seen = _without_drift(seen, detrend_frames)
        expected = _without_drift(expected, detrend_frames)
    best, best_score = (0, -1.0), -np.inf
    for lag in range(-max_lag, max_lag + 1):
        a = seen[lag:] if lag >= 0 else seen[:lag]
        b = expected[: len(expected) - lag] if lag >= 0 else expected[-lag:]
        if len(a) < 10 or a.std() < 1e-6 or b.std() < 1e-6:
            continue
        correlation = float(np.corrcoef(a, b)[0, 1])
        if correlation - cost * abs(lag) > best_score:
            best, best_score = (lag, correlation), correlation - cost * abs(lag)
    return best


def _without_drift(values: Floats, length: int) -> Floats:
    if len(values) <= length:
        return np.asarray(values - values.mean(), np.float32)
    kernel = np.ones(length) / length
    padded = np.pad(values, (length // 2, length - 1 - length // 2), mode="edge")
    return (values - np.convolve(padded, kernel, "valid")).astype(np.float32)


def unmeasured(folder: Path) -> list[ClipInfo]:
    """Return the clips that have sound and were measured by no generator.

    Raises:
        talkhead.errors.TalkheadError: the folder was not prepared.
    """
    rows = read_manifest(folder)
    return [row for row in rows if row.has_sound and row.agreement_method != METHOD]


def measure_agreement(folder: Path, generator: LandmarkGenerator) -> Iterator[ClipInfo]:
    """Measure the clips that need it, and rewrite their lines of the manifest.

    Args:
        folder: made by `talkhead prepare`.
        generator: in evaluation mode.

    Yields:
        The new lines.

    Raises:
        talkhead.errors.TalkheadError: the folder was not prepared, or a clip is damaged.
    """
    from talkhead.synthesis import basis_of, generate_motion  # loads torch

    opening_of = opening_direction(basis_of(generator).components)
    for row in unmeasured(folder):
        clip = read_clip(folder, row.clip, frames=False)
        fps = float(Fraction(row.fps))
        rest, pose = rest_of_clip(clip.landmarks)
        waveform = normalise_speech(clip.waveform_float())
        made = generate_motion(generator, waveform, len(clip), fps, proportions(rest))
        seen = mouth_opening(pose.to_face(clip.landmarks))
        expected = made @ opening_of
        lag, agreement = best_lag(seen, expected, cost=LAG_COST)
        in_time = best_lag(seen, expected, max_lag=0)[1]
        if agreement - in_time < MIN_LAG_GAIN:
            lag, agreement = 0, in_time
        measured = dataclasses.replace(
            row,
            offset_frames=lag,
            agreement=round(agreement, 3),
            agreement_method=METHOD,
        )
        with replacing(folder / "clips" / f"{row.clip}.json") as partial:
            partial.write_text(json.dumps(dataclasses.asdict(measured)), encoding="utf-8")
        yield measured
    write_manifest(folder)

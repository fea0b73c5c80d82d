"""Lag between sound and lips.

`best_lag` compares two series. `measure_agreement` compares the lips with the opening that the
landmark generator predicts from the sound. Loudness alone says little, because a loud voice does
not imply an open mouth. Low agreement indicates sound that does not belong to the lips.
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

from talkhead.atomic import replacing
from talkhead.audio2landmarks.loudness import frame_levels, normalise_speech
from talkhead.data.clips import ClipInfo, read_clip, read_manifest, write_manifest
from talkhead.geometry.mesh import mouth_opening
from talkhead.geometry.motion_basis import opening_direction, proportions, rest_of_clip

if TYPE_CHECKING:
    from talkhead.audio2landmarks.generator import LandmarkGenerator

Floats = npt.NDArray[np.float32]

MAX_LAG_FRAMES = 8
METHOD = "generator"
MIN_LAG_GAIN = 0.08
"""Required gain in agreement over no lag; otherwise the clip counts as in sync."""
LAG_COST = 0.015
"""Penalty per frame of lag: large lags are rare, and short clips produce some by chance."""


def loudness(waveform: Floats, num_frames: int, rate_hz: float) -> Floats:
    """Return each frame's level in decibels, at most 50 below the loudest, (T,)."""
    level = frame_levels(waveform, num_frames, rate_hz)
    return np.maximum(level, level.max(initial=-100.0) - 50).astype(np.float32)


def best_lag(
    seen: Floats,
    expected: Floats,
    max_lag: int = MAX_LAG_FRAMES,
    detrend_frames: int | None = 50,
    cost: float = 0.0,
) -> tuple[int, float]:
    """Return the best lag of `seen` behind `expected`, and its Pearson correlation.

    Slow drift, such as a turning head or a fading voice, can be removed first.

    Args:
        seen: (T,).
        expected: (T,).
        max_lag: largest lag to try in either direction, frames.
        detrend_frames: length of the running mean to subtract; None to keep the series as they
            are.
        cost: penalty on the correlation per frame of lag, used only to choose between lags.
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
    """Return the clips with sound whose agreement no generator has measured yet.

    Raises:
        talkhead.errors.TalkheadError: the folder was not prepared.
    """
    rows = read_manifest(folder)
    return [row for row in rows if row.has_sound and row.agreement_method != METHOD]


def measure_agreement(folder: Path, generator: LandmarkGenerator) -> Iterator[ClipInfo]:
    """Measure the clips that still need it, and update the manifest.

    Args:
        folder: written by `talkhead prepare`.
        generator: in evaluation mode.

    Yields:
        The updated manifest lines.

    Raises:
        talkhead.errors.TalkheadError: the folder was not prepared, or a clip is damaged.
    """
    from talkhead.audio2landmarks.audio2motion import generate_motion  # loads torch

    opening_of = opening_direction(generator.motion_basis().components)
    for row in unmeasured(folder):
        clip = read_clip(folder, row.clip, frames=False)
        fps = float(Fraction(row.fps))
        rest, pose = rest_of_clip(clip.landmarks)
        waveform = normalise_speech(clip.waveform_float())
        generated = generate_motion(generator, waveform, len(clip), fps, proportions(rest))
        seen = mouth_opening(pose.to_face(clip.landmarks))
        expected = generated @ opening_of
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

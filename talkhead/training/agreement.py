"""Measure with the landmark generator how far sound and lips of prepared clips are apart.

Loudness tells little: a mouth is not open because a voice is loud. A generator trained on clips
that are in time predicts the opening that a sound asks for, and finds the lag of most others;
unrelated sound shows as low agreement.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from talkhead.face.mesh import mouth_opening
from talkhead.face.motion import opening_direction, proportions, rest_of_clip
from talkhead.media.files import replacing
from talkhead.media.loudness import normalise_speech
from talkhead.models.landmarks import LandmarkGenerator
from talkhead.synthesis import basis_of
from talkhead.training.clips import ClipInfo, read_clip, read_manifest, write_manifest
from talkhead.training.landmarks import generate_motion
from talkhead.training.sync import best_lag

METHOD = "generator"
MIN_LAG_GAIN = 0.08
"""A lag has to agree better than no lag by this much, or the clip counts as in time."""
LAG_COST = 0.015
"""Of agreement per frame of lag: large lags are rare, and a short clip finds some by chance."""


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

"""Protocol of stage `landmarks`: a clip's sound and one frame to landmarks, against its own.

The identity is the frame whose face is nearest to rest, as portraits are. The head pose is that of
the clip, so that only what speech moves is scored. Beside the generators there are always the real
landmarks and two baselines without one: a face at rest, and a jaw that opens with the loudness.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from talkhead.errors import TalkheadError
from talkhead.evaluation.articulation import closing_moments
from talkhead.evaluation.landmark_metrics import (
    closures_found,
    head_motion,
    inner_opening,
    landmark_distance,
    landmark_velocity_distance,
    lip_motion,
    num_blinks,
    quiet_frames,
)
from talkhead.face.mesh import mouth_opening, mouth_width, to_ibug68
from talkhead.face.motion import (
    MotionBasis,
    identity_at_rest,
    mouth_scale,
    opening_direction,
    proportions,
    rest_of_clip,
    separate_lips,
    speech_region,
)
from talkhead.face.pose import fit_head_pose
from talkhead.media.audio import write_waveform
from talkhead.media.loudness import frame_levels
from talkhead.models.landmarks import LandmarkGenerator
from talkhead.synthesis import animate, basis_of, listen
from talkhead.training.clips import Clip, ClipInfo, read_clip, read_manifest
from talkhead.training.landmarks import is_scored
from talkhead.training.sync import best_lag

Floats = npt.NDArray[np.float32]

TRUTH, REST, LOUDNESS = "real landmarks", "face at rest", "jaw by loudness"
LOUD_OPENING = 0.1
"""How far the baseline's jaw opens for the loudest sound, eye distances."""
MOUTH = slice(48, 68)
MAX_LENGTH_DIFFERENCE = 2


@dataclass(frozen=True)
class ClipScores:
    """Scores of one system on one clip; what does not apply to it is left out of `values`."""

    clip: str
    person: str
    is_seen_person: bool
    system: str
    num_frames: int
    values: dict[str, float]


def scored_rows(
    data: Path, *, split: str = "dev", people: Sequence[str] = (), limit: int | None = None
) -> list[ClipInfo]:
    """Return the clips of a split whose sound belongs to the picture.

    Args:
        data: prepared folder.
        split: of the manifest.
        people: patterns as of a shell; any of them suffices; none for everybody.
        limit: at most so many clips.

    Raises:
        TalkheadError: the folder was not prepared, or no clip is left.
    """
    rows = [
        row
        for row in read_manifest(data)
        if row.split == split
        and is_scored(row)
        and (not people or any(fnmatch(row.person, pattern) for pattern in people))
    ]
    if not rows:
        raise TalkheadError(f"{data} has no clip to score: none of {split} with sound that fits")
    return rows[:limit]


def score_landmarks(
    data: Path,
    rows: Sequence[ClipInfo],
    generators: Mapping[str, LandmarkGenerator],
    seed: int = 0,
) -> Iterator[ClipScores]:
    """Score generators and baselines, clip by clip.

    Args:
        data: prepared folder.
        rows: see `scored_rows`.
        generators: by the name that their rows get; not empty.
        seed: of the head motion and the blinks.

    Raises:
        talkhead.errors.TalkheadError: a clip is damaged, or espeak-ng is missing.
    """
    seen = {row.person for row in read_manifest(data) if row.split == "train"}
    for row in rows:
        clip = read_clip(data, row.clip, frames=False)
        waveform = clip.waveform_float()
        moments = closing_moments(waveform, row.transcript) if row.transcript else []
        rate = Fraction(row.fps)
        quiet = quiet_frames(frame_levels(waveform, len(clip), float(rate)))
        for system, points, natural in _systems(clip, waveform, rate, generators, seed):
            values = _scores(points, clip.landmarks, moments, quiet, float(rate))
            if natural is not None:
                minutes = len(natural) / float(rate) / 60
                values["blinks_per_minute"] = num_blinks(natural) / minutes
                values["head_motion"] = head_motion(natural)
            yield ClipScores(row.clip, row.person, row.person in seen, system, len(clip), values)


def _systems(
    clip: Clip,
    waveform: Floats,
    rate: Fraction,
    generators: Mapping[str, LandmarkGenerator],
    seed: int,
) -> Iterator[tuple[str, Floats, Floats | None]]:
    """Yield every system's name, its meshes with the real head pose, and with a natural one."""
    identity = clip.landmarks[identity_frame(clip.landmarks)]
    with tempfile.TemporaryDirectory() as folder:  # the way of every day, from a file on
        audio = Path(folder) / "speech.wav"
        write_waveform(audio, waveform)
        for name, generator in generators.items():
            basis = basis_of(generator)
            rest, _ = identity_at_rest(identity, basis)
            speech = listen(generator, audio, proportions(rest), rate)
            _, windows = animate(generator, identity, speech, seed=seed)
            natural = _fitted(np.concatenate(list(windows)), len(clip))
            made = _fitted(speech.coefficients, len(clip))
            yield name, _posed(clip, rest, basis, made), natural
    opening = opening_direction(basis.components)
    jaw = opening / (opening @ opening)
    loudness = LOUD_OPENING * _fitted(speech.activity[:, None], len(clip))
    yield LOUDNESS, _posed(clip, rest, basis, loudness * jaw), None
    yield REST, _posed(clip, rest, basis, 0 * loudness * jaw), None
    yield TRUTH, clip.landmarks, clip.landmarks


def identity_frame(landmarks: Floats) -> int:
    """Return which frame of a clip, (T, 478, 3), shows the face nearest to rest."""
    rest, pose = rest_of_clip(landmarks)
    apart = np.linalg.norm(pose.to_face(landmarks) - rest, axis=-1) * speech_region()
    return int(apart.mean(1).argmin())


def _posed(clip: Clip, rest: Floats, basis: MotionBasis, coefficients: Floats) -> Floats:
    """Return meshes of a person, whose face at rest is (478, 3), in the clip's head pose."""
    still = np.zeros(len(coefficients), np.float32)
    shapes = separate_lips(rest + basis.deform(coefficients, still, mouth_scale(rest)))
    return fit_head_pose(clip.landmarks, rest).to_picture(shapes)


def _fitted(values: Floats, count: int) -> Floats:
    """Cut or hold a series (T, ...) by the frame or two that rounding makes."""
    if abs(len(values) - count) > MAX_LENGTH_DIFFERENCE:
        raise TalkheadError(f"{len(values)} frames for a clip of {count}: prepare it again")
    missing = max(count - len(values), 0)
    return np.concatenate([values[:count], np.repeat(values[-1:], missing, axis=0)])


def _scores(
    points: Floats,
    truth: Floats,
    moments: Sequence[tuple[float, float]],
    quiet: npt.NDArray[np.bool_],
    fps: float,
) -> dict[str, float]:
    values: dict[str, float] = {}
    pose = fit_head_pose(truth)  # a head that turns does not open its mouth
    shapes = pose.to_face(truth), pose.to_face(points)
    for name, measure in (("opening", mouth_opening), ("width", mouth_width)):
        real, made = (measure(shape) for shape in shapes)
        if made.std() > 1e-6:
            values[f"{name}_r"] = best_lag(real, made, 0, detrend_frames=None)[1]
            values[f"{name}_r_best"] = best_lag(real, made, detrend_frames=None)[1]
    ours, real = to_ibug68(points), to_ibug68(truth)
    values["m_ld"] = landmark_distance(ours[:, MOUTH], real[:, MOUTH])
    values["f_ld"] = landmark_distance(ours, real)
    values["m_lvd"] = landmark_velocity_distance(ours[:, MOUTH], real[:, MOUTH])
    values["f_lvd"] = landmark_velocity_distance(ours, real)
    if moments:
        closed = closures_found(inner_opening(truth), moments, fps)
        if closed.any():  # where real lips do not close, none have to
            kept = closures_found(inner_opening(points), moments, fps)
            values["closure_recall"] = float(kept[closed].mean())
    if quiet[1:].any():
        values["quiet_motion"] = float(lip_motion(points)[quiet[1:]].mean())
    return values

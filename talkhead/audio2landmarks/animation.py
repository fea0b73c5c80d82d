"""Animate a face: predicted lips, plus head motion, blinks and eyebrows."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from talkhead.audio2landmarks.audio2motion import Speech, predict_motion
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.audio2landmarks.idle_motion import (
    followed_head_motion,
    natural_blinks,
    natural_brows,
    natural_head_motion,
)
from talkhead.audio2landmarks.motion_networks import basis_of, head_style_of
from talkhead.errors import TalkheadError
from talkhead.geometry.mesh import NUM_SURFACE_POINTS
from talkhead.geometry.motion_basis import (
    brow_region,
    fit_blink,
    identity_at_rest,
    mouth_scale,
    proportions,
    separate_lips,
)
from talkhead.landmarks2video.batching import BATCH_FRAMES
from talkhead.media.audio_clip import AudioClip
from talkhead.media.rates import DEFAULT_FPS
from talkhead.tracking.landmark_track import LandmarkTrack

Floats = npt.NDArray[np.float32]

POSES = ("natural", "still")


def predict_landmarks(
    generator: LandmarkGenerator,
    audio: Path | AudioClip,
    identity: Floats,
    *,
    fps: Fraction = DEFAULT_FPS,
    seed: int = 0,
    pose: str | LandmarkTrack = "natural",
    pose_strength: float = 1.0,
    expression_strength: float = 1.0,
    blink_per_minute: float = 16.0,
) -> tuple[int, Iterator[Floats]]:
    """Predict the landmarks of a face that speaks a recording.

    Args:
        generator: the first stage.
        audio: the recording, or its file.
        identity: (478, 3), the mesh in the picture, pixels.
        fps: frames per second.
        seed: random seed for head motion and blinks.
        pose: natural, still, or a track to take the head motion from.
        pose_strength: scale of the head motion.
        expression_strength: scale of the speech motion and the eyebrow motion.
        blink_per_minute: 0 for none.

    Returns:
        The number of frames, and an iterator of windows (T, 478, 3) in pixels of the picture.

    Raises:
        TalkheadError: the recording cannot be read, or `pose` is unknown.
    """
    check_pose(pose)
    clip = audio if isinstance(audio, AudioClip) else AudioClip.open(audio)
    return animate(
        generator,
        identity,
        predict_speech(generator, clip, identity, fps),
        seed=seed,
        pose=pose,
        pose_strength=pose_strength,
        expression_strength=expression_strength,
        blink_per_minute=blink_per_minute,
    )


def predict_speech(
    generator: LandmarkGenerator,
    audio: AudioClip,
    identity: Floats,
    fps: Fraction = DEFAULT_FPS,
) -> Speech:
    """Turn a voice into the motion of a mouth, before it is put on a face by `animate`.

    Args:
        generator: the first stage.
        audio: the recording.
        identity: (478, 3), the mesh in the picture, pixels.
        fps: frames per second.
    """
    rest, _ = identity_at_rest(identity, basis_of(generator))
    return predict_motion(generator, audio, proportions(rest), fps)


def animate(
    generator: LandmarkGenerator,
    identity: Floats,
    speech: Speech,
    *,
    seed: int = 0,
    pose: str | LandmarkTrack = "natural",
    pose_strength: float = 1.0,
    expression_strength: float = 1.0,
    blink_per_minute: float = 16.0,
) -> tuple[int, Iterator[Floats]]:
    """Apply predicted speech motion and idle motion to a face: see `predict_landmarks`."""
    check_pose(pose)
    basis = basis_of(generator)
    rest, head = identity_at_rest(identity, basis)
    basis = fit_blink(rest, basis)
    count, rate = len(speech.coefficients), float(speech.fps)
    amount = mouth_scale(rest) * expression_strength
    if isinstance(pose, LandmarkTrack):
        motion = followed_head_motion(pose, rate, count, pose_strength)
    else:
        strength = pose_strength if pose == "natural" else 0.0
        rng = np.random.default_rng([seed, 1])
        style = head_style_of(generator)
        motion = natural_head_motion(style, speech.activity, rate, rng, strength)
    blinks = natural_blinks(
        speech.activity, rate, np.random.default_rng([seed, 2]), blink_per_minute
    )
    brows = brow_region() * np.float32(expression_strength)
    raised = natural_brows(speech.activity, rate)

    def windows() -> Iterator[Floats]:
        for start in range(0, count, BATCH_FRAMES):
            end = min(start + BATCH_FRAMES, count)
            part = basis.deform(speech.coefficients[start:end], blinks[start:end], amount)
            shapes = separate_lips(rest + part)
            shapes[..., 1] -= raised[start:end, None] * brows
            moved = motion.part(start, end)
            shapes[:, NUM_SURFACE_POINTS:] += moved.gaze()[:, None]
            yield head.to_picture(moved.apply(shapes))

    return count, windows()


def check_pose(pose: str | LandmarkTrack) -> None:
    """Refuse an unknown pose.

    Raises:
        TalkheadError: the name is unknown.
    """
    if isinstance(pose, str) and pose not in POSES:
        raise TalkheadError(f"pose must be {' or '.join(POSES)}, not {pose!r}")

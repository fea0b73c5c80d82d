"""Animate a face: predicted lips, plus head motion, blinks and eyebrows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from talkhead.audio2landmarks.audio2motion import Speech, predict_motion
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.audio2landmarks.idle_motion import (
    HeadMotion,
    followed_head_motion,
    natural_blinks,
    natural_brows,
    natural_head_motion,
)
from talkhead.errors import TalkheadError
from talkhead.geometry.mesh import NUM_SURFACE_POINTS
from talkhead.geometry.motion_basis import (
    MotionBasis,
    brow_region,
    fit_blink,
    identity_at_rest,
    mouth_scale,
    proportions,
    separate_lips,
)
from talkhead.geometry.pose import HeadPose
from talkhead.geometry.windows import WINDOW_FRAMES
from talkhead.media.audio_clip import AudioClip
from talkhead.media.rates import DEFAULT_FPS
from talkhead.tracking.landmark_track import LandmarkTrack

Floats = npt.NDArray[np.float32]

POSES = ("natural", "still")


@dataclass(frozen=True)
class MotionOptions:
    """How a face moves besides what its lips say."""

    pose: str | LandmarkTrack = "natural"
    """natural, still, or a track to take the head motion from."""
    pose_strength: float = 1.0
    """Scale of the head motion."""
    expression_strength: float = 1.0
    """Scale of the speech motion and the eyebrow motion."""
    blink_per_minute: float = 16.0
    """0 for none."""
    seed: int = 0
    """Random seed for head motion and blinks."""

    def __post_init__(self) -> None:
        if isinstance(self.pose, str) and self.pose not in POSES:
            raise TalkheadError(f"pose must be {' or '.join(POSES)}, not {self.pose!r}")


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
    rest, _ = identity_at_rest(identity, generator.motion_basis())
    return predict_motion(generator, audio, proportions(rest), fps)


def animate(
    generator: LandmarkGenerator,
    identity: Floats,
    speech: Speech,
    options: MotionOptions | None = None,
) -> Iterator[Floats]:
    """Apply predicted speech motion and idle motion to a face.

    Args:
        generator: the first stage.
        identity: (478, 3), the mesh in the picture, pixels.
        speech: from `predict_speech`.
        options: head motion, strengths, blinks, seed.

    Returns:
        Windows of meshes, (T, 478, 3), in pixels of the picture.
    """
    options = options or MotionOptions()
    face = AnimatedFace.at_rest(generator, identity, options.expression_strength)
    num_frames, rate = len(speech.coefficients), float(speech.fps)
    if isinstance(options.pose, str):
        strength = options.pose_strength if options.pose == "natural" else 0.0
        rng = np.random.default_rng([options.seed, 1])
        motion = natural_head_motion(generator.head_style(), speech.activity, rate, rng, strength)
    else:
        motion = followed_head_motion(options.pose, rate, num_frames, options.pose_strength)
    rng = np.random.default_rng([options.seed, 2])
    blinks = natural_blinks(speech.activity, rate, rng, options.blink_per_minute)
    raised = natural_brows(speech.activity, rate)

    def windows() -> Iterator[Floats]:
        for start in range(0, num_frames, WINDOW_FRAMES):
            end = min(start + WINDOW_FRAMES, num_frames)
            yield face.meshes(
                speech.coefficients[start:end],
                motion.part(start, end),
                blinks[start:end],
                raised[start:end],
            )

    return windows()


@dataclass(frozen=True)
class AnimatedFace:
    """The face of a picture, and how motion moves it."""

    rest: Floats
    """(478, 3), face space, lips closed."""
    head: HeadPose
    basis: MotionBasis
    strength: float
    """Scale of the speech motion and the eyebrow motion."""

    @classmethod
    def at_rest(
        cls, generator: LandmarkGenerator, identity: Floats, strength: float
    ) -> AnimatedFace:
        """Measure a face: its mesh, (478, 3), in the picture, pixels."""
        basis = generator.motion_basis()
        rest, head = identity_at_rest(identity, basis)
        return cls(rest, head, fit_blink(rest, basis), strength)

    def meshes(
        self, coefficients: Floats, motion: HeadMotion, blinks: Floats, raised: Floats
    ) -> Floats:
        """Return the meshes of T frames, (T, 478, 3), pixels of the picture.

        Args:
            coefficients: (T, K), motion of speech.
            motion: of the head, T frames.
            blinks: (T,), how far the eyes are closed.
            raised: (T,), how far the eyebrows are raised, eye distances.
        """
        amount = mouth_scale(self.rest) * self.strength
        shapes = separate_lips(self.rest + self.basis.deform(coefficients, blinks, amount))
        shapes[..., 1] -= raised[:, None] * (brow_region() * np.float32(self.strength))
        shapes[:, NUM_SURFACE_POINTS:] += motion.gaze()[:, None]
        return self.head.to_picture(motion.apply(shapes))

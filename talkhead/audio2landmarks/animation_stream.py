"""Animate a face while a voice is heard: lips, head motion, blinks and eyebrows."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from talkhead.audio2landmarks.animation import AnimatedFace, MotionOptions
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.audio2landmarks.idle_stream import IdleStream
from talkhead.audio2landmarks.streaming import SpeechStream, SpokenFrames
from talkhead.errors import TalkheadError
from talkhead.geometry.motion_basis import proportions
from talkhead.media.rates import DEFAULT_FPS

Floats = npt.NDArray[np.float32]


class AnimationStream:
    """Turns sound of unknown length into meshes of a face.

    Args:
        generator: the first stage.
        identity: (478, 3), the mesh in the picture, pixels.
        fps: frames per second.
        options: head motion, strengths, blinks, seed.

    Raises:
        TalkheadError: the head is to follow a track, which has an end.
    """

    def __init__(
        self,
        generator: LandmarkGenerator,
        identity: Floats,
        fps: Fraction = DEFAULT_FPS,
        options: MotionOptions | None = None,
    ) -> None:
        options = options or MotionOptions()
        if not isinstance(options.pose, str):
            raise TalkheadError("a live head moves by itself: the pose must be natural or still")
        self._face = AnimatedFace.at_rest(generator, identity, options.expression_strength)
        self.speech = SpeechStream(generator, proportions(self._face.rest), fps)
        self._idle = IdleStream(
            generator.head_style(),
            float(fps),
            options.seed,
            options.pose_strength if options.pose == "natural" else 0.0,
            options.blink_per_minute,
        )

    def push(self, samples: Floats, *, hurry: bool = False) -> Iterator[Floats]:
        """Take more sound and yield the new meshes, (T, 478, 3): see `SpeechStream.push`."""
        return map(self._meshes, self.speech.push(samples, hurry=hurry))

    def finish(self, duration_s: Fraction | None = None) -> Iterator[Floats]:
        """Yield the remaining meshes: see `SpeechStream.finish`."""
        return map(self._meshes, self.speech.finish(duration_s))

    def _meshes(self, spoken: SpokenFrames) -> Floats:
        idle = self._idle.next(spoken.activity)
        return self._face.meshes(spoken.coefficients, idle.head, idle.blinks, idle.brows)

"""A face that speaks while a voice is heard: both stages on sound of unknown length."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from talkhead.audio2landmarks.animation import MotionOptions
from talkhead.audio2landmarks.animation_stream import AnimationStream
from talkhead.audio2landmarks.expressions import express
from talkhead.audio2landmarks.streaming import SpeechStream
from talkhead.emotions import AUTO, one_hot
from talkhead.errors import TalkheadError, WeightsError
from talkhead.geometry.motion_basis import proportions
from talkhead.landmarks2video.dubbing import DubbedFace, Dubber, dub_batches
from talkhead.landmarks2video.renderer import render_frames
from talkhead.landmarks2video.sampling import SamplerOptions
from talkhead.media.live_resampler import LiveResampler
from talkhead.media.playback import play
from talkhead.media.prefetch import run_ahead
from talkhead.pipelines.stages import PictureFace, VideoFace, speaking_mouth

if TYPE_CHECKING:
    from talkhead.pipelines.base import FacePipeline

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

_ENDLESS = 2**62
_VIDEO_FRAMES_AHEAD = 8


@dataclass(frozen=True)
class DueFrame:
    """A frame whose motion is known.

    Attributes:
        number: its number, from 0; it shows the moment (number + 1/2) / fps.
        motion: (478, 3), its mesh in a picture; or (K,), coefficients for a frame of a video.
    """

    number: int
    motion: Floats


class FaceStream:
    """Frames of a face that speaks what is heard: `FacePipeline.stream` makes one.

    `push` and `finish` do everything. To drop frames where time is short, `hear` the sound, and
    `render` the frames that are still wanted, in order.

    Attributes:
        fps: frames per second.
        size: (width, height) of the frames.
        sampling_rate: samples per second of the sound.
        look_ahead_s: seconds of sound after a frame that are awaited.
        num_heard: frames whose motion is known.
    """

    def __init__(
        self,
        pipeline: FacePipeline,
        face: PictureFace | VideoFace,
        *,
        fps: Fraction,
        sampling_rate: int,
        motion: MotionOptions | None = None,
        sampler: SamplerOptions | None = None,
        emotion: str | None = None,
    ) -> None:
        check_live(pipeline, emotion=emotion, dubs=isinstance(face, VideoFace))
        self.fps, self.sampling_rate = fps, sampling_rate
        self._resampler = LiveResampler(sampling_rate)
        self._num_samples = self.num_heard = 0
        self._face: _Face
        if isinstance(face, PictureFace):
            self.size = face.picture.shape[1], face.picture.shape[0]
            self._face = _LivePicture(pipeline, face, fps, motion, sampler, emotion)
        else:
            self.size = face.faces.size
            self._face = _LiveVideo(pipeline, face, fps, motion, sampler)
        self.look_ahead_s = self._face.speech.look_ahead_s
        self._is_open = True

    def push(self, samples: Floats) -> list[Pixels]:
        """Take more sound, and return the frames that became due, uint8 (H, W, 3) each.

        Args:
            samples: (N,), mono, at `sampling_rate`; N may be anything, 0 included.

        Raises:
            ValueError: the stream is finished, or the samples have another shape.
        """
        return [self.render(due) for due in self.hear(samples)]

    def finish(self) -> list[Pixels]:
        """Return the remaining frames: altogether, as many as cover the sound. Ends the stream."""
        with closing(self):
            return [self.render(due) for due in self.hear_end()]

    def hear(self, samples: Floats, *, hurry: bool = False) -> Iterator[DueFrame]:
        """Take more sound, and yield the frames that became due, without rendering them.

        Args:
            samples: as for `push`.
            hurry: take what was expected of the new frames, without running the generator.

        Raises:
            ValueError: the stream is finished, or the samples have another shape.
        """
        if not self._is_open:
            raise ValueError("the stream is finished: make another one")
        if samples.ndim != 1:
            raise ValueError(f"samples have shape {samples.shape}, not (N,): mix the channels")
        self._num_samples += len(samples)
        heard = self._resampler.push(np.asarray(samples, np.float32))
        return self._numbered(self._face.push(heard, hurry=hurry))

    def hear_end(self) -> Iterator[DueFrame]:
        """Yield the remaining frames without rendering them."""
        rest = self._resampler.push(np.zeros(0, np.float32), is_last=True)
        yield from self._numbered(self._face.push(rest))
        duration_s = Fraction(self._num_samples, self.sampling_rate)
        if self._num_samples:
            yield from self._numbered(self._face.finish(duration_s))

    def render(self, due: DueFrame) -> Pixels:
        """Render a frame, uint8 (H, W, 3); frames may be left out, but not come again."""
        return self._face.render(due)

    def close(self) -> None:
        """Stop reading the video, if the face is in one."""
        self._is_open = False
        self._face.close()

    def __enter__(self) -> FaceStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _numbered(self, windows: Iterator[Floats]) -> Iterator[DueFrame]:
        for window in windows:
            for motion in window:
                yield DueFrame(self.num_heard, motion)
                self.num_heard += 1


def check_live(pipeline: FacePipeline, *, emotion: str | None, dubs: bool) -> None:
    """Refuse what a live face cannot do.

    Raises:
        TalkheadError: the emotion is unknown, or is that of a voice that was not heard yet.
        WeightsError: the weights cannot do it.
    """
    pipeline.system.check_request(dubs=dubs, emotion=emotion)
    if not pipeline.system.can_stream:
        raise WeightsError(
            f"{pipeline.system.label} renders windows of frames: use the default weights live"
        )
    if emotion == AUTO:
        raise TalkheadError("a live voice shows its emotion too late: name one")
    if emotion is not None and pipeline.expressions is None:
        raise WeightsError("these weights have no emotions: leave the emotion out")


class _Face(Protocol):
    """Motion and frames of a face."""

    speech: SpeechStream

    def push(self, samples: Floats, *, hurry: bool = False) -> Iterator[Floats]: ...

    def finish(self, duration_s: Fraction) -> Iterator[Floats]: ...

    def render(self, due: DueFrame) -> Pixels: ...

    def close(self) -> None: ...


class _LivePicture:
    def __init__(
        self,
        pipeline: FacePipeline,
        face: PictureFace,
        fps: Fraction,
        motion: MotionOptions | None,
        sampler: SamplerOptions | None,
        emotion: str | None,
    ) -> None:
        generator = pipeline.landmark_generator
        self._animation = AnimationStream(generator, face.identity, fps, motion)
        self.speech = self._animation.speech
        self._expression = np.zeros_like(face.identity)
        if emotion is not None:
            found = pipeline.expressions.mask_unknown(one_hot(emotion), emotion)
            self._expression = pipeline.expressions.shape_of(found)
        self._waiting: deque[Floats] = deque()
        self._frames = render_frames(
            pipeline.renderer(),
            face.picture,
            face.identity,
            _taken(self._waiting),
            sampler,
            area=face.area,
            num_workers=0,
        )

    def push(self, samples: Floats, *, hurry: bool = False) -> Iterator[Floats]:
        return express(self._animation.push(samples, hurry=hurry), self._expression)

    def finish(self, duration_s: Fraction) -> Iterator[Floats]:
        return express(self._animation.finish(duration_s), self._expression)

    def render(self, due: DueFrame) -> Pixels:
        self._waiting.append(due.motion[None])
        frame: Pixels = next(self._frames)[0]
        return frame

    def close(self) -> None:
        self._frames.close()


class _LiveVideo:
    """Plays a video forward and backward, and dubs the frames that are asked for."""

    def __init__(
        self,
        pipeline: FacePipeline,
        face: VideoFace,
        fps: Fraction,
        motion: MotionOptions | None,
        sampler: SamplerOptions | None,
    ) -> None:
        renderer: Any = pipeline.renderer()
        generator, faces = pipeline.landmark_generator, face.faces
        strength = (motion or MotionOptions()).expression_strength
        self._dubber = Dubber(faces, generator.motion_basis(), strength)
        self.speech = SpeechStream(generator, proportions(self._dubber.rest(0)), fps)
        playing = play(face.video, fps, faces.num_frames, _ENDLESS, face.loop, faces.size)
        self._playing = run_ahead(playing, _VIDEO_FRAMES_AHEAD)
        self._num_played = 0
        self._waiting: deque[list[tuple[Pixels, DubbedFace | None]]] = deque()
        self._frames = dub_batches(
            renderer,
            _taken(self._waiting),
            sampler,
            speaking_mouth(renderer, face, fps),
            num_workers=0,
        )

    def push(self, samples: Floats, *, hurry: bool = False) -> Iterator[Floats]:
        return (spoken.coefficients for spoken in self.speech.push(samples, hurry=hurry))

    def finish(self, duration_s: Fraction) -> Iterator[Floats]:
        return (spoken.coefficients for spoken in self.speech.finish(duration_s))

    def render(self, due: DueFrame) -> Pixels:
        while self._num_played <= due.number:
            frame, pixels = next(self._playing)
            self._num_played += 1
        self._waiting.append([(pixels, self._dubber.speak(frame, due.motion))])
        return next(self._frames)

    def close(self) -> None:
        self._frames.close()
        self._playing.close()


def _taken(waiting: deque[Any]) -> Generator[Any, None, None]:
    """Yield what waits; whoever asks for more has put it there."""
    while True:
        yield waiting.popleft()

"""Open a stream: check the arguments of `FacePipeline.stream`, and find the face."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from talkhead.audio2landmarks.animation import MotionOptions
from talkhead.errors import TalkheadError
from talkhead.landmarks2video.sampling import SamplerOptions
from talkhead.limits import MAX_STEPS
from talkhead.media.audio import MAX_RATE_HZ, MIN_RATE_HZ
from talkhead.media.in_memory import pixels_of
from talkhead.media.rates import DEFAULT_FPS
from talkhead.media.sizes import SizeLimit
from talkhead.media.video import probe_video
from talkhead.pipelines import arguments
from talkhead.pipelines.call import video_of
from talkhead.pipelines.live_stream import FaceStream, check_live
from talkhead.pipelines.stages import PictureFace, VideoFace

if TYPE_CHECKING:
    from talkhead.pipelines.base import FacePipeline

LOOPS = ("pingpong", "hold")
"""What a video can do at its end: a voice has no length that it could be too short for."""


@dataclass(frozen=True)
class LiveOptions:
    """The arguments of `FacePipeline.stream`, besides the image."""

    sampling_rate: int
    fps: float | str | Fraction | None = None
    seed: int = 0
    num_inference_steps: int = 1
    choose: str = "largest"
    pose: str = "natural"
    pose_strength: float = 1.0
    expression_strength: float = 1.0
    blink_per_minute: float = 16.0
    emotion: str | None = None
    loop: str = "pingpong"
    max_size: int | str = "3840x2160"


def open_stream(pipeline: FacePipeline, image: Any, options: LiveOptions) -> FaceStream:
    """Do what `FacePipeline.stream` describes."""
    video = video_of(image)
    check_live(pipeline, emotion=options.emotion, dubs=video is not None)
    steps = arguments.whole(options.num_inference_steps, "num_inference_steps")
    arguments.check_range(steps, "num_inference_steps", 1, MAX_STEPS)
    rate_hz = arguments.whole(options.sampling_rate, "sampling_rate")
    arguments.check_range(rate_hz, "sampling_rate", MIN_RATE_HZ, MAX_RATE_HZ)
    arguments.check_word(options.loop, "loop", LOOPS)
    if not isinstance(options.pose, str):
        raise TalkheadError("a live head moves by itself: pose must be natural or still")
    arguments.check_tracks(options.pose, None)
    arguments.check_strengths(
        options.pose_strength, options.expression_strength, options.blink_per_minute
    )
    seed = arguments.seed_of(None, options.seed)
    face: PictureFace | VideoFace
    if video is None:
        picture = pixels_of(image, SizeLimit.parse(str(options.max_size)))
        fps = DEFAULT_FPS if options.fps is None else arguments.rate_of(options.fps)
        face = PictureFace.find(picture, options.choose)
    else:
        fps = probe_video(video).fps if options.fps is None else arguments.rate_of(options.fps)
        face = VideoFace.find(video, fps, options.choose, options.loop)
    return FaceStream(
        pipeline,
        face,
        fps=fps,
        sampling_rate=rate_hz,
        motion=MotionOptions(
            options.pose,
            options.pose_strength,
            options.expression_strength,
            options.blink_per_minute,
            seed,
        ),
        sampler=SamplerOptions(steps, None, seed),
        emotion=options.emotion,
    )

"""The call of a pipeline: check the arguments, find the face, and render."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from talkhead.audio2landmarks.animation import MotionOptions
from talkhead.errors import TalkheadError
from talkhead.landmarks2video.sampling import SamplerOptions
from talkhead.limits import MAX_STEPS
from talkhead.media.audio_clip import AudioClip
from talkhead.media.dub_tracks import choose_tracks
from talkhead.media.in_memory import pixels_of
from talkhead.media.kinds import is_video
from talkhead.media.picture import read_alpha
from talkhead.media.rates import DEFAULT_FPS
from talkhead.media.sizes import SizeLimit
from talkhead.media.video import probe_video
from talkhead.pipelines import arguments
from talkhead.pipelines.frames import collected, counted
from talkhead.pipelines.output import TalkheadPipelineOutput
from talkhead.pipelines.speakers import find_speakers, render_speakers
from talkhead.pipelines.stages import Faces, PictureFace, VideoFace, cut_out_faces, render_face
from talkhead.tracking.background import open_backdrop, place
from talkhead.tracking.landmark_track import LandmarkTrack

if TYPE_CHECKING:
    from fractions import Fraction

    from talkhead.pipelines.base import FacePipeline

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class CallOptions:
    """The arguments of `FacePipeline.__call__`, besides image and audio."""

    fps: float | str | Fraction | None
    num_inference_steps: int
    start_step: int | None
    generator: torch.Generator | None
    seed: int | None
    choose: str
    pose: str | LandmarkTrack
    pose_strength: float
    expression_strength: float
    blink_per_minute: float
    emotion: str | None
    landmarks: LandmarkTrack | None
    loop: str
    output_type: str
    sampling_rate: int
    max_size: int | str
    audio_track: str | None
    background: str | None


def call(
    pipeline: FacePipeline, image: Any, audio: Any, options: CallOptions
) -> TalkheadPipelineOutput:
    """Do what `FacePipeline.__call__` describes."""
    # 1. Check the arguments
    video = video_of(image)
    steps = _checked_steps(pipeline, options, dubs=video is not None)
    speakers = None
    if isinstance(audio, Mapping):
        speakers = arguments.speakers_of(audio, options.choose, options.landmarks)
    sounds = [
        arguments.sound_of(each, options.sampling_rate)
        for each in ([audio] if speakers is None else speakers.values())
    ]
    fps, landmarks = options.fps, options.landmarks
    rate = DEFAULT_FPS if fps is None else arguments.rate_of(fps)
    if video is None:
        picture = pixels_of(image, SizeLimit.parse(str(options.max_size)))
        size = picture.shape[1], picture.shape[0]
    else:
        info = probe_video(video)
        size, rate = (info.width, info.height), info.fps if fps is None else rate
    sound = sounds[0]
    its_path = sound if isinstance(sound, Path) else None
    tracks = choose_tracks(video, its_path, options.audio_track, None)
    if landmarks is not None and landmarks.size != size:
        raise TalkheadError(
            f"landmarks belong to a picture of {landmarks.size[0]} x {landmarks.size[1]} px,"
            f" but image has {size[0]} x {size[1]}: predict them with this picture"
        )
    backdrop = None
    if options.background is not None:
        limit = SizeLimit.parse(str(options.max_size))
        has_alpha = video is None and isinstance(image, (str, Path))
        alpha = read_alpha(Path(image), limit=limit) if has_alpha else None
        backdrop = open_backdrop(options.background, size, alpha)
    # 2. Find the faces
    choices = [options.choose] if speakers is None else list(speakers)
    faces: Faces
    if speakers is not None:
        source = picture if video is None else video
        faces = find_speakers(source, choices, fps=rate, loop=options.loop)
    elif video is None:
        faces = [PictureFace.find(picture, options.choose)]
    else:
        faces = [VideoFace.find(video, rate, options.choose, options.loop)]
    if backdrop is not None:
        faces = cut_out_faces(faces, backdrop)
    # 3. Predict landmarks, and set up the renderer
    seed = arguments.seed_of(options.generator, options.seed)
    windows: list[Floats] | None = None if options.output_type == "generator" else []
    clips = [
        AudioClip.open(each, str(tracks.voice + 1) if number == 0 else None)
        if isinstance(each, Path)
        else AudioClip.from_samples(each, options.sampling_rate)
        for number, each in enumerate(sounds)
    ]
    motion = MotionOptions(
        options.pose,
        options.pose_strength,
        options.expression_strength,
        options.blink_per_minute,
        seed,
    )
    sampler = SamplerOptions(steps, options.start_step, seed)
    if speakers is not None:
        rendering = render_speakers(
            pipeline,
            faces,
            clips,
            fps=rate,
            motion=motion,
            sampler=sampler,
            emotion=options.emotion,
        )
    else:
        rendering = render_face(
            pipeline,
            faces[0],
            clips[0],
            fps=rate,
            track=landmarks,
            motion=motion,
            sampler=sampler,
            emotion=options.emotion,
            windows_seen=windows,
        )
    # 4. Render
    is_transparent = backdrop is not None and backdrop.pixels is None
    shown = rendering.frames if backdrop is None else place(rendering.frames, backdrop)
    frames = collected(
        counted(_holding(clips, shown), pipeline.progress_bar(total=rendering.num_frames)),
        options.output_type,
        (rendering.num_frames, size[1], size[0], 4 if is_transparent else 3),
    )
    track = None
    if windows and isinstance(faces[0], PictureFace):
        track = LandmarkTrack(np.concatenate(windows), rate, size, faces[0].detector)
    paths = [each for each in sounds if isinstance(each, Path)]
    return TalkheadPipelineOutput(
        frames=frames,
        landmarks=track,
        fps=rate,
        audio=sound if speakers is None else dict(zip(choices, sounds, strict=True)),
        sampling_rate=None if len(paths) == len(sounds) else int(options.sampling_rate),
        num_frames=rendering.num_frames,
        size=size,
        seed=seed,
        weights=pipeline.weights,
        video=video,
        audio_track=options.audio_track,
        is_transparent=is_transparent,
    )


def _holding(
    clips: Sequence[AudioClip], frames: Generator[Pixels, None, None]
) -> Generator[Pixels, None, None]:
    """Yield frames, and keep the sounds until the last of them."""
    with ExitStack() as stack:
        for clip in clips:
            stack.enter_context(clip)
        stack.enter_context(closing(frames))
        yield from frames


def video_of(image: Any) -> Path | None:
    """Return the path of a video; None for anything else."""
    if not isinstance(image, (str, Path)):
        return None
    path = Path(image)
    return path if path.is_file() and is_video(path) else None


def _checked_steps(pipeline: FacePipeline, options: CallOptions, *, dubs: bool) -> int:
    """Check words, numbers and what the system can do; return the number of steps."""
    arguments.check_word(options.output_type, "output_type", arguments.OUTPUT_TYPES)
    steps = arguments.whole(options.num_inference_steps, "num_inference_steps")
    arguments.check_range(steps, "num_inference_steps", 1, MAX_STEPS)
    pipeline.system.check_request(
        dubs=dubs,
        emotion=options.emotion,
        start_step=options.start_step,
        has_track=options.landmarks is not None,
    )
    arguments.check_tracks(options.pose, options.landmarks)
    arguments.check_strengths(
        options.pose_strength, options.expression_strength, options.blink_per_minute
    )
    return steps

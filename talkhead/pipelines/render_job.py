"""Rendering jobs: check the options of `render`, then make a video from a face and a recording."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from talkhead.emotions import AUTO, EMOTIONS, check_emotion
from talkhead.errors import TalkheadError, WeightsError
from talkhead.media.files import VIDEO_SUFFIXES, check_input
from talkhead.media.sizes import DEFAULT_LIMIT, SizeLimit

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from talkhead.landmarks2video.dubbing import DubbedFace
    from talkhead.media.audio_clip import AudioClip
    from talkhead.pipelines.networks import AnyPipeline
    from talkhead.provenance import Signer
    from talkhead.tracking.landmark_track import LandmarkTrack

    Pixels = npt.NDArray[np.uint8]

TRACK_SUFFIXES = {".npz", ".json"}

Follow = Callable[[Iterable[Any], "int | None"], Iterable[Any]]
"""Passes frames through and may report progress; its second argument is the expected count."""


@dataclass(frozen=True)
class RenderJob:
    """The arguments and options of `talkhead render`, under the same names."""

    face: Path
    """A picture, or a video to dub."""
    audio: Path
    output: Path
    weights: str = "default"
    """Name or folder, for the note in the video; `render_job` gets the networks separately."""
    landmarks: Path | None = None
    choose: str = "largest"
    pose: str = "natural"
    pose_strength: float = 1.0
    expression_strength: float = 1.0
    blink_per_minute: float = 16.0
    loop: str = "pingpong"
    fps: Fraction | None = None
    """None: the video's rate, or 25 for a picture."""
    steps: int = 1
    start_step: int | None = None
    """mask-noise only; None: its default."""
    emotion: str = AUTO
    """mask-noise only: the emotion to show; auto: classified from the voice."""
    seed: int = 0
    crf: int = 18
    max_size: SizeLimit = DEFAULT_LIMIT
    """Larger pictures are scaled down to fit; videos keep their size."""
    overwrite: bool = False
    provenance: bool = True
    """Whether the video carries a note that it is synthetic, with its generator and its inputs."""
    c2pa_certificate: Path | None = None
    """The user's certificate chain (PEM), for signing content credentials with `c2pa_key`."""
    c2pa_key: Path | None = None


@dataclass(frozen=True)
class CheckedJob:
    """A job whose inputs have been checked."""

    job: RenderJob
    picture: Pixels | None
    """The face; None if it is a video."""
    sound: AudioClip
    track: LandmarkTrack | None
    fps: Fraction
    total: int
    """Number of frames."""
    size: tuple[int, int]
    """Width and height of the video or the picture, after any scaling down."""
    original_size: tuple[int, int]
    """Width and height before scaling down."""
    signer: Signer | None
    """Signs the content credentials; None to leave them out."""


@dataclass
class _Work:
    """The frames to write, and the facts to report about them at the end."""

    frames: Iterator[Pixels]
    facts: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)
    """Time at which everything was loaded."""


def check_job(job: RenderJob) -> CheckedJob:
    """Check a job's inputs before any slow work; the output is not checked.

    Raises:
        TalkheadError: an input is missing, unreadable, or does not match the others.
    """
    from talkhead.media.audio_clip import AudioClip
    from talkhead.media.playback import LOOPS
    from talkhead.media.rates import DEFAULT_FPS, num_frames
    from talkhead.media.video import probe_video

    if job.loop not in LOOPS:
        raise TalkheadError(f"loop must be one of {', '.join(LOOPS)}, not {job.loop!r}")
    check_input(job.face)
    if job.landmarks is not None:
        check_input(job.landmarks)
    check_pose(job.pose)
    check_emotion(job.emotion)
    signer = _signer_of(job)
    picture, rate = None, job.fps
    if is_video(job.face):
        if job.pose != "natural":
            raise TalkheadError(
                f"{job.face} is a video and keeps its own head motion: leave out the pose"
            )
        video = probe_video(job.face)
        size = original_size = (video.width, video.height)
        rate = rate or video.fps
    else:
        from talkhead.media.picture import read_picture

        read = read_picture(job.face, limit=job.max_size)
        picture, original_size = read.pixels, read.original_size
        size = picture.shape[1], picture.shape[0]
        rate = rate or DEFAULT_FPS
    sound = AudioClip.open(job.audio)
    track = None
    if job.landmarks is not None:
        track = _read_track(job.landmarks, job.face, size, is_scaled=size != original_size)
    total = num_frames(sound.duration_s, rate)
    return CheckedJob(job, picture, sound, track, rate, total, size, original_size, signer)


def render_job(
    checked: CheckedJob,
    load: Callable[[], AnyPipeline],
    target: Path | IO[bytes],
    *,
    follow: Follow | None = None,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Render a job's video.

    Args:
        checked: from `check_job`.
        load: returns the networks; called once the face has been found.
        target: output file or stream.
        follow: passes the frames through as they are rendered, and input frames as they are read.
        folder: weights folder whose digests go into the video's note; by default it is looked up.

    Returns:
        Facts for people and scripts: output, frames, fps, duration_s, width, height, seconds,
        frames_per_second, seed, weights; for a picture that was scaled down, scaled_from; unless
        landmarks are given, speech and silent; for a dubbed video, shots, uncertain_shots (where
        the face may belong to a different person than in earlier shots) and frames_without_face;
        for mask-noise, emotion.

    Raises:
        TalkheadError: an input cannot be read, or the output cannot be written.
        NoFaceError: no matching face was found.
        WeightsError: the networks cannot be loaded.
    """
    from talkhead.media.video import VideoWriter

    job = checked.job
    if folder is not None:
        check_system(job, folder, dubs=checked.picture is None)
    follow = follow or _follow_silently
    width, height = (side - side % 2 for side in checked.size)
    note = _note_of(job, folder) if job.provenance else None
    load = partial(_load_follower, load)
    writer = VideoWriter(
        target,
        size=(width, height),
        fps=checked.fps,
        sound=job.audio,
        crf=job.crf,
        metadata=note,
        overwrite=job.overwrite,
        seal=_seal_of(checked.signer, note),
    )
    if checked.picture is None:
        work = _dubbed(checked, load, follow)
    else:
        work = _animated(checked, checked.picture, load, follow)
    # Close the generators: the threads behind them must end before the process does.
    with closing(_closing(follow(work.frames, checked.total), work.frames)) as frames, writer:
        for frame in frames:
            writer.write(frame[:height, :width])
    elapsed_s = time.perf_counter() - work.started
    return {
        "output": str(job.output),
        "frames": checked.total,
        "fps": str(checked.fps),
        "duration_s": float(checked.sound.duration_s),
        "width": width,
        "height": height,
        **({} if checked.size == checked.original_size else {"scaled_from": checked.original_size}),
        "seconds": round(elapsed_s, 3),
        "frames_per_second": round(checked.total / elapsed_s, 2),
        "seed": job.seed,
        "weights": str(job.weights),
        **work.facts,
    }


def _signer_of(job: RenderJob) -> Signer | None:
    if job.c2pa_certificate is None and job.c2pa_key is None:
        return None
    if job.c2pa_certificate is None or job.c2pa_key is None:
        raise TalkheadError("content credentials need both a certificate and a key")
    if job.output == Path("-"):
        raise TalkheadError("a video written to stdout cannot be signed: name an output file")
    from talkhead.provenance import check_signer

    return check_signer(job.c2pa_certificate, job.c2pa_key)


def _note_of(job: RenderJob, folder: Path | None) -> dict[str, str]:
    from talkhead.provenance import provenance_note, weights_digests
    from talkhead.weights import resolve_weights

    return provenance_note(
        job.face,
        job.audio,
        weights_name=job.weights,
        digests=weights_digests(folder or resolve_weights(job.weights)),
        seed=job.seed,
    )


def _seal_of(
    signer: Signer | None, note: Mapping[str, str] | None
) -> Callable[[Path, Path], None] | None:
    if signer is None:
        return None
    from talkhead.provenance import sign

    return partial(sign, signer=signer, note=note)


def check_system(job: RenderJob, folder: Path, *, dubs: bool) -> None:
    """Check that the weights support a job, before any slow work.

    Args:
        job: the job to check.
        folder: weights folder.
        dubs: whether the face is a video.

    Raises:
        WeightsError: they do not support it.
    """
    from talkhead.weights import is_mask_noise

    if is_mask_noise(folder):
        if dubs:
            raise WeightsError(
                "mask-noise animates pictures only: use the default weights to dub a video"
            )
    elif job.emotion != AUTO or job.start_step is not None:
        raise WeightsError(
            "emotion and start step apply only to the mask-noise weights: leave them out"
        )


def _load_follower(load: Callable[[], AnyPipeline]) -> AnyPipeline:
    from talkhead.pipelines.networks import Pipeline

    pipeline = load()
    if isinstance(pipeline, Pipeline) and pipeline.denoiser.config.speech_channels:
        raise WeightsError(
            "the denoiser is driven by audio instead of landmarks: only `talkhead eval` can run it"
        )
    return pipeline


def _follow_silently(frames: Iterable[Any], _total: int | None) -> Iterable[Any]:
    return frames


def _closing(shown: Iterable[Any], frames: Iterator[Any]) -> Generator[Any, None, None]:
    """Yield from `shown`; at the end close both it and the frames it wraps."""
    try:
        yield from shown
    finally:
        for each in (shown, frames):
            if isinstance(each, Generator):
                each.close()


def is_video(face: Path) -> bool:
    """Return whether a face file is a video, judging by its content."""
    from talkhead.media import kinds

    return kinds.is_video(face)


def check_pose(text: str) -> None:
    """Check a pose option before any slow work.

    Raises:
        TalkheadError: the text is neither a known name nor an existing track or video.
    """
    if text in ("natural", "still"):
        return
    path = Path(text)
    is_named = path.suffix.lower() in {*TRACK_SUFFIXES, *VIDEO_SUFFIXES}
    if is_named or os.path.lexists(text):
        check_input(path)
    if path.suffix.lower() not in TRACK_SUFFIXES and not is_video(path):
        raise TalkheadError(
            f"pose must be natural, still, a track (.npz, .json) or a video, not {text!r}"
        )


def read_pose(text: str, follow: Follow) -> str | LandmarkTrack:
    """Return the source of head motion: a name, or the track read from a file.

    Args:
        text: natural, still, or the path of a track or a video.
        follow: passes the video's frames through.

    Raises:
        TalkheadError: `check_pose` fails, or the file cannot be read.
        NoFaceError: the file is a video without a face.
    """
    check_pose(text)
    path = Path(text)
    if path.suffix.lower() in TRACK_SUFFIXES:
        from talkhead.tracking.landmark_track import LandmarkTrack

        return LandmarkTrack.read(path)
    if text in ("natural", "still"):
        return text
    from talkhead.tracking.face_tracker import track_video

    return track_video(path, follow=follow)[0]


def _animated(
    checked: CheckedJob, picture: Pixels, load: Callable[[], AnyPipeline], follow: Follow
) -> _Work:
    """Animate a picture."""
    from talkhead.audio2landmarks.animation import animate, predict_speech
    from talkhead.audio2landmarks.speech_emotion import emotion_of, mask_unseen
    from talkhead.landmarks2video.mask_noise.renderer import START_STEP
    from talkhead.landmarks2video.renderer import render_frames
    from talkhead.pipelines.networks import MaskNoisePipeline
    from talkhead.tracking.face_detector import MAX_FACES, FaceDetector, choose_in_picture

    job = checked.job
    motion_source = read_pose(job.pose, follow)
    with FaceDetector(max_faces=MAX_FACES) as detector:
        identity = choose_in_picture(detector, picture, job.choose)
    pipeline = load()
    work = _Work(iter(()))
    if checked.track is not None:
        windows = _windows_of(checked.track, checked.fps, checked.total)
    else:
        speech = predict_speech(pipeline.generator, checked.sound, identity, checked.fps)
        work.facts |= speech.facts()
        _, windows = animate(
            pipeline.generator,
            identity,
            speech,
            seed=job.seed,
            pose=motion_source,
            pose_strength=job.pose_strength,
            expression_strength=job.expression_strength,
            blink_per_minute=job.blink_per_minute,
        )
    emotion = None
    if isinstance(pipeline, MaskNoisePipeline):
        felt = emotion_of(pipeline.emotion, checked.sound, job.emotion)
        emotion = mask_unseen(pipeline.video_denoiser, felt, job.emotion)
        work.facts["emotion"] = EMOTIONS[int(emotion.argmax())]
    work.frames = _one_by_one(
        render_frames(
            pipeline,
            picture,
            identity,
            windows,
            num_steps=job.steps,
            seed=job.seed,
            emotion=emotion,
            start_step=job.start_step or START_STEP,
        )
    )
    return work


def _one_by_one(windows: Generator[Pixels, None, None]) -> Iterator[Pixels]:
    with closing(windows):
        for window in windows:
            yield from window


def _dubbed(checked: CheckedJob, load: Callable[[], AnyPipeline], follow: Follow) -> _Work:
    """Dub a video."""
    from talkhead.audio2landmarks.audio2motion import predict_motion
    from talkhead.geometry.motion_basis import proportions
    from talkhead.landmarks2video.dubbing import Dubber, dub_frames
    from talkhead.media.playback import play
    from talkhead.pipelines.networks import Pipeline
    from talkhead.tracking.shots import track_face

    job = checked.job
    faces = track_face(job.face, checked.fps, job.choose, follow)
    playing = play(job.face, checked.fps, faces.num_frames, checked.total, job.loop, checked.size)
    pipeline = load()
    if not isinstance(pipeline, Pipeline):
        raise WeightsError(
            "mask-noise animates pictures only: use the default weights to dub a video"
        )
    dubber = Dubber(faces, pipeline.basis, job.expression_strength)
    track = checked.track
    work = _Work(
        iter(()),
        {
            "shots": faces.num_shots,
            "uncertain_shots": faces.num_uncertain,
            "frames_without_face": 0,
        },
    )

    def wanted() -> Iterator[Callable[[int], DubbedFace | None]]:
        """Yield one function per output frame; it maps a source frame's number to its edit."""
        if track is not None:
            for window in _windows_of(track, checked.fps, checked.total):
                for points in window:
                    yield partial(dubber.follow, target=points)
        else:
            shape = proportions(dubber.rest(0))
            speech = predict_motion(pipeline.generator, checked.sound, shape, checked.fps)
            work.facts |= speech.facts()
            for coefficients in speech.coefficients:
                yield partial(dubber.speak, coefficients=coefficients)

    def items() -> Iterator[tuple[Pixels, DubbedFace | None]]:
        with closing(playing):
            for (frame, pixels), want in zip(playing, wanted(), strict=True):
                face = want(frame)
                work.facts["frames_without_face"] += face is None
                yield pixels, face

    work.frames = dub_frames(pipeline, items(), num_steps=job.steps, seed=job.seed)
    return work


def _read_track(path: Path, face: Path, size: tuple[int, int], *, is_scaled: bool) -> LandmarkTrack:
    from talkhead.tracking.landmark_track import LandmarkTrack

    track = LandmarkTrack.read(path)
    # The track may come from the same picture, read under a higher size limit.
    scale = size[0] / track.size[0]
    if is_scaled and scale < 1 and abs(track.size[1] * scale - size[1]) <= 1:
        return LandmarkTrack(track.points * scale, track.fps, size, track.detector)
    if track.size != size:
        raise TalkheadError(
            f"{path} was made for a picture of {track.size[0]} x {track.size[1]} px, but {face} is"
            f" {size[0]} x {size[1]} px: make the track from this picture"
        )
    return track


def _windows_of(
    track: LandmarkTrack, rate: Fraction, total: int
) -> Iterator[npt.NDArray[np.float32]]:
    """Cut the user's track into windows that cover the video; its last frame is held."""
    from talkhead.landmarks2video.batching import BATCH_FRAMES

    points = track.resample(rate, total).points
    return (points[start : start + BATCH_FRAMES] for start in range(0, total, BATCH_FRAMES))

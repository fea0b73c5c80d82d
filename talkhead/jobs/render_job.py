"""Rendering jobs: check the options of `render`, then make a video from a face and a recording."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from talkhead.emotions import check_emotion
from talkhead.errors import TalkheadError
from talkhead.jobs.job_rendering import start_rendering
from talkhead.jobs.pose_source import Progress, check_pose, is_video
from talkhead.jobs.speakers import Speaker, check_speakers, name_speakers
from talkhead.media.dub_tracks import DubTracks, choose_tracks, mix_voices, plan_dub
from talkhead.media.files import check_input
from talkhead.media.sizes import DEFAULT_LIMIT, SizeLimit

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from talkhead.media.audio_clip import AudioClip
    from talkhead.media.kept_streams import KeptStreams
    from talkhead.pipelines.base import FacePipeline
    from talkhead.provenance import Signer
    from talkhead.tracking.landmark_track import LandmarkTrack

    Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class RenderJob:
    """The arguments and options of `talkhead render`, under the same names."""

    face: Path
    """A picture, or a video to dub."""
    audio: Path
    """The sound; with several speakers, that of the first."""
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
    scheduler: str | None = None
    """Name of a scheduler; None: the weights' own."""
    start_step: int | None = None
    """mask-noise only; None: its default."""
    emotion: str | None = None
    """The emotion to show; auto: that of the voice; None: the system's default."""
    seed: int = 0
    crf: int = 18
    max_size: SizeLimit = DEFAULT_LIMIT
    """Larger pictures are scaled down to fit; videos keep their size."""
    audio_track: str | None = None
    """The sound track to use, by number from 1 or by language, as in `choose_tracks`; None: the
    one that is flagged as the default."""
    background_sound: float | None = None
    """By how many dB the old sound of a video is lowered under the voice; None: it is left out."""
    speakers: tuple[Speaker, ...] = ()
    """Who speaks, and what; empty for the one that `choose` names."""
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
    track: LandmarkTrack | None
    fps: Fraction
    total: int
    """Number of frames."""
    clips: tuple[AudioClip, ...]
    """The recording, decoded; one for each speaker."""
    size: tuple[int, int]
    """Width and height of the video or the picture, after any scaling down."""
    original_size: tuple[int, int]
    """Width and height before scaling down."""
    signer: Signer | None
    """Signs the content credentials; None to leave them out."""
    tracks: DubTracks
    """The sound tracks that are used."""
    kept: KeptStreams | None = None
    """What else a dubbed video keeps; None for a picture."""

    @property
    def duration_s(self) -> Fraction:
        """Length of the longest recording."""
        return max(clip.duration_s for clip in self.clips)

    @property
    def not_kept(self) -> tuple[str, ...]:
        """What a dubbed video loses, in words."""
        if self.kept is None:
            return ()
        if self.job.output == Path("-"):
            return () if self.kept.is_plain else ("its other tracks, chapters and metadata",)
        return self.kept.left_out


def check_job(job: RenderJob) -> CheckedJob:
    """Check a job's inputs before any slow work; the output is not checked.

    Raises:
        TalkheadError: an input is missing, unreadable, or does not match the others.
    """
    from talkhead.media.audio_clip import AudioClip
    from talkhead.media.playback import LOOPS
    from talkhead.media.rates import DEFAULT_FPS, num_frames
    from talkhead.media.video import probe_video
    from talkhead.provenance import NOTE_KEYS
    from talkhead.tracking.face_detector import check_choice
    from talkhead.weights.systems import check_scheduler

    if job.loop not in LOOPS:
        raise TalkheadError(f"loop must be one of {', '.join(LOOPS)}, not {job.loop!r}")
    check_input(job.face)
    if job.landmarks is not None:
        check_input(job.landmarks)
    check_pose(job.pose)
    check_speakers(job)
    if job.emotion is not None:
        check_emotion(job.emotion)
    if job.scheduler is not None:
        check_scheduler(job.scheduler)
    signer = _signer_of(job)
    picture, rate = None, job.fps
    dubs = is_video(job.face)
    if dubs:
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
    sounds = [speaker.audio for speaker in job.speakers] or [job.audio]
    for sound in sounds:
        check_input(sound)
    for speaker in job.speakers:
        check_choice(speaker.which, size)
    tracks = choose_tracks(
        job.face if dubs else None, job.audio, job.audio_track, job.background_sound
    )
    clips = [AudioClip.open(job.audio, str(tracks.voice + 1)), *map(AudioClip.open, sounds[1:])]
    duration_s = max(clip.duration_s for clip in clips)
    track = None
    if job.landmarks is not None:
        track = _read_track(job.landmarks, job.face, size, is_scaled=size != original_size)
    total = num_frames(duration_s, rate)
    kept = None
    if dubs:
        written = NOTE_KEYS if job.provenance else ()
        kept = plan_dub(job.face, job.audio, job.output, tracks, float(total / rate), written)
    return CheckedJob(
        *(job, picture, track, rate, total, tuple(clips), size, original_size, signer),
        *(tracks, kept),
    )


def render_job(
    checked: CheckedJob,
    load: Callable[[], FacePipeline],
    target: Path | IO[bytes],
    *,
    progress: Progress | None = None,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Render a job's video.

    Args:
        checked: from `check_job`.
        load: returns the pipeline; called once the face has been found.
        target: output file or stream.
        progress: passes the frames through as they are rendered, and input frames as they are
            read.
        folder: weights folder whose digests go into the video's note; by default it is looked up.

    Returns:
        Facts for people and scripts: output, frames, fps, duration_s, width, height, seconds,
        frames_per_second, seed, weights; for a picture that was scaled down, scaled_from; unless
        landmarks are given, speech and silent (of several speakers, these are in speakers, a list,
        beside which and audio); for a dubbed video, shots, uncertain_shots (where
        the face may belong to a different person than in earlier shots), frames_without_face and,
        if the output cannot hold all of it, not_kept, in words; if an emotion is shown, emotion.

    Raises:
        TalkheadError: an input cannot be read, or the output cannot be written.
        NoFaceError: no matching face was found.
        WeightsError: the networks cannot be loaded.
    """
    from talkhead.media.video import VideoWriter

    job = checked.job
    if folder is not None:
        check_system(job, folder, dubs=checked.picture is None)
    progress = progress or _without_progress
    sounds = [
        (speaker.audio, clip.track)
        for speaker, clip in zip(job.speakers, checked.clips, strict=False)
    ]
    voices, background = mix_voices(sounds, checked.tracks.background)
    width, height = (side - side % 2 for side in checked.size)
    note = _note_of(job, folder) if job.provenance else None
    writer = VideoWriter(
        target,
        size=(width, height),
        fps=checked.fps,
        sound=job.audio,
        crf=job.crf,
        metadata=note,
        overwrite=job.overwrite,
        seal=_seal_of(checked.signer, note),
        sound_track=checked.tracks.voice,
        background=background,
        kept=checked.kept if isinstance(target, Path) else None,
        voices=voices,
    )
    loaded_at: list[float] = []

    def timed_load() -> FacePipeline:
        pipeline = load()
        loaded_at.append(time.perf_counter())
        return pipeline

    rendering = start_rendering(checked, timed_load, progress)
    # Close the generators: the threads behind them must end before the process does.
    watched = _closing(progress(rendering.frames, checked.total), rendering.frames)
    with ExitStack() as stack:
        for clip in checked.clips:
            stack.enter_context(clip)
        frames = stack.enter_context(closing(watched))
        with writer:
            for frame in frames:
                writer.write(frame[:height, :width])
    name_speakers(rendering.facts, job.speakers)
    elapsed_s = time.perf_counter() - loaded_at[0]
    return {
        "output": str(job.output),
        "frames": checked.total,
        "fps": str(checked.fps),
        "duration_s": float(checked.duration_s),
        "width": width,
        "height": height,
        **({} if checked.size == checked.original_size else {"scaled_from": checked.original_size}),
        "seconds": round(elapsed_s, 3),
        "frames_per_second": round(checked.total / elapsed_s, 2),
        "seed": job.seed,
        "weights": str(job.weights),
        **({"not_kept": checked.not_kept} if checked.not_kept else {}),
        **rendering.facts,
    }


def _signer_of(job: RenderJob) -> Signer | None:
    if job.c2pa_certificate is None and job.c2pa_key is None:
        return None
    if job.c2pa_certificate is None or job.c2pa_key is None:
        raise TalkheadError("content credentials need both a certificate and a key")
    if job.output == Path("-"):
        raise TalkheadError("a video written to stdout cannot be signed: name an output file")
    if job.output.suffix.lower() == ".mkv":
        raise TalkheadError("content credentials cannot be written to mkv: choose mp4")
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
        other_sounds=[speaker.audio for speaker in job.speakers[1:]],
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
        TalkheadError: the emotion is unknown, or would change nothing.
        WeightsError: the weights do not support it.
    """
    from talkhead.weights.systems import system_of

    system_of(folder).check_request(
        dubs=dubs,
        emotion=job.emotion,
        start_step=job.start_step,
        has_track=job.landmarks is not None,
    )


def _without_progress(frames: Iterable[Any], _total: int | None) -> Iterable[Any]:
    return frames


def _closing(watched: Iterable[Any], frames: Iterator[Any]) -> Generator[Any, None, None]:
    """Yield from `watched`; at the end close both it and the frames it wraps."""
    try:
        yield from watched
    finally:
        for each in (watched, frames):
            if isinstance(each, Generator):
                each.close()


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

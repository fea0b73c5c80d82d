"""Rendering jobs: check the options of `render`, then make a video from a face and a recording."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from talkhead.emotions import check_emotion
from talkhead.errors import TalkheadError
from talkhead.jobs.job_rendering import start_rendering
from talkhead.jobs.marks import note_of, seal_of, signer_of
from talkhead.jobs.outputs import MP4_FORMAT, SOUND, STDOUT, container_for, open_writer
from talkhead.jobs.pose_source import Progress, check_pose, is_video
from talkhead.jobs.speakers import Speaker, check_speakers, name_speakers
from talkhead.media.dub_tracks import DubTracks, choose_tracks, mix_voices, plan_dub
from talkhead.media.files import check_input
from talkhead.media.sizes import DEFAULT_LIMIT, SizeLimit
from talkhead.tracking.background import TRANSPARENT, check_background, open_backdrop

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from talkhead.media.audio_clip import AudioClip
    from talkhead.media.containers import Container
    from talkhead.media.kept_streams import KeptStreams
    from talkhead.pipelines.base import FacePipeline
    from talkhead.provenance import Signer
    from talkhead.tracking.background import Backdrop
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
    background: str | None = None
    """`transparent`, a colour, or the file of a picture; None leaves it as it is."""
    output_format: str = MP4_FORMAT
    """What goes to stdout."""
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
    container: Container | None = None
    """What the video is written to; None for raw frames."""
    backdrop: Backdrop | None = None
    """The new background; None leaves it as it is."""
    flattened: bool = False
    """Whether a transparent picture was laid on white."""

    @property
    def has_alpha(self) -> bool:
        """Whether the video is transparent."""
        return self.backdrop is not None and self.backdrop.pixels is None

    @property
    def duration_s(self) -> Fraction:
        """Length of the longest recording."""
        return max(clip.duration_s for clip in self.clips)

    @property
    def not_kept(self) -> tuple[str, ...]:
        """What the output cannot hold, in words."""
        is_silent = self.container is not None and self.container.voice is None
        lost: tuple[str, ...] = (SOUND,) if is_silent else ()
        if self.flattened:
            lost += ("the transparency",)
        if self.kept is None:
            return lost
        if is_silent or self.job.output == STDOUT:
            others = () if self.kept.is_plain else ("its other tracks, chapters and metadata",)
            return lost + others
        return lost + self.kept.left_out


def check_job(job: RenderJob) -> CheckedJob:
    """Check a job's inputs before any slow work; the output is not checked.

    Raises:
        TalkheadError: an input is missing, unreadable, or does not match the others.
    """
    from talkhead.media.audio_clip import AudioClip
    from talkhead.media.containers import GIF, check_length
    from talkhead.media.picture_encoding import GIF_FPS
    from talkhead.media.rates import DEFAULT_FPS, num_frames
    from talkhead.media.video import probe_video
    from talkhead.provenance import NOTE_KEYS
    from talkhead.tracking.face_detector import check_choice

    _check_options(job)
    container = container_for(job.output, job.output_format)
    holds_alpha = container is not None and container.has_alpha
    if job.background is not None and check_background(job.background) is None and not holds_alpha:
        name = "raw frames" if container is None else container.name
        raise TalkheadError(
            f"{name} cannot be transparent: choose .webm, .mov, .webp or numbered .png files"
        )
    signer = signer_of(job, container)
    picture, alpha, rate = None, None, job.fps
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
        from talkhead.media.picture import read_alpha, read_picture

        read = read_picture(job.face, limit=job.max_size)
        alpha = read_alpha(job.face, limit=job.max_size)
        picture, original_size = read.pixels, read.original_size
        size = picture.shape[1], picture.shape[0]
        rate = rate or DEFAULT_FPS
    if container is GIF:
        rate = min(rate, GIF_FPS)
    wanted = job.background or (TRANSPARENT if holds_alpha and alpha is not None else None)
    backdrop = None if wanted is None else open_backdrop(wanted, size, alpha)
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
    if job.output != STDOUT:
        check_length(job.output, float(duration_s))
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
        container=container,
        backdrop=backdrop,
        flattened=alpha is not None and backdrop is None,
    )


def _check_options(job: RenderJob) -> None:
    """Check what can be checked without reading the face or the sound."""
    from talkhead.media.playback import LOOPS
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
    from talkhead.media.picture_encoding import fitted

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
    note = note_of(job, folder) if job.provenance else None
    writer = open_writer(
        checked,
        target,
        size=(width, height),
        note=note,
        seal=seal_of(checked.signer, note),
        voices=voices,
        background=background,
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
    if checked.container is not None:
        width, height = fitted((width, height), checked.container)
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

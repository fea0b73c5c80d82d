"""`talkhead landmarks`: generate a landmark track from speech, or detect one in a video."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from talkhead.cli.device import DeviceOption
from talkhead.cli.options import (
    AudioTrackOption,
    BlinkOption,
    ChooseOption,
    EmotionOption,
    ExpressionStrengthOption,
    FpsOption,
    MaxSizeOption,
    OverwriteOption,
    PoseOption,
    PoseStrengthOption,
    SeedOption,
    WeightsOption,
    parse_blink,
    refuse_video,
)
from talkhead.cli.output import (
    JsonOption,
    OfflineOption,
    QuietOption,
    frame_progress,
    print_json,
    tell_revision,
    tell_scaling,
    warn_without_speech,
    with_progress,
)
from talkhead.cli.pipes import check_sound, sound_file
from talkhead.emotions import check_emotion
from talkhead.errors import TalkheadError
from talkhead.jobs.pose_source import TRACK_SUFFIXES, check_pose, read_pose
from talkhead.media.sizes import DEFAULT_SIZE, SizeLimit

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from talkhead.media.video import VideoWriter

    Floats = npt.NDArray[np.float32]
    Pixels = npt.NDArray[np.uint8]

DEFAULT_SIDE_PX = 512
"""Side of the blank picture that a track is for if no face is given."""
PREVIEW_SIDE_PX = 720
"""Larger previews are scaled down to this."""


@dataclass(frozen=True)
class _Motion:
    """The meshes to write, one per frame, and the pictures that they belong to."""

    rate: Fraction
    size: tuple[int, int]
    detector: str
    num_frames: int
    frames: Iterator[Floats]
    pictures: Iterator[Pixels]
    sound: Path | None
    facts: dict[str, Any] = field(default_factory=dict)
    """More JSON fields: frames_without_face for a video; speech and silent for a sound."""
    sound_track: int | None = None
    """Which sound track of the file it is, from 0."""


def landmarks(
    audio: Annotated[
        Path,
        typer.Argument(
            metavar="AUDIO",
            help="Speech: any sound or video with sound; - is stdin.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="TRACK", help="The track: .npz or .json.", show_default=False
        ),
    ],
    face: Annotated[
        Path | None,
        typer.Option(
            "--face",
            metavar="PICTURE",
            help="Whose face to move; by default a mean face.",
            show_default=False,
        ),
    ] = None,
    choose: ChooseOption = "largest",
    pose: PoseOption = "natural",
    detect: Annotated[
        bool,
        typer.Option("--detect", help="Detect the landmarks in the video AUDIO instead."),
    ] = False,
    preview: Annotated[
        Path | None,
        typer.Option(
            "--preview", metavar="OUT.mp4", help="Also draw the track.", show_default=False
        ),
    ] = None,
    seed: SeedOption = 0,
    max_size: MaxSizeOption = DEFAULT_SIZE,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    pose_strength: PoseStrengthOption = 1.0,
    expression_strength: ExpressionStrengthOption = 1.0,
    blink: BlinkOption = "16",
    emotion: EmotionOption = None,
    audio_track: AudioTrackOption = None,
    fps: FpsOption = None,
    weights: WeightsOption = "default",
    device: DeviceOption = "auto",
    offline: OfflineOption = False,
) -> None:
    """Write the landmarks of a face that says AUDIO, to inspect, edit and render."""
    from talkhead.atomic import check_output
    from talkhead.media.containers import LONG_VIDEOS, check_video_name
    from talkhead.media.rates import DEFAULT_FPS, parse_fps

    rate, blink_rate = None if fps is None else parse_fps(fps), parse_blink(blink)
    limit = SizeLimit.parse(max_size)
    check_sound(audio)
    for path in (output, *([] if preview is None else [preview])):
        check_output(path, overwrite=overwrite)
    if preview is not None:
        check_video_name(preview, LONG_VIDEOS)
    if output.suffix.lower() not in TRACK_SUFFIXES:
        raise TalkheadError(f"{output} must end in .npz or .json")
    if emotion is not None:
        check_emotion(emotion)
    if detect and emotion is not None:
        raise TalkheadError("--detect finds the face as it is: leave out --emotion")
    if detect and face is not None:
        raise TalkheadError("--detect finds the face in the video: leave out --face")
    check_pose(pose)
    with sound_file(audio) as sound:
        if detect:
            motion = _seen(sound, rate, choose, audio_track, quiet=quiet)
        else:
            from talkhead.audio2landmarks.animation import (
                MotionOptions,
                animate,
                predict_speech,
            )
            from talkhead.device import resolve_device
            from talkhead.media.audio_clip import AudioClip
            from talkhead.pipelines.loading import load_landmark_generator, show_emotion
            from talkhead.weights import locate_weights

            clip = AudioClip.open(sound, audio_track)
            rate = rate or DEFAULT_FPS
            identity, size, detector_name, picture = _identity(face, choose, limit)
            found = locate_weights(weights, offline=offline)
            tell_revision(found)
            folder = found.folder
            generator = load_landmark_generator(folder, resolve_device(device))
            motion_source = read_pose(pose, frame_progress(quiet=quiet))
            speech = predict_speech(generator, clip, identity, rate)
            total = len(speech.coefficients)
            options = MotionOptions(
                motion_source, pose_strength, expression_strength, blink_rate, seed
            )
            windows = animate(generator, identity, speech, options)
            if emotion is not None:
                windows = show_emotion(windows, folder, clip, emotion)
            flat = (points for window in windows for points in window)
            frames = with_progress(flat, label="frames", total=total, quiet=quiet)
            pictures = itertools.repeat(picture)
            motion = _Motion(
                rate,
                size,
                detector_name,
                total,
                frames,
                pictures,
                sound,
                speech.facts(),
                clip.track,
            )
        _write(motion, output, preview, overwrite=overwrite)
    warn_without_speech(audio, motion.facts)
    if as_json:
        result = {
            "output": str(output),
            "frames": motion.num_frames,
            "fps": str(motion.rate),
            "width": motion.size[0],
            "height": motion.size[1],
        }
        result |= motion.facts if detect else {"seed": seed, **motion.facts}
        print_json(result | ({} if preview is None else {"preview": str(preview)}))
    else:
        missing = motion.facts.get("frames_without_face", 0)
        without = f", {missing} of them without a face" if missing else ""
        typer.echo(f"{output}: {motion.num_frames} frames at {motion.rate} fps{without}")


def _identity(
    face: Path | None, choose: str, limit: SizeLimit
) -> tuple[Floats, tuple[int, int], str, Pixels]:
    """Return the mesh to animate, its picture's size, the detector's name, and the picture."""
    import numpy as np

    from talkhead.geometry.mesh import MEAN_FACE
    from talkhead.media.files import check_input
    from talkhead.media.picture import read_picture
    from talkhead.tracking.face_detector import (
        DETECTOR_NAME,
        MAX_FACES,
        FaceDetector,
        choose_in_picture,
    )

    if face is None:
        side = DEFAULT_SIDE_PX
        identity = MEAN_FACE * (side * 0.27)
        identity[:, :2] += side / 2
        white = np.full((side, side, 3), 255, np.uint8)
        return identity.astype(np.float32), (side, side), DETECTOR_NAME, white
    check_input(face)
    refuse_video(face)
    picture = read_picture(face, limit=limit)
    pixels, size = picture.pixels, (picture.pixels.shape[1], picture.pixels.shape[0])
    tell_scaling(face, picture.original_size, size)
    with FaceDetector(max_faces=MAX_FACES) as detector:
        found = choose_in_picture(detector, pixels, choose)
        return found, size, detector.name, pixels


def _seen(
    video: Path, rate: Fraction | None, choose: str, audio_track: str | None, *, quiet: bool
) -> _Motion:
    """Detect the face in every frame of a video."""
    from talkhead.media.tracks import choose_sound, list_tracks, sound_tracks
    from talkhead.media.video import read_frames
    from talkhead.tracking.face_tracker import track_video

    tracks = list_tracks(video)
    has_sound = bool(sound_tracks(tracks))
    sound_track = None
    if has_sound or audio_track is not None:
        sound_track = choose_sound(tracks, audio_track, video)
    track, missing = track_video(video, rate, choose, frame_progress(quiet=quiet))
    return _Motion(
        track.fps,
        track.size,
        track.detector,
        track.num_frames,
        iter(track.points),
        read_frames(video, fps=track.fps),
        video if has_sound else None,
        {"frames_without_face": missing},
        sound_track,
    )


def _write(motion: _Motion, output: Path, preview: Path | None, *, overwrite: bool) -> None:
    from talkhead.media.video import VideoWriter
    from talkhead.tracking.landmark_track import LandmarkTrack

    with ExitStack() as stack:
        if isinstance(motion.pictures, Generator):
            stack.enter_context(closing(motion.pictures))
        frames = motion.frames
        if preview is not None:
            writer = VideoWriter(
                preview,
                size=_preview_size(motion.size),
                fps=motion.rate,
                sound=motion.sound,
                sound_track=motion.sound_track,
                overwrite=overwrite,
            )
            frames = _drawn(motion, stack.enter_context(writer))
        LandmarkTrack.write_windows(
            output,
            (points[None] for points in frames),
            motion.num_frames,
            motion.rate,
            motion.size,
            motion.detector,
        )


def _preview_size(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, PREVIEW_SIDE_PX / max(size))
    width, height = (max(2, round(side * scale / 2) * 2) for side in size)
    return width, height


def _drawn(motion: _Motion, writer: VideoWriter) -> Iterator[Floats]:
    """Pass meshes through, drawing each one in the preview."""
    import numpy as np
    from PIL import Image

    from talkhead.geometry.drawing import draw_mesh

    small = _preview_size(motion.size)
    scale = np.array(small, np.float32) / np.array(motion.size, np.float32)
    last: tuple[Pixels, Pixels] | None = None
    for points, picture in zip(motion.frames, motion.pictures, strict=False):
        if last is None or last[0] is not picture:
            reduced = Image.fromarray(picture).resize(small, Image.Resampling.BILINEAR)
            last = picture, np.array(reduced)
        writer.write(draw_mesh(last[1], points[:, :2] * scale))
        yield points

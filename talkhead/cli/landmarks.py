"""`talkhead landmarks`: generate a landmark track from speech, or detect one in a video."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Annotated

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
)
from talkhead.cli.pipes import check_sound, sound_file
from talkhead.emotions import check_emotion
from talkhead.errors import TalkheadError
from talkhead.jobs.landmark_job import (
    Identity,
    Motion,
    find_identity,
    predict_motion,
    write_motion,
)
from talkhead.jobs.pose_source import TRACK_SUFFIXES, check_pose, read_pose
from talkhead.media.files import check_input
from talkhead.media.sizes import DEFAULT_SIZE, SizeLimit


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
            from talkhead.audio2landmarks.animation import MotionOptions
            from talkhead.device import resolve_device
            from talkhead.media.audio_clip import AudioClip
            from talkhead.pipelines.loading import load_landmark_generator
            from talkhead.weights import locate_weights

            clip = AudioClip.open(sound, audio_track)
            identity = _find_identity(face, choose, limit)
            found = locate_weights(weights, offline=offline)
            tell_revision(found)
            generator = load_landmark_generator(found.folder, resolve_device(device))
            motion_source = read_pose(pose, frame_progress(quiet=quiet))
            motion = predict_motion(
                generator,
                identity,
                clip,
                sound,
                fps=rate or DEFAULT_FPS,
                options=MotionOptions(
                    motion_source, pose_strength, expression_strength, blink_rate, seed
                ),
                progress=frame_progress(quiet=quiet),
                weights=found.folder,
                emotion=emotion,
            )
        write_motion(motion, output, preview, overwrite=overwrite)
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


def _find_identity(face: Path | None, choose: str, limit: SizeLimit) -> Identity:
    if face is not None:
        check_input(face)
        refuse_video(face)
    identity = find_identity(face, choose, limit)
    if face is not None:
        tell_scaling(face, identity.original_size, identity.size)
    return identity


def _seen(
    video: Path, rate: Fraction | None, choose: str, audio_track: str | None, *, quiet: bool
) -> Motion:
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
    return Motion(
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

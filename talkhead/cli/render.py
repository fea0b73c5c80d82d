"""`talkhead render`: a picture or a video and a voice in, a video of that person saying it out."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from talkhead.cli.device import DeviceOption, DtypeOption
from talkhead.cli.options import (
    BlinkOption,
    ChooseOption,
    ExpressionStrengthOption,
    FpsOption,
    OverwriteOption,
    PoseOption,
    PoseStrengthOption,
    SeedOption,
    WeightsOption,
    is_video,
    parse_blink,
    read_pose,
)
from talkhead.cli.output import (
    JsonOption,
    OfflineOption,
    QuietOption,
    frame_progress,
    peak_memory_mb,
    print_json,
    with_progress,
)
from talkhead.cli.pipes import DASH, check_sound, check_video, sound_file, video_target
from talkhead.errors import TalkheadError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from talkhead.dubbing import DubbedFace
    from talkhead.face.track import LandmarkTrack
    from talkhead.synthesis import Pipeline

    Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Request:
    """What the options ask for, checked as far as can be done at once."""

    face: Path
    audio: Path
    choose: str
    pose: str
    pose_strength: float
    expression_strength: float
    blink_per_minute: float
    rate: Fraction
    total: int
    size: tuple[int, int]
    track: LandmarkTrack | None
    loop: str
    steps: int
    seed: int
    quiet: bool


@dataclass
class _Job:
    """The frames to write, and what is told about them in the end."""

    frames: Iterator[Pixels]
    facts: dict[str, int] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)
    """When everything was loaded."""


def render(
    face: Annotated[
        Path, typer.Argument(help="Picture with a face, or a video to dub.", show_default=False)
    ],
    audio: Annotated[
        Path,
        typer.Argument(help="Sound file, or a video with sound; - is stdin.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The mp4 to write; - is stdout.", show_default=False),
    ],
    weights: WeightsOption = "default",
    landmarks: Annotated[
        Path | None,
        typer.Option("--landmarks", help="Track (.npz, .json) to follow.", show_default=False),
    ] = None,
    choose: ChooseOption = "largest",
    pose: PoseOption = "natural",
    pose_strength: PoseStrengthOption = 1.0,
    expression_strength: ExpressionStrengthOption = 1.0,
    blink: BlinkOption = "16",
    loop: Annotated[
        str,
        typer.Option(
            "--loop",
            metavar="pingpong|hold|error",
            help="What a video does when the sound is longer: go back, stand still, or refuse.",
        ),
    ] = "pingpong",
    fps: FpsOption = None,
    steps: Annotated[int, typer.Option("--steps", min=1, max=50, help="Sampling steps.")] = 1,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    crf: Annotated[
        int, typer.Option("--crf", min=0, max=51, help="H.264 quality: lower is better.")
    ] = 18,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    offline: OfflineOption = False,
) -> None:
    """Make a video of the person in FACE saying AUDIO.

    With -o - it goes to stdout while it is made, as a fragmented mp4, and nothing else does.
    """
    from talkhead.media.audio import scan_audio
    from talkhead.media.files import check_input
    from talkhead.media.playback import LOOPS
    from talkhead.media.rates import DEFAULT_FPS, num_frames, parse_fps
    from talkhead.media.video import VideoWriter, probe_video

    # Everything that can be wrong with the request is found before any slow work.
    rate, blink_rate = None if fps is None else parse_fps(fps), parse_blink(blink)
    if loop not in LOOPS:
        raise TalkheadError(f"--loop takes {', '.join(LOOPS)}, not {loop!r}")
    check_input(face)
    check_sound(audio)
    if landmarks is not None:
        check_input(landmarks)
    check_video(output, overwrite=overwrite, as_json=as_json)
    picture = None
    if is_video(face):
        if pose != "natural":
            raise TalkheadError(f"{face} is a video, whose head moves already: leave --pose out")
        video = probe_video(face)
        width, height = video.width, video.height
        rate = rate or video.fps
    else:
        from talkhead.media.picture import read_picture

        picture = read_picture(face).pixels
        height, width = picture.shape[:2]
        rate = rate or DEFAULT_FPS
    with sound_file(audio) as sound, video_target(output) as target:
        info = scan_audio(sound)
        total = num_frames(info.duration_s, rate)
        request = _Request(
            face=face,
            audio=sound,
            choose=choose,
            pose=pose,
            pose_strength=pose_strength,
            expression_strength=expression_strength,
            blink_per_minute=blink_rate,
            rate=rate,
            total=total,
            size=(width, height),
            track=None if landmarks is None else _read_track(landmarks, face, (width, height)),
            loop=loop,
            steps=steps,
            seed=seed,
            quiet=quiet,
        )

        from talkhead import __version__
        from talkhead.cli.device import resolve_device, resolve_dtype, share_cores
        from talkhead.weights import resolve_weights

        torch_device = resolve_device(device)
        torch_dtype = resolve_dtype(dtype, torch_device)
        share_cores()
        folder = resolve_weights(weights, offline=offline)
        notes = {
            "comment": f"Synthetic: made by talkhead {__version__}, weights {weights}, seed {seed}"
        }
        size = (width - width % 2, height - height % 2)
        writer = VideoWriter(
            target, size=size, fps=rate, sound=sound, crf=crf, metadata=notes, overwrite=overwrite
        )

        def load() -> Pipeline:
            from talkhead.synthesis import load_pipeline

            return load_pipeline(folder, torch_device, torch_dtype)

        job = _dubbed(request, load) if picture is None else _animated(request, picture, load)
        # Threads that make frames must have ended when the process does, so they are closed.
        shown = with_progress(job.frames, label="frames", total=total, quiet=quiet)
        with closing(shown), writer:
            for frame in shown:
                writer.write(frame[: size[1], : size[0]])
    elapsed_s = time.perf_counter() - job.started
    result = {
        "output": str(output),
        "frames": total,
        "fps": str(rate),
        "duration_s": float(info.duration_s),
        "width": size[0],
        "height": size[1],
        "seconds": round(elapsed_s, 3),
        "frames_per_second": round(total / elapsed_s, 2),
        "peak_memory_mb": peak_memory_mb(),
        "device": str(torch_device),
        "dtype": str(torch_dtype).removeprefix("torch."),
        "seed": seed,
        "weights": str(weights),
    }
    if as_json:
        print_json(result | job.facts)
    elif output != DASH:
        missing = job.facts.get("frames_without_face", 0)
        without = f", {missing} of them left as they are" if missing else ""
        typer.echo(
            f"{output}: {total} frames at {rate} fps, {size[0]} x {size[1]} px, "
            f"{result['frames_per_second']} frames a second{without}"
        )


def _animated(request: _Request, picture: Pixels, load: Callable[[], Pipeline]) -> _Job:
    """Bring a picture to life."""
    from talkhead.face.detection import FaceDetector, choose_face
    from talkhead.synthesis import predict_landmarks, render_frames

    motion_source = read_pose(request.pose, quiet=request.quiet)
    with FaceDetector(max_faces=32) as detector:
        identity = choose_face(detector.detect(picture), request.choose, request.size)
    pipeline = load()
    if request.track is not None:
        windows = _windows_of(request.track, request.rate, request.total)
    else:
        _, windows = predict_landmarks(
            pipeline.generator,
            request.audio,
            identity,
            fps=request.rate,
            seed=request.seed,
            pose=motion_source,
            pose_strength=request.pose_strength,
            expression_strength=request.expression_strength,
            blink_per_minute=request.blink_per_minute,
        )
    frames = render_frames(
        pipeline, picture, identity, windows, num_steps=request.steps, seed=request.seed
    )
    return _Job(_one_by_one(frames))


def _one_by_one(windows: Generator[Pixels, None, None]) -> Iterator[Pixels]:
    with closing(windows):
        for window in windows:
            yield from window


def _dubbed(request: _Request, load: Callable[[], Pipeline]) -> _Job:
    """Give a video's person other words."""
    from talkhead.dubbing import Dubber, dub_frames
    from talkhead.face.motion import proportions
    from talkhead.face.shots import track_face
    from talkhead.media.playback import play
    from talkhead.synthesis import listen

    faces = track_face(
        request.face, request.rate, request.choose, frame_progress(quiet=request.quiet)
    )
    playing = play(
        request.face, request.rate, faces.num_frames, request.total, request.loop, request.size
    )
    pipeline = load()
    dubber = Dubber(faces, pipeline.basis, request.expression_strength)
    track, job = request.track, _Job(iter(()), {"shots": faces.num_shots, "frames_without_face": 0})

    def wanted() -> Iterator[Callable[[int], DubbedFace | None]]:
        """What is to become of the frame that is played at every time."""
        if track is not None:
            for window in _windows_of(track, request.rate, request.total):
                for points in window:
                    yield partial(dubber.follow, target=points)
        else:
            shape = proportions(dubber.rest(0))
            speech = listen(pipeline.generator, request.audio, shape, request.rate)
            for coefficients in speech.coefficients:
                yield partial(dubber.speak, coefficients=coefficients)

    def items() -> Iterator[tuple[Pixels, DubbedFace | None]]:
        with closing(playing):
            for (frame, pixels), want in zip(playing, wanted(), strict=True):
                face = want(frame)
                job.facts["frames_without_face"] += face is None
                yield pixels, face

    job.frames = dub_frames(pipeline, items(), num_steps=request.steps, seed=request.seed)
    return job


def _read_track(path: Path, face: Path, size: tuple[int, int]) -> LandmarkTrack:
    from talkhead.face.track import LandmarkTrack

    track = LandmarkTrack.read(path)
    if track.size != size:
        raise TalkheadError(
            f"{path} is for a picture of {track.size[0]} x {track.size[1]} px, {face} has"
            f" {size[0]} x {size[1]}: make it with --face and this picture"
        )
    return track


def _windows_of(
    track: LandmarkTrack, rate: Fraction, total: int
) -> Iterator[npt.NDArray[np.float32]]:
    """Cut a track that somebody gives into windows of the video's length; its end is held."""
    import numpy as np

    from talkhead.synthesis import BATCH_FRAMES

    points = track.resample(rate).points[:total]
    if len(points) < total:
        points = np.concatenate([points, np.repeat(points[-1:], total - len(points), axis=0)])
    return (points[start : start + BATCH_FRAMES] for start in range(0, total, BATCH_FRAMES))

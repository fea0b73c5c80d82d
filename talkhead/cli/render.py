"""`talkhead render`: a picture and a voice in, a video of that person saying it out."""

from __future__ import annotations

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
    parse_blink,
    read_pose,
    refuse_video,
)
from talkhead.cli.output import JsonOption, OfflineOption, QuietOption, print_json, with_progress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from fractions import Fraction

    import numpy as np
    import numpy.typing as npt

    from talkhead.face.track import LandmarkTrack


def render(
    face: Annotated[Path, typer.Argument(help="Picture with a face.", show_default=False)],
    audio: Annotated[
        Path, typer.Argument(help="Sound file, or a video with sound.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The mp4 to write.", show_default=False)
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
    fps: FpsOption = "25",
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
    """Make a video of the person in FACE saying AUDIO."""
    import time

    from talkhead.errors import TalkheadError
    from talkhead.face.detection import FaceDetector, choose_face
    from talkhead.face.track import LandmarkTrack
    from talkhead.media.audio import scan_audio
    from talkhead.media.files import check_input, check_output
    from talkhead.media.picture import read_picture
    from talkhead.media.rates import num_frames, parse_fps
    from talkhead.media.video import VideoWriter

    # Everything that can be wrong with the request is found before any slow work.
    rate, blink_rate = parse_fps(fps), parse_blink(blink)
    check_input(face)
    check_input(audio)
    if landmarks is not None:
        check_input(landmarks)
    check_output(output, overwrite=overwrite)
    refuse_video(face)
    picture = read_picture(face)
    height, width = picture.pixels.shape[:2]
    info = scan_audio(audio)
    total = num_frames(info.duration_s, rate)
    size = (width - width % 2, height - height % 2)
    track = None if landmarks is None else LandmarkTrack.read(landmarks)
    if track is not None and track.size != (width, height):
        raise TalkheadError(
            f"{landmarks} is for a picture of {track.size[0]} x {track.size[1]} px, {face} has"
            f" {width} x {height}: make it with --face and this picture"
        )
    motion_source = read_pose(pose, quiet=quiet)

    from talkhead import __version__
    from talkhead.cli.device import resolve_device, resolve_dtype
    from talkhead.synthesis import load_pipeline, predict_landmarks, render_frames
    from talkhead.weights import resolve_weights

    torch_device = resolve_device(device)
    folder = resolve_weights(weights, offline=offline)
    notes = {
        "comment": f"Synthetic: made by talkhead {__version__}, weights {weights}, seed {seed}"
    }
    writer = VideoWriter(
        output, size=size, fps=rate, sound=audio, crf=crf, metadata=notes, overwrite=overwrite
    )
    with FaceDetector(max_faces=32) as detector:
        identity = choose_face(detector.detect(picture.pixels), choose, (width, height))
    pipeline = load_pipeline(folder, torch_device, resolve_dtype(dtype, torch_device))
    started = time.perf_counter()
    if track is not None:
        windows = _windows_of(track, rate, total)
    else:
        _, windows = predict_landmarks(
            pipeline.generator,
            audio,
            identity,
            fps=rate,
            seed=seed,
            pose=motion_source,
            pose_strength=pose_strength,
            expression_strength=expression_strength,
            blink_per_minute=blink_rate,
        )
    frames = render_frames(pipeline, picture.pixels, identity, windows, num_steps=steps, seed=seed)
    with writer:
        flat = (frame for window in frames for frame in window)
        for frame in with_progress(flat, label="frames", total=total, quiet=quiet):
            writer.write(frame[: size[1], : size[0]])
    elapsed_s = time.perf_counter() - started
    result = {
        "output": str(output),
        "frames": total,
        "fps": str(rate),
        "duration_s": float(info.duration_s),
        "width": size[0],
        "height": size[1],
        "seconds": round(elapsed_s, 3),
        "frames_per_second": round(total / elapsed_s, 2),
        "peak_memory_mb": _peak_memory_mb(),
        "device": str(torch_device),
        "dtype": str(pipeline.dtype).removeprefix("torch."),
        "seed": seed,
        "weights": str(weights),
    }
    if as_json:
        print_json(result)
    else:
        typer.echo(
            f"{output}: {total} frames at {rate} fps, {size[0]} x {size[1]} px, "
            f"{result['frames_per_second']} frames a second"
        )


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


def _peak_memory_mb() -> float | None:
    """Return the most memory this process has held, where the system tells."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)

"""`talkhead landmarks`: a voice in, a landmark track out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from talkhead.cli.device import DeviceOption
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
    refuse_video,
)
from talkhead.cli.output import JsonOption, OfflineOption, QuietOption, print_json, with_progress

DEFAULT_SIDE_PX = 512
"""Side of the empty picture that a track is made for when no face is given."""


def landmarks(
    audio: Annotated[
        Path, typer.Argument(help="Sound file, or a video with sound.", show_default=False)
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The track: .npz or .json.", show_default=False),
    ],
    face: Annotated[
        Path | None,
        typer.Option("--face", help="Picture of the face; else a mean face.", show_default=False),
    ] = None,
    weights: WeightsOption = "default",
    choose: ChooseOption = "largest",
    pose: PoseOption = "natural",
    pose_strength: PoseStrengthOption = 1.0,
    expression_strength: ExpressionStrengthOption = 1.0,
    blink: BlinkOption = "16",
    fps: FpsOption = "25",
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    offline: OfflineOption = False,
) -> None:
    """Write the landmarks of a face that says AUDIO, to look at, edit and render."""
    import numpy as np

    from talkhead.errors import TalkheadError
    from talkhead.face.detection import DETECTOR_NAME, FaceDetector, choose_face
    from talkhead.face.mesh import MEAN_FACE
    from talkhead.face.track import LandmarkTrack
    from talkhead.media.audio import scan_audio
    from talkhead.media.files import check_input, check_output
    from talkhead.media.picture import read_picture
    from talkhead.media.rates import parse_fps

    rate, blink_rate = parse_fps(fps), parse_blink(blink)
    check_input(audio)
    check_output(output, overwrite=overwrite)
    if output.suffix.lower() not in (".npz", ".json"):
        raise TalkheadError(f"{output} must end in .npz or .json")
    scan_audio(audio)
    detector_name = DETECTOR_NAME
    if face is None:
        size = (DEFAULT_SIDE_PX, DEFAULT_SIDE_PX)
        identity = MEAN_FACE * (DEFAULT_SIDE_PX * 0.27)
        identity[:, :2] += DEFAULT_SIDE_PX / 2
    else:
        check_input(face)
        refuse_video(face)
        pixels = read_picture(face).pixels
        size = (pixels.shape[1], pixels.shape[0])
        with FaceDetector(max_faces=32) as detector:
            detector_name = detector.name
            identity = choose_face(detector.detect(pixels), choose, size)

    from talkhead.cli.device import resolve_device
    from talkhead.synthesis import basis_of, load_generator, predict_landmarks
    from talkhead.weights import resolve_weights

    folder = resolve_weights(weights, offline=offline)
    generator = load_generator(folder / "landmarks", resolve_device(device))
    total, windows = predict_landmarks(
        basis_of(generator),
        generator,
        audio,
        identity,
        fps=rate,
        seed=seed,
        pose=pose,
        pose_strength=pose_strength,
        expression_strength=expression_strength,
        blink_per_minute=blink_rate,
    )
    flat = (points for window in windows for points in window)
    points = np.stack(list(with_progress(flat, label="frames", total=total, quiet=quiet)))
    LandmarkTrack(points=points, fps=rate, size=size, detector=detector_name).write(output)
    if as_json:
        print_json(
            {
                "output": str(output),
                "frames": total,
                "fps": str(rate),
                "width": size[0],
                "height": size[1],
                "seed": seed,
            }
        )
    else:
        typer.echo(f"{output}: {total} frames at {rate} fps")

"""`talkhead render`: a picture or a video and a voice in, a video of that person saying it out."""

from __future__ import annotations

from dataclasses import replace
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
)
from talkhead.cli.output import (
    JsonOption,
    OfflineOption,
    QuietOption,
    frame_progress,
    peak_memory_mb,
    print_json,
)
from talkhead.cli.pipes import DASH, check_sound, check_video, sound_file, video_target
from talkhead.media.files import check_input

if TYPE_CHECKING:
    from talkhead.synthesis import Pipeline


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
    from talkhead.job import RenderJob, check_job, render_job
    from talkhead.media.rates import parse_fps

    # Everything that can be wrong with the request is found before any slow work.
    job = RenderJob(
        face=face,
        audio=audio,
        output=output,
        weights=weights,
        landmarks=landmarks,
        choose=choose,
        pose=pose,
        pose_strength=pose_strength,
        expression_strength=expression_strength,
        blink_per_minute=parse_blink(blink),
        loop=loop,
        fps=None if fps is None else parse_fps(fps),
        steps=steps,
        seed=seed,
        crf=crf,
        overwrite=overwrite,
    )
    check_input(face)
    check_sound(audio)
    check_video(output, overwrite=overwrite, as_json=as_json)
    with sound_file(audio) as sound, video_target(output) as target:
        checked = check_job(replace(job, audio=sound))

        from talkhead.cli.device import resolve_device, resolve_dtype, share_cores
        from talkhead.weights import resolve_weights

        torch_device = resolve_device(device)
        torch_dtype = resolve_dtype(dtype, torch_device)
        share_cores()
        folder = resolve_weights(weights, offline=offline)

        def load() -> Pipeline:
            from talkhead.synthesis import load_pipeline

            return load_pipeline(folder, torch_device, torch_dtype)

        facts = render_job(checked, load, target, follow=frame_progress(quiet=quiet))
    facts["peak_memory_mb"] = peak_memory_mb()
    facts["device"] = str(torch_device)
    facts["dtype"] = str(torch_dtype).removeprefix("torch.")
    if as_json:
        print_json(facts)
    elif output != DASH:
        missing = facts.get("frames_without_face", 0)
        without = f", {missing} of them left as they are" if missing else ""
        typer.echo(
            f"{output}: {facts['frames']} frames at {facts['fps']} fps, "
            f"{facts['width']} x {facts['height']} px, "
            f"{facts['frames_per_second']} frames a second{without}"
        )

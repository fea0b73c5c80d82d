"""`talkhead live`: animate a face while a voice is heard."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from talkhead.cli.device import DeviceOption, DtypeOption
from talkhead.cli.options import (
    MOTION,
    OUTPUT,
    BlinkOption,
    ChooseOption,
    CrfOption,
    EmotionOption,
    ExpressionStrengthOption,
    FpsOption,
    MaxSizeOption,
    OverwriteOption,
    PoseStrengthOption,
    ProvenanceOption,
    SeedOption,
    StepsOption,
    WeightsOption,
    parse_blink,
)
from talkhead.cli.output import (
    JsonOption,
    OfflineOption,
    QuietOption,
    peak_memory_mb,
    print_json,
    tell_revision,
)
from talkhead.cli.pipes import DASH, check_sound, check_video, video_target
from talkhead.errors import TalkheadError
from talkhead.media.files import check_input
from talkhead.media.sizes import DEFAULT_SIZE, SizeLimit

if TYPE_CHECKING:
    from talkhead.jobs.live_job import LiveJob
    from talkhead.media.live_source import LiveSource

HEADER_WAIT_S = 1.0
"""How long to wait for a header before the networks are loaded; a bad one then costs no time."""
TOLD_SHARE = 0.02
"""If more than this share of the frames was dropped, the command says so."""


def live(
    face: Annotated[
        Path,
        typer.Argument(
            metavar="FACE", help="A picture of a face, or a video to dub.", show_default=False
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="OUT", help="The file to write; - is stdout."),
    ] = DASH,
    output_format: Annotated[
        Literal["mp4", "rgb24", "yuv420p"],
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="mp4 with sound, in fragments; or raw frames: rgb24 or yuv420p.",
            rich_help_panel=OUTPUT,
        ),
    ] = "mp4",
    rate: Annotated[
        int | None,
        typer.Option(
            "--rate",
            metavar="HZ",
            min=2000,
            max=384_000,
            help="stdin holds raw samples (s16le) at this rate.",
            show_default="stdin holds wav",
        ),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(
            "--channels",
            metavar="N",
            min=1,
            max=64,
            help="Channels of raw samples.",
            show_default="1",
        ),
    ] = None,
    pace: Annotated[
        bool,
        typer.Option(
            "--pace/--no-pace",
            help="Keep the time of the clock, or render every frame as fast as possible.",
        ),
    ] = True,
    choose: ChooseOption = "largest",
    pose: Annotated[
        Literal["natural", "still"],
        typer.Option("--pose", metavar="POSE", help="Head motion: natural or still."),
    ] = "natural",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    pose_strength: PoseStrengthOption = 1.0,
    expression_strength: ExpressionStrengthOption = 1.0,
    blink: BlinkOption = "16",
    emotion: EmotionOption = None,
    loop: Annotated[
        Literal["pingpong", "hold"],
        typer.Option(
            "--loop",
            metavar="HOW",
            help="At the end of a video: pingpong or hold.",
            rich_help_panel=MOTION,
        ),
    ] = "pingpong",
    fps: FpsOption = None,
    crf: CrfOption = 18,
    max_size: MaxSizeOption = DEFAULT_SIZE,
    steps: StepsOption = 1,
    provenance: ProvenanceOption = True,
    weights: WeightsOption = "default",
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    offline: OfflineOption = False,
) -> None:
    """Animate FACE while a voice comes in on stdin, without knowing its end.

    Frames go out as they come, a fraction of a second after their sound. Where a machine is too
    slow, frames are dropped, and the delay stays.
    """
    from talkhead.atomic import check_output
    from talkhead.jobs.live_job import LiveJob
    from talkhead.media.containers import LIVE_CONTAINERS, check_video_name
    from talkhead.media.live_source import LiveSource
    from talkhead.media.pcm_stream import PcmFormat
    from talkhead.media.rates import parse_fps

    check_input(face)
    check_sound(DASH)
    check_video(output, overwrite=overwrite, as_json=as_json, check=check_output)
    if output_format == "mp4" and output != DASH:
        check_video_name(output, LIVE_CONTAINERS)
    if channels is not None and rate is None:
        raise TalkheadError("--channels is for raw samples: give their --rate, too")
    job = LiveJob(
        face=face,
        weights=weights,
        output_format=output_format,
        pace=pace,
        choose=choose,
        pose=pose,
        pose_strength=pose_strength,
        expression_strength=expression_strength,
        blink_per_minute=parse_blink(blink),
        emotion=emotion,
        loop=loop,
        fps=None if fps is None else parse_fps(fps),
        steps=steps,
        seed=seed,
        crf=crf,
        max_size=max_size,
        provenance=provenance,
    )
    SizeLimit.parse(max_size)
    source = LiveSource(
        sys.stdin.fileno(), None if rate is None else PcmFormat(rate, channels or 1)
    )
    source.wait(HEADER_WAIT_S)
    facts = _run(job, source, output, device, dtype, offline=offline)
    if as_json:
        print_json({"output": str(output), **facts, "peak_memory_mb": peak_memory_mb()})
    elif output != DASH:
        typer.echo(f"{output}: {facts['frames']} frames at {facts['fps']} fps")
    if facts["dropped"] > TOLD_SHARE * facts["frames"] and not quiet:
        share = round(100 * facts["dropped"] / facts["frames"])
        typer.echo(
            f"talkhead: {share} % of the frames were dropped: a smaller picture takes less time",
            err=True,
        )


def _run(
    job: LiveJob, source: LiveSource, output: Path, device: str, dtype: str, *, offline: bool
) -> dict[str, Any]:
    from talkhead.cli.device import import_pipelines, share_cores
    from talkhead.device import resolve_device, resolve_dtype
    from talkhead.jobs.live_job import live_job
    from talkhead.weights import locate_weights

    share_cores()
    torch_device = resolve_device(device)
    torch_dtype = resolve_dtype(dtype, torch_device)
    found = locate_weights(job.weights, offline=offline)
    tell_revision(found)
    job = replace(job, weights=str(found))
    import_pipelines()
    with video_target(output) as target:
        from talkhead.pipelines import FacePipeline

        pipeline = FacePipeline.from_folder(found.folder, device=torch_device, dtype=torch_dtype)
        return live_job(job, pipeline, source, target, found.folder)

"""`talkhead render`: a picture or a video and a voice in, a video of that person saying it out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from talkhead.cli.batch import (
    BatchOptions,
    DryRunOption,
    JobsOption,
    KeepGoingOption,
    ListOption,
    RayOption,
    SkipExistingOption,
    is_batch,
    plan_batch,
    render_batch,
)
from talkhead.cli.batch_lines import made_line
from talkhead.cli.device import DeviceOption, DtypeOption
from talkhead.cli.options import (
    BlinkOption,
    C2paCertificateOption,
    C2paKeyOption,
    ChooseOption,
    EmotionOption,
    ExpressionStrengthOption,
    FpsOption,
    MaxSizeOption,
    OverwriteOption,
    PoseOption,
    PoseStrengthOption,
    ProvenanceOption,
    SeedOption,
    StartStepOption,
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
    tell_scaling,
)
from talkhead.cli.pipes import DASH, check_sound, check_video, sound_file, video_target
from talkhead.errors import TalkheadError
from talkhead.media.files import check_input
from talkhead.media.sizes import DEFAULT_SIZE, SizeLimit

if TYPE_CHECKING:
    from talkhead.job import RenderJob
    from talkhead.synthesis import AnyPipeline


def render(
    face: Annotated[
        Path | None,
        typer.Argument(help="Picture with a face, or a video to dub.", show_default=False),
    ] = None,
    audio: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Sound files, videos with sound, or quoted patterns for them; - is stdin.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            help="The mp4 to write; - is stdout. Of a batch: a folder, or a name with {face},"
            " {audio} or {n}.",
            show_default=False,
        ),
    ] = None,
    table: ListOption = None,
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
    start_step: StartStepOption = None,
    emotion: EmotionOption = "auto",
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    crf: Annotated[
        int, typer.Option("--crf", min=0, max=51, help="H.264 quality: lower is better.")
    ] = 18,
    max_size: MaxSizeOption = DEFAULT_SIZE,
    overwrite: OverwriteOption = False,
    provenance: ProvenanceOption = True,
    c2pa_certificate: C2paCertificateOption = None,
    c2pa_key: C2paKeyOption = None,
    jobs: JobsOption = None,
    skip_existing: SkipExistingOption = False,
    keep_going: KeepGoingOption = True,
    dry_run: DryRunOption = False,
    ray: RayOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    offline: OfflineOption = False,
) -> None:
    """Make a video of the person in FACE saying AUDIO, or a batch of such videos.

    With -o - it goes to stdout while it is made, as a fragmented mp4, and nothing else does.

    Several sounds, or --list, make a batch. All items are checked before the first is made. A
    journal in the folder of the videos (.talkhead-batch.jsonl) lets a batch that was stopped go on
    when the same command is given again: what is made is not made again, --overwrite replaces what
    was made of other files or options. An item that fails does not stop the others; the exit code
    is then 5.
    """
    from talkhead.job import RenderJob
    from talkhead.media.rates import parse_fps

    if face is None and table is None:
        raise TalkheadError("name a FACE and an AUDIO, or a list of them by --list")
    if not audio and table is None:
        raise TalkheadError(f"name an AUDIO that {face} is to say, or a list of them by --list")
    if output is None and table is None:
        raise TalkheadError("name the video to write, as in -o out.mp4, or a folder for several")
    # Everything that can be wrong with the request is found before any slow work.
    job = RenderJob(
        face=face or Path(),
        audio=Path(),
        output=Path(),
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
        start_step=start_step,
        emotion=emotion,
        seed=seed,
        crf=crf,
        max_size=SizeLimit.parse(max_size),
        overwrite=overwrite,
        provenance=provenance,
        c2pa_certificate=c2pa_certificate,
        c2pa_key=c2pa_key,
    )
    options = BatchOptions(
        table=table,
        jobs=jobs,
        skip_existing=skip_existing,
        keep_going=keep_going,
        dry_run=dry_run,
        ray=ray,
        device=device,
        dtype=dtype,
        offline=offline,
        as_json=as_json,
        quiet=quiet,
    )
    if output is None or not audio or is_batch(audio, output, options):
        render_batch(plan_batch(face, audio or [], output, job, options), options)
        return
    job = replace(job, audio=audio[0], output=Path(output))
    if skip_existing and job.output.is_file():
        if as_json:
            print_json({"output": output, "state": "skipped", "reason": "exists"})
        else:
            typer.echo(f"{output}: exists, skipped")
        return
    _render_one(job, options)


def _render_one(job: RenderJob, options: BatchOptions) -> None:
    """Make one video; what is printed is about it alone."""
    from talkhead.job import check_job, render_job

    check_input(job.face)
    check_sound(job.audio)
    check_video(job.output, overwrite=job.overwrite, as_json=options.as_json)
    with sound_file(job.audio) as sound, video_target(job.output) as target:
        checked = check_job(replace(job, audio=sound))
        tell_scaling(job.face, checked.original_size, checked.size)

        from talkhead.cli.device import share_cores
        from talkhead.device import resolve_device, resolve_dtype
        from talkhead.weights import resolve_weights

        torch_device = resolve_device(options.device)
        torch_dtype = resolve_dtype(options.dtype, torch_device)
        share_cores()
        folder = resolve_weights(job.weights, offline=options.offline)

        def load() -> AnyPipeline:
            from talkhead.synthesis import load_any_pipeline

            return load_any_pipeline(folder, torch_device, torch_dtype)

        facts = render_job(
            checked, load, target, follow=frame_progress(quiet=options.quiet), folder=folder
        )
    facts["peak_memory_mb"] = peak_memory_mb()
    facts["device"] = str(torch_device)
    facts["dtype"] = str(torch_dtype).removeprefix("torch.")
    if options.as_json:
        print_json(facts)
    elif job.output != DASH:
        typer.echo(made_line(str(job.output), facts))

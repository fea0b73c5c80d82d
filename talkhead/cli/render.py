"""`talkhead render`: animate a portrait or dub a video."""

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
from talkhead.cli.device import DeviceOption, DtypeOption, ThreadsOption
from talkhead.cli.options import (
    MOTION,
    AudioTrackOption,
    BackgroundOption,
    BackgroundSoundOption,
    BlinkOption,
    C2paCertificateOption,
    C2paKeyOption,
    ChooseOption,
    CrfOption,
    EmotionOption,
    ExpressionStrengthOption,
    FormatOption,
    FpsOption,
    MaxSizeOption,
    OverwriteOption,
    PoseOption,
    PoseStrengthOption,
    ProvenanceOption,
    SchedulerOption,
    SeedOption,
    SpeakerOption,
    StartStepOption,
    StepsOption,
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
    tell_not_kept,
    tell_revision,
    tell_scaling,
    warn_of_silence,
)
from talkhead.cli.pipes import DASH, check_sound, check_video, sound_file, video_target
from talkhead.errors import TalkheadError
from talkhead.media.files import check_input
from talkhead.media.sizes import DEFAULT_SIZE, SizeLimit

if TYPE_CHECKING:
    from talkhead.jobs.render_job import RenderJob
    from talkhead.pipelines import FacePipeline


def render(
    face: Annotated[
        Path | None,
        typer.Argument(
            metavar="FACE", help="A picture of a face, or a video to dub.", show_default=False
        ),
    ] = None,
    audio: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="AUDIO",
            help="Speech: any sound or video with sound; - is stdin. Several make a batch.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="The .mp4, .mkv, .webm, .mov, .gif, .webp or frames/%05d.png; - is stdout. A"
            " batch: a folder/, or a name with {audio}.",
            show_default=False,
        ),
    ] = None,
    choose: ChooseOption = "largest",
    speaker: SpeakerOption = None,
    pose: PoseOption = "natural",
    landmarks: Annotated[
        Path | None,
        typer.Option(
            "--landmarks",
            metavar="TRACK",
            help="Follow a track written by talkhead landmarks.",
            show_default=False,
        ),
    ] = None,
    seed: SeedOption = 0,
    background: BackgroundOption = None,
    output_format: FormatOption = "mp4",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    pose_strength: PoseStrengthOption = 1.0,
    expression_strength: ExpressionStrengthOption = 1.0,
    blink: BlinkOption = "16",
    emotion: EmotionOption = None,
    loop: Annotated[
        str,
        typer.Option(
            "--loop",
            metavar="HOW",
            help="When a video is shorter than the sound: pingpong, hold or error.",
            rich_help_panel=MOTION,
        ),
    ] = "pingpong",
    fps: FpsOption = None,
    crf: CrfOption = 18,
    max_size: MaxSizeOption = DEFAULT_SIZE,
    steps: StepsOption = 1,
    scheduler: SchedulerOption = None,
    start_step: StartStepOption = None,
    audio_track: AudioTrackOption = None,
    background_sound: BackgroundSoundOption = None,
    table: ListOption = None,
    jobs: JobsOption = None,
    skip_existing: SkipExistingOption = False,
    keep_going: KeepGoingOption = True,
    dry_run: DryRunOption = False,
    ray: RayOption = None,
    provenance: ProvenanceOption = True,
    c2pa_certificate: C2paCertificateOption = None,
    c2pa_key: C2paKeyOption = None,
    weights: WeightsOption = "default",
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    threads: ThreadsOption = None,
    offline: OfflineOption = False,
) -> None:
    """Generate a video of FACE saying AUDIO.

    Several sounds or --list make a batch. If it is stopped, the same command continues it. If an
    item fails, the others are made, and the exit code is 5.
    """
    from talkhead.jobs.render_job import RenderJob
    from talkhead.jobs.speakers import parse_speakers
    from talkhead.media.rates import parse_fps

    speakers = parse_speakers(speaker or ())
    if speakers and table is not None:
        raise TalkheadError("--speaker and --list are both given: use the list's column speaker")
    if speakers and audio:
        raise TalkheadError("AUDIO and --speaker are both given: leave one of them out")
    audio = [speakers[0].audio] if speakers else audio
    if face is None and table is None:
        raise TalkheadError("FACE is missing: give FACE and AUDIO, or --list")
    if not audio and table is None:
        raise TalkheadError(f"AUDIO is missing: give a sound for {face} to say, or --list")
    if output is None and table is None:
        raise TalkheadError("the output is missing: give -o out.mp4, or a folder for a batch")
    from talkhead.jobs.outputs import is_written

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
        scheduler=scheduler,
        start_step=start_step,
        emotion=emotion,
        seed=seed,
        crf=crf,
        max_size=SizeLimit.parse(max_size),
        audio_track=audio_track,
        background_sound=background_sound,
        background=background,
        output_format=output_format,
        overwrite=overwrite,
        provenance=provenance,
        c2pa_certificate=c2pa_certificate,
        c2pa_key=c2pa_key,
        speakers=speakers,
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
        threads=threads,
        offline=offline,
        as_json=as_json,
        quiet=quiet,
    )
    if output is None or not audio or is_batch(audio, output, options):
        render_batch(plan_batch(face, audio or [], output, job, options), options)
        return
    job = replace(job, audio=audio[0], output=Path(output))
    if skip_existing and is_written(job.output):
        if as_json:
            print_json({"output": output, "state": "skipped", "reason": "exists"})
        else:
            typer.echo(f"{output}: exists, skipped")
        return
    _render_one(job, options)


def _render_one(job: RenderJob, options: BatchOptions) -> None:
    """Render one video and print its result."""
    from talkhead.jobs.render_job import check_job, render_job

    check_input(job.face)
    check_sound(job.audio)
    for speaker in job.speakers:
        check_input(speaker.audio)
    check_video(job.output, overwrite=job.overwrite, as_json=options.as_json)
    with sound_file(job.audio) as sound, video_target(job.output) as target:
        checked = check_job(replace(job, audio=sound))
        tell_scaling(job.face, checked.original_size, checked.size)
        tell_not_kept(job.face, job.output, checked.not_kept)

        from talkhead.cli.device import import_pipelines, use_threads
        from talkhead.device import resolve_device, resolve_dtype
        from talkhead.weights import locate_weights

        torch_device = resolve_device(options.device)
        torch_dtype = resolve_dtype(options.dtype, torch_device)
        use_threads(options.threads)
        found = locate_weights(job.weights, offline=options.offline)
        tell_revision(found)
        import_pipelines()
        checked = replace(checked, job=replace(checked.job, weights=str(found)))

        def load() -> FacePipeline:
            from talkhead.pipelines import FacePipeline

            return FacePipeline.from_folder(found.folder, device=torch_device, dtype=torch_dtype)

        facts = render_job(
            checked, load, target, progress=frame_progress(quiet=options.quiet), folder=found.folder
        )
    warn_of_silence(job, facts)
    facts["peak_memory_mb"] = peak_memory_mb()
    facts["device"] = str(torch_device)
    facts["dtype"] = str(torch_dtype).removeprefix("torch.")
    if options.as_json:
        print_json(facts)
    elif job.output != DASH:
        typer.echo(made_line(str(job.output), facts))

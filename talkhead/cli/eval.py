"""`talkhead eval`: score generated video against real video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import typer

from talkhead.cli.device import DeviceOption, DtypeOption, usable_cores
from talkhead.cli.evaluation import (
    EvaluationRequest,
    PartName,
    PoseName,
    ProtocolName,
    run_evaluation,
)
from talkhead.cli.options import (
    CLIPS,
    DEVICE,
    MOTION,
    QUALITY,
    EmotionOption,
    OverwriteOption,
    SeedOption,
)
from talkhead.cli.output import JsonOption, OfflineOption, QuietOption, print_json
from talkhead.cli.prepare import Layout
from talkhead.cli.score_tables import print_comparison, print_tables
from talkhead.emotions import check_emotion
from talkhead.errors import BatchError, TalkheadError
from talkhead.limits import MAX_START_STEP, MAX_STEPS

StageName = Literal["landmarks", "render", "both", "dub", "silence"]


def evaluate(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA",
            help="A folder made by talkhead prepare, or videos: a folder, a CSV list, or a MEAD,"
            " HDTF or GRID tree.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="REPORT",
            help="Folder of the report.",
            show_default=False,
        ),
    ] = None,
    stage: Annotated[
        StageName | None,
        typer.Option(
            "--stage",
            metavar="STAGE",
            help="both: frames from sound. landmarks: landmarks from sound, no frames. render:"
            " frames from the clip's real landmarks. dub: the clip's own frames with another"
            " stretch of its motion. silence: the clip's own frames with sounds without a voice.",
            show_default="both",
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weights",
            metavar="NAME|FOLDER",
            help="Weights to score. Repeat to compare.",
            show_default="default",
        ),
    ] = None,
    predicted: Annotated[
        list[Path] | None,
        typer.Option(
            "--predicted",
            metavar="DIR",
            help="Score another tool's videos instead, named as the clips. Repeatable.",
            show_default=False,
        ),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--compare",
            metavar="A B",
            help="Only compare two scores.json, clip by clip: B minus A.",
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        ProtocolName,
        typer.Option(
            "--protocol",
            metavar="NAME",
            help="split: clips of --split. speaker: people without training clips. seed-90-10: a"
            " tenth of one person's clips. mead-official: MEAD's test set.",
            rich_help_panel=CLIPS,
        ),
    ] = "split",
    split: Annotated[
        list[str] | None,
        typer.Option(
            "--split",
            metavar="NAME",
            help="Split of the clips. Repeatable.",
            show_default="dev, else test",
            rich_help_panel=CLIPS,
        ),
    ] = None,
    people: Annotated[
        list[str] | None,
        typer.Option(
            "--people",
            metavar="PATTERN",
            help="Only these people, such as 'grid-*'. Repeatable.",
            rich_help_panel=CLIPS,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="At most N clips.", rich_help_panel=CLIPS),
    ] = None,
    layout: Annotated[
        Layout,
        typer.Option(
            "--layout",
            metavar="NAME",
            help="Layout of videos in DATA: auto, csv, mead, hdtf, grid or folder.",
            rich_help_panel=CLIPS,
        ),
    ] = "auto",
    pose: Annotated[
        PoseName,
        typer.Option(
            "--pose",
            metavar="true|natural|still",
            help="Head pose of what is generated; true is the clip's own.",
            rich_help_panel=MOTION,
        ),
    ] = "true",
    emotion: EmotionOption = None,
    seed: SeedOption = 0,
    steps: Annotated[
        list[int] | None,
        typer.Option(
            "--steps",
            metavar="N",
            min=1,
            max=MAX_STEPS,
            help="Sampling steps. Repeat to compare.",
            show_default="1",
            rich_help_panel=QUALITY,
        ),
    ] = None,
    start_steps: Annotated[
        list[int] | None,
        typer.Option(
            "--start-step",
            metavar="N",
            min=1,
            max=MAX_START_STEP,
            help="mask-noise: step to start sampling at. Repeat to compare.",
            show_default="300",
            rich_help_panel=QUALITY,
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            metavar="PART",
            help="mask-noise: also score it without a part: mask-noise, class, or landmarks, which"
            " are moved by 6 px. Repeatable.",
            show_default=False,
            rich_help_panel=QUALITY,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            metavar="N",
            min=1,
            help="Worker processes.",
            show_default="one per core, up to 8",
            rich_help_panel=DEVICE,
        ),
    ] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    offline: OfflineOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score generated video against the real clips, beside baselines.

    REPORT gets report.html, scores.json, scores.csv and the scored videos. The same command
    continues a run that was stopped. If clips fail, the others are scored, and the exit code is 5.
    """
    if compare is not None:
        from talkhead.evaluation.compare import compare as compare_scores
        from talkhead.evaluation.scores_io import read_scores

        result = compare_scores(*(read_scores(path) for path in compare))
        if as_json:
            print_json(result)
        else:
            print_comparison(result)
        return
    if data is None or output is None:
        raise TalkheadError("give DATA and -o REPORT, or --compare with two scores.json files")
    if predicted and (weights or steps or start_steps or without or stage):
        raise TalkheadError(
            "--predicted scores existing videos: leave out --weights, --steps, --start-step,"
            " --without and --stage"
        )
    for option, value in (
        ("--start-step", start_steps),
        ("--without", without),
        ("--steps", steps),
    ):
        if value and stage == "landmarks":
            raise TalkheadError(f"{option} is for stages that render frames, not for landmarks")
    if pose != "true" and (stage in ("render", "dub", "silence") or predicted):
        raise TalkheadError(f"--pose {pose} is for motion generated from sound: leave it out")
    if dtype != "auto" and (stage == "landmarks" or predicted):
        raise TalkheadError(f"--dtype {dtype} is for stages that render frames: leave it out")
    from talkhead.evaluation.plan import PAGE, SCORES, check_report

    check_report(output, overwrite=overwrite)
    names = [] if predicted else weights or ["default"]
    second = {"--start-step": start_steps, "--without": without}
    needed = [option for option, value in second.items() if value]
    folders = _folders(names, needed, emotion, stage in ("dub", "silence"), offline=offline)
    request = EvaluationRequest(
        data=data,
        output=output,
        stage="predicted" if predicted else stage or "both",
        predicted=_by_name(predicted or []),
        weights=folders,
        steps=steps or [1],
        start_steps=start_steps or [],
        without=[_part(name) for name in without or []],
        emotion=emotion,
        pose=pose,
        protocol=protocol,
        splits=tuple(split or ()),
        people=tuple(people or ()),
        limit=limit,
        layout=layout,
        seed=seed,
        device=device,
        dtype=dtype,
        jobs=jobs or usable_cores(),
        overwrite=overwrite,
        quiet=quiet,
    )
    result = run_evaluation(request)
    if not quiet:
        print_tables(result, output)
    scores = output / SCORES
    if as_json:
        print_json(
            {
                "scores": str(scores),
                "page": str(output / PAGE),
                "groups": result["groups"],
                "warnings": result["warnings"],
                "broken": result["broken"],
            }
        )
    else:
        typer.echo(scores)
    if broken := result["broken"]:
        count = "one video" if len(broken) == 1 else f"{len(broken)} videos"
        first = broken[0]
        raise BatchError(
            f"{count} could not be scored ({first['clip']} by {first['system']}: {first['why']}):"
            " run the same command to try again"
        )


def _part(name: str) -> PartName:
    """Return the name of a part of mask-noise; raises TalkheadError for others."""
    for part in get_args(PartName):
        if name == part:
            return cast("PartName", part)
    raise TalkheadError(f"--without must be {', '.join(get_args(PartName))}, not {name!r}")


def _by_name(folders: Sequence[Path]) -> dict[str, Path]:
    """Map the folder names of other systems to their folders."""
    from talkhead.evaluation.scores import BASELINES

    named: dict[str, Path] = {}
    for folder in folders:
        name = folder.resolve().name
        if name in named or name in BASELINES:
            raise TalkheadError(f"{folder}: a system is already named {name}; rename the folder")
        named[name] = folder
    return named


def _folders(
    names: list[str], needed: list[str], emotion: str | None, dubs: bool, *, offline: bool
) -> dict[str, Path]:
    """Resolve weights by name.

    Args:
        names: names or folders.
        needed: options that are for mask-noise only.
        emotion: the name of an emotion.
        dubs: whether videos are dubbed.
        offline: never use the network.

    Raises:
        TalkheadError: none of the weights support an option.
    """
    if emotion is not None:
        check_emotion(emotion)
    from talkhead.weights import resolve_weights
    from talkhead.weights.systems import system_of

    folders = {name: resolve_weights(name, offline=offline) for name in names}
    if dubs:
        for folder in folders.values():
            system_of(folder).check_request(dubs=True, emotion=emotion)
    if needed and not any(system_of(folder).has_start_step for folder in folders.values()):
        raise TalkheadError(f"{needed[0]} needs --weights mask-noise")
    return folders

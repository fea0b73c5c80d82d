"""`talkhead eval`: how near to the truth what was made is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from talkhead.cli.device import DeviceOption, DtypeOption, usable_cores
from talkhead.cli.evaluation import EvaluationRequest, PoseName, ProtocolName, run_evaluation
from talkhead.cli.options import EmotionOption, OverwriteOption, SeedOption
from talkhead.cli.output import JsonOption, OfflineOption, QuietOption, print_json
from talkhead.cli.prepare import Layout
from talkhead.cli.score_tables import print_comparison, print_tables
from talkhead.emotions import AUTO, check_emotion
from talkhead.errors import BatchError, TalkheadError

StageName = Literal["landmarks", "render", "both"]


def evaluate(
    data: Annotated[
        Path | None,
        typer.Argument(
            help="Folder made by talkhead prepare; or videos, as talkhead prepare takes them: a"
            " MEAD, HDTF or GRID tree, a folder, a CSV list.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="REPORT", help="Folder of the report.", show_default=False
        ),
    ] = None,
    stage: Annotated[
        StageName | None,
        typer.Option(
            "--stage",
            help="landmarks: from sound, no frames; render: frames from the real landmarks; both"
            " (the default): frames from sound.",
            show_default=False,
        ),
    ] = None,
    predicted: Annotated[
        list[Path] | None,
        typer.Option(
            "--predicted",
            metavar="DIR",
            help="Score videos that another tool made instead, each named as its clip or as the"
            " clip's video; may be given again.",
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
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weights",
            metavar="NAME|FOLDER",
            help="Weights to score, or for landmarks a run's checkpoint; may be given again.",
            show_default="default",
        ),
    ] = None,
    protocol: Annotated[
        ProtocolName,
        typer.Option(
            "--protocol",
            help="Which clips: a split of the data; people that were not trained on; a tenth of one"
            " person's, drawn by the seed; MEAD's own test set.",
        ),
    ] = "split",
    split: Annotated[
        str | None,
        typer.Option(
            "--split", help="Split of the clips.", show_default="dev; test where there is none"
        ),
    ] = None,
    people: Annotated[
        list[str] | None,
        typer.Option(
            "--people", metavar="PATTERN", help="Only these people, as grid-*; may be given again."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most so many clips.")
    ] = None,
    pose: Annotated[
        PoseName,
        typer.Option("--pose", help="Head of what is made from sound: the real clip's, or not."),
    ] = "true",
    steps: Annotated[
        list[int] | None,
        typer.Option(
            "--steps",
            min=1,
            max=50,
            help="Sampling steps; given again, each is a system of its own.",
            show_default="1",
        ),
    ] = None,
    start_steps: Annotated[
        list[int] | None,
        typer.Option(
            "--start-step",
            min=1,
            max=1000,
            help="Of mask-noise: where sampling starts; given again, each is a system of its own.",
            show_default="300",
        ),
    ] = None,
    emotion: EmotionOption = AUTO,
    layout: Annotated[
        Layout, typer.Option("--layout", help="How the videos of DATA lie.")
    ] = "auto",
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            min=1,
            help="Processes that score; each takes one clip at a time.",
            show_default="one per core, up to 8",
        ),
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    offline: OfflineOption = False,
) -> None:
    """Score what is made of clips' sound against the clips, beside baselines and the truth.

    REPORT gets scores.json, scores.csv and report.html, a page that needs no network, and the
    videos that were scored. A run that was stopped goes on where it was. Clips that break are told
    of in the end (exit 5), and the others are scored.
    """
    if compare is not None:
        from talkhead.evaluation.compare import compare as compare_scores
        from talkhead.evaluation.stored import read_scores

        result = compare_scores(*(read_scores(path) for path in compare))
        if as_json:
            print_json(result)
        else:
            print_comparison(result)
        return
    if data is None or output is None:
        raise TalkheadError("give DATA and -o REPORT, or --compare with two scores.json")
    if predicted and (weights or steps or start_steps or stage):
        raise TalkheadError(
            "--predicted scores what is there: leave --weights, --steps, --start-step and --stage"
            " out"
        )
    if start_steps and stage == "landmarks":
        raise TalkheadError("--start-step belongs to stages that make frames, not to landmarks")
    if steps and stage == "landmarks":
        raise TalkheadError("--steps belongs to stages that make frames, not to landmarks")
    if pose != "true" and (stage == "render" or predicted):
        raise TalkheadError(f"--pose {pose} belongs to what is made from sound")
    if dtype != "auto" and (stage == "landmarks" or predicted):
        raise TalkheadError(f"--dtype {dtype} belongs to stages that make frames")
    from talkhead.evaluation.run import PAGE, SCORES, check_report

    check_report(output, overwrite=overwrite)
    names = [] if predicted else weights or ["default"]
    folders = _folders(names, start_steps or [], emotion, offline=offline)
    request = EvaluationRequest(
        data=data,
        output=output,
        stage="predicted" if predicted else stage or "both",
        predicted=_by_name(predicted or []),
        weights=folders,
        steps=steps or [1],
        start_steps=start_steps or [],
        emotion=emotion,
        pose=pose,
        protocol=protocol,
        split=split,
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
            " the same command tries again"
        )


def _by_name(folders: Sequence[Path]) -> dict[str, Path]:
    """Name the systems of others by their folders."""
    from talkhead.evaluation.scores import BASELINES

    named: dict[str, Path] = {}
    for folder in folders:
        name = folder.resolve().name
        if name in named or name in BASELINES:
            raise TalkheadError(f"{folder}: there is a system named {name} already; rename it")
        named[name] = folder
    return named


def _folders(
    names: list[str], start_steps: list[int], emotion: str, *, offline: bool
) -> dict[str, Path]:
    """Find the weights by their names; raises TalkheadError for options that none of them takes."""
    check_emotion(emotion)
    from talkhead.weights import is_mask_noise, resolve_weights

    folders = {name: resolve_weights(name, offline=offline) for name in names}
    has_emotions = any(map(is_mask_noise, folders.values()))
    if (start_steps or emotion != AUTO) and not has_emotions:
        raise TalkheadError("--emotion and --start-step belong to --weights mask-noise")
    return folders

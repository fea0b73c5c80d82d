"""`talkhead eval`: how near to the truth what was made is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from talkhead.cli.device import DeviceOption, DtypeOption
from talkhead.cli.options import OverwriteOption, SeedOption
from talkhead.cli.output import JsonOption, OfflineOption, QuietOption, print_json, with_progress
from talkhead.errors import TalkheadError

if TYPE_CHECKING:
    import torch

    from talkhead.evaluation.landmarks import ClipScores
    from talkhead.training.clips import ClipInfo

SCORES_NAME = "scores.json"

Stage = Literal["landmarks", "render"]
LANDMARK_MEASURES = {
    "opening_r": ("opening, correlation", "{:.3f}"),
    "opening_r_best": ("opening, at the best lag", "{:.3f}"),
    "width_r": ("width, correlation", "{:.3f}"),
    "width_r_best": ("width, at the best lag", "{:.3f}"),
    "m_ld": ("M-LD, px", "{:.2f}"),
    "f_ld": ("F-LD, px", "{:.2f}"),
    "m_lvd": ("M-LVD, px", "{:.3f}"),
    "f_lvd": ("F-LVD, px", "{:.3f}"),
    "closure_recall": ("closed for p, b, m", "{:.2f}"),
    "quiet_motion": ("lips' motion in silence", "{:.4f}"),
    "blinks_per_minute": ("blinks a minute", "{:.1f}"),
    "head_motion": ("head motion", "{:.3f}"),
}
RENDER_MEASURES = {
    "psnr": ("lower face, PSNR, dB", "{:.2f}"),
    "ssim": ("lower face, SSIM", "{:.4f}"),
    "lips_psnr": ("around the lips, PSNR, dB", "{:.2f}"),
    "mouth_psnr": ("inside the mouth, PSNR, dB", "{:.2f}"),
    "lips_sharpness": ("lips' sharpness against the real ones", "{:.2f}"),
    "flicker": ("flicker, of 255", "{:.2f}"),
    "ms_per_frame": ("milliseconds a frame", "{:.1f}"),
}
MEASURES: dict[Stage, dict[str, tuple[str, str]]] = {
    "landmarks": LANDMARK_MEASURES,
    "render": RENDER_MEASURES,
}


def evaluate(
    data: Annotated[
        Path, typer.Argument(help="Folder made by talkhead prepare.", show_default=False)
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="REPORT", help="Folder of the scores.", show_default=False
        ),
    ],
    stage: Annotated[
        Stage,
        typer.Option(
            "--stage", help="What is scored: landmarks from sound, or frames from real landmarks."
        ),
    ] = "landmarks",
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weights",
            metavar="NAME|FOLDER",
            help="Weights to score, or for landmarks a run's checkpoint; may be given again.",
            show_default="default",
        ),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Split of the clips.")] = "dev",
    people: Annotated[
        list[str] | None,
        typer.Option(
            "--people", metavar="PATTERN", help="Only these people, as grid-*; may be given again."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most so many clips.")
    ] = None,
    steps: Annotated[
        list[int] | None,
        typer.Option(
            "--steps",
            min=1,
            max=50,
            help="Sampling steps of the stage render; may be given again.",
            show_default="1",
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
    """Score weights on clips that they were not trained on, beside baselines and the truth."""
    from talkhead.cli.device import resolve_device, resolve_dtype
    from talkhead.media.files import replacing
    from talkhead.weights import resolve_weights

    if (output / SCORES_NAME).exists() and not overwrite:
        raise TalkheadError(f"{output / SCORES_NAME} exists: give --overwrite to replace it")
    if output.exists() and not output.is_dir():
        raise TalkheadError(f"{output} is not a folder: choose another one for the scores")
    if steps and stage != "render":
        raise TalkheadError(f"--steps belongs to --stage render, not to {stage}")
    rows = _rows(stage, data, split, people or (), limit)
    chosen = resolve_device(device)
    precision = resolve_dtype(dtype, chosen)
    folders = {name: resolve_weights(name, offline=offline) for name in weights or ["default"]}
    found, num_systems = _start(stage, data, rows, folders, steps or [1], seed, chosen, precision)
    scores: list[ClipScores] = []
    total = len(rows) * num_systems
    for one in with_progress(found, label="clips", total=total, quiet=quiet):
        scores.append(one)
    result = _report(scores, stage=stage, data=data, split=split, seed=seed)
    output.mkdir(parents=True, exist_ok=True)
    with replacing(output / SCORES_NAME) as partial:
        partial.write_text(json.dumps(result, indent=1, allow_nan=False), encoding="utf-8")
    if not quiet:
        _print_table(result)
    if as_json:
        print_json({"scores": str(output / SCORES_NAME), "groups": result["groups"]})
    else:
        typer.echo(output / SCORES_NAME)


def _rows(
    stage: Stage, data: Path, split: str, people: Sequence[str], limit: int | None
) -> list[ClipInfo]:
    """Choose the clips."""
    if stage == "landmarks":
        from talkhead.evaluation.landmarks import scored_rows

        return scored_rows(data, split=split, people=people, limit=limit)
    from talkhead.evaluation.render import rendered_rows

    return rendered_rows(data, split=split, people=people, limit=limit)


def _start(
    stage: Stage,
    data: Path,
    rows: list[ClipInfo],
    folders: dict[str, Path],
    steps: list[int],
    seed: int,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Iterator[ClipScores], int]:
    """Load what is scored; return the scores to come, and how many there are of every clip."""
    from talkhead.synthesis import load_generator, load_pipeline

    if stage == "landmarks":
        from talkhead.evaluation.landmarks import score_landmarks

        generators = {
            name: load_generator(_generator_folder(folder), device)
            for name, folder in folders.items()
        }
        # With the truth and two baselines.
        return score_landmarks(data, rows, generators, seed), len(folders) + 3
    from talkhead.evaluation.render import score_render

    pipelines = {name: load_pipeline(folder, device, dtype) for name, folder in folders.items()}
    # With the plain warp and the autoencoder alone.
    return score_render(data, rows, pipelines, steps, seed), len(folders) * len(steps) + 2


def _generator_folder(folder: Path) -> Path:
    """Return the generator's place in a pipeline's folder; a run's checkpoint is one itself."""
    inside = folder / "landmarks"
    return inside if inside.is_dir() else folder


def _report(
    scores: list[ClipScores], *, stage: Stage, data: Path, split: str, seed: int
) -> dict[str, Any]:
    import dataclasses

    from talkhead import __version__

    groups: dict[str, Any] = {}
    for name, is_seen in (("people never seen", False), ("people seen in training", True)):
        part = [score for score in scores if score.is_seen_person == is_seen]
        if part:
            systems = list(dict.fromkeys(score.system for score in part))
            clips = {score.clip: score for score in part}
            groups[name] = {
                "clips": len(clips),
                "people": len({score.person for score in part}),
                "frames": sum(score.num_frames for score in clips.values()),
                "systems": {
                    system: _means([s.values for s in part if s.system == system], MEASURES[stage])
                    for system in systems
                },
            }
    return {
        "talkhead": __version__,
        "stage": stage,
        "data": str(data),
        "split": split,
        "seed": seed,
        "groups": groups,
        "clips": [dataclasses.asdict(score) for score in scores],
    }


def _means(rows: list[dict[str, float]], names: Iterable[str]) -> dict[str, float]:
    """Average over the clips that have a score; its number of clips is not always the same."""
    means = {}
    for name in names:
        values = [row[name] for row in rows if name in row]
        if values:
            means[name] = sum(values) / len(values)
    return means


def _print_table(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(stderr=True)
    stage: Stage = result["stage"]
    for name, group in result["groups"].items():
        title = f"{name}: {group['clips']} clips, {group['people']} people"
        table = Table(title=title, title_justify="left")
        table.add_column("")
        for system in group["systems"]:
            table.add_column(system, justify="right")
        for key, (heading, text) in MEASURES[stage].items():
            means = [values.get(key) for values in group["systems"].values()]
            table.add_row(heading, *("-" if v is None else text.format(v) for v in means))
        console.print(table)

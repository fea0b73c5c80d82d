"""`talkhead train`: train a model from the settings in a TOML file."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from talkhead.cli.device import DeviceOption
from talkhead.cli.output import JsonOption, QuietOption, print_json
from talkhead.device import resolve_device
from talkhead.extras import require_extra

if TYPE_CHECKING:
    from talkhead.training.records import Report

TaskName = Literal[
    "autoencoder", "denoiser", "emotion", "landmarks", "mouth-denoiser", "speech", "video-denoiser"
]


def train(
    task_name: Annotated[
        TaskName,
        typer.Argument(
            metavar="TASK",
            help="autoencoder, denoiser, emotion, landmarks, mouth-denoiser, speech or"
            " video-denoiser.",
            show_default=False,
        ),
    ],
    settings_path: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG.toml",
            help="Settings; see examples/train-TASK.toml.",
            show_default=False,
        ),
    ],
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a model on prepared clips. Needs the extra talkhead[train].

    The run folder named in the settings gets the checkpoint, logs, previews, and the state from
    which the same command continues.
    """
    require_extra("train", "training")
    from talkhead.training.config import CHECKPOINT
    from talkhead.training.loop import is_first_process
    from talkhead.training.loop import train as run_training
    from talkhead.training.tasks import build_task

    resolve_device(device)
    task, settings = build_task(task_name, settings_path)
    commit = settings.encoder_commit
    if commit is not None and not quiet:
        typer.echo(f"{settings.task.speech} is at commit {commit}", err=True)
    reports = run_training(task, settings.loop, settings.run, device)
    with contextlib.closing(reports):
        for report in reports:
            if not quiet:
                typer.echo(_line(report), err=True)
    if not is_first_process():
        return
    scores = _last_scores(settings.run)
    summary = {
        "task": task_name,
        "steps": settings.loop.steps,
        "checkpoint": str(settings.run / CHECKPOINT),
        "scores": scores,
    }
    if commit is not None:
        summary["encoder_commit"] = commit
    if as_json:
        print_json(summary)
    else:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        typer.echo(f"{summary['checkpoint']}: {settings.loop.steps} steps, {shown}")


def _line(report: Report) -> str:
    """Format a report as one line, with the time left."""
    values = dict(report.values)
    speed = values.pop("steps_per_s", None)
    parts = [f"{report.kind} {report.step}/{report.steps}"]
    parts += [f"{name} {value:.4g}" for name, value in values.items()]
    if speed:
        parts.append(f"{speed:.2f} steps/s")
        parts.append(f"{_duration((report.steps - report.step) / speed)} left")
    return "  ".join(parts)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


def _last_scores(run: Path) -> dict[str, Any]:
    """Return the scores of the last validation in the run's log."""
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    for line in reversed(lines):
        values: dict[str, Any] = json.loads(line)
        if values.pop("kind") == "validate":
            del values["step"]
            return values
    return {}

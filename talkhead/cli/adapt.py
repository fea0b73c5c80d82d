"""`talkhead adapt`: weights that know one person, from a few minutes of video."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from talkhead.cli.device import DeviceOption, DtypeOption
from talkhead.cli.options import OverwriteOption, SeedOption, WeightsOption
from talkhead.cli.output import (
    JsonOption,
    OfflineOption,
    QuietOption,
    print_columns,
    print_json,
    tell_revision,
)
from talkhead.errors import TalkheadError


def adapt(
    videos: Annotated[
        list[Path],
        typer.Argument(
            metavar="VIDEO...",
            help="One to five minutes of one person who speaks.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Folder of the weights, for --weights.",
            show_default=False,
        ),
    ],
    minutes: Annotated[
        float,
        typer.Option("--minutes", metavar="N", min=1, help="Time for everything."),
    ] = 15,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            metavar="N",
            min=1,
            help="Train each network for N steps instead, which can be repeated exactly.",
            show_default=False,
        ),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(
            "--work",
            metavar="FOLDER",
            help="Keep the prepared clips here, and use those of an earlier run.",
            show_default=False,
        ),
    ] = None,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    weights: WeightsOption = "default",
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    offline: OfflineOption = False,
) -> None:
    """Adapt the weights to one person: their teeth, skin and way of speaking.

    The last tenth of each video is not learned from. It is scored before and after, and weights
    that are worse are not saved. Use it only with the person's consent.
    """
    from talkhead.jobs.adapt_job import AdaptJob, check_job
    from talkhead.weights import locate_weights

    found = locate_weights(weights, offline=offline)
    job = AdaptJob(
        videos=tuple(videos),
        output=output,
        weights=str(found),
        minutes=minutes,
        steps=steps,
        work=work,
        seed=seed,
        overwrite=overwrite,
    )
    check_job(job, found.folder)
    tell_revision(found)

    from talkhead.device import resolve_device, resolve_dtype
    from talkhead.jobs.adapt_job import adapt as run_adaptation

    torch_device = resolve_device(device)
    torch_dtype = resolve_dtype(dtype, torch_device)
    with _progress(quiet=quiet) as report:
        result = run_adaptation(
            job,
            found.folder,
            device=torch_device,
            dtype=torch_dtype,
            report=report,
            tell=lambda note: typer.echo(f"talkhead: {note}", err=True),
        )
    result |= {"device": str(torch_device), "dtype": str(torch_dtype).removeprefix("torch.")}
    if as_json:
        print_json(result)
    else:
        _print_scores(result)
    if not result["saved"]:
        raise TalkheadError(f"nothing is saved: {result['reason']}")


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """Yield a function that shows on stderr, if that is a terminal, how far each stage is."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
    ) as progress:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, share: float) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=1.0)
            progress.update(tasks[stage], completed=share)

        yield report


def _print_scores(result: dict[str, Any]) -> None:
    """Print the folder, and a table of the scores."""
    before, after = result["scores"]["before"], result["scores"]["after"]
    if result["saved"]:
        typer.echo(result["weights"])
    rows = [(key, f"{before[key]:.2f}", f"{after[key]:.2f}") for key in before if key in after]
    print_columns([(f"last {result['held_out_s']:.0f} s", "before", "after"), *rows])

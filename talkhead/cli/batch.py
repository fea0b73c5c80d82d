"""`talkhead render` for batches: the options, the checks and the workers."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from talkhead.cli.batch_lines import Tally
from talkhead.cli.options import BATCH
from talkhead.cli.output import tell_revision
from talkhead.cli.pipes import DASH
from talkhead.errors import TalkheadError
from talkhead.extras import require_extra

if TYPE_CHECKING:
    from talkhead.batch.items import Item
    from talkhead.batch.run import Result, Workers
    from talkhead.jobs.render_job import RenderJob

MAX_JOBS = 256

ListOption = Annotated[
    Path | None,
    typer.Option(
        "--list",
        metavar="LIST.csv",
        help="A row per video: face,audio,output and any long options.",
        show_default=False,
        rich_help_panel=BATCH,
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        min=1,
        max=MAX_JOBS,
        metavar="N",
        help="Worker processes.",
        show_default="1; with --ray one per machine",
        rich_help_panel=BATCH,
    ),
]
SkipExistingOption = Annotated[
    bool,
    typer.Option("--skip-existing", help="Leave existing outputs.", rich_help_panel=BATCH),
]
KeepGoingOption = Annotated[
    bool,
    typer.Option(
        "--keep-going/--fail-fast",
        help="After a failure, go on or stop.",
        rich_help_panel=BATCH,
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Check everything, render nothing.", rich_help_panel=BATCH),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Use a Ray cluster: auto, local, host:port or ray://host:port.",
        show_default=False,
        rich_help_panel=BATCH,
    ),
]


@dataclasses.dataclass(frozen=True)
class BatchOptions:
    """Command-line options of a batch, without the options of its items."""

    table: Path | None
    jobs: int | None
    skip_existing: bool
    keep_going: bool
    dry_run: bool
    ray: str | None
    device: str
    dtype: str
    threads: int | None
    offline: bool
    as_json: bool
    quiet: bool

    def wanted(self) -> str | None:
        """Return the name of a batch-only option that was given, or None."""
        given = {
            "--list": self.table is not None,
            "--jobs": self.jobs is not None,
            "--fail-fast": not self.keep_going,
            "--dry-run": self.dry_run,
            "--ray": self.ray is not None,
        }
        return next((name for name, is_given in given.items() if is_given), None)


def is_batch(audio: Sequence[Path], output: str, options: BatchOptions) -> bool:
    """Return whether the arguments ask for more than one video, or could.

    Raises:
        TalkheadError: a batch-only option was given for a single video.
    """
    from talkhead.batch.naming import is_pattern, is_template

    is_folder = output.endswith(("/", os.sep))
    many = len(audio) != 1 or is_pattern(str(audio[0]))
    if options.table is not None or many or is_folder or is_template(output):
        return True
    if (name := options.wanted()) is not None:
        raise TalkheadError(
            f"{name} is for batches: give several sounds, --list, or a folder such as -o videos/"
        )
    return False


def plan_batch(
    face: Path | None,
    audio: Sequence[Path],
    output: str | None,
    base: RenderJob,
    options: BatchOptions,
) -> list[RenderJob]:
    """Return the jobs of a batch.

    Args:
        face: the face of all items, or of rows without one.
        audio: sounds, or patterns that match sounds.
        output: a folder or a name template.
        base: options that all items share.
        options: options of the batch.

    Raises:
        TalkheadError: the arguments do not describe a batch.
    """
    from talkhead.batch.naming import NameTemplate, expand_sounds
    from talkhead.batch.table import read_table

    if DASH in (face, *audio) or output == str(DASH):
        raise TalkheadError("- (stdin or stdout) is for one video at a time; a batch needs files")
    template = None if output is None else NameTemplate.read(output)
    if options.table is not None:
        if audio:
            raise TalkheadError("--list already names the sounds: leave out AUDIO or --list")
        return read_table(options.table, base, face, template)
    assert face is not None
    assert template is not None
    return [
        dataclasses.replace(base, face=face, audio=sound, output=template.name(face, sound, number))
        for number, sound in enumerate(expand_sounds([str(path) for path in audio]), 1)
    ]


def render_batch(jobs: Sequence[RenderJob], options: BatchOptions) -> None:
    """Render the videos of a batch, and report the result of each.

    Raises:
        BatchError: an item failed.
        TalkheadError: the batch cannot start.
    """
    from talkhead.batch.items import check_items
    from talkhead.batch.run import Journals, known_results, run_batch
    from talkhead.provenance import weights_digests
    from talkhead.weights import locate_weights

    started = time.monotonic()
    if options.ray is not None:
        require_extra("ray", "--ray")
    elif options.device not in ("auto", "cpu"):
        from talkhead.device import resolve_device

        resolve_device(options.device)
    found = locate_weights(jobs[0].weights, offline=options.offline)
    tell_revision(found)
    folder, name = found.folder, str(found)
    jobs = [dataclasses.replace(job, weights=name) for job in jobs]
    decisive = {**weights_digests(folder), "dtype": options.dtype}

    def check() -> list[Item]:
        return check_items(jobs, decisive, skip_existing=options.skip_existing)

    items = check()
    tally = Tally(len(items), options, started)
    if options.dry_run:
        for item in items:
            tally.foresee(item)
        tally.end()
        return
    faults = any(item.state == "failed" for item in items)
    if not any(item.state == "waiting" for item in items) or (faults and not options.keep_going):
        for result in known_results(items):
            tally.tell(result)
        tally.end()
        return
    with Journals(items) as journals:
        items = check()  # check again: another batch may have just ended
        with _workers(options, folder, name, len(items)) as workers:
            results = _results(
                known_results(items),
                run_batch(items, journals, workers, keep_going=options.keep_going),
            )
            with contextlib.closing(_with_bar(results, len(items), options)) as shown:
                for result in shown:
                    tally.tell(result)
    tally.end()


def _results(
    known: Iterable[Result], rendered: Generator[Result, None, None]
) -> Generator[Result, None, None]:
    with contextlib.closing(rendered):
        yield from known
        yield from rendered


@contextlib.contextmanager
def _workers(
    options: BatchOptions, folder: Path, name: str, num_items: int
) -> Generator[Workers, None, None]:
    from talkhead.batch.worker import Settings

    if options.ray is None:
        from talkhead.batch.processes import Processes

        count = min(options.jobs or 1, num_items)
        settings = Settings(
            str(folder),
            options.device,
            options.dtype,
            options.offline,
            shares=count,
            threads=options.threads,
        )
        with Processes(settings, count) as processes:
            yield processes
        return
    from talkhead.batch.ray_cluster import RayWorkers

    # Each machine has its own copy of listed weights, but a user's folder is shared.
    where = str(Path(name).resolve()) if Path(name).is_dir() else name
    settings = Settings(
        where,
        options.device,
        options.dtype,
        options.offline,
        shares=1,
        threads=options.threads,
    )
    uses_gpu = options.device.startswith("cuda")
    with (
        contextlib.redirect_stdout(sys.stderr),
        RayWorkers(settings, options.ray, options.jobs, uses_gpu=uses_gpu) as cluster,
    ):
        yield cluster


def _with_bar(
    results: Generator[Result, None, None], total: int, options: BatchOptions
) -> Generator[Result, None, None]:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    # In a terminal, lines printed meanwhile go above the bar; a file or a pipe gets them directly.
    with (
        Progress(
            console=console,
            transient=True,
            disable=options.quiet or not console.is_terminal,
            redirect_stdout=sys.stdout.isatty(),
        ) as progress,
        contextlib.closing(results),
    ):
        yield from progress.track(results, total=total, description="videos")

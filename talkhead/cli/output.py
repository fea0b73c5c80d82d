"""Command output: results on stdout, progress with the remaining time on stderr."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from talkhead.media.sizes import scaled_note

if TYPE_CHECKING:
    from talkhead.jobs.render_job import RenderJob
    from talkhead.weights import ResolvedWeights

ItemT = TypeVar("ItemT")

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
OfflineOption = Annotated[
    bool,
    typer.Option("--offline", help="Never use the network.", rich_help_panel="Device"),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Hide progress.")]


def print_json(result: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print a result as JSON; NaN and infinities, which JSON does not allow, are a bug.

    The text is UTF-8, or ASCII if stdout has another encoding. Bytes in file names that are not
    UTF-8 are escaped as in Python: E9 becomes the lone surrogate DCE9.
    """
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if _has_surrogates(text) or codecs.lookup(encoding).name != "utf-8":
        text = json.dumps(result, indent=2, allow_nan=False)
    typer.echo(text)


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= each <= "\udfff" for each in text)


def print_columns(rows: Iterable[Sequence[str]]) -> None:
    """Print rows of texts in columns, two spaces apart."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        typer.echo("  ".join(cells).rstrip())


def with_progress(
    items: Iterable[ItemT], *, label: str, total: int | None = None, quiet: bool = False
) -> Generator[ItemT, None, None]:
    """Yield items while a bar on stderr shows how many are done and the time left.

    If stderr is not a terminal, nothing is shown.

    Args:
        items: what to iterate over; a generator is closed along with this one.
        label: what the items are, for example "frames".
        total: their number, if known.
        quiet: show nothing.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    ) as progress:
        try:
            yield from progress.track(items, total=total, description=label)
        finally:
            if isinstance(items, Generator):
                items.close()


def frame_progress(*, quiet: bool) -> Callable[[Iterable[Any], int | None], Iterable[Any]]:
    """Return a function that wraps frames in a progress bar."""

    def follow(frames: Iterable[Any], total: int | None) -> Iterable[Any]:
        return with_progress(frames, label="frames", total=total, quiet=quiet)

    return follow


def warn_without_speech(audio: Path, facts: Mapping[str, Any]) -> None:
    """Warn that the lips stay at rest because a sound, though not silent, contains no speech.

    Args:
        audio: the sound, named as the user gave it.
        facts: speech and silent; without them, nothing is printed.
    """
    if facts.get("speech", True) or facts.get("silent", False):
        return
    name = "stdin" if audio == Path("-") else str(audio)
    shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    typer.echo(f"talkhead: warning: no speech found in {shown}: the lips stay at rest", err=True)


def warn_of_silence(job: RenderJob, facts: Mapping[str, Any]) -> None:
    """Warn of each sound of a job that contains no speech, as `warn_without_speech` does."""
    warn_without_speech(job.audio, facts)
    for known in facts.get("speakers", ()):
        warn_without_speech(Path(known["audio"]), known)


def tell_scaling(picture: Path, original: tuple[int, int], size: tuple[int, int]) -> None:
    """Report on stderr that a picture was scaled down, if it was."""
    if (note := scaled_note(picture, original, size)) is not None:
        typer.echo(f"talkhead: {' '.join(note.split())}", err=True)


def tell_not_kept(video: Path, output: Path, losses: Sequence[str]) -> None:
    """Report on stderr what of a face and its voice the output cannot hold, if anything."""
    if losses:
        from talkhead.jobs.outputs import SOUND

        where = "a pipe" if output == Path("-") else output.suffix.lower().lstrip(".")
        others = "; ".join(each for each in losses if each != SOUND)
        parts = [SOUND] if SOUND in losses else []
        parts += [f"{others} of {video}"] if others else []
        line = f"talkhead: {where} cannot keep {'; '.join(parts)}"
        shown = line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        typer.echo(" ".join(shown.split()), err=True)


def tell_revision(weights: ResolvedWeights) -> None:
    """Report on stderr which commit of a hub repository is in use, if the weights are from one."""
    if weights.revision is not None:
        typer.echo(f"talkhead: weights {weights}", err=True)


def in_megabytes(num_bytes: int) -> str:
    """Format a size in megabytes of a million bytes."""
    return f"{num_bytes / 1e6:.1f} MB"


def peak_memory_mb() -> float | None:
    """Return this process's peak memory, or None if the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)

"""Report a batch: one line for each item as it ends, and a final count."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from talkhead.cli.output import tell_not_kept, tell_scaling, warn_of_silence
from talkhead.errors import BatchError

if TYPE_CHECKING:
    from talkhead.batch.items import Item
    from talkhead.batch.run import Result
    from talkhead.cli.batch import BatchOptions

FAILURES_SHOWN = 3


class Tally:
    """Reports the result of each item, counts results, and prints a summary."""

    def __init__(self, total: int, options: BatchOptions, started: float) -> None:
        self._total, self._options, self._started = total, options, started
        self._counts = {"done": 0, "skipped": 0, "failed": 0}
        # Ray reports lost machines on stdout, which `talkhead.cli.batch` therefore redirects.
        self._stdout = None if options.ray is None else sys.stdout
        self._failures: list[str] = []

    def tell(self, result: Result) -> None:
        """Report the result of an item."""
        job, output = result.item.job, str(result.item.job.output)
        if result.state == "done":
            warn_of_silence(job, result.facts)
        self._count(result.state, f"{output}: {result.error}")
        if result.state == "done" and (original := result.facts.get("scaled_from")) is not None:
            size = (result.facts["width"], result.facts["height"])
            tell_scaling(job.face, tuple(original), size)
        if result.state == "done":
            tell_not_kept(job.face, job.output, result.facts.get("not_kept", ()))
        if self._options.as_json:
            line: dict[str, Any] = {
                "state": result.state,
                "item": result.item.number,
                "face": str(job.face),
                "audio": str(job.audio),
                **result.facts,
                "output": output,
            }
            if result.state == "failed":
                line |= {"error": result.error, "exit_code": result.exit_code}
            elif result.state == "skipped":
                line |= {"reason": result.error}
            self._say_json(line)
        elif result.state == "done":
            self._say(made_line(output, result.facts))
        elif result.state == "skipped":
            self._say(f"{output}: {result.error}, skipped")

    def _say(self, line: str) -> None:
        # The system accepts names that are not UTF-8; a terminal does not.
        shown = line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        typer.echo(shown, file=self._stdout)
        (self._stdout or sys.stdout).flush()  # a program may be waiting for it

    def _say_json(self, values: Mapping[str, Any]) -> None:
        self._say(json.dumps(values, allow_nan=False))

    def foresee(self, item: Item) -> None:
        """Report what would happen to an item."""
        output = str(item.job.output)
        if item.state != "waiting":
            self._count(item.state, f"{output}: {item.why}")
        if self._options.as_json:
            line = {"state": item.state, "item": item.number, "face": str(item.job.face)}
            line |= {"audio": str(item.job.audio), "output": output}
            self._say_json(line | ({"reason": item.why} if item.why else {}))
        elif item.state == "waiting":
            sounds = [speaker.audio for speaker in item.job.speakers] or [item.job.audio]
            named = ", ".join(map(str, sounds))
            self._say(f"{output}: to be rendered from {item.job.face} and {named}")
        else:
            self._say(f"{output}: {item.state}, {item.why}")

    def end(self) -> None:
        """Print how many items had each result.

        Raises:
            BatchError: an item failed.
        """
        counts = {**self._counts, "undone": self._total - sum(self._counts.values())}
        if self._options.as_json:
            seconds = round(time.monotonic() - self._started, 3)
            self._say_json({"state": "summary", "items": self._total, **counts, "seconds": seconds})
        items = f"{self._total} item{'' if self._total == 1 else 's'}"
        told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        if counts["failed"]:
            first = "; ".join(self._failures)
            more = counts["failed"] - len(self._failures)
            rest = f"; and {more} more" if more else ""
            stopped = counts["undone"] and not self._options.keep_going
            advice = " (--keep-going renders the others)" if stopped else ""
            raise BatchError(f"{items}: {told}{advice}: {first}{rest}")
        if not self._options.quiet:
            typer.echo(f"talkhead: {items}: {told}", err=True)

    def _count(self, state: str, failure: str) -> None:
        self._counts[state] += 1
        if state == "failed" and len(self._failures) < FAILURES_SHOWN:
            self._failures.append(failure)


def made_line(output: str, facts: Mapping[str, Any]) -> str:
    """Return the line that reports a finished video."""
    missing = facts.get("frames_without_face", 0)
    without = f", {missing} frames without a face left unchanged" if missing else ""
    return (
        f"{output}: {facts['frames']} frames at {facts['fps']} fps, "
        f"{facts['width']} x {facts['height']} px, "
        f"{facts['frames_per_second']} frames per second{without}"
    )

"""What a visitor reads: progress, results and errors, as short texts."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from talkhead.app.work import Step
from talkhead.errors import TalkheadError, fault_of_machine

TITLE = "talkhead"
MARK = "The file says that it is synthetic, and what made it."
CANCELLED = '<div class="state">Cancelled</div>'
WAITING, DONE = "waiting", "done"
IN_LINE = '<div class="state">Waiting for other renders to end</div>'
EMPTY = '<div class="state"></div>'
SHOW_IN_LINE = f"() => {IN_LINE!r}"
"""JavaScript: the browser itself shows that a request was made, before the server answers."""
FORGET_PROGRESS = f"(shown) => shown === {CANCELLED!r} ? shown : {EMPTY!r}"
"""JavaScript: removes the line of a render that failed; a cancelled one counts as failed too."""
KEEP_ROWS = f"(shown) => shown === {IN_LINE!r} ? '' : shown"
"""JavaScript: the same for a batch, whose table stays."""


def progress_html(step: Step) -> str:
    """Return a line and a bar that show how far a render is."""
    what = html.escape(step.what.capitalize())
    if step.total:
        share = min(100 * step.done / step.total, 100.0)
        right = f"{step.done} of {step.total} frames"
        if step.left_s is not None:
            right += f", {duration(step.left_s)} left"
        bar = f'<div style="width: {share:.1f}%"></div>'
    else:
        right, bar = "", '<div class="unknown"></div>'
    return (
        f'<div class="state"><div class="line"><span>{what}</span><span>{right}</span></div>'
        f'<div class="bar">{bar}</div></div>'
    )


def result_html(facts: Mapping[str, Any]) -> str:
    """Return one line on a finished video, and what to know about it."""
    lines = [
        f"{facts['duration_s']:.1f} s, {facts['width']} x {facts['height']} px, "
        f"{facts['fps']} frames per second, rendered in {duration(facts['seconds'])}"
    ]
    if not facts.get("speech", True):
        heard = "is silent" if facts.get("silent") else "has no speech"
        lines.append(f"The sound {heard}: the lips stay at rest")
    if missing := facts.get("frames_without_face"):
        lines.append(f"{missing} frames without a face were left as they are")
    if (emotion := facts.get("emotion")) is not None:
        lines.append(f"Emotion: {emotion}")
    shown = "<br>".join(map(html.escape, lines))
    return f'<div class="state">{shown}<div class="mark">{MARK}</div></div>'


def track_html(facts: Mapping[str, Any]) -> str:
    """Return one line on a finished track."""
    shown = html.escape(
        f"{facts['frames']} frames at {facts['fps']} per second, for a picture of"
        f" {facts['width']} x {facts['height']} px"
    )
    return f'<div class="state">{shown}</div>'


def rows_html(rows: Iterable[tuple[str, str]]) -> str:
    """Return the table of a batch: names, which are escaped here, and states in HTML."""
    lines = (f"<tr><td>{html.escape(name)}</td><td>{state}</td></tr>" for name, state in rows)
    return f'<table class="batch">{"".join(lines)}</table>'


def duration(seconds: float) -> str:
    """Return a time such as "8 s" or "2 min 05 s"."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def message_of(error: Exception, paths: Iterable[Path]) -> str | None:
    """Return the one line of an error, or None if it is a bug.

    Folders of the server are left out: files are called by the names that visitors gave them.
    """
    message = fault_of_machine(error)
    if message is None and isinstance(error, TalkheadError):
        message = str(error)
    if message is None:
        return None
    for path in paths:
        message = message.replace(str(path), path.name)
    return " ".join(message.split())

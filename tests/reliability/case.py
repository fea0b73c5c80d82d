"""One hostile input and the command that is given it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.reliability.seeds import Seeds


@dataclass(frozen=True)
class Case:
    """A command to run in the folder that holds its input."""

    what: str
    """The input in a few words, for the list of findings."""
    command: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    """Names in the folder under which the command may write."""
    may_keep: bool = False
    """What is done stays when the command fails: a folder of clips, or a report."""
    may_be_missing: bool = False
    """The command may end well without its outputs."""


Maker = Callable[[Seeds, Path, np.random.Generator, int], Case | None]
"""Makes the case of a number in a folder; None where a kind has no more of them."""

_QUIET = ("--quiet", "--device", "cpu", "--dtype", "float32")


def render(seeds: Seeds, *, face: str = "", audio: str = "", more: tuple[str, ...] = ()) -> Case:
    """Render with some of the arguments hostile, the others being the seeds'."""
    weights = () if "--weights" in more else ("--weights", str(seeds.weights))
    return Case(
        "render",
        (
            *("render", face or str(seeds.face), audio or str(seeds.voice), "-o", "out.mp4"),
            *(*weights, "--steps", "1", *_QUIET, *more),
        ),
        ("out.mp4",),
    )


def landmarks(seeds: Seeds, audio: str = "", *, more: tuple[str, ...] = ()) -> Case:
    """Write landmarks of a sound, or of a video."""
    weights = () if "--weights" in more else ("--weights", str(seeds.weights))
    return Case(
        "landmarks",
        (
            *("landmarks", audio or str(seeds.voice), "-o", "out.npz", *weights),
            *("--device", "cpu", "--quiet", *more),
        ),
        ("out.npz",),
    )


def doctor(face: str) -> Case:
    """List the faces."""
    return Case("doctor", ("doctor", face))


def prepare(videos: str) -> Case:
    """Prepare videos."""
    options = ("--workers", "1", "--weights", "none", "--quiet")
    return Case("prepare", ("prepare", videos, "-o", "data", *options), ("data",), may_keep=True)


def train(task: str, settings: str) -> Case:
    """Train: the settings' data is missing, so that nothing but them is read."""
    return Case("train", ("train", task, settings, "--device", "cpu", "--quiet"))


def evaluate(seeds: Seeds, data: str, *, more: tuple[str, ...] = ()) -> Case:
    """Score landmarks, in one process."""
    options = ("--stage", "landmarks", "--weights", str(seeds.weights), "--limit", "1")
    return Case(
        "eval",
        (
            "eval",
            data,
            "-o",
            "report",
            *options,
            "--jobs",
            "1",
            "--quiet",
            "--device",
            "cpu",
            *more,
        ),
        ("report",),
        may_keep=True,
    )


def described(case: Case, what: str) -> Case:
    """Return a case with its input described."""
    return Case(f"{case.what}: {what}", case.command, case.outputs, case.may_keep)

"""Compare a benchmark with an earlier result, or with another install on the same machine."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from talkhead.errors import TalkheadError

ROUNDS = 2
"""How often two installs run in turn."""
SPEED = "frames_per_second"
SETTINGS = ("device", "gpu", "threads", "dtype", "size", "seconds_of_sound", "steps", "dubs")
"""What has to be equal for two speeds to be comparable."""


def read_result(path: Path) -> dict[str, Any]:
    """Read what `talkhead benchmark --json` printed.

    Raises:
        TalkheadError: the file is something else.
    """
    try:
        found = json.loads(path.read_bytes())
        float(found[SPEED])
    except OSError as error:
        raise TalkheadError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise TalkheadError(f"{path} is not a result of `talkhead benchmark --json`") from error
    return dict(found)


def run_in_turns(other: Path, options: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the benchmark of this install and of another one in turn, in processes of their own.

    A machine's speed changes with what else it does, so runs that alternate compare better than
    runs one after the other.

    Args:
        other: the `talkhead` program of the other install.
        options: of the benchmark, for both.

    Returns:
        The results of this install and of the other one, each with the mean speed of its runs.

    Raises:
        TalkheadError: a run failed.
    """
    ours = [sys.executable, "-m", "talkhead"]
    runs: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for _ in range(ROUNDS):
        for command, results in zip((ours, [str(other.absolute())]), runs, strict=True):
            results.append(_run([*command, "benchmark", "--json", *options]))
    mine, theirs = (
        results[0] | {SPEED: round(statistics.fmean(result[SPEED] for result in results), 2)}
        for results in runs
    )
    return mine, theirs


def check_settings(settings: dict[str, Any], earlier: dict[str, Any], name: str) -> None:
    """Check that speeds can be compared.

    Args:
        settings: those of this benchmark, or its result.
        earlier: the other result.
        name: where that comes from.

    Raises:
        TalkheadError: they were measured with different settings.
    """
    for setting in SETTINGS:
        if settings.get(setting) != earlier.get(setting):
            raise TalkheadError(
                f"{name} was measured with {setting} {earlier.get(setting)}, not"
                f" {settings.get(setting)}: give both the same options"
            )


def compared(result: dict[str, Any], earlier: dict[str, Any], name: str) -> dict[str, Any]:
    """Return how a result compares with another one, for its entry `against`."""
    return {
        "name": name,
        "version": earlier.get("version"),
        SPEED: earlier[SPEED],
        "ratio": round(result[SPEED] / earlier[SPEED], 3),
    }


def _run(command: list[str]) -> dict[str, Any]:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise TalkheadError(f"{command[0]} cannot be run: {error.strerror}") from error
    if ended.returncode != 0:
        lines = ended.stderr.strip().splitlines() or ["no message"]
        raise TalkheadError(f"{command[0]} benchmark failed: {lines[-1]}")
    result: dict[str, Any] = json.loads(ended.stdout)
    return result

"""Batches that are killed again and again, and given again until they end."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from talkhead.batch.journal import JOURNAL_NAME, LOCK_NAME
from tests.drawn_face import draw_face
from tests.reliability.table import Row
from tests.tiny import write_tiny_weights, write_voice

TOP = Path(__file__).resolve().parents[2]
NUM_ITEMS = 5
LIMIT_S = 300
KIND = "batch ended by SIGKILL at a random moment, and given again"


def kill_batch(count: int, seed: int) -> Row:
    """Kill batches `count` times; each is given again until it ends, and then looked at.

    About every second kill takes the processes that make videos too. What then has a name has
    the bytes that a batch makes which nobody disturbs, and in the end all of it does, each made
    once, with nothing beside it.
    """
    row = Row(KIND)
    rng = np.random.default_rng([seed, 5])
    with tempfile.TemporaryDirectory(prefix="talkhead-kills-") as name:
        top = Path(name)
        Image.fromarray(draw_face(160)).save(top / "face.png")
        write_tiny_weights(top / "weights")
        for index in range(NUM_ITEMS):
            write_voice(top / f"voice-{index}.wav", 1.0, index)
        started = time.monotonic()
        process = _start(top, "undisturbed")
        _wait_for_a_line(process, top / "undisturbed", 0)
        writing = time.monotonic()
        _wait_for_videos(process, top / "undisturbed")
        times = Times(writing - started, time.monotonic() - writing)
        code, said = _end(process)
        expected = _videos(top / "undisturbed")
        assert code == 0, said
        assert len(expected) == NUM_ITEMS
        number = 0
        while row.tried < count:
            number += 1
            folder = top / f"killed-{number}"
            _kill_until_it_ends(row, count, rng, times, folder, expected)
    return row


@dataclass(frozen=True)
class Times:
    """How long the parts of a batch take that nobody kills."""

    loading_s: float
    """To the first line of its journal."""
    making_s: float
    """From there to its last video."""


def _wait_for_a_line(process: "subprocess.Popen[str]", folder: Path, size: int) -> None:
    """Wait until the journal has grown beyond a size, or the batch has ended."""
    while process.poll() is None and _journal_size(folder) <= size:
        time.sleep(0.002)


def _wait_for_videos(process: "subprocess.Popen[str]", folder: Path) -> None:
    """Wait until all videos have their names, or the batch has ended."""
    while process.poll() is None and len(_videos(folder)) < NUM_ITEMS:
        time.sleep(0.002)


def _journal_size(folder: Path) -> int:
    journal = folder / JOURNAL_NAME
    return journal.stat().st_size if journal.exists() else 0


def _kill_until_it_ends(
    row: Row,
    count: int,
    rng: np.random.Generator,
    times: Times,
    folder: Path,
    expected: dict[str, bytes],
) -> None:
    while True:
        started = time.monotonic()
        size = _journal_size(folder)
        process = _start(folder.parent, folder.name)
        is_killed = False
        if row.tried < count:
            # Most of the time goes into loading: three of four kills come while videos are made.
            moment_s = rng.uniform(0, times.loading_s)
            if row.tried % 4:
                _wait_for_a_line(process, folder, size)
                moment_s = rng.uniform(0, 1.2 * times.making_s)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moment_s)
            is_killed = process.poll() is None
        if is_killed:
            send = os.killpg if rng.random() < 0.5 else os.kill
            send(process.pid, signal.SIGKILL)
        code, said = _end(process)
        found = _videos(folder)
        faults = [f"{name} is not whole" for name in found if found[name] != expected[name]]
        if is_killed:
            outcome = f"killed with {len(found)} of {NUM_ITEMS} made, all whole"
        else:
            outcome = "ended complete, with the same bytes"
            faults += _faults_of_the_end(folder, code, said, found, expected)
        if is_killed or faults:
            row.add("finding" if faults else outcome, time.monotonic() - started, 0.0, faults)
        if not is_killed:
            return


def _faults_of_the_end(
    folder: Path, code: int, said: str, found: dict[str, bytes], expected: dict[str, bytes]
) -> list[str]:
    faults = [] if code == 0 else [f"exit code {code}: {said!r}"]
    if found.keys() != expected.keys():
        faults.append(f"made {sorted(found)}")
    left = {path.name for path in folder.iterdir()} - {*expected, JOURNAL_NAME, LOCK_NAME}
    if left:
        faults.append(f"left {sorted(left)}")
    lines = (folder / JOURNAL_NAME).read_bytes().split(b"\n")
    entries = []
    for line in lines:
        with contextlib.suppress(ValueError):  # cut off by a kill
            entries.append(json.loads(line))
    twice = Counter(entry["output"] for entry in entries if entry["state"] == "done")
    faults += [f"{name} was made {times} times" for name, times in twice.items() if times > 1]
    return faults


def _start(top: Path, name: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "talkhead", "render", "face.png", "voice-*.wav"]
    return subprocess.Popen(
        [*command, "-o", f"{name}/", "--weights", "weights", "--jobs", "2", "--quiet"],
        cwd=top,
        env=os.environ | {"PYTHONPATH": str(TOP), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that all its processes can be killed at once
    )


def _end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait until a batch and the processes that make its videos are gone; they share stderr."""
    try:
        _, said = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    return process.returncode, said


def _videos(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}

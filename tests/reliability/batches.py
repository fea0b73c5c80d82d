"""Batches of fifty videos: on two processes, and on a Ray cluster that loses a worker."""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from PIL import Image

from talkhead.batch.journal import JOURNAL_NAME, LOCK_NAME
from tests.drawn_face import draw_face
from tests.reliability.table import Row
from tests.tiny import write_tiny_weights, write_voice

TOP = Path(__file__).resolve().parents[2]
NUM_ITEMS = 50
LIMIT_S = 1200


def large_batches(count: int, *, on_ray: bool, num_items: int = NUM_ITEMS) -> Row:
    """Make batches of `num_items`, each item once; on Ray, one of two workers is killed midway."""
    if not on_ray:
        row = Row(f"batch of {num_items} on two jobs")
    elif importlib.util.find_spec("ray") is None:
        return Row("batch on Ray (not installed)")
    else:
        row = Row(f"batch of {num_items} on a Ray cluster of two workers, one killed")
    for _ in range(count):
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="talkhead-batch-") as name:
            faults = _one_batch(Path(name), num_items, on_ray=on_ray)
        outcome = "finding" if faults else "complete, each item once"
        row.add(outcome, time.monotonic() - started, 0.0, faults)
    return row


def _one_batch(top: Path, num_items: int, *, on_ray: bool) -> list[str]:
    Image.fromarray(draw_face(160)).save(top / "face.png")
    write_tiny_weights(top / "weights")
    for index in range(num_items):
        write_voice(top / f"voice-{index}.wav", 0.4, index)
    with contextlib.ExitStack() as stack:
        where: tuple[str, ...] = ("--jobs", "2")
        if on_ray:
            from tests.batch.cluster import ray_cluster

            cluster = stack.enter_context(ray_cluster())
            where = ("--ray", cluster.address)
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "talkhead", "render", "face.png", "voice-*.wav"),
                *("-o", "out/", "--weights", "weights", "--json", *where),
            ],
            cwd=top,
            env=os.environ | {"PYTHONPATH": str(TOP)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        with process.stdout:
            lines = []
            try:
                for line in process.stdout:
                    lines.append(line)
                    if on_ray and len(lines) == num_items // 3:
                        worker = next(iter(cluster.worker_nodes))
                        cluster.remove_node(worker, allow_graceful=False)
                code = process.wait(LIMIT_S)
            finally:
                process.kill()
    return _faults(top / "out", code, lines, {f"voice-{n}.mp4" for n in range(num_items)})


def _faults(folder: Path, code: int, lines: list[str], wanted: set[str]) -> list[str]:
    faults = [] if code == 0 else [f"exit code {code}"]
    *items, summary = map(json.loads, lines)
    told = Counter(Path(item["output"]).name for item in items if item["state"] == "done")
    if told != dict.fromkeys(wanted, 1) or summary["done"] != len(wanted):
        faults.append(f"told of {told}, and of {summary}")
    journal = map(json.loads, (folder / JOURNAL_NAME).read_text().splitlines())
    done = Counter(entry["output"] for entry in journal if entry["state"] == "done")
    if done != dict.fromkeys(wanted, 1):
        faults.append(f"the journal has {done}")
    found = {path.name for path in folder.iterdir()}
    if found != {*wanted, JOURNAL_NAME, LOCK_NAME}:
        faults.append(f"left {sorted(found ^ {*wanted, JOURNAL_NAME, LOCK_NAME})}")
    return faults

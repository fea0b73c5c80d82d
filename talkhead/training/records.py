"""Records of a training run: the log file, TensorBoard, and means of what is logged."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor


@dataclass(frozen=True)
class Report:
    """One line of the log."""

    step: int
    steps: int
    values: dict[str, float]
    kind: str
    """`train` or `validate`."""


class Means:
    """Means of logged values since the last log line, and the speed since the start."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._num_summed = self._num_seen = 0
        self._start_s = time.monotonic()

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add the values of one step."""
        for key, value in values.items():
            self._sums[key] = self._sums.get(key, torch.zeros_like(value)) + value.detach()
        self._num_summed += 1
        self._num_seen += 1

    def take(self, accelerator: Accelerator) -> dict[str, float]:
        """Return the means over all processes, and start anew."""
        means = {
            key: float(accelerator.reduce(value, "mean")) / self._num_summed
            for key, value in self._sums.items()
        }
        means["steps_per_s"] = self._num_seen / (time.monotonic() - self._start_s)
        self._sums, self._num_summed = {}, 0
        return means


class Records:
    """Log file and TensorBoard of a run, resumed at a step."""

    def __init__(self, run: Path, step: int) -> None:
        _trim_log(run / "log.jsonl", step)
        self._log = (run / "log.jsonl").open("a", encoding="utf-8")
        self._board = _board(run, step)

    def add(self, report: Report) -> Report:
        """Write a report, and return it."""
        line = {"kind": report.kind, "step": report.step, **report.values}
        rounded = {k: round(v, 6) if isinstance(v, float) else v for k, v in line.items()}
        self._log.write(json.dumps(rounded) + "\n")
        self._log.flush()
        for key, value in report.values.items():
            self._board.add_scalar(f"{report.kind}/{key}", value, report.step)
        return report

    def close(self) -> None:
        """Close both files."""
        self._log.close()
        self._board.close()


def _trim_log(path: Path, step: int) -> None:
    """Remove log lines written after the state that the run resumes from."""
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        whole = [line for line in lines if line.endswith("}")]  # a kill can truncate the last one
        kept = [line for line in whole if json.loads(line)["step"] <= step]
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _board(run: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter  # slow to import

    return SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

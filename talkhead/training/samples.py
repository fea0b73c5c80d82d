"""Prepared clips in memory, sampled with a balance between people; image augmentation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from talkhead.data.clips import Clip, ClipInfo, read_clip
from talkhead.errors import TalkheadError

Sample = dict[str, npt.NDArray[Any]]
Batch = Mapping[str, Tensor]

PERSON_POWER = 0.5
"""People are drawn with their number of frames to this power, so that none dominates."""


class ClipBank:
    """Clips of one split, still compressed, with a draw that is balanced between people.

    Args:
        folder: written by `talkhead prepare`.
        rows: manifest lines of the clips to load.
        frames: also load the images.
        person_power: people are drawn with their number of frames to this power.

    Raises:
        TalkheadError: no rows, or a clip is missing or damaged.
    """

    def __init__(
        self,
        folder: Path,
        rows: list[ClipInfo],
        *,
        frames: bool = True,
        person_power: float = PERSON_POWER,
    ) -> None:
        if not rows:
            raise TalkheadError(f"{folder} has no clips for this task: see its manifest.jsonl")
        self.rows = rows
        self.clips = [read_clip(folder, row.clip, frames=frames) for row in rows]
        count: dict[str, int] = {}
        for row in rows:
            count[row.person] = count.get(row.person, 0) + row.num_frames
        weights = [row.num_frames * count[row.person] ** (person_power - 1) for row in rows]
        self._cumulative = np.cumsum(weights) / np.sum(weights)

    def draw(self, rng: np.random.Generator) -> tuple[int, Clip]:
        """Draw a clip; return its index and the clip."""
        index = draw_place(self._cumulative, rng)
        return index, self.clips[index]


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """Return a seed for a step and process; the first process has those of a single-process run."""
    words = [seed, step, rank] if rank else [seed, step]
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def draw_place(cumulative: npt.NDArray[np.float64], rng: np.random.Generator) -> int:
    """Draw one of N places, given their cumulative shares (N,), which end with 1."""
    place = int(np.searchsorted(cumulative, rng.random(), side="right"))
    return min(place, len(cumulative) - 1)


def jitter_colours(
    frames: list[npt.NDArray[np.uint8]], rng: np.random.Generator
) -> list[npt.NDArray[np.uint8]]:
    """Jitter exposure, contrast and colour balance, identically for all given frames."""
    gain = np.exp(rng.normal(0, 0.12)) * np.exp(rng.normal(0, 0.04, 3))
    gamma = np.exp(rng.normal(0, 0.15))
    levels = np.linspace(0, 1, 256)[:, None] ** gamma * gain
    table = (levels * 255).round().clip(0, 255).astype(np.uint8)  # (256, 3)
    return [np.stack([table[frame[..., c], c] for c in range(3)], -1) for frame in frames]


def to_model(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Convert uint8 (H, W, 3) to float32 (3, H, W) in [-1, 1]."""
    return np.ascontiguousarray(frame.transpose(2, 0, 1), dtype=np.float32) / 127.5 - 1

"""mask-noise without one of its parts: what each contributes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from talkhead.landmarks2video.mask_noise.renderer import MaskNoiseRenderer
from talkhead.landmarks2video.renderer import Renderer

Floats = npt.NDArray[np.float32]
Part = Literal["mask-noise", "class", "landmarks"]

MOVED_PX = 6.0
"""How far `landmarks` moves all landmarks to the right, crop pixels."""


def name_of(label: str, part: Part) -> str:
    """Return the name of a system without a part."""
    if part == "landmarks":
        return f"{label}, landmarks moved by {MOVED_PX:.0f} px"
    return f"{label} without {part}"


def without_masks(renderer: Renderer) -> Renderer:
    """Return a renderer whose network sees the identity without noise; others stay as they are."""
    if isinstance(renderer, MaskNoiseRenderer):
        return dataclasses.replace(renderer, has_masks=False)
    return renderer


def moved(windows: Iterator[Floats]) -> Iterator[Floats]:
    """Move meshes (T, 478, 3) in crop pixels to the right."""
    for points in windows:
        yield points + np.array([MOVED_PX, 0, 0], np.float32)

"""Warp the stage of a canvas at the picture's own resolution; only what moves is computed.

On a CPU, OpenCV reads the pixels: its positions are multiples of 1/32 pixel, which is enough for 8
bits, and it is three times as fast as `grid_sample` on floats. On other devices, and where OpenCV
cannot be imported, `grid_sample` reads them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from talkhead.geometry.crop import CROP_SIDE_PX, STAGE_MARGIN_PX, STAGE_SIDE_PX
from talkhead.geometry.face_areas import Area
from talkhead.landmarks2video.canvas import SIDE_STEP, Canvas
from talkhead.landmarks2video.warp import warp_image

STILL_PX = 1 / 64
"""Pixels whose source is nearer than this to themselves do not move."""
REACH_PX = 12
"""Lids move the skin up to this far beyond what the mesh moves, crop pixels."""
_ROUND_PX = 256
"""Stages of a video differ by a few pixels; rounded sizes let them share what is kept."""


@cache
def opencv() -> ModuleType | None:
    """Return OpenCV; None where a library of the system that it needs is missing."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2


@contextmanager
def opencv_in_one_thread() -> Iterator[None]:
    """Let OpenCV compute in the calling threads alone, for a while."""
    cv2 = opencv()
    if cv2 is None:
        yield
        return
    count = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(count)


def moving_area(canvas: Canvas, shift: Tensor) -> Area:
    """Return the part of the stage in which a pixel moves in any frame, pixels of the stage.

    On other devices than the CPU it is the whole stage, because looking would wait for the device.

    Args:
        canvas: the picture.
        shift: (B, 2, 208, 208), from `draw_stage`.
    """
    height, width = canvas.size
    if shift.device.type != "cpu":
        return Area(0, 0, width, height)
    moves = (shift.abs().amax((0, 1)) > STILL_PX * canvas.crop.scale).numpy()
    if not moves.any():
        return Area(0, 0, 0, 0)
    cell_px = STAGE_SIDE_PX / shift.shape[-1] / canvas.crop.scale
    reach = math.ceil(REACH_PX / canvas.crop.scale)
    edges = []
    for axis, offset, stop in zip((1, 0), _offset(canvas), (width, height), strict=True):
        cells = moves.any(1 - axis).nonzero()[0]
        first, last = math.floor(cells[0] * cell_px), math.ceil((cells[-1] + 1) * cell_px)
        edges.append([min(max(at - offset, 0), stop) for at in (first - reach, last + reach)])
    (left, right), (top, bottom) = edges
    return Area(left, top, right, bottom)


def warp_stage(canvas: Canvas, shift: Tensor, area: Area, out: Tensor) -> None:
    """Warp a part of the stage.

    Args:
        canvas: the picture.
        shift: (B, 2, 208, 208), from `draw_stage`.
        area: the part, pixels of the stage.
        out: gets the pixels, uint8 (B, h, w, 3).
    """
    if not out.numel():
        return
    cv2 = opencv() if out.device.type == "cpu" else None
    if cv2 is not None:
        _warp_with_opencv(cv2, canvas, shift, area, out)
        return
    step = len(shift) if out.device.type != "cpu" else 1  # small parts stay in the caches
    for start in range(0, len(shift), step):
        part = slice(start, start + step)
        grid = stage_grid(canvas, shift[part], area)
        frames = warp_image(canvas.stage.expand(len(grid), -1, -1, -1), grid)
        out[part].copy_(frames.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1))


def stage_grid(canvas: Canvas, shift: Tensor, area: Area) -> Tensor:
    """Return where the pixels of a part of the stage come from, for `warp_image`, (B, h, w, 2)."""
    block_px, first, last, inside = _blocks(canvas, shift, area)
    offsets = functional.interpolate(
        shift[..., first[1] : last[1], first[0] : last[0]],
        size=block_px,
        mode="bilinear",
        align_corners=False,
    )[..., inside[1], inside[0]]
    grid = shift.new_empty(len(shift), *offsets.shape[-2:], 2)
    starts, sizes = (area.left, area.top), (canvas.size[1], canvas.size[0])
    for axis, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        places = torch.arange(offsets.shape[3 - axis], device=shift.device) + (start + 0.5)
        line = places * (2 / size) - 1
        line = line if axis == 0 else line[:, None]
        grid[..., axis] = torch.add(line, offsets[:, axis], alpha=2 / (size * canvas.crop.scale))
    return grid


def place_reader(canvas: Canvas, shift: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a function from places, (B or 1, N, 2), to where frames read them, (B, N, 2).

    Both are pixels of the stage.
    """
    left, top = _offset(canvas)
    offset = torch.tensor([left, top], device=shift.device)
    scale = canvas.crop.scale

    def read(places: Tensor) -> Tensor:
        grid = (places + offset) * (2 * scale / STAGE_SIDE_PX) - 1
        moved = functional.grid_sample(
            shift,
            grid[:, None].expand(len(shift), -1, -1, -1),
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )
        return torch.add(places, moved[:, :, 0].transpose(1, 2), alpha=1 / scale)

    return read


def _warp_with_opencv(cv2: Any, canvas: Canvas, shift: Tensor, area: Area, out: Tensor) -> None:
    block_px, first, last, inside = _blocks(canvas, shift, area)
    coarse = (shift[..., first[1] : last[1], first[0] : last[0]] / canvas.crop.scale).permute(
        0, 2, 3, 1
    )
    height, width = canvas.size
    still = _own_places(-(-height // _ROUND_PX) * _ROUND_PX, -(-width // _ROUND_PX) * _ROUND_PX)
    still = still[area.top : area.bottom, area.left : area.right]
    picture, frames = canvas.pixels, out.numpy()
    for number, each in enumerate(coarse.contiguous().numpy()):
        offsets = cv2.resize(each, block_px[::-1], interpolation=cv2.INTER_LINEAR)
        places = offsets[inside[1], inside[0]]
        places += still
        cv2.remap(
            picture,
            places,
            None,
            cv2.INTER_LINEAR,
            dst=frames[number],
            borderMode=cv2.BORDER_REPLICATE,
        )


@lru_cache(maxsize=2)
def _own_places(height: int, width: int) -> npt.NDArray[np.float32]:
    """Return the columns and rows of pixels, (h, w, 2)."""
    places = np.empty((height, width, 2), np.float32)
    places[..., 0] = np.arange(width)
    places[..., 1] = np.arange(height)[:, None]
    return places


def _offset(canvas: Canvas) -> tuple[int, int]:
    """Return how far left and top of the stage are from those of a stage that is not cut."""
    left, top, side = canvas.crop_box
    margin = side * STAGE_MARGIN_PX // CROP_SIDE_PX
    return margin - left, margin - top


def _blocks(
    canvas: Canvas, shift: Tensor, area: Area
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[slice, slice]]:
    """Return how to enlarge the shift to a part of the stage.

    Blocks of `SIDE_STEP` crop pixels are whole numbers of cells of the shift, and of pixels. The
    blocks around the part are enlarged, too, because interpolation reaches into them.

    Returns:
        Height and width of all blocks together, pixels; the first cell, across and down; the cell
        behind the last, likewise; the part's columns and rows in the enlarged blocks.
    """
    side_px = canvas.crop_box[2] * SIDE_STEP // CROP_SIDE_PX
    side_cells = SIDE_STEP * shift.shape[-1] // STAGE_SIDE_PX
    count = STAGE_SIDE_PX // SIDE_STEP
    firsts, lasts, sizes, slices = [], [], [], []
    edges = ((area.left, area.right), (area.top, area.bottom))
    for offset, (start, stop) in zip(_offset(canvas), edges, strict=True):
        first = max((start + offset) // side_px - 1, 0)
        last = min(-(-(stop + offset) // side_px) + 1, count)
        firsts.append(first * side_cells)
        lasts.append(last * side_cells)
        sizes.append((last - first) * side_px)
        inside = start + offset - first * side_px
        slices.append(slice(inside, inside + stop - start))
    return (
        (sizes[1], sizes[0]),
        (firsts[0], firsts[1]),
        (lasts[0], lasts[1]),
        (slices[0], slices[1]),
    )

"""Warping the stage: with OpenCV and without it, and only where something moves."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from talkhead.geometry.face_areas import Area
from talkhead.landmarks2video import stage_warp
from talkhead.landmarks2video.canvas import Canvas, prepare_canvas
from talkhead.landmarks2video.stage_warp import (
    moving_area,
    opencv,
    opencv_in_one_thread,
    place_reader,
    stage_grid,
    warp_stage,
)
from tests.meshes import mean_mesh

Pixels = npt.NDArray[np.uint8]
CPU = torch.device("cpu")


def waves(width: int, height: int) -> Pixels:
    y, x = np.mgrid[:height, :width]
    colours = [np.sin(x / 9 + phase) + np.cos(y / 8 - phase) for phase in (0, 1, 2)]
    return np.asarray(np.stack(colours, -1) * 45 + 127).astype(np.uint8)


def canvas_of(width: int, height: int, x: float, y: float, eyes: float) -> Canvas:
    return prepare_canvas(waves(width, height), mean_mesh(eyes, x, y), CPU)


def bent(count: int = 2) -> Tensor:
    """Return shifts of some crop pixels that vary smoothly, (B, 2, 208, 208)."""
    line = torch.linspace(0, 3, 208)
    across, down = torch.meshgrid(line, line, indexing="xy")
    shifts = [torch.stack([9 * (down + k).sin(), 7 * (across - k).cos()]) for k in range(count)]
    return torch.stack(shifts)


def whole(canvas: Canvas) -> Area:
    height, width = canvas.size
    return Area(0, 0, width, height)


def warped(canvas: Canvas, shift: Tensor, area: Area) -> npt.NDArray[np.int16]:
    shape = len(shift), area.bottom - area.top, area.right - area.left, 3
    out = torch.zeros(shape, dtype=torch.uint8)
    warp_stage(canvas, shift, area, out)
    return out.numpy().astype(np.int16)


PLACES = [
    (420, 380, 200.0, 190.0, 60.0),
    (150, 140, 75.0, 75.0, 30.0),
    (900, 800, 430.0, 380.0, 97),
]


@pytest.mark.parametrize("place", PLACES)
def test_opencv_reads_what_grid_sample_reads(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if opencv() is None:
        pytest.skip("OpenCV cannot be imported here")
    canvas, shift = canvas_of(*place), bent()
    fast = warped(canvas, shift, whole(canvas))
    monkeypatch.setattr(stage_warp, "opencv", lambda: None)
    exact = warped(canvas, shift, whole(canvas))
    assert np.abs(fast - exact).max() <= 1
    assert np.abs(exact - canvas.pixels).max() > 10


@pytest.mark.parametrize("has_opencv", [True, False])
def test_a_part_is_warped_as_the_whole_is(
    has_opencv: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_opencv:
        monkeypatch.setattr(stage_warp, "opencv", lambda: None)
    canvas, shift = canvas_of(*PLACES[0]), bent()
    part = Area(33, 41, 170, 239)
    expected = warped(canvas, shift, whole(canvas))[:, 41:239, 33:170]
    assert np.abs(warped(canvas, shift, part) - expected).max() <= 1


def test_the_grid_moves_every_pixel_by_the_shift() -> None:
    canvas = canvas_of(*PLACES[0])
    height, width = canvas.size
    shift = torch.zeros(1, 2, 208, 208)
    shift[:, 0], shift[:, 1] = 2.0, -1.0  # crop pixels
    grid = (stage_grid(canvas, shift, whole(canvas))[0] + 1) / 2 * torch.tensor([width, height])
    assert grid[7, 9].tolist() == pytest.approx(
        [9.5 + 2 / canvas.crop.scale, 7.5 - 1 / canvas.crop.scale], abs=1e-3
    )
    read = place_reader(canvas, shift)(torch.tensor([[[9.5, 7.5]]]))
    torch.testing.assert_close(read[0, 0], grid[7, 9], atol=1e-3, rtol=0)


def test_places_are_read_where_the_grid_has_them() -> None:
    canvas, shift = canvas_of(*PLACES[2]), bent()
    height, width = canvas.size
    grid = (stage_grid(canvas, shift, whole(canvas)) + 1) / 2 * torch.tensor([width, height])
    pixels = torch.tensor([[[50.5, 60.5], [300.5, 222.5], [width - 0.5, height - 0.5]]])
    found = place_reader(canvas, shift)(pixels)
    for number, (x, y) in enumerate(pixels[0].int().tolist()):
        torch.testing.assert_close(found[:, number], grid[:, y, x], atol=2e-2, rtol=0)


def test_only_the_part_that_moves_is_found() -> None:
    canvas = canvas_of(*PLACES[2])
    shift = torch.zeros(2, 2, 208, 208)
    assert moving_area(canvas, shift) == Area(0, 0, 0, 0)
    shift[1, 0, 100:110, 90:120] = 0.5
    left, top, right, bottom = moving_area(canvas, shift)
    height, width = canvas.size
    assert 0 < left < right < width
    assert 0 < top < bottom < height
    fast = warped(canvas, shift, whole(canvas))
    changed = (fast != canvas.pixels).any((0, 3))
    assert changed.any()
    changed[top:bottom, left:right] = False
    assert not changed.any()


def test_opencv_has_its_threads_back_afterwards() -> None:
    cv2 = opencv()
    if cv2 is None:
        pytest.skip("OpenCV cannot be imported here")
    before = cv2.getNumThreads()
    with opencv_in_one_thread():
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == before

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from talkhead.geometry.crop import CROP_SIDE_PX, STAGE_MARGIN_PX, STAGE_SIDE_PX, face_crop
from talkhead.geometry.mesh import LOWER_INNER_LIP, UPPER_INNER_LIP
from talkhead.landmarks2video import composite as composite_module
from talkhead.landmarks2video.canvas import Canvas, prepare_canvas
from talkhead.landmarks2video.composite import FrameLayers, composite
from talkhead.landmarks2video.conditioning import draw_stage, warp_identity
from talkhead.landmarks2video.masks import soft_mask
from talkhead.landmarks2video.region import lower_face
from talkhead.landmarks2video.stage_warp import warp_stage
from tests.meshes import mean_mesh, opened, turning

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
CPU = torch.device("cpu")

# Width, height, centre of the face (x, y) and eye distance.
SCENES = {
    "small": (150, 140, 75.0, 75.0, 30.0),
    "odd": (301, 233, 150.5, 115.2, 44.3),
    "large": (640, 720, 330.0, 350.0, 120.7),
    "left and above": (200, 200, 40.0, 50.0, 50.0),
    "right and below": (199, 201, 150.0, 160.0, 50.0),
    "beyond all borders": (120, 127, 60.0, 60.0, 70.0),
}


def sealed(points: Floats) -> Floats:
    """Touching lips: no pixel belongs to the mouth."""
    points = points.copy()
    middle = (points[UPPER_INNER_LIP] + points[LOWER_INNER_LIP]) / 2
    points[UPPER_INNER_LIP] = points[LOWER_INNER_LIP] = middle
    return points


def noise(width: int, height: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def smooth(width: int, height: int) -> Pixels:
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 40 + phase) + np.cos(y / 50 - phase) for phase in (0, 1, 2)]
    return np.asarray(np.stack(waves, -1) * 45 + 127).astype(np.uint8)


def scene(name: str, picture: Pixels | None = None, *, shut: bool = False) -> tuple[Canvas, Floats]:
    width, height, x, y, eyes = SCENES[name]
    points = mean_mesh(eyes, x, y)
    points = sealed(points) if shut else points
    picture = noise(width, height) if picture is None else picture
    return prepare_canvas(picture, points, CPU), points


def drawn(
    canvas: Canvas, identity: Floats, targets: Floats
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the stage's shift, maps, target in crop pixels, and the warped lower face."""
    mesh = torch.from_numpy(canvas.crop.to_crop(identity))[None]
    target = torch.from_numpy(canvas.crop.to_crop(targets))
    shift, grid, maps = draw_stage(mesh, target, canvas.bounds)
    small = canvas.small.expand(len(target), -1, -1, -1)
    return shift, maps, target, lower_face(warp_identity(small, grid, maps))


def square_of(canvas: Canvas) -> tuple[slice, slice]:
    side = int(canvas.crop.side)
    left, top = round(canvas.crop.x - side / 2), round(canvas.crop.y - side / 2)
    return slice(max(top, 0), max(top + side, 0)), slice(max(left, 0), max(left + side, 0))


def stage_of(canvas: Canvas) -> tuple[slice, slice]:
    left, top, right, bottom = canvas.area
    return slice(top, bottom), slice(left, right)


@pytest.mark.parametrize("name", SCENES)
def test_no_motion_and_no_change_give_back_the_picture(name: str) -> None:
    canvas, shut = scene(name, shut=True)
    shift, maps, target, warped = drawn(canvas, shut, shut[None])
    assert maps[:, 0].sum() == 0
    frame = composite(canvas, FrameLayers(shift, maps, target, warped, warped))[0]
    assert frame.shape == canvas.picture.shape
    assert frame.dtype == np.uint8
    assert np.abs(frame.astype(int) - canvas.picture).max() <= 1


@pytest.mark.parametrize("name", SCENES)
def test_an_open_mouth_without_motion_gives_back_a_smooth_picture(name: str) -> None:
    width, height = SCENES[name][:2]
    canvas, points = scene(name, smooth(width, height))
    shift, maps, target, warped = drawn(canvas, points, points[None])
    assert maps[:, 0].sum() > 0
    frame = composite(canvas, FrameLayers(shift, maps, target, warped, warped))[0]
    # The mouth comes from the crop, which was rounded once more.
    assert np.abs(frame.astype(int) - canvas.picture).max() <= 2


@pytest.mark.parametrize("name", SCENES)
def test_outside_the_stage_every_pixel_is_the_pictures(name: str) -> None:
    canvas, points = scene(name)
    moved = np.stack([opened(points, 20), turning(0.3, points) + np.array([4, -3, 0], np.float32)])
    shift, maps, target, warped = drawn(canvas, points, moved)
    frames = composite(
        canvas, FrameLayers(shift, maps, target, warped, torch.rand_like(warped) * 2 - 1)
    )
    rows, columns = stage_of(canvas)
    outside = np.ones(canvas.picture.shape[:2], bool)
    outside[rows, columns] = False
    for frame in frames:
        np.testing.assert_array_equal(frame[outside], canvas.picture[outside])
        assert (frame[~outside] != canvas.picture[~outside]).any()


def test_what_the_denoiser_changes_is_added_inside_the_mask_only() -> None:
    canvas, shut = scene("large", smooth(640, 720), shut=True)
    shift, maps, target, warped = drawn(canvas, shut, shut[None])
    frame = composite(canvas, FrameLayers(shift, maps, target, warped, warped + 20 / 127.5))[0]
    change = frame.astype(int) - canvas.picture
    side = int(canvas.crop.side)
    soft = soft_mask(target, maps)
    mask = torch.nn.functional.interpolate(soft, size=(side, side), mode="bilinear")[0, 0].numpy()
    whole = np.zeros(canvas.picture.shape[:2], np.float32)
    whole[square_of(canvas)] = mask
    inside = whole > 0.999
    assert inside.sum() > 0.05 * side**2
    assert np.abs(change[inside] - 20).max() <= 1
    far = torch.nn.functional.max_pool2d(torch.from_numpy(whole)[None], 15, 1, 7)[0].numpy() == 0
    assert np.abs(change[far]).max() <= 1
    assert change.min() >= -1
    assert change.max() <= 21


def test_inside_an_opened_mouth_the_denoisers_pixels_are_taken() -> None:
    canvas, points = scene("large")
    shift, maps, target, warped = drawn(canvas, points, opened(points, 40)[None])
    frame = composite(
        canvas, FrameLayers(shift, maps, target, warped, torch.full_like(warped, 0.2))
    )[0]
    middle = opened(points, 40)[[13, 14], :2].mean(0).astype(int)
    mouth = frame[middle[1] - 6 : middle[1] + 6, middle[0] - 12 : middle[0] + 12]
    assert np.abs(mouth.astype(float) - 1.2 * 127.5).max() <= 1.5


@pytest.mark.parametrize("shift_px", [3.0, 12.0])
def test_a_turning_head_meets_the_picture_without_a_seam(shift_px: float) -> None:
    width, height = 900, 900
    points = mean_mesh(100, 450, 430)
    canvas = prepare_canvas(smooth(width, height), points, CPU)
    moved = turning(0.05, points) + np.array([shift_px, 2, 0], np.float32)
    shift, maps, target, warped = drawn(canvas, points, moved[None])
    frame = composite(canvas, FrameLayers(shift, maps, target, warped, warped))[0].astype(int)
    usual = np.abs(np.diff(canvas.picture.astype(int), axis=0)).max()
    for rows, columns in (square_of(canvas), stage_of(canvas)):
        assert 0 < rows.start < rows.stop < height
        assert 0 < columns.start < columns.stop < width
        jump = np.abs(frame[:, columns.start] - frame[:, columns.start - 1]).max()
        jump = max(jump, np.abs(frame[rows.start] - frame[rows.start - 1]).max())
        jump = max(jump, np.abs(frame[:, columns.stop] - frame[:, columns.stop - 1]).max())
        assert jump <= usual + 2


def test_hair_above_the_crop_moves_with_the_head() -> None:
    points = mean_mesh(100, 450, 430)
    canvas = prepare_canvas(smooth(900, 900), points, CPU)
    moved = points + np.array([8, 0, 0], np.float32)
    shift, _, _, _ = drawn(canvas, points, moved[None])
    top, left = np.array(shift.shape[2:]) // 2
    per_crop_px = -8 * canvas.crop.scale
    across = shift[0, 0, :, left].numpy()
    assert across[top] == pytest.approx(per_crop_px, abs=0.1)
    crop_top = shift.shape[-1] * STAGE_MARGIN_PX // STAGE_SIDE_PX
    assert across[crop_top] < 0.5 * per_crop_px  # more than half of the way
    assert abs(across[0]) < 0.1  # no motion at the stage's edge


def test_where_the_picture_ends_nothing_moves() -> None:
    points = mean_mesh(100, 450, 150)  # the head extends beyond the upper edge
    canvas = prepare_canvas(smooth(900, 900), points, CPU)
    assert canvas.area.top == 0
    moved = points + np.array([8, 6, 0], np.float32)
    shift, maps, target, warped = drawn(canvas, points, moved[None])
    frame = composite(canvas, FrameLayers(shift, maps, target, warped, warped))[0].astype(int)
    above_hair = slice(0, 300)
    np.testing.assert_allclose(frame[0, above_hair], canvas.picture[0, above_hair], atol=2)


@pytest.mark.parametrize("name", ["small", "large"])
def test_a_batch_is_put_together_as_each_of_it(name: str) -> None:
    canvas, points = scene(name)
    moved = np.stack([opened(points, by) for by in (0, 5, 10)])
    shift, maps, target, warped = drawn(canvas, points, moved)
    made = (warped + 0.1).clamp(-1, 1)
    together = composite(canvas, FrameLayers(shift, maps, target, warped, made))
    for index in range(3):
        one = slice(index, index + 1)
        alone = composite(canvas, FrameLayers(shift, maps, target, warped, made)[one])
        assert np.abs(alone[0].astype(int) - together[index]).max() <= 1


def test_the_crop_is_moved_to_whole_pixels_and_the_picture_is_left_alone() -> None:
    canvas, points = scene("odd")
    before = canvas.picture.copy()
    side = canvas.crop.side
    assert side % 16 == 0  # so that the stage's margin is whole pixels too
    assert abs(side - face_crop(points).side) <= 8
    assert (canvas.crop.x - side / 2).is_integer()
    assert canvas.small.shape == (1, 3, CROP_SIDE_PX, CROP_SIDE_PX)
    assert float(canvas.small.abs().max()) <= 1
    shift, maps, target, warped = drawn(canvas, points, points[None])
    composite(canvas, FrameLayers(shift, maps, target, warped, -warped))
    np.testing.assert_array_equal(canvas.picture, before)
    rows, columns = stage_of(canvas)
    inside = canvas.stage[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(inside, canvas.picture[rows, columns])


def test_frames_for_which_memory_is_short_are_made_in_smaller_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    canvas, points = scene("small")
    moved = np.stack([opened(points, by) for by in (0, 5, 10)])
    shift, maps, target, warped = drawn(canvas, points, moved)
    layers = FrameLayers(shift, maps, target, warped, (warped + 0.1).clamp(-1, 1))
    expected = composite(canvas, layers)

    def warp(canvas: Canvas, shift: Tensor, *rest: Any) -> None:
        if len(shift) > 1:
            raise torch.OutOfMemoryError("out of memory")
        warp_stage(canvas, shift, *rest)

    monkeypatch.setattr(composite_module, "warp_stage", warp)
    np.testing.assert_array_equal(composite(canvas, layers), expected)

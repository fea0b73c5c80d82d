import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import gaussian_filter

from talkhead.evaluation.mouth_patches import (
    GREY,
    MIN_INSIDE_PX,
    PATCH_PX,
    PATCH_WIDTHS,
    changes,
    cut_mouths,
    join_patches,
    laplacian_variances,
    spread_evenly,
)
from talkhead.evaluation.mouth_scorer import MouthScorer
from talkhead.geometry.mesh import INNER_LIPS, mouth_opening
from talkhead.geometry.motion_basis import separate_lips
from tests.meshes import mean_mesh, opened

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

MESH = mean_mesh(80, 128, 100)
WIDE = opened(MESH, 14)
SHUT = separate_lips(MESH[None], limit=1)[0]


def coordinates(side: int = 256) -> Pixels:
    """A picture whose red tells the column and whose green tells the row, in crop pixels."""
    line = (np.arange(side) + 0.5) * 256 / side
    x, y = np.meshgrid(line, line)
    return np.asarray(np.stack([x, y, 0 * x], -1).round().clip(0, 255), np.uint8)


def texture(count: int, seed: int = 0) -> Pixels:
    noise = np.random.default_rng(seed).normal(0, 60, (count, 256, 256, 1))
    smooth = gaussian_filter(noise, (0, 1, 1, 0)) * 3 + 128
    return np.asarray(np.repeat(smooth, 3, -1).clip(0, 255), np.uint8)


def turned(points: Floats, angle_rad: float) -> Floats:
    """Turn a mesh in the plane of the picture, about the middle of the crop."""
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], np.float32)
    middle = np.array([128, 128, 0], np.float32)
    return np.asarray((points - middle) @ turn.T + middle, np.float32)


@pytest.mark.parametrize("side", [256, 512])
@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_a_patch_is_centred_on_the_lips_and_spans_them(side: int, angle: float) -> None:
    points = turned(WIDE, angle)
    patches = cut_mouths(coordinates(side)[None], points[None], 7)
    assert patches.frames.tolist() == [7]
    assert patches.pixels.shape == (1, PATCH_PX, PATCH_PX, 3)
    places = patches.pixels[0, ..., :2].astype(np.float32)
    middle = places[31:33, 31:33].mean((0, 1))
    np.testing.assert_allclose(middle, points[INNER_LIPS, :2].mean(0), atol=1)
    across = places[31:33, -1].mean(0) - places[31:33, 0].mean(0)
    line = points[308, :2] - points[78, :2]
    np.testing.assert_allclose(across, PATCH_WIDTHS * line * 63 / 64, atol=1.5)


def test_the_inside_is_the_opening_without_its_edge() -> None:
    patches = cut_mouths(coordinates()[None], WIDE[None])
    inside, lips = patches.inside[0], patches.lips[0]
    gap = (WIDE[14, 1] - WIDE[13, 1]) * PATCH_PX / (PATCH_WIDTHS * (WIDE[308, 0] - WIDE[78, 0]))
    assert inside[:, 31].sum() == pytest.approx(gap - 2, abs=1.5)
    assert not (inside & ~lips).any()
    assert lips.sum() > 2 * inside.sum()
    painted = patches.without_skin()[0]
    assert (painted[~lips] == GREY).all()
    np.testing.assert_array_equal(painted[lips], patches.pixels[0][lips])


def test_closed_mouths_and_frames_without_a_face_have_no_patch() -> None:
    nobody = np.full_like(MESH, np.nan)
    assert mouth_opening(SHUT) < 0.04 < mouth_opening(WIDE)
    points = np.stack([SHUT, WIDE, nobody, WIDE])
    patches = cut_mouths(np.repeat(coordinates()[None], 4, 0), points, 10)
    assert patches.frames.tolist() == [11, 13]
    assert (patches.inside.sum((1, 2)) >= MIN_INSIDE_PX).all()
    none = cut_mouths(coordinates()[None], nobody[None])
    assert len(none) == len(join_patches([])) == 0


def test_only_frames_in_succession_make_a_change() -> None:
    levels = np.array([10, 16, 16, 40], np.uint8)
    frames = np.zeros((4, 256, 256, 3), np.uint8) + levels[:, None, None, None]
    points = np.stack([WIDE, WIDE, SHUT, WIDE])
    np.testing.assert_allclose(changes(cut_mouths(frames, points)), [6])
    points = np.stack([WIDE] * 4)
    np.testing.assert_allclose(changes(cut_mouths(frames, points)), [6, 0, 24])


def test_a_plane_has_no_laplacian_and_a_step_has_one() -> None:
    frames = np.stack([coordinates(), texture(1)[0]])
    plane, step = laplacian_variances(cut_mouths(frames, np.stack([WIDE, WIDE])))
    assert plane < 1 < step


def test_patches_are_spread_evenly() -> None:
    numbered = np.arange(9, dtype=np.uint8)[:, None]
    assert spread_evenly(numbered, 3)[:, 0].tolist() == [0, 4, 8]
    assert spread_evenly(numbered, 20) is numbered


def score(generated: Pixels, real: Pixels, size: int, **options: bool) -> MouthScorer:
    scorer = MouthScorer(**{"shares_landmarks": True, **options})
    points = np.stack([WIDE] * len(real))
    for start in range(0, len(real), size):
        part = slice(start, start + size)
        ours = generated[part]
        theirs = cut_mouths(real[part], points[part], start)
        scorer.add(ours, points[: len(ours)], theirs)
    return scorer


def test_a_video_is_as_sharp_as_itself_and_a_blurred_one_is_not() -> None:
    real = texture(6)
    values, arrays = score(real, real, 4, with_real=True).finish()
    assert values == pytest.approx({"inside_sharpness": 1, "inside_flicker": 1, "inside_psnr": 100})
    np.testing.assert_array_equal(arrays["mouths"], arrays["real mouths"])
    blurred = gaussian_filter(real, (0, 2, 2, 0))
    values, arrays = score(blurred, real, 4).finish()
    assert values["inside_sharpness"] < 0.3
    assert values["inside_flicker"] < 0.8
    assert values["inside_psnr"] < 30
    assert arrays.keys() == {"mouths"}


def test_the_size_of_batches_changes_nothing() -> None:
    generated, real = texture(7, 1), texture(7, 0)
    whole, one = (score(generated, real, size).finish() for size in (7, 2))
    assert whole[0] == pytest.approx(one[0])
    np.testing.assert_array_equal(whole[1]["mouths"], one[1]["mouths"])


def test_a_video_that_ends_early_is_compared_as_far_as_it_goes() -> None:
    generated, real = texture(7, 1), texture(7, 0)
    shorter, _ = score(generated[:6], real, 4).finish()
    whole, _ = score(generated[:6], real[:6], 4).finish()
    assert shorter == pytest.approx(whole)


def test_frames_with_other_landmarks_have_no_psnr() -> None:
    values, _ = score(texture(3, 1), texture(3), 3, shares_landmarks=False).finish()
    assert values.keys() == {"inside_sharpness", "inside_flicker"}

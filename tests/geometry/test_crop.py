import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from talkhead.geometry.crop import CROP_SIDE_PX, FACE_MARGIN, Crop, face_crop, face_crops
from talkhead.geometry.mesh import NUM_SURFACE_POINTS
from tests.meshes import mean_mesh

Pixels = npt.NDArray[np.uint8]


def gradient(width: int, height: int) -> Pixels:
    """Red grows by 1 per pixel to the right, green by 1 per pixel down."""
    y, x = np.mgrid[:height, :width]
    return np.asarray(np.stack([x, y, np.full_like(x, 77)], -1), np.uint8)


def expected(crop: Crop, side_px: int, width: int, height: int) -> npt.NDArray[np.float64]:
    """The gradient at the centres of the crop's pixels; outside, its border is repeated."""
    middles = (np.arange(side_px) + 0.5) * crop.side / side_px - 0.5
    x = np.clip(crop.x - crop.side / 2 + middles, 0, width - 1)
    y = np.clip(crop.y - crop.side / 2 + middles, 0, height - 1)
    blue = np.full((side_px, side_px), 77.0)
    return np.stack([*np.meshgrid(x, y), blue], -1)


def test_points_go_to_the_crop_and_back() -> None:
    crop = Crop(123.4, -56.7, 321.5)
    points = np.random.default_rng(0).normal(0, 200, (3, 478, 3)).astype(np.float32)
    np.testing.assert_allclose(crop.to_picture(crop.to_crop(points)), points, atol=1e-3)
    flat = points[..., :2]
    np.testing.assert_allclose(crop.to_crop(flat), crop.to_crop(points)[..., :2])


def test_points_go_to_the_crop_by_hand() -> None:
    crop = Crop(x=100, y=200, side=128)  # two crop pixels per pixel
    assert crop.scale == 2
    points = np.array([[100, 200, 5], [36, 136, -1], [164, 264, 0]], np.float32)
    np.testing.assert_allclose(
        crop.to_crop(points), [[128, 128, 10], [0, 0, -2], [CROP_SIDE_PX, CROP_SIDE_PX, 0]]
    )


@pytest.mark.parametrize(
    ("crop", "side_px"),
    [
        (Crop(100, 90, 64), 64),
        (Crop(100, 90, 64), CROP_SIDE_PX),
        (Crop(100.5, 90.25, 64.75), CROP_SIDE_PX),
        (Crop(101.3, 88.9, 160.0), 64),
        (Crop(99.9, 100.1, 150.3), 64),
    ],
)
def test_a_crop_inside_the_picture_shows_what_is_there(crop: Crop, side_px: int) -> None:
    made = crop.extract(gradient(200, 180), side_px)
    assert made.shape == (side_px, side_px, 3)
    assert made.dtype == np.uint8
    # Each of the two resampling passes rounds once.
    assert np.abs(made - expected(crop, side_px, 200, 180)).max() <= 1.1


@pytest.mark.parametrize(
    "crop",
    [
        Crop(20.3, 90, 80),  # left
        Crop(185, 90.6, 80),  # right
        Crop(100, 15.5, 80.2),  # above
        Crop(100, 170, 81),  # below
        Crop(100, 90, 333.3),  # on all sides
        Crop(10.5, 170.25, 120.75),  # a corner
    ],
)
def test_beyond_the_border_the_last_pixels_are_repeated(crop: Crop) -> None:
    made = crop.extract(gradient(200, 180)).astype(float)
    difference = np.abs(made - expected(crop, CROP_SIDE_PX, 200, 180))
    # At the border, the bicubic filter overshoots at the kink in brightness.
    assert difference.max() <= 2.2
    assert np.percentile(difference, 90) <= 1.1


def test_a_crop_of_its_own_size_is_the_picture() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (90, 100, 3)).astype(np.uint8)
    crop = Crop(50, 45, 40)
    np.testing.assert_array_equal(crop.extract(picture, 40), picture[25:65, 30:70])
    hanging = Crop(95, 85, 40)  # 15 pixels beyond either border
    padded = np.pad(picture, ((0, 15), (0, 15), (0, 0)), mode="edge")
    np.testing.assert_array_equal(hanging.extract(picture, 40), padded[-40:, -40:])


def test_shrinking_averages_and_does_not_skip() -> None:
    checks = (np.indices((512, 512)).sum(0) % 2 * 255).astype(np.uint8)
    picture = np.repeat(checks[..., None], 3, -1)
    made = Crop(256, 256, 400).extract(picture, 100)
    assert np.abs(made.astype(int) - 127).max() <= 2


def test_a_crop_agrees_with_pillow_where_nothing_is_beyond_the_border() -> None:
    picture = np.random.default_rng(2).integers(0, 256, (120, 150, 3)).astype(np.uint8)
    crop = Crop(70.3, 60.8, 71.7)
    box = (70.3 - 71.7 / 2, 60.8 - 71.7 / 2, 70.3 + 71.7 / 2, 60.8 + 71.7 / 2)
    whole = Image.fromarray(picture).resize((64, 64), Image.Resampling.BICUBIC, box=box)
    difference = np.abs(np.asarray(whole).astype(int) - crop.extract(picture, 64))
    assert difference.max() <= 1


def test_the_crop_of_a_face_has_room_for_it_and_hangs_a_little_low() -> None:
    points = mean_mesh(80, x=300, y=200)
    crop = face_crop(points)
    low, high = points[:NUM_SURFACE_POINTS, :2].min(0), points[:NUM_SURFACE_POINTS, :2].max(0)
    assert crop.side == pytest.approx(FACE_MARGIN * (high - low).max())
    assert crop.x == pytest.approx((low[0] + high[0]) / 2, abs=1e-3)
    above, below = low[1] - (crop.y - crop.side / 2), crop.y + crop.side / 2 - high[1]
    assert below > above > 0.1 * crop.side
    inside = crop.to_crop(points)
    assert inside[..., :2].min() > 0
    assert inside[..., :2].max() < CROP_SIDE_PX


def test_the_crop_moves_and_grows_with_the_face() -> None:
    small, large = face_crop(mean_mesh(50, 10, 20)), face_crop(mean_mesh(150, 30, 60))
    assert large.side == pytest.approx(3 * small.side, rel=1e-4)
    np.testing.assert_allclose([large.x, large.y], [3 * small.x, 3 * small.y], atol=0.01)


def test_iris_points_do_not_count() -> None:
    points = mean_mesh(50)
    points[NUM_SURFACE_POINTS:] += 1000
    assert face_crop(points) == face_crop(mean_mesh(50))


def test_the_crops_of_a_video_hold_the_face_and_follow_it_smoothly() -> None:
    points = np.stack([mean_mesh(80, 300 + x, 200) for x in range(60)])
    noise = np.random.default_rng(0).normal(0, 3, (60, 1, 3)).astype(np.float32)
    crops = face_crops(points + noise, rate_hz=25.0)
    assert len(crops) == 60
    assert len({crop.side for crop in crops}) == 1
    assert crops[0].side == pytest.approx(face_crop(points[0]).side, rel=1e-4)
    steps = np.diff([crop.x for crop in crops])
    assert np.abs(steps[10:-10] - 1).max() < 1  # a third of the noise, and no drift
    for crop, mesh in zip(crops, points, strict=True):
        inside = crop.to_crop(mesh)[:NUM_SURFACE_POINTS, :2]
        assert inside.min() > 20
        assert inside.max() < 236
        # A dropping jaw needs room below the face.
        assert 256 - inside[:, 1].max() > inside[:, 1].min() - 25


def test_the_crop_of_one_frame_is_the_crop_of_a_picture() -> None:
    points = mean_mesh(80, x=300, y=200)
    (crop,) = face_crops(points[None], rate_hz=25.0)
    np.testing.assert_allclose(
        [crop.x, crop.y, crop.side], [*vars(face_crop(points)).values()], rtol=1e-6
    )

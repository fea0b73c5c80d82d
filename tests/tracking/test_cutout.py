"""People are cut out of the astronaut's portrait and of a video made from it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from talkhead.errors import TalkheadError
from talkhead.media.picture import read_picture
from talkhead.tracking.cutout import PersonCutter, cut_by_alpha

FACE = Path(__file__).parents[2] / "examples" / "face.png"
Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def cutter() -> Iterator[PersonCutter]:
    try:
        made = PersonCutter()
    except TalkheadError:
        pytest.skip("this mediapipe has no network that finds people")
    with made:
        yield made


@pytest.fixture(scope="module")
def portrait() -> Pixels:
    picture = read_picture(FACE).pixels
    return np.ascontiguousarray(picture[:320:2, 64:384:2])


def check(cut: Pixels, portrait: Pixels) -> None:
    assert cut.shape == (*portrait.shape[:2], 4)
    alpha = cut[..., 3]
    face, corner = (slice(40, 72), slice(68, 92)), (slice(0, 12), slice(130, 160))
    assert alpha[face].min() == 255
    assert np.array_equal(cut[face][..., :3], portrait[face])
    assert alpha[corner].max() < 10
    between = (alpha > 25) & (alpha < 230)
    assert 0.005 < between.mean() < 0.2
    # The wall behind is bright; the person's edge is not.
    edge = between & (np.arange(alpha.shape[0]) < 70)[:, None]
    assert cut[edge][:, :3].mean() < portrait[edge].mean()


def test_a_picture_and_a_frame_are_cut_at_the_hair(cutter: PersonCutter, portrait: Pixels) -> None:
    check(cutter.cut_picture(portrait), portrait)
    check(cutter.cut_frame(portrait), portrait)
    assert np.array_equal(cutter.cut_picture(portrait), cutter.cut_picture(portrait))


def test_edges_flicker_less_than_frame_by_frame_and_a_cut_is_not_smeared(
    cutter: PersonCutter, portrait: Pixels
) -> None:
    rng = np.random.default_rng(0)
    noisy = [
        (portrait + rng.normal(0, 12, portrait.shape)).clip(0, 255).astype(np.uint8)
        for _ in range(6)
    ]
    followed = [cutter.cut_frame(frame)[..., 3].astype(float) for frame in noisy]
    alone = []
    for frame in noisy:
        with PersonCutter() as fresh:
            alone.append(fresh.cut_frame(frame)[..., 3].astype(float))

    def flicker(masks: list[npt.NDArray[np.float64]]) -> float:
        return float(np.abs(np.diff(masks[1:], axis=0)).mean())

    assert flicker(followed) < 0.9 * flicker(alone)
    moved = np.roll(portrait, 80, axis=1)
    after_a_cut = cutter.cut_frame(moved)
    with PersonCutter() as fresh:
        assert np.array_equal(after_a_cut, fresh.cut_frame(moved))


def test_a_picture_without_people_is_refused(cutter: PersonCutter) -> None:
    with pytest.raises(TalkheadError, match="no person stands out"):
        cutter.cut_picture(np.full((128, 128, 3), 200, np.uint8))


def test_transparency_of_a_picture_on_white_is_undone() -> None:
    alpha = np.tile(np.linspace(0, 255, 64).round().astype(np.uint8), (48, 1))
    colour = np.array([200, 40, 90])
    share = alpha[..., None] / 255
    on_white = (colour * share + 255 * (1 - share)).round().astype(np.uint8)
    cut = cut_by_alpha(on_white, alpha)
    assert np.array_equal(cut[..., 3], alpha)
    clear = alpha > 40
    assert np.abs(cut[clear][:, :3] - colour.astype(float)).max() <= 4
    assert np.abs(cut[~clear][:, :3] - colour.astype(float)).mean() < 30

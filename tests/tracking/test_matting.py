"""Mattes of mixtures whose shares are known."""

import numpy as np
import numpy.typing as npt
import pytest

from talkhead.tracking.closed_form import matting_laplacian, solve_alpha
from talkhead.tracking.matting import box, fit_to_edges, linear_model, person_colours, resized

Floats = npt.NDArray[np.float32]
HEIGHT, WIDTH = 48, 64
PERSON, BEHIND = np.array([0.8, 0.2, 0.1]), np.array([0.1, 0.3, 0.7])


def mixture() -> tuple[Floats, Floats]:
    """Return a picture of a soft edge with strands, and the true share of the person."""
    x = np.arange(WIDTH)
    edge = ((x - 28) / 10).clip(0, 1)
    strands = np.where((x > 16) & (x < 26) & (x % 4 == 0), 0.6, 0)
    share = np.broadcast_to(np.maximum(edge, strands), (HEIGHT, WIDTH))
    picture = share[..., None] * PERSON + (1 - share[..., None]) * BEHIND
    return picture.astype(np.float32), share.astype(np.float32)


def test_a_box_is_the_mean_around_a_pixel() -> None:
    image = np.arange(25, dtype=np.float32).reshape(5, 5)
    assert box(image, 1)[2, 2] == 12
    assert box(image, 1)[0, 0] == pytest.approx((4 * 0 + 2 * 1 + 2 * 5 + 6) / 9)


def test_the_cost_of_a_mixture_is_zero_and_that_of_another_share_is_not() -> None:
    picture, share = mixture()
    unknown = np.ones(share.shape, bool)
    laplacian = matting_laplacian(picture.astype(float), unknown)
    right = share.ravel().astype(float)
    wrong = np.roll(share, 3, axis=1).ravel().astype(float)
    assert abs(right @ (laplacian @ right)) < 0.01 * (wrong @ (laplacian @ wrong))
    assert np.abs(laplacian @ np.ones(share.size)).max() < 1e-9  # a constant share costs nothing
    assert abs(laplacian - laplacian.T).max() < 1e-9


def test_unknown_pixels_get_their_true_share_and_known_ones_keep_theirs() -> None:
    picture, share = mixture()
    unknown = np.zeros(share.shape, bool)
    unknown[:, 12:44] = True
    start = np.where(unknown, 0.5, share).astype(np.float32)
    found = solve_alpha(picture, start, unknown)
    assert np.abs(found - share)[unknown].mean() < 0.03
    assert np.array_equal(found[~unknown], share[~unknown])
    assert np.array_equal(solve_alpha(picture, start, np.zeros_like(unknown)), start)


def test_what_is_expected_decides_where_colours_do_not() -> None:
    flat = np.full((HEIGHT, WIDTH, 3), 0.5, np.float32)
    start = np.zeros((HEIGHT, WIDTH), np.float32)
    unknown = np.zeros(start.shape, bool)
    unknown[10:38, 10:54] = True
    assert solve_alpha(flat, start, unknown).max() < 0.01
    expected = solve_alpha(flat, start, unknown, unknown)
    assert expected[24, 32] > 0.05
    assert expected[~unknown].max() == 0


def test_a_coarse_mask_takes_the_edges_of_the_picture() -> None:
    picture = np.where(np.arange(WIDTH)[None, :, None] < 30, BEHIND, PERSON)
    picture = np.broadcast_to(picture, (HEIGHT, WIDTH, 3)).astype(np.float32)
    coarse = np.broadcast_to(((np.arange(WIDTH) - 22) / 16).clip(0, 1), (HEIGHT, WIDTH))
    mask = coarse.astype(np.float32)
    fitted = fit_to_edges(picture, picture, mask, 8)
    assert (mask[:, 30] - mask[:, 29]).max() < 0.07
    assert (fitted[:, 30] - fitted[:, 29]).min() > 0.4
    assert linear_model(picture, mask, 8).shape == (HEIGHT, WIDTH, 4)
    # The model of a small picture holds for the whole one.
    whole = picture.repeat(4, 0).repeat(4, 1)
    large = fit_to_edges(whole, resized(whole, WIDTH), mask, 8)
    assert (large[:, 121] - large[:, 118]).min() > 0.4


@pytest.mark.parametrize("is_fast", [False, True])
def test_the_colours_of_the_person_are_found_under_the_mixture(*, is_fast: bool) -> None:
    picture, share = mixture()
    colours = person_colours(picture, share, is_fast=is_fast)
    seen = share > 0
    assert np.abs(colours - PERSON)[seen].mean() < 0.8 * np.abs(picture - PERSON)[seen].mean()
    whole = share == 1
    assert np.array_equal(colours[whole], picture[whole])

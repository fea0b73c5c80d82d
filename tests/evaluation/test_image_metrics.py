import numpy as np
import numpy.typing as npt
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from talkhead.evaluation.image_metrics import (
    flicker,
    frame_errors,
    psnr_of,
    sharpness,
    squared_errors,
    ssim_map,
    whole_windows,
)

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


def frames(count: int = 3, seed: int = 0, low: int = 0, high: int = 256) -> Pixels:
    rng = np.random.default_rng(seed)
    return rng.integers(low, high, (count, 24, 32, 3), dtype=np.uint8)


def psnr(generated: Pixels, real: Pixels, mask: Mask) -> float:
    return float(psnr_of(frame_errors(squared_errors(generated, real), mask)).mean())


def everywhere(of: Pixels) -> Mask:
    return np.ones(of.shape[:3], np.bool_)


def test_frames_against_themselves_are_perfect() -> None:
    same = frames()
    assert psnr(same, same, everywhere(same)) == pytest.approx(100)
    assert ssim_map(same[0], same[0]) == pytest.approx(1)
    assert flicker(same, same, everywhere(same)) == 0


def test_ten_brighter_is_28_decibels() -> None:
    dark = frames(high=200)
    # 20 log10(255 / 10) = 28.1308
    assert psnr(dark + np.uint8(10), dark, everywhere(dark)) == pytest.approx(28.1308, abs=1e-4)
    assert flicker(dark + np.uint8(10), dark, everywhere(dark)) == 0


def test_the_mean_is_of_decibels_not_of_errors() -> None:
    real = frames(2, high=200)
    generated = real.copy()
    generated[0] += 10
    generated[1] += 20
    by_hand = (20 * np.log10(25.5) + 20 * np.log10(12.75)) / 2
    assert psnr(generated, real, everywhere(real)) == pytest.approx(by_hand)


def test_only_what_the_mask_covers_counts() -> None:
    real = frames(high=200)
    generated = real.copy()
    generated[:, :, :10] += 50
    mask = everywhere(real)
    mask[:, :, :10] = False
    assert psnr(generated, real, mask) == pytest.approx(100)
    assert flicker(generated, real, mask) == 0
    mask[:, :, 9] = True  # a column of 23 is 50 wrong
    assert psnr(generated, real, mask) == pytest.approx(20 * np.log10(255 / 50) + 10 * np.log10(23))


def test_scikit_image_agrees() -> None:
    generated, real = frames(4, 1), frames(4, 2)
    theirs = [
        peak_signal_noise_ratio(a, b, data_range=255)  # type: ignore[no-untyped-call]
        for a, b in zip(real, generated, strict=True)
    ]
    assert psnr(generated, real, everywhere(real)) == pytest.approx(np.mean(theirs))
    smooth = np.arange(32, dtype=np.uint8)[:, None] * np.uint8(6)
    generated = (generated // 8 + smooth).astype(np.uint8)
    real = (real // 8 + smooth).astype(np.uint8)
    inner = whole_windows(real.shape[1:3])  # scikit-image leaves the border of the window out
    ours = [ssim_map(a, b)[inner].mean() for a, b in zip(generated, real, strict=True)]
    alike = [
        structural_similarity(  # type: ignore[no-untyped-call]
            a,
            b,
            channel_axis=-1,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(real, generated, strict=True)
    ]
    assert ours == pytest.approx(alike, abs=1e-6)


def test_blur_is_less_sharp_and_a_plane_has_no_edges() -> None:
    sharp = frames()
    soft = ((sharp.astype(int) + np.roll(sharp, 1, 1) + np.roll(sharp, 1, 2)) // 3).astype(np.uint8)
    mask = everywhere(sharp)
    assert 0 < sharpness(soft, mask) < 0.8 * sharpness(sharp, mask)
    plane = np.repeat(np.arange(32, dtype=np.uint8)[None, None, :, None], 24, 1).repeat(3, -1)
    assert sharpness(plane, everywhere(plane)) == 0
    assert sharpness(sharp, ~mask) == 0


def test_a_checkerboards_sharpness_by_hand() -> None:
    board = np.zeros((1, 24, 32, 3), np.uint8)
    board[:, ::2, ::2] = board[:, 1::2, 1::2] = 10
    # The Laplacian is 40 on bright and -40 on dark pixels: variance 1600.
    assert sharpness(board, everywhere(board)) == pytest.approx(1600)


def test_flicker_is_the_change_that_the_truth_does_not_make() -> None:
    real = np.full((4, 24, 32, 3), 100, np.uint8)
    generated = real.copy()
    generated[1::2] += 6  # changes by 6 at each of three steps
    assert flicker(generated, real, everywhere(real)) == pytest.approx(6)
    mask = everywhere(real)
    mask[2] = False  # only the first step has both frames
    generated[1] += 2
    assert flicker(generated, real, mask) == pytest.approx(8)

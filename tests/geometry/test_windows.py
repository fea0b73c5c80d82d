import numpy as np
import pytest

from talkhead.geometry.windows import WINDOW_FRAMES, regroup, shorten, split_windows


@pytest.mark.parametrize(("count", "lengths"), [(5, [5]), (70, [32, 32, 6]), (64, [32, 32])])
def test_windows_are_joined_into_longer_ones(count: int, lengths: list[int]) -> None:
    points = np.arange(count, dtype=np.float32)[:, None, None]
    joined = list(regroup(split_windows(points), 2 * WINDOW_FRAMES))
    assert [len(window) for window in joined] == lengths
    np.testing.assert_array_equal(np.concatenate(joined), points)


@pytest.mark.parametrize(("count", "lengths"), [(5, [5]), (20, [6, 6, 4, 4]), (16, [6, 6, 4])])
def test_windows_are_cut_into_shorter_ones(count: int, lengths: list[int]) -> None:
    points = np.arange(count, dtype=np.float32)[:, None, None]
    parts = list(shorten(split_windows(points), 6))
    assert [len(part) for part in parts] == lengths
    np.testing.assert_array_equal(np.concatenate(parts), points)


def test_no_windows_stay_none() -> None:
    assert list(regroup(iter(()), 4)) == []

import numpy as np
import pytest

from talkhead.geometry.windows import WINDOW_FRAMES, regroup, split_windows


@pytest.mark.parametrize(("count", "lengths"), [(5, [5]), (70, [32, 32, 6]), (64, [32, 32])])
def test_windows_are_joined_into_longer_ones(count: int, lengths: list[int]) -> None:
    points = np.arange(count, dtype=np.float32)[:, None, None]
    joined = list(regroup(split_windows(points), 2 * WINDOW_FRAMES))
    assert [len(window) for window in joined] == lengths
    np.testing.assert_array_equal(np.concatenate(joined), points)


def test_no_windows_stay_none() -> None:
    assert list(regroup(iter(()), 4)) == []

import numpy as np
import pytest

from talkhead.geometry.windows import regroup, split_windows


@pytest.mark.parametrize(
    ("count", "length", "lengths"),
    [
        (5, 32, [5]),
        (70, 32, [32, 32, 6]),
        (64, 32, [32, 32]),
        (22, 8, [8, 8, 6]),
        (40, 12, [12, 12, 12, 4]),
    ],
)
def test_windows_get_another_length(count: int, length: int, lengths: list[int]) -> None:
    points = np.arange(count, dtype=np.float32)[:, None, None]
    made = list(regroup(split_windows(points), length))
    assert [len(window) for window in made] == lengths
    np.testing.assert_array_equal(np.concatenate(made), points)


def test_no_windows_stay_none() -> None:
    assert list(regroup(iter(()), 4)) == []

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from talkhead.geometry.time_series import resample

Floats = npt.NDArray[np.float32]


def floats(values: object) -> Floats:
    return np.asarray(values, np.float32)


def test_resampling_reads_at_the_middles_of_frames() -> None:
    values = floats([[0], [10], [20]])
    double = resample(values, Fraction(25), Fraction(50), 6)[:, 0]
    np.testing.assert_allclose(double, [0, 2.5, 7.5, 12.5, 17.5, 20])
    half = resample(floats([0, 10, 20, 30]), Fraction(50), Fraction(25), 2)
    np.testing.assert_allclose(half, [5, 25])
    more = resample(values[:, 0], Fraction(25), Fraction(75, 2), 4)
    np.testing.assert_allclose(more, [0, 5, 35 / 3, 55 / 3], rtol=1e-5)


def test_resampling_to_the_same_rate_changes_nothing_and_holds_the_last_value() -> None:
    values = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
    same = resample(values, Fraction(25), Fraction(25), 5)
    np.testing.assert_array_equal(same, values)
    assert not np.shares_memory(same, values)
    longer = resample(values, Fraction(25), Fraction(25), 7)
    np.testing.assert_array_equal(longer[:5], values)
    np.testing.assert_array_equal(longer[5:], values[[4, 4]])
    single = resample(values[:1], Fraction(25), Fraction(60), 3)
    np.testing.assert_array_equal(single, values[[0, 0, 0]])


def test_resampling_keeps_a_slow_motion_in_time() -> None:
    def motion(fps: Fraction, count: int) -> Floats:
        middles_s = (np.arange(count) + 0.5) / float(fps)
        return floats(np.sin(2 * middles_s))

    fps = Fraction(30_000, 1001)
    resampled = resample(motion(Fraction(25), 100), Fraction(25), fps, 119)
    np.testing.assert_allclose(resampled[1:-1], motion(fps, 119)[1:-1], atol=2e-3)

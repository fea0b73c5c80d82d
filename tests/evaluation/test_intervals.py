import itertools

import numpy as np
import pytest
from scipy.stats import bootstrap

from talkhead.evaluation.intervals import (
    Interval,
    bootstrap_interval,
    mean_interval,
    paired_difference,
)


def test_two_clips_span_from_one_to_the_other() -> None:
    # A quarter of the draws holds the first clip twice, a quarter the second: both are in the 95 %.
    assert bootstrap_interval([1, 5]) == (1, 5)


def test_three_clips_are_worked_by_hand() -> None:
    # 27 draws are equally likely. Means of 0, 0, 27: each 0 twice as likely as not, so the mean is
    # 9 k with k binomial (3, 1/3): 8/27, 12/27, 6/27, 1/27. k = 3 has 3.7 %: more than 2.5 %.
    assert bootstrap_interval([0, 0, 27], num_draws=20_000) == (0, 27)
    assert bootstrap_interval([0, 0, 27], num_draws=20_000, confidence=0.9) == (0, 18)


def test_a_small_sample_agrees_with_all_its_draws() -> None:
    values = [0.3, 2.0, 2.2, 7.0, 9.5]
    means = [np.mean(draw) for draw in itertools.product(values, repeat=5)]
    expected = np.quantile(means, [0.025, 0.975])
    assert bootstrap_interval(values, num_draws=50_000) == pytest.approx(tuple(expected), abs=0.1)


def test_equal_clips_leave_no_doubt() -> None:
    assert bootstrap_interval([0.25] * 7) == (0.25, 0.25)


def test_one_clip_has_no_interval() -> None:
    assert bootstrap_interval([3]) is None
    assert mean_interval([3]) == Interval(3, None, None, 1)


@pytest.mark.parametrize("values", [[], [1, float("nan")], [float("inf"), 1]])
def test_what_is_no_number_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="a mean needs numbers"):
        bootstrap_interval(values)


def test_the_interval_repeats_and_does_not_depend_on_the_order() -> None:
    values = np.random.default_rng(1).normal(size=40).tolist()
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) == bootstrap_interval(values[::-1])
    assert mean_interval(values) == mean_interval(values[20:] + values[:20])
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values)


def test_nothing_global_is_drawn_from() -> None:
    before = repr(np.random.get_state())  # noqa: NPY002  (the global one is what is looked at)
    bootstrap_interval([1, 2, 3])
    assert repr(np.random.get_state()) == before  # noqa: NPY002


def test_scipy_finds_the_same_interval() -> None:
    values = np.random.default_rng(2).gamma(2, 3, 30)
    theirs = bootstrap(
        (values,),
        np.mean,
        n_resamples=50_000,
        method="percentile",
        rng=np.random.default_rng(9),
    ).confidence_interval
    ours = bootstrap_interval(values.tolist(), num_draws=50_000)
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.03 * (theirs.high - theirs.low))


def test_nineteen_of_twenty_samples_hold_the_true_mean() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(600):
        interval = bootstrap_interval(rng.normal(5, 2, 40).tolist(), num_draws=500)
        assert interval is not None
        hits += interval[0] <= 5 <= interval[1]
    # Percentile intervals of 40 clips are a little narrow: 93.5 % are expected, 1 % is the noise.
    assert 0.91 < hits / 600 < 0.97


def test_an_interval_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(4).normal(0, 1, 400)
    interval = bootstrap_interval(values.tolist(), num_draws=20_000)
    assert interval is not None
    error = values.std() / 20
    assert interval[1] - interval[0] == pytest.approx(2 * 1.96 * error, rel=0.03)


def test_pairs_cancel_what_makes_clips_hard() -> None:
    hard = np.random.default_rng(5).normal(30, 5, 50)
    gain = np.random.default_rng(6).normal(0.3, 0.1, 50)
    difference = paired_difference(hard.tolist(), (hard + gain).tolist())
    assert difference.mean == pytest.approx(gain.mean())
    assert difference.low is not None
    assert 0.2 < difference.low < difference.mean
    alone = mean_interval(hard.tolist())
    assert alone.low is not None
    assert alone.mean - alone.low > 1


def test_a_difference_is_what_comes_after_minus_what_was_before() -> None:
    assert paired_difference([1, 2], [4, 7]) == Interval(4, 3, 5, 2)
    assert paired_difference([1], [4]) == Interval(3, None, None, 1)
    with pytest.raises(ValueError, match="do not form pairs"):
        paired_difference([1, 2], [1])

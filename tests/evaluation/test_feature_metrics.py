import numpy as np
import numpy.typing as npt
import pytest
from scipy.linalg import sqrtm

from talkhead.evaluation.feature_metrics import (
    FeatureStatistics,
    frechet_distance,
    sync_scores,
    tlp,
)

Numbers = npt.NDArray[np.float64]


def draw(count: int, width: int, seed: int = 0) -> Numbers:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(width, width))
    return np.asarray(rng.normal(size=(count, width)) @ mixing + rng.normal(size=width))


def distance(generated: Numbers, real: Numbers) -> float:
    return frechet_distance(FeatureStatistics.of(generated), FeatureStatistics.of(real))


def test_moments_are_those_of_numpy() -> None:
    features = draw(9, 4)
    found = FeatureStatistics.of(features.astype(np.float32))
    assert found.count == 9
    assert found.mean == pytest.approx(features.mean(0), rel=1e-5)
    assert found.covariance == pytest.approx(np.cov(features.T), rel=1e-5, abs=1e-5)


def test_a_distance_in_one_dimension_by_hand() -> None:
    generated = np.array([[-1.0], [0], [1]])  # mean 0, variance 1
    real = np.array([[1.0], [3], [5]])  # mean 3, variance 4
    # 3^2 + 1 + 4 - 2 sqrt(1 4)
    assert distance(generated, real) == pytest.approx(10)
    assert distance(real, generated) == pytest.approx(10)


def test_a_root_of_the_product_of_covariances_agrees() -> None:
    generated, real = draw(50, 6, 1), draw(40, 6, 2)
    a, b = np.cov(generated.T), np.cov(real.T)
    by_root = (
        np.square(generated.mean(0) - real.mean(0)).sum()
        + np.trace(a)
        + np.trace(b)
        - 2 * np.trace(np.real(sqrtm(a @ b)))
    )
    assert distance(generated, real) == pytest.approx(by_root)


def test_fewer_features_than_dimensions_are_compared_where_they_lie() -> None:
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(300, 3)))[0]
    generated, real = draw(20, 3, 1), draw(30, 3, 2)
    assert distance(generated @ basis.T, real @ basis.T) == pytest.approx(distance(generated, real))
    few = draw(10, 300, 3)
    assert distance(few, few) == pytest.approx(0, abs=1e-9 * np.square(few).sum())
    # All moved by 1 in every dimension.
    assert distance(few, few + 1) == pytest.approx(300, rel=1e-9)


def test_sets_that_do_not_overlap_add_up_their_variances() -> None:
    generated, real = np.zeros((3, 4)), np.zeros((3, 4))
    generated[:, 0] = real[:, 1] = (-1, 0, 1)
    assert distance(generated, real) == pytest.approx(2)
    assert distance(np.ones((3, 4)), np.zeros((2, 4))) == pytest.approx(4)


def test_the_order_of_merging_changes_nothing() -> None:
    features = draw(60, 5)
    whole = FeatureStatistics.of(features)
    parts = [FeatureStatistics.of(features[i : i + 7]) for i in range(0, 60, 7)]
    rng = np.random.default_rng(0)
    for _ in range(3):
        order = rng.permutation(len(parts))
        merged = parts[order[0]]
        for index in order[1:]:
            merged = merged.merge(parts[index])
        assert merged.count == 60
        assert merged.mean == pytest.approx(whole.mean, rel=1e-9)
        assert merged.covariance == pytest.approx(whole.covariance, rel=1e-9, abs=1e-9)
        other = FeatureStatistics.of(draw(30, 5, 1))
        assert frechet_distance(merged, other) == pytest.approx(
            frechet_distance(whole, other), rel=1e-9
        )


def test_too_few_features_or_other_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="two features or more"):
        distance(draw(1, 3), draw(5, 3))
    with pytest.raises(ValueError, match="same dimension"):
        distance(draw(5, 3), draw(5, 4))


def test_tlp_is_the_mean_of_absolute_differences_of_changes() -> None:
    generated, real = np.array([0.10, 0.30, 0.20]), np.array([0.20, 0.10, 0.20])
    assert tlp(generated, real) == pytest.approx((0.1 + 0.2 + 0) / 3)
    assert tlp(generated[[2, 0, 1]], real[[2, 0, 1]]) == pytest.approx(0.1)
    assert tlp(real, real) == 0
    with pytest.raises(ValueError, match="changes are"):
        tlp(generated, real[:2])
    with pytest.raises(ValueError, match="changes are"):
        tlp(generated[:0], real[:0])


def test_sync_of_two_windows_by_hand() -> None:
    video = np.array([[0.0, 4.0], [0.0, 0.0]])
    audio = np.array([[3.0, 4.0], [3.0, 0.0]])
    # As they are: 3 and 3. Sound one earlier: |(0,4) - (3,0)| = 5 and |(0,0)| = 0. One later:
    # |(0,4)| = 4 and |(0,0) - (3,4)| = 5. Further off there is nothing: 4 and 0.
    lse_d, lse_c, offset = sync_scores(video, audio)
    assert lse_d == pytest.approx(2, abs=1e-5)
    assert lse_c == pytest.approx(0, abs=1e-5)
    assert offset == 15  # the first of all those that are equal


@pytest.mark.parametrize("late", [-15, -5, 0, 1, 5, 15])
def test_a_late_picture_has_a_positive_offset(late: int) -> None:
    source = np.random.default_rng(0).normal(size=(100, 32))
    video, audio = source[20 - late : 80 - late], source[20:80]
    lse_d, lse_c, offset = sync_scores(video, audio)
    assert offset == late
    # Windows that have a partner meet themselves, the others zeros.
    lonely = video[late:] if late < 0 else video[:late]
    assert lse_d == pytest.approx(np.linalg.norm(lonely, axis=1).sum() / 60, abs=1e-4)
    assert lse_c > 3


def test_unrelated_streams_have_little_confidence() -> None:
    rng = np.random.default_rng(0)
    video, audio = rng.normal(size=(2, 80, 64))
    assert sync_scores(video, audio)[1] < 0.1 * sync_scores(video, video)[1]


def test_scales_of_embeddings_carry_over_and_types_do_not_matter() -> None:
    video, audio = np.random.default_rng(0).normal(size=(2, 40, 16)).astype(np.float32)
    once, twice = sync_scores(video, audio), sync_scores(2 * video, 2 * audio)
    assert twice[:2] == pytest.approx((2 * once[0], 2 * once[1]), rel=1e-4)
    assert sync_scores(video.astype(np.float64), audio) == pytest.approx(once)


def test_streams_without_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="no pairs of windows"):
        sync_scores(np.zeros((3, 2)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="no pairs of windows"):
        sync_scores(np.zeros((0, 2)), np.zeros((0, 2)))

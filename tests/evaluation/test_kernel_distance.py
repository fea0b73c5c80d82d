from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from talkhead.evaluation.kernel_distance import SCALE, kernel_distance, mouth_distances
from talkhead.evaluation.scores import REAL, ClipScores
from tests.evaluation.networks.random_state import random_frames

Array = npt.NDArray[Any]

NONE = np.zeros(0, np.float32)


def test_by_hand() -> None:
    generated = np.array([[1.0, 1.0], [0.0, 0.0]])
    real = np.array([[2.0, 0.0], [0.0, 0.0]])
    # k(x, y) = (x y / 2 + 1)^3: of the pairs within a set, both are with the origin and give 1.
    # Across: (2 / 2 + 1)^3 = 8, and three times 1.
    assert kernel_distance(generated, real) == pytest.approx(1 + 1 - 2 * (8 + 3) / 4)


def test_agrees_with_sums_over_pairs() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 7)), rng.normal(0.5, 1, size=(6, 7))

    def k(a: Array, b: Array) -> float:
        return float((a @ b / 7 + 1) ** 3)

    within = [
        np.mean([k(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j])
        for s in (x, y)
    ]
    across = np.mean([k(a, b) for a in x for b in y])
    assert kernel_distance(x, y) == pytest.approx(sum(within) - 2 * across)


def test_has_no_bias_in_small_sets() -> None:
    rng = np.random.default_rng(1)
    same = [kernel_distance(*rng.normal(size=(2, 8, 4))) for _ in range(400)]
    moved = [kernel_distance(rng.normal(size=(8, 4)), rng.normal(1, 1, (8, 4))) for _ in range(400)]
    assert abs(np.mean(same)) < 3 * np.std(same) / 20
    assert np.mean(moved) > 1


def test_sets_too_small() -> None:
    with pytest.raises(ValueError, match="two features or more"):
        kernel_distance(np.zeros((1, 3)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="same dimension"):
        kernel_distance(np.zeros((4, 2)), np.zeros((4, 3)))


def test_mouths_of_all_clips_are_compared_with_all_real_ones() -> None:
    frames = random_frames(12, 64)
    dark = frames // 4

    def scores(system: str, clip: int, **arrays: Array) -> ClipScores:
        return ClipScores(str(clip), "someone", False, system, 4, 0, {}, NONE, arrays)

    def features(patches: Array) -> npt.NDArray[np.float32]:
        return np.asarray(patches.mean((1, 2)) / 255, np.float32)

    parts = [
        scores(REAL, 0, **{"real mouths": frames[:3], "mouths": frames[:3]}),
        scores(REAL, 1, **{"real mouths": frames[3:6], "mouths": frames[3:6]}),
        scores("ours", 0, mouths=dark[6:8]),
        scores("ours", 1, mouths=dark[8:12]),
        scores("shut", 0),
        scores("opened once", 0, mouths=frames[:1]),
    ]
    found = mouth_distances(parts, features)
    assert found.keys() == {REAL, "ours"}
    expected = kernel_distance(features(dark[6:]), features(frames[:6]))
    assert found["ours"] == pytest.approx(SCALE * expected)
    assert found["ours"] > 10 * abs(found[REAL])


def test_without_real_mouths_there_is_nothing() -> None:
    one = ClipScores("0", "someone", False, "ours", 4, 0, {}, NONE, {"mouths": random_frames(4, 8)})
    assert mouth_distances([one], lambda patches: patches.mean((1, 2), np.float32)) == {}

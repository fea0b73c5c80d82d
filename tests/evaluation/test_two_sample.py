import numpy as np
import numpy.typing as npt
import pytest
import torch

from talkhead.evaluation import two_sample
from talkhead.evaluation.scores import REAL, ClipScores
from talkhead.evaluation.two_sample import accuracies, split_people, two_sample_test

Pixels = npt.NDArray[np.uint8]

PEOPLE = tuple(f"person-{number}" for number in range(6))


@pytest.fixture(autouse=True)
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_sample, "NUM_STEPS", 15)
    monkeypatch.setattr(two_sample, "BATCH_SIZE", 16)
    monkeypatch.setattr(two_sample, "SEEDS", (0,))


def patches(count: int, seed: int, step: int = 1) -> Pixels:
    """Noise; with a larger step it is coarser."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 220, (count, 64 // step, 64 // step, 3), np.uint8)
    return coarse.repeat(step, 1).repeat(step, 2)


def of_clip(person: str, system: str, clip: str = "a", **arrays: Pixels) -> ClipScores:
    named = {name.replace("_", " "): values for name, values in arrays.items()}
    opening = np.zeros(0, np.float32)
    return ClipScores(f"{person}-{clip}", person, False, system, 20, 0, {}, opening, named)


def test_a_coarser_picture_is_told_from_a_fine_one() -> None:
    pairs = {name: (patches(8, k, 4), patches(8, 10 + k)) for k, name in enumerate(PEOPLE)}
    found = accuracies(pairs)
    assert found.keys() == set(PEOPLE)
    assert np.mean(list(found.values())) > 0.9
    assert accuracies(pairs) == found


def test_equal_patches_cannot_be_told_apart() -> None:
    pairs = {name: (patches(8, k), patches(8, k)) for k, name in enumerate(PEOPLE)}
    assert set(accuracies(pairs).values()) == {0.5}


def test_people_are_split_by_name_into_equal_halves() -> None:
    halves = split_people(PEOPLE)
    assert [len(half) for half in halves] == [3, 3]
    assert sorted(halves[0] + halves[1]) == sorted(PEOPLE)
    assert split_people(PEOPLE[::-1]) == halves


def test_every_system_is_tested_with_as_many_real_patches_of_the_same_people() -> None:
    scores = []
    for k, name in enumerate(PEOPLE):
        real = patches(8, 10 + k)
        scores.append(of_clip(name, "ours", mouths=patches(5, k, 4)))
        scores.append(of_clip(name, REAL, mouths=real, real_mouths=real))
    found, too_few = two_sample_test(scores)
    assert list(found) == ["ours", REAL]
    assert found["ours"].mean > 90
    assert found["ours"].num == len(PEOPLE)
    assert found[REAL].mean == pytest.approx(50)
    assert found[REAL].low == found[REAL].high == pytest.approx(50)
    assert too_few == {}


def test_five_people_are_too_few() -> None:
    real = patches(2, 0)
    scores = [of_clip(name, REAL, mouths=real, real_mouths=real) for name in PEOPLE]
    scores += [of_clip(name, "ours", mouths=real) for name in PEOPLE[:4]]
    scores += [of_clip("somebody else", "ours", mouths=real)]  # without real patches
    found, too_few = two_sample_test(scores)
    assert list(found) == [REAL]
    assert too_few == {"ours": 4}


def test_nothing_global_is_drawn_from() -> None:
    before = torch.get_rng_state()
    accuracies({name: (patches(2, k), patches(2, k)) for k, name in enumerate(PEOPLE)})
    assert torch.equal(torch.get_rng_state(), before)

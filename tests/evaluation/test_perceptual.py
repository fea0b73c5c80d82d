from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch

from talkhead.evaluation.feature_metrics import FeatureStatistics, frechet_distance, sync_scores
from talkhead.evaluation.networks import (
    FeatureNetwork,
    FidInception,
    I3d,
    Lpips,
    SyncNet,
)
from talkhead.evaluation.networks.lpips import AlexNetFeatures, Heads
from talkhead.evaluation.networks.published import fill
from talkhead.evaluation.networks.syncnet import pair_windows
from talkhead.evaluation.perceptual import NetworkScorer, set_values
from talkhead.evaluation.scores import IDENTITY, REAL, ClipScores
from tests.evaluation.networks.random_state import random_frames, random_state

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

SIDE = 64
NUM_FRAMES = 14
NONE = np.zeros(0, np.float32)


@pytest.fixture(scope="module")
def lpips() -> Lpips:
    heads = {name: x.abs() for name, x in random_state(Heads).items()}
    return Lpips(
        fill(AlexNetFeatures, random_state(AlexNetFeatures), source="alexnet"),
        fill(Heads, heads, source="heads"),
    )


@pytest.fixture(scope="module")
def syncnet() -> SyncNet:
    return fill(SyncNet, random_state(SyncNet), source="syncnet")


@pytest.fixture(scope="module")
def generated() -> Pixels:
    return random_frames(NUM_FRAMES, SIDE, 0)


@pytest.fixture(scope="module")
def real() -> Pixels:
    return random_frames(NUM_FRAMES, SIDE, 1)


def noise(num_samples: int) -> Floats:
    return np.random.default_rng(0).uniform(-0.5, 0.5, num_samples).astype(np.float32)


def score(
    networks: Mapping[str, FeatureNetwork],
    generated: Pixels,
    real: Pixels,
    sizes: Sequence[int],
    *,
    waveform: Floats = NONE,
    fps: float = 25,
    with_real: bool = False,
) -> tuple[dict[str, float], dict[str, Floats]]:
    """Scores of frames that come in batches of these sizes."""
    scorer = NetworkScorer(networks, waveform, fps, with_real=with_real)
    ends = np.cumsum(sizes)
    assert ends[-1] == len(generated)
    for start, end in zip(ends - np.array(sizes), ends, strict=True):
        scorer.add(generated[start:end], real[start:end])
    return scorer.finish()


def test_without_networks_there_are_no_scores(generated: Pixels, real: Pixels) -> None:
    assert score({}, generated, real, [14], waveform=noise(9000), with_real=True) == ({}, {})
    assert NetworkScorer({}, NONE, 25).finish() == ({}, {})


def test_lpips_and_tlp_are_those_of_the_whole_video(
    lpips: Lpips, generated: Pixels, real: Pixels
) -> None:
    values, features = score({"lpips": lpips}, generated, real, [14])
    assert features == {}
    assert values["lpips"] == pytest.approx(
        float(lpips.distances(generated, real).mean()), rel=1e-5
    )
    changes = [lpips.distances(frames[1:], frames[:-1]) for frames in (generated, real)]
    assert values["tlp"] == pytest.approx(
        100 * float(np.abs(changes[0] - changes[1]).mean()), rel=1e-4
    )
    assert list(values) == ["lpips", "tlp"]


@pytest.mark.parametrize("sizes", [[5, 4, 5], [1, 12, 1]])
def test_the_size_of_batches_changes_no_lpips_and_no_tlp(
    lpips: Lpips, generated: Pixels, real: Pixels, sizes: list[int]
) -> None:
    whole, _ = score({"lpips": lpips}, generated, real, [14])
    parts, _ = score({"lpips": lpips}, generated, real, sizes)
    assert parts == pytest.approx(whole, rel=1e-4)


def test_equal_videos_have_no_distance_and_one_frame_has_no_change(
    lpips: Lpips, generated: Pixels
) -> None:
    values, _ = score({"lpips": lpips}, generated, generated, [7, 7])
    assert values == {"lpips": 0, "tlp": 0}
    values, _ = score({"lpips": lpips}, generated[:1], generated[:1], [1])
    assert values == {"lpips": 0}


def test_syncnet_sees_every_window_once_however_frames_come(
    syncnet: SyncNet, generated: Pixels, real: Pixels
) -> None:
    sound = noise(640 * NUM_FRAMES)
    seen, heard = syncnet.video_embeddings(generated), syncnet.audio_embeddings(sound)
    lse_d, lse_c, offset = sync_scores(*pair_windows(seen, heard))
    wanted = {"lse_d": lse_d, "lse_c": lse_c, "sync_offset": offset}
    for sizes in ([14], [5, 4, 5], [1, 2, 1, 10]):
        values, features = score({"sync": syncnet}, generated, real, sizes, waveform=sound)
        assert values == pytest.approx(wanted, rel=1e-3)
        assert features == {}


@pytest.mark.parametrize(
    ("num_samples", "fps"), [(0, 25.0), (640 * NUM_FRAMES, 24.0), (640 * NUM_FRAMES, 50.0)]
)
def test_syncnet_needs_sound_and_25_frames_a_second(
    syncnet: SyncNet, generated: Pixels, real: Pixels, num_samples: int, fps: float
) -> None:
    networks = {"sync": syncnet}
    assert score(networks, generated, real, [14], waveform=noise(num_samples), fps=fps) == ({}, {})


@pytest.mark.parametrize(("count", "num_samples"), [(5, 640 * 14), (14, 640 * 5), (3, 640 * 3)])
def test_clips_that_are_too_short_for_syncnet_have_no_scores_of_it(
    syncnet: SyncNet, generated: Pixels, real: Pixels, count: int, num_samples: int
) -> None:
    networks = {"sync": syncnet}
    sound = noise(num_samples)
    assert score(networks, generated[:count], real[:count], [count], waveform=sound) == ({}, {})


def test_features_of_frames_do_not_depend_on_the_batch() -> None:
    inception = fill(FidInception, random_state(FidInception), source="inception")
    generated, real = random_frames(5, SIDE, 0), random_frames(5, SIDE, 1)
    values, whole = score({"fid": inception}, generated, real, [5], with_real=True)
    _, parts = score({"fid": inception}, generated, real, [2, 3])
    assert values == {}
    assert whole.keys() == {"fid", "real fid"}
    assert whole["fid"].shape == whole["real fid"].shape == (5, 2048)
    assert parts.keys() == {"fid"}
    np.testing.assert_allclose(parts["fid"], whole["fid"], rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(whole["real fid"], inception.features(real))


def test_only_whole_windows_of_16_frames_have_features_of_motion() -> None:
    i3d = fill(I3d, random_state(I3d), source="i3d")
    frames = random_frames(19, SIDE)
    _, features = score({"fvd": i3d}, frames, frames, [16, 3])
    assert features.keys() == {"fvd"}
    assert features["fvd"].shape == (1, 400)
    np.testing.assert_array_equal(features["fvd"], i3d.features(frames[:16]))


def of_clip(clip: str, system: str, **arrays: Floats) -> ClipScores:
    named = {name.replace("real_", "real "): values for name, values in arrays.items()}
    return ClipScores(clip, "anna", False, system, 20, 0, {}, NONE, named)


def features(count: int, seed: int, shift: float = 0) -> Floats:
    return (np.random.default_rng(seed).normal(size=(count, 4)) + shift).astype(np.float32)


def test_a_set_against_itself_is_at_distance_0_and_a_shifted_one_at_the_square_of_it() -> None:
    own = features(50, 0)
    values, fewest = set_values(
        [
            of_clip("a", "ours", fid=own + np.float32(3)),
            of_clip("a", REAL, fid=own, real_fid=own),
        ]
    )
    assert values[REAL]["fid"] == pytest.approx(0, abs=1e-5)
    assert values["ours"]["fid"] == pytest.approx(4 * 3**2, rel=1e-4)  # 3 in each of 4 dimensions
    assert fewest == {"fid": 50}


def test_two_clips_are_one_set_in_any_order() -> None:
    generated, real = features(60, 0, 0.5), features(60, 1)
    one = [of_clip("a", "ours", fid=generated), of_clip("a", REAL, fid=real, real_fid=real)]
    two = [
        of_clip("b", REAL, fid=real[20:], real_fid=real[20:]),
        of_clip("b", "ours", fid=generated[20:]),
        of_clip("a", "ours", fid=generated[:20]),
        of_clip("a", REAL, fid=real[:20], real_fid=real[:20]),
    ]
    values, fewest = set_values(one)
    direct = frechet_distance(FeatureStatistics.of(generated), FeatureStatistics.of(real))
    assert values["ours"]["fid"] == pytest.approx(direct)
    for order in (two, two[::-1]):
        again, same = set_values(order)
        assert again["ours"] == pytest.approx(values["ours"], rel=1e-9)
        assert same == fewest == {"fid": 60}


def test_the_fewest_features_of_any_system_are_told_by_measure() -> None:
    real = features(60, 1)
    windows = features(12, 2)
    _, fewest = set_values(
        [
            of_clip("a", "ours", fid=features(58, 0), fvd=windows[:9]),
            of_clip("a", IDENTITY, fid=features(60, 3), fvd=windows),
            of_clip("a", REAL, fid=real, fvd=windows, real_fid=real, real_fvd=windows),
        ]
    )
    assert fewest == {"fid": 58, "fvd": 9}


def test_real_features_are_those_of_the_real_row_alone() -> None:
    real, other = features(40, 1), features(40, 2, 5)
    generated = features(40, 0)
    row = of_clip("a", REAL, fid=real, real_fid=real)
    alone, _ = set_values([of_clip("a", "ours", fid=generated), row])
    misled, _ = set_values([of_clip("a", "ours", fid=generated, real_fid=other), row])
    assert misled == alone
    assert set_values([of_clip("a", "ours", fid=generated, real_fid=other)]) == ({}, {})


def test_a_single_feature_is_no_set() -> None:
    real = features(40, 1)
    row = of_clip("a", REAL, fid=real, real_fid=real)
    values, fewest = set_values([of_clip("a", "ours", fid=features(1, 0)), row])
    assert values.keys() == {REAL}
    assert fewest == {"fid": 40}


def test_nothing_global_is_drawn_from(lpips: Lpips, generated: Pixels, real: Pixels) -> None:
    before = torch.get_rng_state()
    score({"lpips": lpips}, generated, real, [14])
    assert torch.equal(torch.get_rng_state(), before)

"""Videos whose scores are known: the real one, late, blurred, brighter, with a frozen mouth."""

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import gaussian_filter

from talkhead.errors import TalkheadError
from talkhead.evaluation.frames import Reference
from talkhead.evaluation.landmark_metrics import inner_opening
from talkhead.evaluation.video_scorer import FrameScores, VideoScorer, score_together
from tests.evaluation.talking_video import (
    batches,
    read_all,
    reference_of,
    talking_frames,
    written,
)

Pixels = npt.NDArray[np.uint8]

pytestmark = pytest.mark.usefixtures("detector_is_here")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, detector_is_here: None) -> Pixels:
    return read_all(written(tmp_path_factory.mktemp("real"), "real", talking_frames()))


@pytest.fixture(scope="module")
def reference(real: Pixels) -> Reference:
    return reference_of(real)


def outcome(generated: Pixels, reference: Reference, size: int = 16) -> FrameScores | TalkheadError:
    videos = {"generated": iter(batches(generated, size))}
    return score_together(videos, {"generated": VideoScorer()}, reference)["generated"]


def score(generated: Pixels, reference: Reference, size: int = 16) -> FrameScores:
    found = outcome(generated, reference, size)
    assert isinstance(found, FrameScores), found
    return found


def test_a_video_against_itself_is_perfect(real: Pixels, reference: Reference) -> None:
    found = score(real, reference)
    values = found.values
    for name in ("psnr", "lower_psnr", "lips_psnr", "mouth_psnr"):
        assert values[name] == pytest.approx(100)
    for name in ("ssim", "lower_ssim", "opening_r", "opening_r_best", "lips_sharpness"):
        assert values[name] == pytest.approx(1)
    for name in ("mse", "m_ld", "f_ld", "m_lvd", "f_lvd", "opening_lag", "flicker"):
        assert values[name] == 0
    assert values["identical_frames"] == len(real)
    assert not np.isnan(found.points).any()


def test_a_video_five_frames_late_has_an_offset_of_five(
    real: Pixels, reference: Reference, tmp_path: Path
) -> None:
    late = np.concatenate([real[:1]] * 5 + [real[:-5]])
    values = score(read_all(written(tmp_path, "late", late)), reference).values
    assert values["opening_lag"] == 5
    assert values["opening_r_best"] > 0.98
    assert values["opening_r"] < values["opening_r_best"] - 0.1
    assert values["m_ld"] > 1


def test_a_blurred_video_is_less_sharp(real: Pixels, reference: Reference, tmp_path: Path) -> None:
    found = []
    for sigma in (0.7, 2.0):
        blurred = gaussian_filter(real.astype(np.float32), (0, sigma, sigma, 0))
        generated = read_all(written(tmp_path, f"blurred{sigma}", blurred.round().astype(np.uint8)))
        values = score(generated, reference).values
        found.append([values[key] for key in ("lips_sharpness", "face_sharpness", "ssim", "psnr")])
    assert all(np.array(found[1]) < np.array(found[0]))
    assert found[0][0] < 0.8
    assert found[1][1] < 0.2
    assert 0.5 < found[1][2] < 1


def test_a_video_brighter_by_ten_is_28_decibels(real: Pixels) -> None:
    dark = np.minimum(real, 240)
    values = score(dark + np.uint8(10), reference_of(dark)).values
    assert values["mse"] == pytest.approx(100)
    for name in ("psnr", "lower_psnr", "lips_psnr"):
        assert values[name] == pytest.approx(28.1308, abs=1e-4)  # 20 log10(255 / 10)
    assert values["flicker"] == 0
    assert values["lips_sharpness"] == pytest.approx(1)


def test_a_frozen_mouth_follows_nothing_and_rests_in_silence(
    real: Pixels, reference: Reference
) -> None:
    values = score(np.repeat(real[:1], len(real), 0), reference).values
    moving = score(real, reference).values
    assert abs(values.get("opening_r", 0)) < 0.5
    # Not 0: on a still picture the tracker itself moves lips by some thousandths of the distance
    # of the eyes.
    assert values["quiet_motion"] < 0.8 * moving["quiet_motion"]
    assert values["m_lvd"] > 0.2
    assert values["m_ld"] > 1


def test_flow_of_the_real_video_explains_it_better_than_none(
    real: Pixels, reference: Reference
) -> None:
    pytest.importorskip("cv2", exc_type=ImportError)
    own = score(real, reference).values["pixel_mse"]
    # A video that stands still where the real one moves is torn along the real flow.
    frozen = np.repeat(real[30:31], len(real), 0)
    assert own < score(frozen, reference).values["pixel_mse"] / 2


def test_the_size_of_batches_changes_nothing(real: Pixels, reference: Reference) -> None:
    generated = np.roll(real, 3, axis=0)
    by_seven = dataclasses.replace(reference, read_frames=lambda: iter(batches(real, 7)))
    one, other = score(generated, reference), score(generated, by_seven, 7)
    assert one.values == pytest.approx(other.values, rel=1e-9)
    np.testing.assert_array_equal(one.points, other.points)


def test_systems_do_not_disturb_each_other(real: Pixels, reference: Reference) -> None:
    late = np.roll(real, 3, axis=0)
    together = score_together(
        {"late": iter(batches(late)), "itself": iter(batches(real))},
        {"late": VideoScorer(), "itself": VideoScorer()},
        reference,
    )
    assert isinstance(together["late"], FrameScores)
    assert together["late"].values == score(late, reference).values


def test_frames_without_a_face_are_counted_and_the_others_scored(
    real: Pixels, reference: Reference
) -> None:
    generated = real.copy()
    generated[10:14] = 90
    found = score(generated, reference)
    gone = np.flatnonzero(np.isnan(found.points[:, 0, 0]))
    assert set(range(10, 14)) <= set(gone.tolist())
    assert len(gone) < 12
    assert np.isnan(inner_opening(found.points[gone])).all()
    assert found.values["m_ld"] < 1  # where there is a face it is the real one
    assert found.values["psnr"] < 100


@pytest.mark.parametrize("missing", [1, 2])
def test_a_frame_or_two_may_be_missing(real: Pixels, reference: Reference, missing: int) -> None:
    assert score(real[:-missing], reference).values["psnr"] == pytest.approx(100)


@pytest.mark.parametrize("count", [57, 63])
def test_other_lengths_are_refused(real: Pixels, reference: Reference, count: int) -> None:
    generated = np.concatenate([real, real])[:count]
    found = outcome(generated, reference)
    assert isinstance(found, TalkheadError)
    assert str(found) == f"it has {count} frames, but the real clip has 60"

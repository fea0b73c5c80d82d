import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from talkhead.audio2landmarks.audio2motion import Speech
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.data.clips import encode_frames
from talkhead.errors import TalkheadError
from talkhead.evaluation.frames import to_crop_size
from talkhead.evaluation.image_metrics import frame_errors, psnr_of, squared_errors
from talkhead.evaluation.landmark_metrics import inner_opening
from talkhead.evaluation.scores import CEILING, IDENTITY, LOUDNESS, REAL, REST, TRUTH, WARP
from talkhead.evaluation.systems import (
    LOUD_OPENING,
    EvalClip,
    Pose,
    fitted,
    frame_generators,
    identity_frame,
    landmark_baselines,
    predict_speech_of,
    spoken_points,
)
from talkhead.geometry.mesh import mouth_opening
from talkhead.geometry.pose import fit_head_pose
from talkhead.landmarks2video.region import BOTTOM_PX, LEFT_PX, RIGHT_PX, TOP_PX
from talkhead.pipelines import TalkheadPipeline
from tests.meshes import floats, mean_mesh, opened, turning
from tests.prepared import describe_clip, make_clip
from tests.tiny import tiny_generator

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

NUM_FRAMES = 28


@pytest.fixture(scope="module")
def generator() -> LandmarkGenerator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return tiny_generator().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def eval_clip() -> EvalClip:
    clip = make_clip(NUM_FRAMES, 2)
    return EvalClip(describe_clip("cleo", clip), clip)


@pytest.fixture(scope="module")
def nodding() -> EvalClip:
    """A clip whose head turns and moves across the picture."""
    clip = make_clip(NUM_FRAMES, 3)
    moved = [
        turning(0.2 * np.sin(0.2 * index), mesh) + floats([0.5 * index, 3, 0])
        for index, mesh in enumerate(clip.landmarks)
    ]
    clip = dataclasses.replace(clip, landmarks=np.stack(moved).astype(np.float32))
    return EvalClip(describe_clip("nora", clip), clip)


@pytest.fixture(scope="module")
def speech(eval_clip: EvalClip, generator: LandmarkGenerator) -> Speech:
    return predict_speech_of(eval_clip, generator)


@pytest.fixture(scope="module")
def pipeline(tiny_weights: Path) -> TalkheadPipeline:
    return load(tiny_weights)


def load(folder: Path) -> TalkheadPipeline:
    return TalkheadPipeline.from_folder(folder, device=torch.device("cpu"), dtype=torch.float32)


def all_of(frames: Iterator[Pixels]) -> Pixels:
    return np.concatenate(list(frames))


def psnr(frames: Pixels, others: Pixels, mask: npt.NDArray[np.bool_] | None = None) -> float:
    return float(psnr_of(frame_errors(squared_errors(frames, others), mask)).mean())


def real(eval_clip: EvalClip) -> Pixels:
    return np.stack([eval_clip.clip.frame(index) for index in range(len(eval_clip.clip))])


def angles(points: Floats) -> Floats:
    return fit_head_pose(points).rotation.reshape(len(points), 9)


def test_the_identity_is_the_frame_at_rest() -> None:
    points = np.repeat(mean_mesh(100, 128, 128)[None], 30, 0)
    for index in range(30):
        points[index] = opened(points[index], 0 if index in (4, 17, 18, 20, 25) else 5 + index)
    points[17:] += 30  # wherever the head is
    assert identity_frame(points) in (4, 17, 18, 20, 25)


def test_real_frames_are_those_of_the_clip_in_batches(eval_clip: EvalClip) -> None:
    batches = list(eval_clip.frames())
    assert [len(batch) for batch in batches] == [16, 12]
    np.testing.assert_array_equal(np.concatenate(batches), real(eval_clip))
    np.testing.assert_array_equal(eval_clip.picture(), real(eval_clip)[eval_clip.identity])
    np.testing.assert_array_equal(eval_clip.mesh, eval_clip.clip.landmarks[eval_clip.identity])


@pytest.mark.parametrize(("length", "last"), [(8, 7), (9, 8), (10, 9), (11, 9), (12, 9)])
def test_a_series_is_cut_or_its_last_value_held(length: int, last: int) -> None:
    values = np.arange(length, dtype=np.float32)[:, None]
    found = fitted(values, 10)
    assert found[:, 0].tolist() == [*range(min(length, 10)), *[last] * (10 - min(length, 10))]


@pytest.mark.parametrize("length", [7, 13])
def test_a_series_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(TalkheadError, match=f"^{length} frames for a clip of 10"):
        fitted(np.zeros((length, 2), np.float32), 10)


def test_a_face_that_says_nothing_rests_in_the_clips_pose(
    nodding: EvalClip, generator: LandmarkGenerator
) -> None:
    speech = predict_speech_of(nodding, generator)
    silent = dataclasses.replace(speech, coefficients=0 * speech.coefficients)
    points = spoken_points(nodding, generator, silent, "true", 0)
    assert points.shape == (NUM_FRAMES, 478, 3)
    np.testing.assert_allclose(angles(points), angles(nodding.clip.landmarks), atol=0.01)
    shapes = fit_head_pose(points).to_face(points)
    np.testing.assert_allclose(shapes, np.repeat(shapes[:1], NUM_FRAMES, 0), atol=0.01)


def test_what_is_heard_moves_the_mouth_and_no_head(
    nodding: EvalClip, generator: LandmarkGenerator
) -> None:
    speech = predict_speech_of(nodding, generator)
    speech.coefficients[:, 0] = np.linspace(0, 2, len(speech.coefficients))  # the jaw
    points = spoken_points(nodding, generator, speech, "true", 0)
    np.testing.assert_allclose(angles(points), angles(nodding.clip.landmarks), atol=0.01)
    opening = mouth_opening(fit_head_pose(points).to_face(points))
    assert opening[-1] > opening[0] + 0.03


def test_a_still_head_stays_where_the_identity_is(
    nodding: EvalClip, generator: LandmarkGenerator
) -> None:
    points = spoken_points(nodding, generator, predict_speech_of(nodding, generator), "still", 0)
    own = angles(nodding.mesh[None])
    np.testing.assert_allclose(angles(points), np.repeat(own, NUM_FRAMES, 0), atol=0.02)


def test_a_natural_head_has_motion_of_its_own_by_the_seed(
    eval_clip: EvalClip, generator: LandmarkGenerator, speech: Speech
) -> None:
    def natural(seed: int) -> Floats:
        return spoken_points(eval_clip, generator, speech, "natural", seed)

    points = natural(0)
    assert points.shape == (NUM_FRAMES, 478, 3)
    still = spoken_points(eval_clip, generator, speech, "still", 0)
    assert angles(points).std(0).max() > 3 * angles(still).std(0).max()
    np.testing.assert_array_equal(points, natural(0))
    assert np.abs(points - natural(1)).max() > 0.5


@pytest.mark.parametrize("pose", ["true", "natural", "still"])
def test_speech_that_lasts_a_frame_less_holds_the_last_face(
    eval_clip: EvalClip, generator: LandmarkGenerator, speech: Speech, pose: Pose
) -> None:
    shorter = dataclasses.replace(
        speech, coefficients=speech.coefficients[:-1], activity=speech.activity[:-1]
    )
    assert len(spoken_points(eval_clip, generator, shorter, pose, 0)) == NUM_FRAMES


def test_baselines_of_landmarks_are_rest_loudness_and_the_truth(
    nodding: EvalClip, generator: LandmarkGenerator
) -> None:
    speech = predict_speech_of(nodding, generator)
    found = dict(landmark_baselines(nodding, generator, speech))
    assert list(found) == [LOUDNESS, REST, TRUTH]
    np.testing.assert_array_equal(found[TRUTH], nodding.clip.landmarks)
    for name in (LOUDNESS, REST):
        assert found[name].shape == found[TRUTH].shape
        np.testing.assert_allclose(angles(found[name]), angles(found[TRUTH]), atol=0.01)


def test_a_jaw_by_loudness_opens_as_far_as_it_is_loud(
    eval_clip: EvalClip, generator: LandmarkGenerator, speech: Speech
) -> None:
    loudness = np.linspace(0, 1, NUM_FRAMES, dtype=np.float32)
    speech = dataclasses.replace(speech, activity=loudness)
    found = dict(landmark_baselines(eval_clip, generator, speech))
    widened = inner_opening(found[LOUDNESS]) - inner_opening(found[REST])
    assert widened[0] == pytest.approx(0, abs=1e-4)
    assert np.corrcoef(widened, loudness)[0, 1] > 0.99
    # In proportion to the mouth, which is not that of the mean face.
    assert 0.5 * LOUD_OPENING < widened[-1] < 2 * LOUD_OPENING


def test_systems_are_named_and_ordered_by_the_stage(pipeline: TalkheadPipeline) -> None:
    pipelines = {"ours": pipeline, "theirs": pipeline}
    speech = frame_generators(pipelines, from_sound=True)
    assert list(speech) == ["ours", "theirs", WARP, IDENTITY, REAL]
    rendered = frame_generators(pipelines, from_sound=False)
    assert list(rendered) == ["ours", "theirs", WARP, IDENTITY, CEILING, REAL]


def test_several_numbers_of_steps_are_systems_of_their_own(pipeline: TalkheadPipeline) -> None:
    generators = frame_generators({"ours": pipeline}, from_sound=True, steps=(1, 2, 5))
    names = ["ours, 1 step", "ours, 2 steps", "ours, 5 steps"]
    assert list(generators) == [*names, WARP, IDENTITY, REAL]
    assert (
        next(iter(frame_generators({"ours": pipeline}, from_sound=True, steps=iter([5])))) == "ours"
    )


@pytest.mark.parametrize("from_sound", [True, False])
def test_without_weights_the_baselines_that_need_none_remain(
    eval_clip: EvalClip, from_sound: bool
) -> None:
    generators = frame_generators({}, from_sound=from_sound)
    assert list(generators) == [WARP, IDENTITY, REAL]
    assert all_of(generators[WARP](eval_clip)).shape == (NUM_FRAMES, 256, 256, 3)


def test_the_identity_is_repeated_as_often_as_there_are_frames(eval_clip: EvalClip) -> None:
    frames = all_of(frame_generators({}, from_sound=True)[IDENTITY](eval_clip))
    np.testing.assert_array_equal(frames, np.repeat(eval_clip.picture()[None], NUM_FRAMES, 0))


def test_frames_follow_the_clips_own_landmarks_or_the_sound(
    eval_clip: EvalClip, pipeline: TalkheadPipeline
) -> None:
    rendered = all_of(frame_generators({"ours": pipeline}, from_sound=False)["ours"](eval_clip))
    spoken = all_of(frame_generators({"ours": pipeline}, from_sound=True)["ours"](eval_clip))
    assert rendered.shape == spoken.shape == (NUM_FRAMES, 256, 256, 3)
    assert frame_errors(squared_errors(rendered, spoken)).mean() > 1


def test_the_number_of_steps_and_the_seed_count(eval_clip: EvalClip, tiny_weights: Path) -> None:
    bold = load(tiny_weights)
    bold.denoiser.conv_out.weight.mul_(50)

    def first(seed: int) -> list[Pixels]:
        generators = frame_generators({"ours": bold}, from_sound=False, steps=(1, 2), seed=seed)
        return [
            next(generate(eval_clip))
            for name, generate in generators.items()
            if name.startswith("ours")
        ]

    one, two = first(0)
    assert (one != two).any()
    again, other = first(0), first(1)
    np.testing.assert_array_equal(two, again[1])
    assert (two != other[1]).any()
    np.testing.assert_array_equal(one, other[0])  # from pure noise, the mean is estimated


def test_a_network_that_changes_nothing_renders_the_plain_warp(
    eval_clip: EvalClip, tiny_weights: Path
) -> None:
    idle = load(tiny_weights)
    for parameter in idle.denoiser.parameters():
        parameter.zero_()
    idle.denoiser.registration_weights.zero_()
    generators = frame_generators({"idle": idle}, from_sound=False)
    generated, warped = (all_of(generators[name](eval_clip)) for name in ("idle", WARP))
    truth = real(eval_clip)
    assert psnr(generated, warped) > 25
    assert psnr(generated, truth) == pytest.approx(psnr(warped, truth), abs=1.5)


def test_a_warp_to_the_identitys_own_mesh_is_its_picture(eval_clip: EvalClip) -> None:
    clip = eval_clip.clip
    resting = dataclasses.replace(clip, landmarks=np.repeat(eval_clip.mesh[None], NUM_FRAMES, 0))
    still = EvalClip(eval_clip.info, resting)
    warped = all_of(frame_generators({}, from_sound=False)[WARP](still))
    assert psnr(warped, np.repeat(still.picture()[None], NUM_FRAMES, 0)) > 30


def test_the_ceiling_codes_real_lower_faces_and_leaves_the_rest(
    eval_clip: EvalClip, pipeline: TalkheadPipeline
) -> None:
    frames = all_of(frame_generators({"ours": pipeline}, from_sound=False)[CEILING](eval_clip))
    truth = real(eval_clip)
    inside = np.zeros((NUM_FRAMES, 256, 256), np.bool_)
    inside[:, TOP_PX:BOTTOM_PX, LEFT_PX:RIGHT_PX] = True
    np.testing.assert_array_equal(frames[~inside], truth[~inside])
    # The tiny autoencoder keeps colours and slopes of patches: near, but not equal.
    assert 20 < psnr(frames, truth, inside) < 60


def enlarged(eval_clip: EvalClip) -> EvalClip:
    """The same clip, stored at 512 px."""
    clip = eval_clip.clip
    frames = [clip.frame(index).repeat(2, 0).repeat(2, 1) for index in range(len(clip))]
    jpeg, offsets = encode_frames(frames)
    large = dataclasses.replace(clip, jpeg=jpeg, jpeg_offsets=offsets)
    return EvalClip(eval_clip.info, large)


def test_frames_have_the_size_at_which_the_clip_is_stored(
    eval_clip: EvalClip, pipeline: TalkheadPipeline
) -> None:
    large = enlarged(eval_clip)
    assert (eval_clip.side_px, large.side_px) == (256, 512)
    assert large.picture().shape == (512, 512, 3)
    for name, generate in frame_generators({"ours": pipeline}, from_sound=False).items():
        frames = all_of(generate(large))
        assert frames.shape == (NUM_FRAMES, 512, 512, 3)
        # At half the size it is about what the clip stored at 256 px gives.
        assert psnr(to_crop_size(frames), all_of(generate(eval_clip))) > 24, name


def test_motion_of_the_mouth_needs_the_generators_own_basis(
    eval_clip: EvalClip, generator: LandmarkGenerator, speech: Speech
) -> None:
    assert speech.coefficients.shape[1] == len(generator.motion_basis().components)
    assert abs(len(speech.coefficients) - NUM_FRAMES) <= 2
    assert 0 <= speech.activity.min() < speech.activity.max() <= 1

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from talkhead.data.clips import encode_frames, read_manifest, write_clip, write_manifest
from talkhead.errors import TalkheadError, WeightsError
from talkhead.evaluation.aggregate import aggregate_scores, write_report
from talkhead.evaluation.clip_scoring import score_videos
from talkhead.evaluation.dubbed import dub_generators, dubbed_faces, score_mouths
from talkhead.evaluation.plan import PAGE, Plan, begin
from talkhead.evaluation.scores import CEILING, REAL
from talkhead.evaluation.systems import EvalClip
from talkhead.evaluation.tables import NEVER_SEEN
from talkhead.evaluation.video_scorer import FrameScores
from talkhead.evaluation.videos import generate_videos
from talkhead.geometry.mesh import mouth_opening
from talkhead.geometry.pose import fit_head_pose
from talkhead.pipelines import FacePipeline, TalkheadPipeline
from talkhead.tracking.face_track import FaceTrack, Stretch
from tests.meshes import floats, hand_made_basis, turning
from tests.prepared import describe_clip, make_clip

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

NUM_FRAMES = 24
HALF = NUM_FRAMES // 2


@pytest.fixture(scope="module")
def eval_clip() -> EvalClip:
    clip = make_clip(NUM_FRAMES, 2)
    return EvalClip(describe_clip("cleo", clip), clip)


@pytest.fixture(scope="module")
def pipeline(tiny_weights: Path) -> TalkheadPipeline:
    return TalkheadPipeline.from_folder(
        tiny_weights, device=torch.device("cpu"), dtype=torch.float32
    )


def track_of(points: Floats) -> FaceTrack:
    whole = Stretch(0, len(points), fades_in=False, fades_out=False)
    return FaceTrack(Fraction(25), (256, 256), 1, [whole], "stored", points)


def test_every_frame_keeps_its_head_and_gets_the_mouth_of_half_the_clip_later(
    eval_clip: EvalClip,
) -> None:
    moved = [
        turning(0.2 * np.sin(0.3 * index), mesh) + floats([0.5 * index, 3, 0])
        for index, mesh in enumerate(eval_clip.clip.landmarks)
    ]
    track = track_of(np.stack(moved).astype(np.float32))
    own = np.stack([track.points_at(frame) for frame in range(NUM_FRAMES)])
    faces = dubbed_faces(track, hand_made_basis())
    assert len(faces) == NUM_FRAMES
    assert all(face.share == 1 for face in faces)
    target = np.stack([face.target for face in faces])
    meshes = np.stack([face.mesh for face in faces])
    np.testing.assert_allclose(meshes[:, [10, 168]], own[:, [10, 168]], atol=0.05)
    np.testing.assert_allclose(
        fit_head_pose(target).rotation, fit_head_pose(own).rotation, atol=0.02
    )
    openings = [mouth_opening(fit_head_pose(points).to_face(points)) for points in (own, target)]
    later = np.roll(openings[0], -HALF)
    assert np.corrcoef(openings[1], later)[0, 1] > 0.95
    assert np.abs(openings[1] - later).mean() < 0.25 * np.ptp(later)


def test_the_networks_dub_the_clips_own_frames(
    eval_clip: EvalClip, pipeline: TalkheadPipeline
) -> None:
    generators = dub_generators({"ours": pipeline}, steps=(1, 2))
    assert list(generators) == ["ours, 1 step", "ours, 2 steps", CEILING, REAL]
    generate = generators["ours, 1 step"]
    frames = np.concatenate(list(generate(eval_clip)))
    real = np.concatenate(list(eval_clip.frames()))
    assert frames.shape == real.shape
    changed = np.abs(frames.astype(np.int32) - real).mean((0, 3))
    assert changed[:60].max() < 2  # the forehead
    assert changed[140:230, 80:176].mean() > 3 * changed.mean()
    assert generate.landmarks is not None
    points = generate.landmarks(eval_clip)
    assert points.shape == eval_clip.clip.landmarks.shape


def test_frames_are_dubbed_at_the_size_at_which_they_are_stored(
    eval_clip: EvalClip, pipeline: TalkheadPipeline
) -> None:
    frames = [eval_clip.clip.frame(k).repeat(2, 0).repeat(2, 1) for k in range(NUM_FRAMES)]
    jpeg, offsets = encode_frames(frames)
    large = dataclasses.replace(eval_clip.clip, jpeg=jpeg, jpeg_offsets=offsets)
    generate = dub_generators({"ours": pipeline})["ours"]
    first = next(generate(EvalClip(eval_clip.info, large)))
    assert first.shape == (1, 512, 512, 3)
    assert generate.landmarks is not None
    np.testing.assert_allclose(
        generate.landmarks(EvalClip(eval_clip.info, large)),
        generate.landmarks(eval_clip),
        atol=0.02,
    )


def test_mask_noise_cannot_dub(tiny_mask_noise: Path) -> None:
    pipeline = FacePipeline.from_folder(
        tiny_mask_noise, device=torch.device("cpu"), dtype=torch.float32
    )
    with pytest.raises(WeightsError, match="animates pictures only"):
        dub_generators({"theirs": pipeline})


def test_only_mouths_are_scored_and_every_frame_must_be_there(eval_clip: EvalClip) -> None:
    real = np.concatenate(list(eval_clip.frames()))
    videos = {REAL: eval_clip.frames(), "short": iter([real[:-1]])}
    results = score_mouths(eval_clip, videos, dict.fromkeys(videos))
    found = results[REAL]
    assert isinstance(found, FrameScores)
    assert found.values.keys() == {"inside_sharpness", "inside_flicker"}
    assert found.values["inside_sharpness"] == pytest.approx(1)
    np.testing.assert_array_equal(found.arrays["mouths"], found.arrays["real mouths"])
    error = results["short"]
    assert isinstance(error, TalkheadError)
    assert str(error) == f"it has {NUM_FRAMES - 1} frames, but the real clip has {NUM_FRAMES}"


def test_a_whole_evaluation_of_dubbed_clips(pipeline: TalkheadPipeline, tmp_path: Path) -> None:
    for seed, name in enumerate(("anna", "cleo")):
        clip = make_clip(NUM_FRAMES, seed)
        write_clip(tmp_path / "data", describe_clip(name, clip, split="dev"), clip)
    write_manifest(tmp_path / "data")
    rows = tuple(read_manifest(tmp_path / "data"))
    protocol = {"name": "split", "data": "data", "fps": "25", "networks": {}}
    facts = {"talkhead": "0", "stage": "dub", "protocol": protocol, "weights": {}}
    plan = Plan(tmp_path / "report", tmp_path / "data", "dub", rows, frozenset(), facts)
    begin(plan, overwrite=False)
    generators = dub_generators({"ours": pipeline})
    list(generate_videos(plan, generators, []))
    list(score_videos(plan, generators, num_workers=1))
    result = aggregate_scores(plan)
    write_report(plan, result)
    assert result["broken"] == []
    assert set(result["measures"]) == {"inside_sharpness", "inside_flicker"}
    systems = result["groups"][NEVER_SEEN]["systems"]
    assert list(systems) == ["ours", CEILING, REAL]
    assert systems[REAL]["values"]["inside_sharpness"]["mean"] > 0.5
    assert list(result["not_computed"]) == ["two_sample"]
    assert json.loads((plan.report / "scores.json").read_text()) == result
    assert "another stretch of their own motion" in (plan.report / PAGE).read_text()

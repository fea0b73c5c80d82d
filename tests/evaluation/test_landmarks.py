import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from talkhead.errors import TalkheadError
from talkhead.evaluation.landmarks import (
    LOUDNESS,
    REST,
    TRUTH,
    ClipScores,
    identity_frame,
    score_landmarks,
    scored_rows,
)
from talkhead.models.landmarks import LandmarkGenerator
from talkhead.training.clips import write_clip, write_manifest
from tests.meshes import mean_mesh, opened
from tests.prepared import describe_clip, make_clip
from tests.tiny import tiny_generator


@pytest.fixture(scope="module")
def generator() -> LandmarkGenerator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return tiny_generator().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    people = (("anna-1", "anna", "train"), ("anna-2", "anna", "dev"), ("cleo", "cleo", "dev"))
    for seed, (name, person, split) in enumerate(people):
        clip = make_clip(60, seed)
        info = describe_clip(name, clip, split=split, person=person)
        write_clip(folder, dataclasses.replace(info, sound="good"), clip)
    write_manifest(folder)
    return folder


@pytest.fixture(scope="module")
def scores(data: Path, generator: LandmarkGenerator) -> list[ClipScores]:
    return list(score_landmarks(data, scored_rows(data), {"tiny": generator}))


def of(scores: list[ClipScores], system: str) -> Iterator[ClipScores]:
    return (score for score in scores if score.system == system)


def test_every_clip_is_scored_with_the_truth_and_the_baselines(scores: list[ClipScores]) -> None:
    assert {score.clip for score in scores} == {"anna-2", "cleo"}
    for clip in ("anna-2", "cleo"):
        systems = [score.system for score in scores if score.clip == clip]
        assert systems == ["tiny", LOUDNESS, REST, TRUTH]
    assert {score.person: score.is_seen_person for score in scores} == {"anna": True, "cleo": False}


def test_the_truth_scores_as_the_truth(scores: list[ClipScores]) -> None:
    for score in of(scores, TRUTH):
        assert score.values["m_ld"] == score.values["f_lvd"] == 0
        assert score.values["opening_r"] == pytest.approx(1)
        assert score.values["width_r_best"] == pytest.approx(1)


def test_a_jaw_by_loudness_beats_rest_where_the_voice_is_as_loud_as_the_mouth_is_open(
    scores: list[ClipScores],
) -> None:
    for jaw, rest in zip(of(scores, LOUDNESS), of(scores, REST), strict=True):
        assert jaw.values["opening_r_best"] > 0.6
        assert jaw.values["opening_r_best"] > rest.values.get("opening_r_best", 0) + 0.3
        assert rest.values["m_ld"] > 0


def test_scores_repeat_and_do_not_depend_on_the_other_clips(
    data: Path, generator: LandmarkGenerator, scores: list[ClipScores]
) -> None:
    rows = scored_rows(data, people=["cl*"])
    alone = list(score_landmarks(data, rows, {"tiny": generator}))
    assert alone == [score for score in scores if score.clip == "cleo"]


def test_people_and_number_of_clips_are_chosen(data: Path) -> None:
    assert [row.clip for row in scored_rows(data, people=["anna", "bert"])] == ["anna-2"]
    assert [row.clip for row in scored_rows(data, limit=1)] == ["anna-2"]
    assert [row.clip for row in scored_rows(data, split="train")] == ["anna-1"]
    with pytest.raises(TalkheadError, match="has no clip to score"):
        scored_rows(data, people=["dora"])


def test_faces_are_scored_in_the_clips_head_pose(scores: list[ClipScores]) -> None:
    # A face at rest differs from the clip's by what the mouth does, a few pixels, and nothing else.
    values = [score.values["f_ld"] for score in of(scores, REST)]
    assert 0 < np.max(values) < 5


def test_the_identity_is_the_frame_at_rest() -> None:
    points = np.repeat(mean_mesh(100, 128, 128)[None], 30, 0)
    for index in range(30):
        points[index] = opened(points[index], 0 if index in (4, 17, 18, 20, 25) else 5 + index)
    points[17:] += 30  # wherever the head is
    assert identity_frame(points) in (4, 17, 18, 20, 25)

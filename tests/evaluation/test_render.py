from pathlib import Path

import pytest
import torch

from talkhead.errors import TalkheadError
from talkhead.evaluation.landmarks import ClipScores, identity_frame
from talkhead.evaluation.render import (
    APART_FRAMES,
    CEILING,
    MIN_FRAMES,
    RUN_FRAMES,
    WARP,
    _runs,
    rendered_rows,
    score_render,
)
from talkhead.synthesis import load_pipeline
from tests.prepared import write_prepared


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def scores(data: Path, tiny_weights: Path) -> list[ClipScores]:
    pipeline = load_pipeline(tiny_weights, torch.device("cpu"), torch.float32)
    return list(score_render(data, rendered_rows(data), {"tiny": pipeline}, (1, 2)))


def test_every_number_of_steps_and_the_baselines_have_a_row(scores: list[ClipScores]) -> None:
    assert [score.system for score in scores] == ["tiny, 1 step", "tiny, 2 steps", WARP, CEILING]
    assert {score.clip for score in scores} == {"cleo"}
    assert {score.num_frames for score in scores} == {2 * RUN_FRAMES}
    for score in scores:
        assert not score.is_seen_person
        assert 5 < score.values["psnr"] < 60
        assert -0.1 < score.values["ssim"] <= 1
        assert score.values["flicker"] >= 0
    times = [score.values.get("ms_per_frame") for score in scores]
    assert all(times[:2])
    assert times[2:] == [None, None]


def test_a_network_that_changes_nothing_scores_as_the_warp(data: Path, tiny_weights: Path) -> None:
    pipeline = load_pipeline(tiny_weights, torch.device("cpu"), torch.float32)
    for parameter in pipeline.denoiser.parameters():
        parameter.zero_()
    pipeline.denoiser.registration_weights.zero_()
    made, warp = list(score_render(data, rendered_rows(data), {"zero": pipeline}))[:2]
    assert warp.system == WARP
    assert made.values["psnr"] == pytest.approx(warp.values["psnr"], abs=0.7)
    assert made.values["lips_psnr"] == pytest.approx(warp.values["lips_psnr"], abs=0.7)


def test_scores_are_the_same_again(data: Path, tiny_weights: Path) -> None:
    pipeline = load_pipeline(tiny_weights, torch.device("cpu"), torch.float32)
    twice = [
        [score.values for score in score_render(data, rendered_rows(data), {"tiny": pipeline})]
        for _ in range(2)
    ]
    for values in twice[0] + twice[1]:
        values.pop("ms_per_frame", None)
    assert twice[0] == twice[1]


@pytest.mark.parametrize("identity", [0, 20, 35, 69])
def test_runs_keep_away_from_the_identity(identity: int) -> None:
    runs = _runs(70, identity)
    assert 1 <= len(runs) <= 2
    for run in runs:
        assert run.stop - run.start == RUN_FRAMES
        assert min(abs(frame - identity) for frame in run) >= APART_FRAMES
    shortest = [len(_runs(MIN_FRAMES, frame)) for frame in range(MIN_FRAMES)]
    assert min(shortest) >= 1


def test_people_are_chosen_and_nobody_is_one_line(data: Path) -> None:
    assert [row.clip for row in rendered_rows(data)] == ["cleo"]
    assert [row.clip for row in rendered_rows(data, split="train")] == ["anna", "bert"]
    assert [row.clip for row in rendered_rows(data, split="train", people=["b*"])] == ["bert"]
    with pytest.raises(TalkheadError, match="no clip to score"):
        rendered_rows(data, people=["nobody"])


def test_the_identity_is_no_frame_of_a_run(data: Path) -> None:
    from talkhead.training.clips import read_clip

    clip = read_clip(data, "cleo", frames=False)
    first = identity_frame(clip.landmarks)
    assert all(first not in run for run in _runs(len(clip), first))

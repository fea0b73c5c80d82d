"""Whole evaluations of two short clips: finished, stopped and broken."""

import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from talkhead.data.clips import read_clip, read_manifest, write_clip, write_manifest
from talkhead.errors import TalkheadError
from talkhead.evaluation.aggregate import aggregate_scores, write_report
from talkhead.evaluation.clip_scoring import score_landmarks, score_videos
from talkhead.evaluation.plan import PAGE, PARTS, RUN, SCORES, TABLE, TIMINGS, VIDEOS, Plan, begin
from talkhead.evaluation.records import BrokenClip, read_parts
from talkhead.evaluation.scores import IDENTITY, LOUDNESS, REAL, REST, TRUTH, WARP
from talkhead.evaluation.systems import EvalClip, FrameGenerator, frame_generators
from talkhead.evaluation.tables import NEVER_SEEN, SEEN
from talkhead.evaluation.videos import generate_videos, read_landmarks, video_for_report
from talkhead.media.audio_clip import AudioClip
from talkhead.media.video import VideoWriter, probe_video, read_frames
from talkhead.media.workers import worker_pool
from talkhead.pipelines import TalkheadPipeline
from talkhead.pipelines.loading import load_landmark_generator
from tests.prepared import describe_clip, make_clip

NUM_FRAMES = 14
NUM_SPOKEN = 60
"""Landmarks are quickly generated, and loudness needs a while to be one."""
CLIPS = ("anna", "cleo")
SYSTEMS = ("tiny", WARP, IDENTITY, REAL)
FACTS = {
    "talkhead": "0",
    "stage": "both",
    "protocol": {"name": "split", "data": "data", "seed": 0, "fps": "25", "networks": {}},
    "weights": {},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("data"), NUM_FRAMES)


def write_clips(folder: Path, num_frames: int) -> Path:
    for seed, name in enumerate(CLIPS):
        clip = make_clip(num_frames, seed)
        info = describe_clip(name, clip, split="dev")
        write_clip(folder, dataclasses.replace(info, transcript=""), clip)
    write_manifest(folder)
    return folder


def plan_of(report: Path, data: Path, **more: Any) -> Plan:
    rows = tuple(read_manifest(data))
    given: dict[str, Any] = {"stage": "both", "seen_people": frozenset({"anna"}), "facts": FACTS}
    return Plan(report=report, data=data, rows=rows, **(given | more))


@pytest.fixture(scope="module")
def generators(tiny_weights: Path) -> dict[str, FrameGenerator]:
    pipeline = TalkheadPipeline.from_folder(
        tiny_weights, device=torch.device("cpu"), dtype=torch.float32
    )
    return frame_generators({"tiny": pipeline}, from_sound=True)


def evaluate(
    plan: Plan, generators: Mapping[str, FrameGenerator], *, overwrite: bool = False
) -> bytes:
    """What `talkhead eval` does; returns scores.json."""
    begin(plan, overwrite=overwrite)
    broken: list[BrokenClip] = []
    assert len(list(generate_videos(plan, generators, broken))) == len(plan.rows) * len(generators)
    systems = [*plan.predicted, *generators]
    assert len(list(score_videos(plan, systems, num_workers=1, broken=broken))) == len(plan.rows)
    write_report(plan, aggregate_scores(plan))
    return (plan.report / SCORES).read_bytes()


@pytest.fixture(scope="module")
def whole(
    data: Path,
    generators: dict[str, FrameGenerator],
    tmp_path_factory: pytest.TempPathFactory,
    detector_is_here: None,
) -> Plan:
    """A finished evaluation, changed by nobody."""
    plan = plan_of(tmp_path_factory.mktemp("whole") / "report", data)
    evaluate(plan, generators)
    return plan


def copied(whole: Plan, folder: Path, data: Path | None = None) -> Plan:
    shutil.copytree(whole.report, folder / "report")
    return dataclasses.replace(whole, report=folder / "report", data=data or whole.data)


def scores_of(plan: Plan) -> dict[str, Any]:
    return dict(json.loads((plan.report / SCORES).read_text(encoding="utf-8")))


def test_a_whole_evaluation_has_scores_a_table_a_page_and_videos(whole: Plan) -> None:
    scores = scores_of(whole)
    assert scores["schema"] == 2
    assert {key: scores[key] for key in FACTS} == FACTS
    assert scores["broken"] == []
    assert list(scores["groups"]) == [NEVER_SEEN, SEEN]
    for group in scores["groups"].values():
        assert (group["clips"], group["people"], group["frames"]) == (1, 1, NUM_FRAMES)
        assert list(group["systems"]) == list(SYSTEMS)
    pairs = [(one["clip"], one["system"], one["is_seen_person"]) for one in scores["clips"]]
    assert pairs == [(clip, system, clip == "anna") for clip in CLIPS for system in SYSTEMS]
    assert all(one["frames"] == NUM_FRAMES for one in scores["clips"])
    used = {key for one in scores["clips"] for key in one["values"]}
    assert set(scores["measures"]) == used
    assert {"psnr", "ssim", "m_ld", "opening_r", "flicker", "lips_sharpness"} <= used
    assert len((whole.report / TABLE).read_text(encoding="utf-8-sig").splitlines()) == 9
    assert "<html" in (whole.report / PAGE).read_text(encoding="utf-8")
    times = json.loads((whole.report / TIMINGS).read_text())
    assert list(times) == list(SYSTEMS)
    assert {one["frames"] for one in times.values()} == {2 * NUM_FRAMES}
    assert {path.name for path in whole.report.iterdir()} == {
        *(RUN, PARTS, VIDEOS, TIMINGS, SCORES, TABLE, PAGE)
    }


def test_the_real_video_is_nearest_to_itself(whole: Plan) -> None:
    for group in scores_of(whole)["groups"].values():
        values = {name: one["values"] for name, one in group["systems"].items()}
        for name in ("tiny", WARP, IDENTITY):
            for key in ("psnr", "ssim", "lips_psnr"):
                assert values[REAL][key]["mean"] > values[name][key]["mean"]
            assert values[REAL]["m_ld"]["mean"] < values[name]["m_ld"]["mean"]
        assert values[REAL]["psnr"]["mean"] > 30
        assert "opening_r" not in values[IDENTITY] or values[IDENTITY]["opening_r"]["mean"] < 0.9


def test_few_people_and_people_that_were_trained_on_are_warned_of(whole: Plan) -> None:
    warnings = scores_of(whole)["warnings"]
    assert "1 of 2 clips show people who are also in the training clips" in warnings
    assert "only 2 people: the intervals over clips say little about other people" in warnings


def test_videos_are_crops_with_the_clips_sound(whole: Plan) -> None:
    for system in SYSTEMS:
        path = whole.video(system, "cleo")
        info = probe_video(path)
        assert (info.width, info.height, info.fps) == (256, 256, Fraction(25))
        assert len(list(read_frames(path))) == NUM_FRAMES
        sound = AudioClip.open(path).waveform()
        own = read_clip(whole.data, "cleo", frames=False).waveform_float()
        shared = min(len(sound), len(own))
        assert shared > 0.9 * len(own)
        assert np.corrcoef(sound[:shared], own[:shared])[0, 1] > 0.8
        assert video_for_report(whole, whole.rows[1], system) == path


def test_a_killed_evaluation_goes_on_past_a_damaged_clip_and_once_mended_to_the_same_bytes(
    whole: Plan, generators: dict[str, FrameGenerator], data: Path, tmp_path: Path
) -> None:
    spoiled = tmp_path / "data"
    shutil.copytree(data, spoiled)
    file = spoiled / "clips" / "cleo.npz"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    plan = copied(whole, tmp_path, spoiled)
    kept = plan.part("anna").stat().st_mtime_ns
    for path in (
        plan.part("cleo"),  # its arrays are there already: they are written first
        plan.video("tiny", "cleo"),
        plan.video(REAL, "cleo"),
        plan.video(WARP, "anna"),
        *(plan.report / name for name in (SCORES, TABLE, PAGE, TIMINGS)),
    ):
        path.unlink()

    evaluate(plan, generators)
    scores = scores_of(plan)
    assert {(one["clip"], one["system"]) for one in scores["broken"]} == {
        ("cleo", system) for system in SYSTEMS
    }
    assert {one["why"].partition(" (")[0] for one in scores["broken"]} == {
        f"cannot read the clip {file}"
    }
    assert scores["clips"] == [one for one in scores_of(whole)["clips"] if one["clip"] == "anna"]
    assert list(scores["groups"]) == [SEEN]
    assert "cannot read the clip" in (plan.report / PAGE).read_text(encoding="utf-8")

    file.write_bytes(content)
    assert evaluate(plan, generators) == (whole.report / SCORES).read_bytes()
    assert plan.part("anna").stat().st_mtime_ns == kept
    for name in (TABLE, PAGE):
        assert (plan.report / name).read_bytes() == (whole.report / name).read_bytes()
    for system in SYSTEMS:
        for clip in CLIPS:
            assert plan.video(system, clip).read_bytes() == whole.video(system, clip).read_bytes()


@pytest.mark.usefixtures("detector_is_here")
def test_videos_by_others_may_lack_two_frames_and_no_more(
    data: Path, whole: Plan, tmp_path: Path
) -> None:
    theirs = tmp_path / "their tool"
    theirs.mkdir()
    for clip, missing in (("anna", 3), ("cleo", 2)):
        frames = np.stack(list(read_frames(whole.video(REAL, clip))))[:-missing]
        path = theirs / f"{clip}.mp4"
        with VideoWriter(path, size=(256, 256), fps=Fraction(25), sound=None, crf=5) as writer:
            writer.write(frames)
    plan = plan_of(tmp_path / "report", data, stage="predicted", predicted={"their tool": theirs})
    evaluate(plan, {})
    scores = scores_of(plan)
    assert scores["broken"] == [
        {
            "clip": "anna",
            "system": "their tool",
            "why": f"it has {NUM_FRAMES - 3} frames, but the real clip has {NUM_FRAMES}",
        }
    ]
    (one,) = scores["clips"]
    assert (one["clip"], one["system"], one["frames"]) == ("cleo", "their tool", NUM_FRAMES - 2)
    assert one["values"]["psnr"] > 30
    # The page shows crops, so they are cut out for it.
    shown = video_for_report(plan, plan.rows[1], "their tool")
    assert shown == plan.report / "videos/their_tool/cleo.mp4"
    assert len(list(read_frames(shown))) == NUM_FRAMES - 2


def test_landmarks_are_scored_without_frames_again_and_again_alike(
    tiny_weights: Path, tmp_path: Path
) -> None:
    data = write_clips(tmp_path / "data", NUM_SPOKEN)
    generators = {"tiny": load_landmark_generator(tiny_weights, torch.device("cpu"))}

    def run(plan: Plan) -> bytes:
        begin(plan, overwrite=False)
        assert len(list(score_landmarks(plan, generators))) == len(plan.rows)
        write_report(plan, aggregate_scores(plan, {"closure_recall": "not computed: no text"}))
        return (plan.report / SCORES).read_bytes()

    plan = plan_of(tmp_path / "report", data, stage="landmarks")
    first = run(plan)
    scores = scores_of(plan)
    assert list(scores["groups"]) == [NEVER_SEEN, SEEN]
    systems = ["tiny", LOUDNESS, REST, TRUTH]
    for group in scores["groups"].values():
        assert list(group["systems"]) == systems
        truth = group["systems"][TRUTH]["values"]
        assert truth["m_ld"]["mean"] == truth["f_lvd"]["mean"] == 0
        assert truth["opening_r"]["mean"] == pytest.approx(1)
        loud, rest = (group["systems"][name]["values"] for name in (LOUDNESS, REST))
        assert loud["opening_r_best"]["mean"] > 0.6  # the voice is as loud as the mouth is open
        assert 0 < rest["f_ld"]["mean"] < 5  # the head is in the clip's pose
    assert scores["not_computed"] == {"closure_recall": "not computed: no text"}
    assert not (plan.report / VIDEOS).exists()
    assert (plan.report / TABLE).is_file()
    assert "<html" in (plan.report / PAGE).read_text(encoding="utf-8")

    (plan.report / SCORES).unlink()
    plan.part("anna").unlink()
    assert run(plan) == first
    alone = plan_of(tmp_path / "alone", data, stage="landmarks")
    alone = dataclasses.replace(alone, rows=alone.rows[1:])
    run(alone)
    assert scores_of(alone)["clips"] == [one for one in scores["clips"] if one["clip"] == "cleo"]


def test_parts_are_read_as_they_were_written(whole: Plan) -> None:
    scores, broken = read_parts(whole)
    assert broken == []
    assert [one.row() for one in scores] == scores_of(whole)["clips"]
    assert all(one.opening.shape == (NUM_FRAMES,) for one in scores)
    for one in scores:
        wanted = {"mouths", "real mouths"} if one.system == REAL else set()
        assert wanted <= one.arrays.keys() <= wanted | {"mouths"}
        for patches in one.arrays.values():
            assert patches.dtype == np.uint8
            assert patches.shape[1:] == (64, 64, 3)
            assert 0 < len(patches) <= NUM_FRAMES


def test_faces_that_are_not_the_clips_own_are_stored_with_the_video(whole: Plan) -> None:
    eval_clip = EvalClip.read(whole.data, whole.rows[0])
    assert read_landmarks(whole, eval_clip, REAL) is None
    for system in ("tiny", WARP, IDENTITY):
        points = read_landmarks(whole, eval_clip, system)
        assert points is not None
        assert points.shape == eval_clip.clip.landmarks.shape
    assert points is not None
    np.testing.assert_array_equal(points, np.repeat(eval_clip.mesh[None], NUM_FRAMES, 0))


def test_insides_of_mouths_are_scored_and_few_people_have_no_two_sample_test(whole: Plan) -> None:
    scores = scores_of(whole)
    for group in scores["groups"].values():
        real = group["systems"][REAL]["values"]
        assert real["inside_psnr"]["mean"] > 25
        assert real["inside_sharpness"]["mean"] > 0.5
        assert "inside_psnr" not in group["systems"]["tiny"]["values"]  # it has its own landmarks
    why = "not computed: opened mouths of one person, but 6 are needed"
    assert scores["not_computed"] == {"two_sample": why}


def test_a_folder_of_another_evaluation_is_refused_and_may_be_overwritten(
    whole: Plan, tmp_path: Path
) -> None:
    plan = copied(whole, tmp_path)
    with pytest.raises(TalkheadError, match=r"scores.json exists: allow overwriting"):
        begin(plan, overwrite=False)
    (plan.report / SCORES).unlink()
    half = plan.video("tiny", "anna").with_name(".talkhead-0123456789ab.mp4")
    half.touch()
    begin(plan, overwrite=False)  # its own, half done
    assert not half.exists()
    other = dataclasses.replace(plan, facts={**FACTS, "stage": "render"})
    fewer = dataclasses.replace(plan, rows=plan.rows[:1])
    for another in (other, fewer):
        with pytest.raises(TalkheadError, match="another, unfinished evaluation"):
            begin(another, overwrite=False)
    assert plan.part("anna").is_file()
    begin(other, overwrite=True)
    assert {path.name for path in plan.report.iterdir()} == {RUN}
    assert json.loads((plan.report / RUN).read_text())["facts"]["stage"] == "render"


@pytest.mark.parametrize(
    ("predicted", "generated"),
    [((), ("a/b", "a_b")), (("real_video",), (REAL,)), (("x y",), ("x_y",))],
)
def test_two_systems_never_share_a_folder(
    data: Path, tmp_path: Path, predicted: tuple[str, ...], generated: tuple[str, ...]
) -> None:
    plan = plan_of(tmp_path / "report", data, predicted=dict.fromkeys(predicted, tmp_path))
    with pytest.raises(TalkheadError, match="are too similar: rename one"):
        list(generate_videos(plan, dict.fromkeys(generated, FrameGenerator(EvalClip.frames)), []))
    assert not (plan.report / VIDEOS).exists()


def workers() -> set[int]:
    return {child.pid for child in multiprocessing.active_children() if child.pid}


def test_workers_end_when_what_they_work_for_breaks_off() -> None:
    before, started = workers(), time.monotonic()
    with pytest.raises(KeyboardInterrupt), worker_pool(1) as pool:  # noqa: PT012
        assert pool.submit(os.getpid).result() in workers() - before
        pool.submit(time.sleep, 600)
        raise KeyboardInterrupt
    assert workers() == before
    assert time.monotonic() - started < 60


def test_a_worker_that_is_killed_is_one_sentence() -> None:
    before = workers()
    with pytest.raises(TalkheadError, match="a worker process was killed"), worker_pool(1) as pool:
        pool.submit(os.kill, pool.submit(os.getpid).result(), signal.SIGKILL).result()
    assert workers() == before

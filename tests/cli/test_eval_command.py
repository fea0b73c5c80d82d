import dataclasses
import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from talkhead.data.clips import read_clip, read_manifest, write_clip, write_manifest
from talkhead.evaluation.networks import find_networks
from talkhead.evaluation.nonspeech import SOUNDS
from talkhead.evaluation.scores import (
    CEILING,
    IDENTITY,
    LOUDNESS,
    REAL,
    REST,
    TRUTH,
    WARP,
)
from talkhead.evaluation.silence import OWN_SPEECH
from talkhead.evaluation.tables import NEVER_SEEN
from talkhead.media.audio import write_waveform
from talkhead.media.video import VideoWriter
from tests.cli.conftest import Ended, RunHere, listing, refused
from tests.evaluation.talking_video import talking_frames
from tests.prepared import describe_clip, lip_motion, make_clip, voice
from tests.tiny import tiny_generator

NUM_SPOKEN = 50
"""Clips must last two seconds for their audio to be scored."""
NUM_SEEN = 14


def write_data(folder: Path, num_frames: int) -> Path:
    """Write clips of two people to score and one for training, without transcripts."""
    for seed, (name, split) in enumerate((("anna", "dev"), ("bert", "train"), ("cleo", "dev"))):
        clip = make_clip(num_frames, seed)
        info = describe_clip(name, clip, split=split)
        write_clip(folder, dataclasses.replace(info, transcript=""), clip)
    write_manifest(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), NUM_SPOKEN)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("short"), NUM_SEEN)


@pytest.fixture(scope="module")
def other_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a landmark generator that differs from the one in the tiny weights."""
    folder = tmp_path_factory.mktemp("other")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        tiny_generator().save_pretrained(folder)
    return folder


def scores_of(ended: Ended, code: int = 0) -> dict[str, Any]:
    """Return the scores of a command that prints only their path on stdout."""
    assert ended.returncode == code, ended.stderr
    assert ended.stdout == "report/scores.json\n"
    return dict(json.loads(Path("report/scores.json").read_text(encoding="utf-8")))


def test_landmarks_are_scored_beside_the_baselines(
    run_here: RunHere, data: Path, tiny_weights: Path
) -> None:
    both = ["--weights", str(tiny_weights), "--weights", str(tiny_weights / "landmark_generator")]
    given = ["eval", str(data), "-o", "report", "--stage", "landmarks", *both]
    ended = run_here(*given)
    scores = scores_of(ended)
    names = [str(tiny_weights), str(tiny_weights / "landmark_generator")]
    assert (scores["schema"], scores["stage"]) == (2, "landmarks")
    assert list(scores["weights"][names[0]]) == ["landmark_generator", "autoencoder", "denoiser"]
    protocol = scores["protocol"]
    assert (protocol["name"], protocol["clips"]) == ("split", "the split dev")
    assert (protocol["pose"], protocol["seed"], protocol["fps"]) == ("true", 0, "25")
    assert "codec" not in protocol
    group = scores["groups"][NEVER_SEEN]
    assert (group["clips"], group["people"]) == (2, 2)
    assert list(group["systems"]) == [*names, LOUDNESS, REST, TRUTH]
    assert group["systems"][names[0]] == group["systems"][names[1]]  # the same generator
    assert group["systems"][TRUTH]["values"]["m_ld"]["mean"] == 0
    assert listing(Path("report")) >= {"scores.csv", "report.html", "parts/anna.json"}
    assert not Path("report/videos").exists()
    for words in ("M-LD, px ↓", "opening, correlation ↑", "frames without a face", "weights"):
        assert words in ended.stderr

    refused(run_here(*given), 2, "report/scores.json exists: allow overwriting to replace it")
    before = Path("report/scores.json").read_bytes()
    ended = run_here(*given, "--overwrite", "--quiet")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert Path("report/scores.json").read_bytes() == before


@pytest.mark.parametrize("pose", ["natural", "still"])
def test_heads_may_have_poses_of_their_own(
    run_here: RunHere, data: Path, tiny_weights: Path, pose: str
) -> None:
    given = ["--stage", "landmarks", "--pose", pose, "--weights", str(tiny_weights)]
    scores = scores_of(run_here("eval", str(data), "-o", "report", "--limit", "1", *given))
    assert scores["protocol"]["pose"] == pose
    assert scores["protocol"]["landmarks_aligned"] == "centroid"
    assert {one["clip"] for one in scores["clips"]} == {"anna"}
    assert any("head poses differ" in warning for warning in scores["warnings"])


@pytest.mark.usefixtures("detector_is_here")
def test_frames_from_sound_are_scored_as_json(
    run_here: RunHere, data: Path, tiny_weights: Path
) -> None:
    given = ["--weights", str(tiny_weights), "--people", "cl*", "--jobs", "1", "--json"]
    ended = run_here("eval", str(data), "-o", "report", *given, "--device", "cpu")
    assert ended.returncode == 0, ended.stderr
    printed = json.loads(ended.stdout)
    assert (printed["scores"], printed["page"]) == ("report/scores.json", "report/report.html")
    scores = json.loads(Path(printed["scores"]).read_text(encoding="utf-8"))
    assert (scores["stage"], printed["broken"]) == ("both", [])
    assert scores["groups"] == printed["groups"]
    systems = scores["groups"][NEVER_SEEN]["systems"]
    assert list(systems) == [str(tiny_weights), WARP, IDENTITY, REAL]
    psnr = {name: one["values"]["psnr"]["mean"] for name, one in systems.items()}
    assert max(psnr, key=psnr.__getitem__) == REAL
    assert all(one["frames"] == NUM_SPOKEN for one in systems.values())
    # Missing scores are reported with instructions for getting them, and have no value.
    _, missing = find_networks()
    assert set(missing.values()) <= set(scores["not_computed"].values())
    for key, why in scores["not_computed"].items():
        assert why in ended.stderr
        assert all(key not in one["values"] for one in systems.values())
    if missing:
        assert "not computed: run talkhead weights download" in ended.stderr
    for words in ("PSNR, dB ↑", "SSIM ↑", "milliseconds per frame", "codec: H.264, crf 18"):
        assert words in ended.stderr


@pytest.mark.usefixtures("detector_is_here")
def test_several_numbers_of_steps_are_compared_by_one_command(
    run_here: RunHere, short: Path, tiny_weights: Path
) -> None:
    given = ["--stage", "render", "--steps", "1", "--steps", "2", "--weights", str(tiny_weights)]
    more = ["--dtype", "float32", "--limit", "1", "--jobs", "1"]
    scores = scores_of(run_here("eval", str(short), "-o", "report", *given, *more))
    systems = scores["groups"][NEVER_SEEN]["systems"]
    names = [f"{tiny_weights}, 1 step", f"{tiny_weights}, 2 steps"]
    assert list(systems) == [*names, WARP, IDENTITY, CEILING, REAL]
    assert systems[names[0]]["values"]["psnr"] != systems[names[1]]["values"]["psnr"]
    assert all(one["values"]["psnr"]["mean"] > 5 for one in systems.values())
    protocol = scores["protocol"]
    assert (protocol["steps"], protocol["dtype"]) == ([1, 2], "float32")
    assert protocol["pose"] == "true, with all landmarks"


def test_dubbed_clips_are_scored_by_their_mouths_and_stills_are_skipped(
    run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    data = write_data(tmp_path / "data", NUM_SEEN)
    still = make_clip(1, 5)
    write_clip(data, describe_clip("still", still, split="dev"), still)
    write_manifest(data)
    given = ["--stage", "dub", "--weights", str(tiny_weights), "--jobs", "1", "--device", "cpu"]
    ended = run_here("eval", "data", "-o", "report", *given, "--split", "dev", "--split", "more")
    scores = scores_of(ended)
    assert scores["protocol"]["clips"] == "the splits dev and more"
    assert {one["clip"] for one in scores["clips"]} == {"anna", "cleo"}
    systems = scores["groups"][NEVER_SEEN]["systems"]
    assert list(systems) == [str(tiny_weights), CEILING, REAL]
    assert set(scores["measures"]) == {"inside_sharpness", "inside_flicker"}
    assert "two_sample: not computed: opened mouths of 2 people, but 6 are needed" in ended.stderr


@pytest.mark.usefixtures("detector_is_here")
def test_clips_are_dubbed_with_sounds_that_have_no_voice(
    run_here: RunHere, data: Path, tiny_weights: Path
) -> None:
    given = ["--stage", "silence", "--limit", "1", "--jobs", "1", "--device", "cpu", "--quiet"]
    ended = run_here("eval", str(data), "-o", "report", *given, "--weights", str(tiny_weights))
    scores = scores_of(ended)
    assert (scores["stage"], scores["not_computed"]) == ("silence", {})
    assert "pink noise at -50 and -30 dBFS" in scores["protocol"]["sounds"]
    systems = scores["groups"][NEVER_SEEN]["systems"]
    kinds = [*SOUNDS, OWN_SPEECH]
    assert list(systems) == [*(f"{tiny_weights}, {kind}" for kind in kinds), IDENTITY, REAL]
    assert set(scores["measures"]) <= {"moving_share"}
    assert all(one["frames"] == NUM_SPOKEN for one in systems.values())


@pytest.mark.usefixtures("detector_is_here")
def test_videos_of_another_tool_are_paired_by_name_and_a_missing_one_exits_5(
    run_here: RunHere, short: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "their tool"
    theirs.mkdir()
    clip = read_clip(short, "cleo")
    write_video(theirs / "cleo.mp4", np.stack([clip.frame(k) for k in range(NUM_SEEN)]))
    given = ["eval", str(short), "-o", "report", "--jobs", "1"]
    ended = run_here(*given, "--predicted", str(theirs), "--quiet")
    scores = scores_of(ended, 5)
    broken = {"clip": "anna", "system": "their tool", "why": "no video named anna"}
    assert scores["broken"] == [broken]
    assert ended.stderr == (
        "talkhead: one video could not be scored (anna by their tool: no video named"
        " anna): run the same command to try again\n"
    )
    assert (scores["stage"], scores["weights"]) == ("predicted", {})
    pairs = [(one["clip"], one["system"]) for one in scores["clips"]]
    others = [WARP, IDENTITY, REAL]
    assert pairs == [*(("anna", name) for name in others)] + [
        ("cleo", name) for name in ("their tool", *others)
    ]
    values = scores["groups"][NEVER_SEEN]["systems"]["their tool"]["values"]
    assert (values["psnr"]["mean"] > 30, values["psnr"]["clips"]) == (True, 1)
    assert "their tool" in Path("report/report.html").read_text(encoding="utf-8")
    # Partial results of one tool are never reused for another.
    shutil.copytree(theirs, tmp_path / "another")
    ended = run_here(*given, "--predicted", "another")
    refused(ended, 2, "another, unfinished evaluation")


def write_video(path: Path, frames: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    sound = path.with_suffix(".wav")
    write_waveform(sound, voice(lip_motion(len(frames), 0), 0))
    with VideoWriter(path, size=(256, 256), fps=Fraction(25), sound=sound, crf=8) as writer:
        writer.write(frames)
    sound.unlink()


@pytest.mark.usefixtures("detector_is_here")
def test_videos_are_prepared_first_and_a_broken_one_exits_5(
    run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    write_video(videos / "talk.mp4", talking_frames(NUM_SPOKEN + 2))
    (videos / "broken.mp4").write_text("not a video")
    given = ["--stage", "landmarks", "--weights", str(tiny_weights), "--jobs", "1", "--quiet"]
    ended = run_here("eval", "videos", "-o", "report", *given)
    scores = scores_of(ended, 5)
    (row,) = read_manifest(Path("report/prepared"))
    assert (row.clip, row.split, row.num_frames) == ("talk", "test", NUM_SPOKEN + 2)
    assert scores["protocol"]["data"] == "videos"
    assert scores["protocol"]["clips"] == "the split test"
    assert scores["protocol"]["left_out"] == "0 of the videos' 52 frames, which show no face"
    assert {one["clip"] for one in scores["clips"]} == {"talk"}
    ((clip, system),) = ((one["clip"], one["system"]) for one in scores["broken"])
    assert (clip, system) == ("broken", "preparation")
    assert "cannot be decoded" in scores["broken"][0]["why"]
    assert ended.stderr.splitlines()[-1].startswith("talkhead: one video could not be scored")


def test_two_scores_are_compared_as_text_and_as_json(
    run_here: RunHere, data: Path, tiny_weights: Path, other_weights: Path
) -> None:
    for report, weights in (("a", tiny_weights / "landmark_generator"), ("b", other_weights)):
        given = ["-o", report, "--stage", "landmarks", "--weights", str(weights), "--quiet"]
        assert run_here("eval", str(data), *given).stdout == f"{report}/scores.json\n"
    both = ["eval", "--compare", "a/scores.json", "b/scores.json"]
    ended = run_here(*both)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    pair = f"{tiny_weights / 'landmark_generator'} -> {other_weights}"
    assert f"{NEVER_SEEN}, {pair}: 2 clips in both" in lines
    assert f"{NEVER_SEEN}, {TRUTH}: 2 clips in both" in lines
    assert any(line.startswith("  M-LD ") for line in lines)

    ended = run_here(*both, "--json")
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert (result["schema"], result["stage"], result["clips"]) == (1, "landmarks", 2)
    pairs = {one["after"]: one for one in result["groups"][NEVER_SEEN]["pairs"]}
    values = pairs[str(other_weights)]["values"]["m_ld"]
    assert values["mean"] == pytest.approx(values["after"] - values["before"])
    assert values["mean"] != 0
    assert pairs[REST]["values"]["m_ld"]["mean"] == 0

    refused(run_here("eval", "--compare", "a/scores.json", "nowhere.json"), 2, "nowhere.json")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("DATA --stage landmarks --steps 2", "--steps is for stages that render frames"),
        ("DATA --stage landmarks --dtype float32", "--dtype float32 is for stages that render"),
        ("DATA --stage render --pose natural", "--pose natural is for motion generated from sound"),
        ("DATA --stage dub --pose still", "--pose still is for motion generated from sound"),
        ("DATA --stage silence --pose still", "--pose still is for motion generated from sound"),
        ("DATA --weights WEIGHTS --stage dub --emotion happy", "a video keeps its own expression"),
        ("DATA --predicted DATA --pose still", "--pose still is for motion generated from sound"),
        (
            "DATA --predicted DATA --weights WEIGHTS",
            "--steps, --start-step, --without and --stage",
        ),
        (
            "DATA --predicted DATA --steps 2",
            "--steps, --start-step, --without and --stage",
        ),
        (
            "DATA --predicted DATA --stage both",
            "--steps, --start-step, --without and --stage",
        ),
        (
            "DATA --predicted DATA --dtype float32",
            "--dtype float32 is for stages that render frames",
        ),
        ("DATA --predicted DATA --predicted DATA", "a system is already named"),
        ("DATA --predicted .", "has no videos"),
        ("DATA --predicted nowhere", "nowhere is not a folder of videos"),
        ("", "give DATA and -o REPORT, or --compare with two scores.json"),
        ("DATA --weights WEIGHTS --people nobody", "no person matches nobody"),
        ("DATA --weights WEIGHTS --split test", "none of the split test with sound that fits"),
        (
            "DATA --weights WEIGHTS --split test --split other",
            "none of the splits test and other with sound that fits",
        ),
        ("DATA --weights WEIGHTS --protocol seed-90-10", "choose one of them"),
        ("nowhere --weights WEIGHTS", "nowhere does not exist"),
        ("EMPTY --weights WEIGHTS", "no videos"),
    ],
)
def test_what_does_not_go_together_is_one_line_and_leaves_nothing(
    run_here: RunHere, data: Path, tiny_weights: Path, tmp_path: Path, given: str, words: str
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"DATA": str(data), "WEIGHTS": str(tiny_weights), "EMPTY": "empty"}
    arguments = [places.get(word, word) for word in given.split()]
    refused(run_here("eval", *arguments, "-o", "report"), 2, words)
    assert not (tmp_path / "report").exists()


def test_data_need_a_place_for_the_report(run_here: RunHere, data: Path) -> None:
    refused(run_here("eval", str(data)), 2, "give DATA and -o REPORT")


def test_weights_that_are_not_there_are_told_before_anything_else(
    run_here: RunHere, data: Path, tmp_path: Path
) -> None:
    refused(run_here("eval", str(data), "-o", "report", "--weights", "nothing"), 4, "nothing")
    assert not (tmp_path / "report").exists()


def test_a_report_of_somebody_else_is_kept(run_here: RunHere, data: Path, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report/scores.json").write_text("mine")
    refused(run_here("eval", str(data), "-o", "report"), 2, "scores.json exists: allow overwriting")
    assert (tmp_path / "report/scores.json").read_text() == "mine"
    (tmp_path / "file").touch()
    refused(run_here("eval", str(data), "-o", "file"), 2, "file is not a folder")

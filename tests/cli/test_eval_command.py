import json
from pathlib import Path

import pytest

from talkhead.evaluation.landmarks import LOUDNESS, REST, TRUTH
from talkhead.evaluation.render import CEILING, WARP
from tests.cli.conftest import RunHere
from tests.prepared import write_prepared


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("data"))


def test_weights_are_scored_beside_the_baselines(
    run_here: RunHere, data: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    both = ["--weights", str(tiny_weights), "--weights", str(tiny_weights / "landmarks")]
    ended = run_here("eval", str(data), "-o", "report", *both, "--device", "cpu", "--json")
    assert ended.returncode == 0, ended.stderr
    printed = json.loads(ended.stdout)
    scores = json.loads((tmp_path / printed["scores"]).read_text())
    assert scores["stage"] == "landmarks"
    assert scores["groups"] == printed["groups"]
    group = scores["groups"]["people never seen"]
    assert (group["clips"], group["people"]) == (1, 1)
    names = [str(tiny_weights), str(tiny_weights / "landmarks")]
    assert list(group["systems"]) == [*names, LOUDNESS, REST, TRUTH]
    assert group["systems"][names[0]] == group["systems"][names[1]]  # the same generator
    assert group["systems"][TRUTH]["m_ld"] == 0
    assert [clip["clip"] for clip in scores["clips"]] == ["cleo"] * 5
    assert "M-LD" in ended.stderr


def test_frames_are_scored_with_several_numbers_of_steps(
    run_here: RunHere, data: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    given = ["--stage", "render", "--steps", "1", "--steps", "2", "--weights", str(tiny_weights)]
    ended = run_here("eval", str(data), "-o", "report", *given, "--dtype", "float32", "--json")
    assert ended.returncode == 0, ended.stderr
    scores = json.loads((tmp_path / json.loads(ended.stdout)["scores"]).read_text())
    group = scores["groups"]["people never seen"]
    names = [f"{tiny_weights}, 1 step", f"{tiny_weights}, 2 steps", WARP, CEILING]
    assert list(group["systems"]) == names
    assert all(values["psnr"] > 5 for values in group["systems"].values())
    assert "PSNR" in ended.stderr


def test_steps_are_the_renderers_alone(run_here: RunHere, data: Path) -> None:
    ended = run_here("eval", str(data), "-o", "report", "--steps", "2", "--device", "cpu")
    assert ended.returncode == 2
    assert ended.stderr == "talkhead: --steps belongs to --stage render, not to landmarks\n"


def test_a_report_is_not_overwritten_unless_it_is_asked_for(
    run_here: RunHere, data: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report/scores.json").write_text("mine")
    given = ["eval", str(data), "-o", "report", "--weights", str(tiny_weights), "--quiet"]
    ended = run_here(*given)
    assert ended.returncode == 2
    assert ended.stderr.strip().endswith("scores.json exists: give --overwrite to replace it")
    assert (tmp_path / "report/scores.json").read_text() == "mine"
    ended = run_here(*given, "--overwrite")
    assert ended.returncode == 0
    assert ended.stdout.strip() == "report/scores.json"
    assert ended.stderr == ""


def test_clips_that_are_not_there_are_one_line(run_here: RunHere, data: Path) -> None:
    for arguments, message in (
        ((str(data), "--people", "nobody"), "has no clip to score"),
        (("nowhere",), "has no manifest.jsonl: run talkhead prepare"),
    ):
        ended = run_here("eval", *arguments, "-o", "report", "--device", "cpu")
        assert ended.returncode == 2
        assert message in ended.stderr
        assert ended.stderr.count("\n") == 1
        assert not Path("report").exists()

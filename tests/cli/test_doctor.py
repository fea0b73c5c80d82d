import json
from pathlib import Path

from tests.cli.conftest import Run
from tests.test_weights import model_entry


def test_doctor_finds_everything_it_needs(run_talkhead: Run) -> None:
    ended = run_talkhead("doctor", "--json")
    report = json.loads(ended.stdout)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert list(report) == ["talkhead", "torch", "ffmpeg", "mediapipe", "weights"]
    assert report["torch"]["threads"] >= 1
    assert Path(report["ffmpeg"]["path"]).is_file()
    assert report["mediapipe"]["version"]


def test_doctor_exits_4_when_weights_are_broken_and_still_reports_the_rest(
    run_talkhead: Run, copied_talkhead: Path
) -> None:
    (copied_talkhead / "weights.toml").write_text(model_entry("denoiser"))
    ended = run_talkhead("doctor", home=copied_talkhead)
    assert ended.returncode == 4
    assert ended.stderr.startswith("talkhead: weights broken: denoiser lists no files")
    assert ended.stderr.count("\n") == 1
    states = [row.split()[1] for row in ended.stdout.splitlines()]
    assert states == ["ok", "ok", "ok", "ok", "BROKEN"]

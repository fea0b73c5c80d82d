import json
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run, RunHere, refused

PEER = """
import torch

def build():
    return torch.nn.Conv2d(3, 8, 3), (torch.zeros(2, 3, 64, 64),), 2
"""


def test_a_benchmark_times_the_whole_its_parts_and_a_peer(
    run_talkhead: Run, tiny_weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "theirs.py").write_text(PEER)
    ended = run_talkhead(
        *("benchmark", "--size", "160", "--seconds", "1", "--peer", "theirs.py", "--json"),
        *("--weights", str(tiny_weights), "--device", "cpu"),
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    result = json.loads(ended.stdout)
    assert (result["size"], result["seconds_of_sound"], result["steps"]) == (160, 1, 1)
    assert result["frames_per_second"] > 0.5
    names = ["warp and maps", "encode", "denoise, 1 step", "decode", "composite", "video encoder"]
    assert list(result["stages_ms"]) == names
    assert all(0 < value < 5000 for value in result["stages_ms"].values())
    assert 0.5 < result["first_frame_s"] < 120
    assert result["peak_memory_mb"] > 100
    assert result["peer"]["name"] == "theirs"
    assert result["peer"]["milliseconds"] > 0
    assert {path.name for path in tmp_path.iterdir()} <= {"theirs.py", "cache", "__pycache__"}


@pytest.mark.parametrize(
    ("text", "words"),
    [("x = 1", "no function build()"), ("def build():\n    return 1", "must return")],
)
def test_a_peer_that_cannot_be_timed_is_refused(
    text: str, words: str, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "peer.py").write_text(text)
    arguments = ("benchmark", "--size", "128", "--seconds", "1", "--weights", str(tiny_weights))
    ended = run_here(*arguments, "--peer", "peer.py")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert words in ended.stderr


def test_a_live_benchmark_reports_latency_and_dropped_frames(
    run_here: RunHere, tiny_weights: Path
) -> None:
    arguments = ("benchmark", "--live", "--size", "128", "--seconds", "1.5")
    ended = run_here(*arguments, "--weights", str(tiny_weights), "--device", "cpu", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    result = json.loads(ended.stdout)
    assert result["frames"] >= 38
    assert 0 <= result["dropped"] < result["frames"]
    latency = result["latency_ms"]
    assert 200 < latency["median"] <= latency["95%"] <= latency["maximum"]
    refused(run_here(*arguments, "--steps", "2"), 2, "--live")


def test_dubbing_is_timed_and_compared(
    run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    arguments = (*SMALL, "--weights", str(tiny_weights), "--dub")
    ended = run_here(*arguments, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    first = json.loads(ended.stdout)
    assert first["dubs"] is True
    assert first["frames_per_second"] > 0.5
    assert "first_frame_s" not in first
    saved = tmp_path / "earlier.json"
    saved.write_text(ended.stdout)
    again = run_here(*arguments, "--against", str(saved))
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.count("frames per second") == 2
    refused(run_here(*arguments[:-1], "--against", str(saved)), 2, "with dubs True, not None")
    refused(run_here(*arguments, "--live"), 2, "--dub takes no --live")


SMALL = ("benchmark", "--size", "128", "--seconds", "1", "--device", "cpu")


def test_a_benchmark_is_compared_with_an_earlier_result(
    run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    arguments = (*SMALL, "--weights", str(tiny_weights))
    first = json.loads(run_here(*arguments, "--json").stdout)
    saved = tmp_path / "earlier.json"
    saved.write_text(json.dumps(first | {"frames_per_second": 1.25}))
    ended = run_here(*arguments, "--against", str(saved), "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    result = json.loads(ended.stdout)
    against = result["against"]
    assert (against["name"], against["frames_per_second"]) == (str(saved), 1.25)
    assert against["version"] == first["version"]
    assert against["ratio"] == pytest.approx(result["frames_per_second"] / 1.25, abs=1e-3)
    other_size = ("benchmark", "--size", "160", *arguments[3:])
    refused(run_here(*other_size, "--against", str(saved)), 2, "measured with size 128, not 160")


@pytest.mark.skipif(sys.platform == "win32", reason="runs a shell script")
def test_two_installs_run_in_turn(run_here: RunHere, tiny_weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "talkhead"
    runs = tmp_path / "runs"
    other.write_text(f'#!/bin/sh\necho "$@" >> {runs}\nexec {sys.executable} -m talkhead "$@"\n')
    other.chmod(0o755)
    ended = run_here(*SMALL, "--weights", str(tiny_weights), "--against", str(other), "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    result = json.loads(ended.stdout)
    assert result["against"]["name"] == str(other)
    assert 0.1 < result["against"]["ratio"] < 10
    assert len(runs.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("{}", (), "is not a result of `talkhead benchmark --json`"),
        ("{", (), "is not a result of `talkhead benchmark --json`"),
        ("{}", ("--live",), "--against takes no --live"),
    ],
)
def test_what_cannot_be_compared_is_refused_at_once(
    content: str, options: tuple[str, ...], words: str, run_here: RunHere, tmp_path: Path
) -> None:
    (tmp_path / "earlier.json").write_text(content)
    ended = run_here(*SMALL, "--against", str(tmp_path / "earlier.json"), *options)
    refused(ended, 2, words)

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.cuda import NO_DEVICE, STEPS

TOP = Path(__file__).resolve().parents[1]


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.cuda", *arguments]
    return subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card: run the script itself")
def test_without_a_card_the_script_says_so_in_one_line() -> None:
    ended = run_script()
    assert (ended.returncode, ended.stdout) == (NO_DEVICE, "")
    assert ended.stderr == "this machine has no CUDA device: nothing was measured\n"


def test_every_step_runs_on_the_cpu_too() -> None:
    ended = run_script("--rehearse")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    results = json.loads(ended.stdout)
    assert set(STEPS) < set(results)
    assert results["frames"]["same_bytes_twice"] is True
    assert results["frames"]["far_share"] == 0
    assert results["training"]["apart"] == 0
    assert results["dubbing"]["frames_per_second"] > 0

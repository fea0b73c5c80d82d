"""Training with several processes, started as accelerate's launcher does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from talkhead.training.autoencoder import AutoencoderTask, AutoencoderTaskConfig
from talkhead.training.loop import _Stream
from talkhead.training.samples import Sample
from tests.tiny import TINY_AUTOENCODER

TOP = Path(__file__).resolve().parents[2]
TASK = AutoencoderTaskConfig(crop_px=128)
SETTINGS = """
[train]
data = {data}
run = {run}
steps = {steps}
batch_size = 4
learning_rate = 1e-3
warmup_steps = 1
precision = "float32"
num_workers = 0
log_every = 1
validate_every = 1000
save_every = 1

[model]
{model}

[task]
crop_px = 128
"""


class Numbers:
    """Samples that contain their own index."""

    def sample(self, index: int) -> Sample:
        return {"index": np.array(index)}


def test_processes_divide_every_batch_and_a_resumed_run_goes_on() -> None:
    def indices(start: int, part: int, of: int) -> list[int]:
        stream = _Stream(Numbers(), range(start, 3), 4, part, of)
        return [int(stream[k]["index"]) for k in range(len(stream))]

    assert indices(0, 0, 1) == list(range(12))
    assert indices(0, 0, 2) == [0, 1, 4, 5, 8, 9]
    assert indices(0, 1, 2) == [2, 3, 6, 7, 10, 11]
    assert indices(2, 1, 2) == [10, 11]
    assert indices(3, 0, 2) == []


def write_settings(folder: Path, data: Path, name: str, steps: int) -> Path:
    model = "\n".join(f"{k} = {json.dumps(v)}" for k, v in TINY_AUTOENCODER.items())
    path = folder / f"{name}-{steps}.toml"
    path.write_text(
        SETTINGS.format(
            data=json.dumps(str(data)), run=json.dumps(str(folder / name)), steps=steps, model=model
        )
    )
    return path


def launch(settings: Path, num_processes: int) -> "subprocess.CompletedProcess[str]":
    """Train on CPU processes; accelerate's own --cpu needs MPI for more than one."""
    launcher = ("accelerate.commands.launch", "--multi_gpu", "--num_machines", "1")
    options = ("--num_processes", str(num_processes), "--mixed_precision", "no")
    several = (*launcher, *options, "--main_process_port", "0", "--dynamo_backend", "no", "-m")
    arguments = ("talkhead", "train", "autoencoder", str(settings), "--device", "cpu", "--json")
    return subprocess.run(
        [sys.executable, "-m", *(several if num_processes > 1 else ()), *arguments],
        env=os.environ
        | {"PYTHONPATH": str(TOP), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        cwd=settings.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def log(run: Path, kind: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


@pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="torch was built without gloo",
)
def test_two_processes_train_as_one_does_and_go_on_after_a_stop(
    prepared: Path, tmp_path: Path
) -> None:
    for name, num_processes in (("alone", 1), ("two", 2)):
        ended = launch(write_settings(tmp_path, prepared, name, 3), num_processes)
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["steps"] == 3  # only one process prints
    alone, two = (load_file(tmp_path / run / "state/model.safetensors") for run in ("alone", "two"))
    start = AutoencoderTask(prepared, TINY_AUTOENCODER, TASK, seed=0).model.state_dict()
    assert alone.keys() == two.keys() == start.keys()
    moved = max(float((alone[name] - start[name]).abs().max()) for name in start)
    apart = max(float((alone[name] - two[name]).abs().max()) for name in start)
    assert moved > 1e-3
    assert apart < moved / 50
    losses = [[line["loss"] for line in log(tmp_path / run, "train")] for run in ("alone", "two")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    ended = launch(write_settings(tmp_path, prepared, "two", 4), 2)
    assert ended.returncode == 0, ended.stderr
    assert [line["step"] for line in log(tmp_path / "two", "train")] == [1, 2, 3, 4]
    assert [line["step"] for line in log(tmp_path / "two", "validate")] == [3, 4]


def test_a_batch_that_cannot_be_divided_is_refused(prepared: Path, tmp_path: Path) -> None:
    path = write_settings(tmp_path, prepared, "odd", 1)
    path.write_text(path.read_text().replace("batch_size = 4", "batch_size = 3"))
    ended = launch(path, 2)
    assert ended.returncode != 0
    assert "batch_size 3 must be a multiple of the number of processes, 2" in ended.stderr

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from talkhead.errors import TalkheadError
from talkhead.training.config import LoopConfig
from talkhead.training.loop import learning_rate, train
from talkhead.training.samples import Batch, Sample


def loop_config(**changes: object) -> LoopConfig:
    values: dict[str, object] = {
        "data": "",
        "run": "",
        "steps": 60,
        "batch_size": 8,
        "learning_rate": 0.3,
        "warmup_steps": 5,
        "weight_decay": 0.0,
        "precision": "float32",
        "num_workers": 0,
        "validate_every": 1000,
        "save_every": 20,
    }
    return LoopConfig(**(values | changes))  # type: ignore[arg-type]


class Slopes:
    """Points on the line y = 3 x + 1."""

    def sample(self, index: int) -> Sample:
        x = np.random.default_rng(index).normal(size=1).astype(np.float32)
        return {"x": x, "y": 3 * x + 1}


class LineTask:
    """Learns a line, or stops at a given step."""

    def __init__(self, break_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.model: nn.Linear = nn.Linear(1, 1)
        self.samples = Slopes()
        self._break_at, self._count = break_at, 0

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        self._count += 1
        loss = (model(batch["x"]) - batch["y"]).square().mean()
        return {"loss": loss * math.nan if self._count == self._break_at else loss}

    def validate(self, model: nn.Module) -> dict[str, float]:
        return {"slope": model.weight.item(), "is_training": float(model.training)}  # type: ignore[operator]

    def preview(self, model: nn.Module) -> None:
        return None

    def save(self, run: Path, model: nn.Module) -> None:
        (run / "checkpoint").mkdir(exist_ok=True)
        (run / "checkpoint" / "slope").write_text(str(model.weight.item()))  # type: ignore[operator]


def test_it_learns_and_saves_the_mean_weights(tmp_path: Path) -> None:
    reports = list(train(LineTask(), loop_config(), tmp_path, "cpu"))
    assert [(report.kind, report.step) for report in reports] == [
        ("train", 20),
        ("train", 40),
        ("train", 60),
        ("validate", 60),
    ]
    assert reports[0].values["loss"] > 20 * reports[2].values["loss"]
    assert reports[-1].values["slope"] == pytest.approx(3, abs=0.3)
    assert reports[-1].values["is_training"] == 0
    saved = float((tmp_path / "checkpoint" / "slope").read_text())
    assert saved == pytest.approx(reports[-1].values["slope"])
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [20, 40, 60, 60]
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_the_rate_warms_up_and_falls_to_a_hundredth() -> None:
    config = loop_config(steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate(config, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9]
    assert rates[50] == pytest.approx(0.01 + 0.99 / 2)
    assert rates[100] == pytest.approx(0.01)


def test_parameters_learn_at_their_share_of_the_rate(tmp_path: Path) -> None:
    start = LineTask().model.state_dict()

    def after(name: str, **rates: float) -> dict[str, Tensor]:
        task = LineTask()
        list(train(task, loop_config(steps=1, ema_decay=0.0, rates=rates), tmp_path / name, "cpu"))
        return {key: value.clone() for key, value in task.model.state_dict().items()}

    usual, frozen, half = after("usual"), after("frozen", bias=0.0), after("half", weight=0.5)
    assert torch.equal(frozen["bias"], start["bias"])
    torch.testing.assert_close(frozen["weight"], usual["weight"])  # clipped by another norm
    assert not torch.equal(usual["bias"], start["bias"])
    step, half_step = usual["weight"] - start["weight"], half["weight"] - start["weight"]
    torch.testing.assert_close(half_step, step / 2)  # Adam's first step has the size of the rate


def test_a_rate_for_parameters_that_are_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TalkheadError, match="rates names wieght, the model has"):
        list(train(LineTask(), loop_config(rates={"wieght": 0.5}), tmp_path, "cpu"))
    with pytest.raises(TalkheadError, match="rates of weight cannot be negative"):
        list(train(LineTask(), loop_config(rates={"weight": -1.0}), tmp_path, "cpu"))


@pytest.mark.parametrize("leftover", ["state.partial", "state.old", "state renamed to state.old"])
def test_a_kill_while_the_state_is_saved_does_no_harm(tmp_path: Path, leftover: str) -> None:
    first = train(LineTask(), loop_config(), tmp_path, "cpu")
    assert next(first).step == 20
    assert next(first).step == 40
    first.close()  # before the state of step 40 is saved
    state = tmp_path / "state"
    if leftover.startswith("state renamed"):
        state.rename(tmp_path / "state.old")
    else:
        (tmp_path / leftover).mkdir()
        (tmp_path / leftover / "model.safetensors").write_text("half")
    rest = list(train(LineTask(), loop_config(), tmp_path, "cpu"))
    assert [report.step for report in rest] == [40, 60, 60]
    assert not (tmp_path / "state.old").exists()
    assert not (tmp_path / "state.partial").exists()


def test_the_state_of_another_model_is_refused_in_one_line(tmp_path: Path) -> None:
    list(train(LineTask(), loop_config(steps=1), tmp_path, "cpu"))
    task = LineTask()
    task.model = nn.Linear(1, 2)
    with pytest.raises(TalkheadError, match="choose another run folder") as caught:
        list(train(task, loop_config(), tmp_path, "cpu"))
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_not_finite_ends_the_run_and_spares_its_state(tmp_path: Path) -> None:
    with pytest.raises(TalkheadError, match="not finite at step 40: lower the learning rate"):
        list(train(LineTask(break_at=30), loop_config(), tmp_path, "cpu"))
    state = json.loads((tmp_path / "state" / "state.json").read_text())
    assert state == {"step": 20}

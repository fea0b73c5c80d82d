"""Training loop for all tasks: mixed precision, weight averaging, logs, resuming after a kill.

It supports several processes, started by a launcher (accelerate's or torch's). Each process takes
its part of each batch, gradients are averaged, and only the first process writes.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator, PartialState
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from talkhead.errors import TalkheadError
from talkhead.media.picture import write_picture
from talkhead.training.config import LoopConfig, check_loop
from talkhead.training.records import Means, Records, Report
from talkhead.training.samples import Batch, Sample, step_seed
from talkhead.training.state import load_state, save_state


class Samples(Protocol):
    """Produces the n-th sample of a run, deterministically."""

    def sample(self, index: int) -> Sample:
        """Return the arrays of sample number `index`."""


class Task(Protocol):
    """A model with its samples, loss and validation, as the loop needs them."""

    @property
    def model(self) -> nn.Module:
        """The network to train, on the CPU until the loop moves it."""

    @property
    def samples(self) -> Samples:
        """The training samples."""

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the scalar to minimise as `loss`, plus any values to log."""

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Score the network on people it is not trained on."""

    def preview(self, model: nn.Module) -> npt.NDArray[np.uint8] | None:
        """Return a preview image, uint8 (H, W, 3), or None."""

    def save(self, run: Path, model: nn.Module) -> None:
        """Write run/checkpoint, the folder of the network, and what belongs beside it."""


class _Stream(Dataset[Sample]):
    """Samples of the remaining steps, so that a resumed run continues with the same samples.

    With several processes, each one gets its own part of every batch.
    """

    def __init__(self, samples: Samples, steps: range, batch_size: int, part: int, of: int) -> None:
        self._samples, self._steps, self._batch_size = samples, steps, batch_size
        self._share, self._first = batch_size // of, part * (batch_size // of)

    def __len__(self) -> int:
        return len(self._steps) * self._share

    def __getitem__(self, index: int) -> Sample:
        step, place = divmod(index, self._share)
        return self._samples.sample(self._steps[step] * self._batch_size + self._first + place)


def train(
    task: Task, config: LoopConfig, run: Path, device: str = "auto"
) -> Generator[Report, None, None]:
    """Train until `config.steps`, resuming from the state in the run folder if it has one.

    Yields:
        Training and validation reports, in the first process only. The last checkpoint is in
        run/checkpoint.

    Raises:
        TalkheadError: a setting is invalid, the run folder belongs to another model, or the
            gradient is no longer finite.
    """
    check_loop(config)
    run.mkdir(parents=True, exist_ok=True)
    if device.startswith("cuda:"):  # accelerate takes the present one
        torch.cuda.set_device(torch.device(device))
    accelerator = Accelerator(
        mixed_precision="bf16" if config.precision == "bfloat16" else "no", cpu=device == "cpu"
    )
    _check_batch_size(config, accelerator.num_processes)
    model = task.model.to(accelerator.device).train()
    groups = _parameter_groups(model, config)
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.99))
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    with accelerator.main_process_first():  # it repairs what an interrupted save left behind
        step = load_state(run, model, average, optimizer)
    records = Records(run, step) if accelerator.is_main_process else None
    means = Means()
    try:
        for batch in _loader(task.samples, config, step, accelerator):
            values = _optimise(task, batch, optimizer, accelerator, config, step)
            step += 1
            means.add(values)
            _update_average(average, model, config.ema_decay, step)
            last = step == config.steps
            is_logged = step % config.log_every == 0 or last
            is_validated = step % config.validate_every == 0 or last
            is_saved = step % config.save_every == 0 or last
            if is_logged or is_validated or is_saved:
                _check_finite(values["gradient_norm"], step)
            if is_logged:
                logged = means.take(accelerator)
                logged["learning_rate"] = learning_rate(config, step - 1)
                if records is not None:
                    yield records.add(Report(step, config.steps, logged, "train"))
            if is_validated and records is not None:
                scores = _validate(task, average, run, step, accelerator)
                yield records.add(Report(step, config.steps, scores, "validate"))
            if is_saved and records is not None:
                save_state(run, step, model, average, optimizer)
            if is_validated or is_saved:
                accelerator.wait_for_everyone()
        _leave_group()
    finally:
        if records is not None:
            records.close()


def _loader(
    samples: Samples, config: LoopConfig, step: int, accelerator: Accelerator
) -> DataLoader[Sample]:
    """Return the batches of the remaining steps: this process's part of each."""
    rank, count = accelerator.process_index, accelerator.num_processes
    return DataLoader(
        _Stream(samples, range(step, config.steps), config.batch_size, rank, count),
        batch_size=config.batch_size // count,
        num_workers=config.num_workers,
        persistent_workers=False,
        pin_memory=accelerator.device.type == "cuda",
        prefetch_factor=4 if config.num_workers else None,
    )


def _optimise(
    task: Task,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    config: LoopConfig,
    step: int,
) -> dict[str, Tensor]:
    """Take one step, and return what to log of it."""
    generator = torch.Generator().manual_seed(
        step_seed(config.seed, step, accelerator.process_index)
    )
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, step) * group["share"]
    on_device = {
        key: value.to(accelerator.device, non_blocking=True) for key, value in batch.items()
    }
    with accelerator.autocast():
        losses = task.loss(task.model, on_device, generator)
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(losses["loss"])
    _average_gradients(accelerator, optimizer)
    norm = torch.nn.utils.clip_grad_norm_(task.model.parameters(), config.clip_norm)
    optimizer.step()
    return {**losses, "gradient_norm": norm}


def _check_finite(norm: Tensor, step: int) -> None:
    if not math.isfinite(float(norm)):
        raise TalkheadError(
            f"the gradient is not finite at step {step}: lower the learning rate; the run"
            " resumes from its last saved state"
        )


def _validate(
    task: Task, average: dict[str, Tensor], run: Path, step: int, accelerator: Accelerator
) -> dict[str, float]:
    """Score, preview and save the averaged weights."""
    model = task.model
    with _weights(model, average):
        model.eval()
        with torch.no_grad(), accelerator.autocast():
            scores = task.validate(model)
            picture = task.preview(model)
        task.save(run, model)
        model.train()
    if picture is not None:
        write_picture(run / f"preview-{step:06d}.png", picture)
    return scores


def _leave_group() -> None:
    """Leave the process group: exiting while its communication threads run may abort."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextmanager
def dropout_from(generator: torch.Generator) -> Iterator[None]:
    """Make dropout, which uses the global generator, depend only on the given generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        yield


def is_first_process() -> bool:
    """Whether this is the process that writes and reports; true without a launcher."""
    return bool(PartialState().is_main_process)


def learning_rate(config: LoopConfig, step: int) -> float:
    """Return the learning rate at a step: linear warm-up, then a half cosine decay to 1 %."""
    warm = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    progress = min(step / max(config.steps, 1), 1.0)
    return config.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def _check_batch_size(config: LoopConfig, num_processes: int) -> None:
    if config.batch_size % num_processes:
        raise TalkheadError(
            f"[train]: batch_size {config.batch_size} must be a multiple of the number of"
            f" processes, {num_processes}"
        )


def _parameter_groups(model: nn.Module, config: LoopConfig) -> list[dict[str, Any]]:
    """Group parameters by learning-rate multiplier; only matrices and kernels get weight decay."""
    shares = dict.fromkeys((name for name, _ in model.named_parameters()), 1.0)
    for prefix, share in config.rates.items():
        found = [name for name in shares if name == prefix or name.startswith(f"{prefix}.")]
        if not found:
            parts = ", ".join(sorted({name.rpartition(".")[0] for name in shares})[:6])
            raise TalkheadError(f"[train]: rates names {prefix}, the model has {parts}, ...")
        shares.update(dict.fromkeys(found, share))
    for name, parameter in model.named_parameters():
        if shares[name] == 0:
            parameter.requires_grad_(False)
    learned = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return [
        {
            "params": [
                p for name, p in learned if shares[name] == share and (p.ndim > 1) == decays
            ],
            "weight_decay": config.weight_decay if decays else 0.0,
            "share": share,
        }
        for share in dict.fromkeys(shares[name] for name, _ in learned)
        for decays in (True, False)
    ]


def _average_gradients(accelerator: Accelerator, optimizer: torch.optim.Optimizer) -> None:
    """Average gradients over the processes, as if one process had seen the whole batch.

    DistributedDataParallel cannot be used: tasks call methods of their networks, which it hides.
    """
    if accelerator.num_processes == 1:
        return
    learned = [value for group in optimizer.param_groups for value in group["params"]]
    for value in learned:
        if value.grad is None:
            value.grad = torch.zeros_like(value)
    together = torch.cat([value.grad.reshape(-1) for value in learned])
    together = accelerator.reduce(together, "mean")
    parts = together.split([value.numel() for value in learned])
    for value, part in zip(learned, parts, strict=True):
        value.grad.copy_(part.view_as(value))


def _update_average(average: dict[str, Tensor], model: nn.Module, decay: float, step: int) -> None:
    decay = min(decay, (1 + step) / (10 + step))  # forget the early weights quickly
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                average[name].lerp_(value, 1 - decay)
            else:
                average[name].copy_(value)


class _weights:  # noqa: N801 - a context manager, used like a function
    """Temporarily replace a model's weights."""

    def __init__(self, model: nn.Module, weights: dict[str, Tensor]) -> None:
        self._model, self._weights = model, weights

    def __enter__(self) -> None:
        self._own = {name: value.clone() for name, value in self._model.state_dict().items()}
        self._model.load_state_dict(self._weights)

    def __exit__(self, *_: object) -> None:
        self._model.load_state_dict(self._own)

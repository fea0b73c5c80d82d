from pathlib import Path
from typing import Any

import pytest
import torch

from talkhead.errors import TalkheadError, WeightsError
from talkhead.training.denoiser import DenoiserTask
from talkhead.training.tasks import build_task
from tests.training.settings import WriteSettings, batch_of, run_steps


def test_a_denoiser_is_trained_without_maps(write_settings: WriteSettings) -> None:
    settings = write_settings("denoiser")
    settings.write_text(settings.read_text().replace("map_channels = 9", "map_channels = 0"))
    reports = run_steps("denoiser", settings)
    assert reports[-1].kind == "validate"


def losses_of(path: Path, *, shut: bool = False) -> tuple[Any, dict[str, torch.Tensor]]:
    """Return the model, and the losses of a batch, with all mouths closed if `shut`."""
    task, settings = build_task("denoiser", path)
    model: Any = task.model
    batch = batch_of(task, 4)
    batch["maps"][:, 0] *= not shut
    return model, task.loss(model, batch, torch.Generator().manual_seed(settings.loop.seed))


def learns(module: torch.nn.Module, loss: torch.Tensor) -> bool:
    gradients = torch.autograd.grad(
        loss, list(module.parameters()), retain_graph=True, allow_unused=True
    )
    return any(gradient is not None and bool(gradient.any()) for gradient in gradients)


def test_a_discriminator_learns_from_its_own_loss_alone_and_the_denoiser_from_the_others(
    write_settings: WriteSettings,
) -> None:
    model, values = losses_of(write_settings("denoiser"))
    assert learns(model.discriminator, values["discriminator"])
    assert not learns(model.denoiser, values["discriminator"])
    for name in ("pixel", "feature", "adversarial"):
        assert learns(model.denoiser, values[name]), name
        assert not learns(model.discriminator, values[name]), name


def test_shut_mouths_answer_to_no_discriminator(write_settings: WriteSettings) -> None:
    model, values = losses_of(write_settings("denoiser"), shut=True)
    assert learns(model.denoiser, values["pixel"])
    for name in ("feature", "adversarial"):
        assert not learns(model.denoiser, values[name]), name


def test_without_its_weight_there_is_no_discriminator(write_settings: WriteSettings) -> None:
    path = write_settings("denoiser")
    path.write_text(path.read_text().replace("adversarial_weight = 0.1", ""))
    model, values = losses_of(path)
    assert model.discriminator is None
    assert set(values) == {"loss", "left"}


def test_the_scale_of_residuals_is_measured_when_it_is_not_given(
    write_settings: WriteSettings,
) -> None:
    path = write_settings("denoiser")
    path.write_text(path.read_text().replace("residual_scale = 0.5", "residual_scale = 0.0"))
    task, _ = build_task("denoiser", path)
    assert isinstance(task, DenoiserTask)
    scale = task.model.denoiser.config.residual_scale
    samples = [task.samples.sample(index) for index in range(32)]
    target, warped = (
        task.encode(torch.stack([torch.from_numpy(sample[key]) for sample in samples]))
        for key in ("target", "warped")
    )
    weight = torch.stack([torch.from_numpy(sample["weight"]) for sample in samples])
    mean = ((target - warped).square() * weight).mean() / weight.mean()
    assert scale == pytest.approx(float(mean.sqrt()), rel=0.3)


def test_a_denoiser_that_does_not_fit_its_autoencoder_is_refused(
    write_settings: WriteSettings, tmp_path: Path
) -> None:
    path = write_settings("denoiser")
    text = path.read_text()
    path.write_text(text.replace("latent_channels = 8", "latent_channels = 16"))
    with pytest.raises(TalkheadError, match="latent_channels of the denoiser is 16"):
        build_task("denoiser", path)
    path.write_text(text.replace('autoencoder = "', 'autoencoder = "missing'))
    with pytest.raises(WeightsError, match=r"the weights folder .*missing.* does not exist"):
        build_task("denoiser", path)

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import save_file

from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.errors import WeightsError
from talkhead.geometry.mesh import mouth_opening
from talkhead.geometry.motion_basis import close_lips
from talkhead.networks import Network
from talkhead.pipelines import FacePipeline, MaskNoisePipeline, TalkheadPipeline
from talkhead.pipelines.loading import load_landmark_generator
from tests.meshes import hand_made_basis, mean_mesh, opened
from tests.tiny import TINY_DUAL, TINY_GENERATOR, tiny_mask_noise_pipeline

CPU = torch.device("cpu")
TENSORS = "diffusion_pytorch_model.safetensors"


def load(folder: Path) -> TalkheadPipeline:
    return TalkheadPipeline.from_folder(folder, device=CPU, dtype=torch.float32)


def test_a_pipeline_carries_its_basis(tiny_weights: Path) -> None:
    expected = hand_made_basis()
    for generator in (
        load(tiny_weights).landmark_generator,
        load_landmark_generator(tiny_weights, CPU),
        load_landmark_generator(tiny_weights / "landmark_generator", CPU),
    ):
        basis = generator.motion_basis()
        np.testing.assert_allclose(basis.components, expected.components, atol=1e-6)
        np.testing.assert_allclose(basis.blink, expected.blink, atol=1e-6)
        closed = close_lips(opened(mean_mesh(40, 100, 88) / 40, 0.1), basis)
        assert mouth_opening(closed) < 0.02


def test_networks_are_ready_for_use_and_not_for_training(
    tiny_weights: Path, tiny_mask_noise: Path
) -> None:
    for folder in (tiny_weights, tiny_mask_noise):
        pipeline = FacePipeline.from_folder(folder, device=CPU, dtype=torch.float32)
        networks = [part for part in pipeline.components.values() if isinstance(part, Network)]
        assert len(networks) >= 3
        for network in networks:
            assert not network.training
            assert not any(parameter.requires_grad for parameter in network.parameters())


def test_the_folder_decides_the_class_and_the_class_refuses_the_other_system(
    tiny_weights: Path, tiny_mask_noise: Path
) -> None:
    def load_as(cls: type[FacePipeline], folder: Path) -> FacePipeline:
        return cls.from_folder(folder, device=CPU, dtype=torch.float32)

    assert type(load_as(FacePipeline, tiny_weights)) is TalkheadPipeline
    assert type(load_as(FacePipeline, tiny_mask_noise)) is MaskNoisePipeline
    assert type(load_as(MaskNoisePipeline, tiny_mask_noise)) is MaskNoisePipeline
    with pytest.raises(WeightsError, match="holds mask-noise, but lgd is needed here"):
        load_as(TalkheadPipeline, tiny_mask_noise)
    with pytest.raises(WeightsError, match="holds lgd, but mask-noise is needed here"):
        load_as(MaskNoisePipeline, tiny_weights)


def test_a_switch_takes_landmarks_from_the_dual_domain_part_alone(tmp_path: Path) -> None:
    mixed = LandmarkGenerator(**TINY_GENERATOR, dual_domain=TINY_DUAL, dual_share=0.25)
    mixed.components.copy_(torch.from_numpy(hand_made_basis().components))
    parts = tiny_mask_noise_pipeline().components | {"landmark_generator": mixed}
    pipeline = MaskNoisePipeline(**parts, dual_domain_alone=True)
    assert bool((mixed.shares == 0.25).all())  # it may be in use elsewhere
    pipeline.save_pretrained(tmp_path / "alone")
    # A folder that shares the generator with another pipeline has both parts in it.
    mixed.save_pretrained(tmp_path / "alone" / "landmark_generator")
    loaded = FacePipeline.from_folder(tmp_path / "alone", device=CPU, dtype=torch.float32)
    given = (
        torch.randn((1, 16000), generator=torch.Generator().manual_seed(0)),
        torch.arange(1.0, 21.0, 2.0)[None],
        torch.zeros(1, 4),
        torch.zeros(1, 4),
    )
    with torch.inference_mode():
        blend = mixed.eval()(*given)[0]
        expected = mixed.dual_domain_alone()(*given)[0]
        for generator in (
            loaded.landmark_generator,
            load_landmark_generator(tmp_path / "alone", CPU),
        ):
            assert torch.equal(generator(*given)[0], expected)
    assert not torch.allclose(blend, expected)
    edit_index(dual_domain_alone=False)(tmp_path / "alone")
    assert bool((load_landmark_generator(tmp_path / "alone", CPU).shares == 0.25).all())


@pytest.mark.parametrize(
    ("value", "reason"),
    [(1, "dual_domain_alone is 1, but must be"), (True, "has no dual-domain part")],
)
def test_a_switch_that_does_not_fit_is_refused(
    tiny_mask_noise: Path, tmp_path: Path, value: object, reason: str
) -> None:
    folder = shutil.copytree(tiny_mask_noise, tmp_path / "weights")
    edit_index(dual_domain_alone=value)(folder)
    with pytest.raises(WeightsError, match=reason):
        FacePipeline.from_folder(folder, device=CPU, dtype=torch.float32)


# Folders that do not fit.


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; the value ... removes a key."""
    settings = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in settings.items() if value != ...}))


def edit_index(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "model_index.json", **changes)


def edit_scheduler(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "scheduler" / "scheduler_config.json", **changes)


def without(path: str) -> Callable[[Path], None]:
    return lambda folder: (folder / path).unlink()


def written(path: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / path).write_text(text)


def cut(folder: Path) -> None:
    path = folder / "landmark_generator" / TENSORS
    path.write_bytes(path.read_bytes()[:-1])


def pickled(folder: Path) -> None:
    path = folder / "denoiser" / TENSORS
    torch.save(tensors_of(path.read_bytes()), path.with_name("diffusion_pytorch_model.bin"))
    path.unlink()


def pickled_under_the_name(folder: Path) -> None:
    path = folder / "denoiser" / TENSORS
    torch.save(tensors_of(path.read_bytes()), path)


def without_a_tensor(folder: Path) -> None:
    path = folder / "autoencoder" / TENSORS
    tensors = tensors_of(path.read_bytes())
    del tensors[min(tensors)]
    save_file(tensors, path, {"format": "pt"})


def not_finite(folder: Path) -> None:
    path = folder / "autoencoder" / TENSORS
    tensors = tensors_of(path.read_bytes())
    next(iter(tensors.values())).fill_(torch.nan)
    save_file(tensors, path, {"format": "pt"})


def exchanged(folder: Path) -> None:
    shutil.rmtree(folder / "denoiser")
    shutil.copytree(folder / "autoencoder", folder / "denoiser")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: shutil.rmtree(folder / "denoiser"), "denoiser does not exist"),
        (written("autoencoder/config.json", "{}"), "does not name its class"),
        (written(f"landmark_generator/{TENSORS}", "x"), "is corrupt"),
        (cut, "is corrupt"),
        (exchanged, "describes a Autoencoder, but a Denoiser is needed"),
        (pickled, "has no diffusion_pytorch_model.safetensors: no other file format is read"),
        (pickled_under_the_name, "is corrupt"),
        (without_a_tensor, "1 tensor missing"),
        (not_finite, "not finite"),
        (without("model_index.json"), "is not a pipeline: it has no model_index.json"),
        (written("model_index.json", "["), "model_index.json cannot be read"),
        (written("model_index.json", "[]"), "model_index.json is not a JSON object"),
        (written("model_index.json", " " * 1_000_001), "is larger than 1,000,000 bytes"),
        (edit_index(_class_name="StableDiffusionPipeline"), "describes .StableDiffusionPipeline.*"),
        (edit_index(_class_name=...), "describes .None.*"),
        (edit_index(_class_name=["TalkheadPipeline"]), "describes .*TalkheadPipeline"),
        (edit_index(denoiser=...), "has no denoiser"),
        (edit_index(unet=["diffusers", "UNet2DModel"]), "has unknown component 'unet'"),
        (edit_index(denoiser=["diffusers", "UNet2DModel"]), "must be a Denoiser of talkhead"),
        (edit_index(denoiser=["talkhead", "Autoencoder"]), "must be a Denoiser of talkhead"),
        (edit_index(denoiser=["os", "system"]), r"denoiser is \['os', 'system'\], but must be"),
        (edit_index(denoiser=[None, None]), "must be a Denoiser of talkhead"),
        (edit_index(denoiser="Denoiser"), "must be a Denoiser of talkhead"),
        (edit_index(denoiser=["talkhead", ["Denoiser"]]), "must be a Denoiser of talkhead"),
        (edit_index(scheduler=["os", "system"]), "scheduler is .*, but must be a DDIMScheduler or"),
        (edit_index(scheduler=["transformers", "DDIMScheduler"]), "must be a DDIMScheduler or"),
        (edit_index(scheduler=["diffusers", "DiffusionPipeline"]), "must be a DDIMScheduler or"),
        (edit_index(scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"]), "DDIMScheduler"),
        (without("scheduler/scheduler_config.json"), "scheduler has no scheduler_config.json"),
        (written("scheduler/scheduler_config.json", " " * 1_000_001), "larger than 1,000,000"),
        (written("scheduler/scheduler_config.json", "nonsense"), "cannot be read"),
        (edit_scheduler(num_train_timesteps=10**9), "must be from 1 to 65536"),
        (edit_scheduler(num_train_timesteps="1000"), "must be from 1 to 65536"),
        (edit_scheduler(num_train_timesteps=...), "must be from 1 to 65536"),
        (edit_scheduler(trained_betas=[0.5]), "must have one number per timestep"),
        (edit_scheduler(trained_betas="all"), "must have one number per timestep"),
        (edit_scheduler(trained_betas=["a"] * 1000), "scheduler_config.json cannot be used"),
        (edit_scheduler(trained_betas=None, beta_schedule="wild"), "config.json cannot be used"),
        (edit_scheduler(trained_betas=None, beta_start="low"), "config.json cannot be used"),
        (edit_scheduler(prediction_type="nonsense"), "config.json cannot be used"),
        (edit_scheduler(prediction_type="epsilon"), "its samples are not finite"),
        (edit_scheduler(timestep_spacing="wide"), "config.json cannot be used"),
        (edit_scheduler(nonsense=1), None),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(
    tiny_weights: Path, tmp_path: Path, spoil: Callable[[Path], object], reason: str | None
) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(tiny_weights, folder)
    spoil(folder)
    if reason is None:
        load(folder)
        return
    with pytest.raises(WeightsError, match=reason) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value).replace(str(folder), "")) < 500


def test_a_scheduler_that_does_not_take_the_network_s_prediction_is_refused(
    tiny_mask_noise: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_mask_noise, tmp_path / "weights")
    edit_index(scheduler=["diffusers", "EulerAncestralDiscreteScheduler"])(folder)
    with pytest.raises(WeightsError, match="cannot be used: prediction_type not implemented"):
        FacePipeline.from_folder(folder, device=CPU, dtype=torch.float32)

"""What judges painted mouths while the mouth denoiser trains."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from talkhead.errors import WeightsError
from talkhead.landmarks2video.mouth_patch import PATCH_HEIGHT_PX, PATCH_WIDTH_PX
from talkhead.training.image_features import CHANNELS, STAGES, EfficientNetLite
from talkhead.training.mouth_judge import MouthJudge, make_judge
from tests.training.settings import WriteSettings, run_steps


def made_up_tensors() -> dict[str, Tensor]:
    """Return random tensors of an EfficientNet-Lite0, under timm's names."""
    generator = torch.Generator().manual_seed(3)
    tensors: dict[str, Tensor] = {}

    def add(name: str, norm: str, shape: tuple[int, ...]) -> None:
        fan_in = shape[1] * shape[2] * shape[3]
        tensors[f"{name}.weight"] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
        for part in ("weight", "running_var"):
            tensors[f"{norm}.{part}"] = 0.5 + torch.rand(shape[0], generator=generator)
        for part in ("bias", "running_mean"):
            tensors[f"{norm}.{part}"] = 0.1 * torch.randn(shape[0], generator=generator)

    add("conv_stem", "bn1", (32, 3, 3, 3))
    channels = 32
    for stage, blocks in enumerate(STAGES):
        for number, (kernel, _, out) in enumerate(blocks):
            name = f"blocks.{stage}.{number}"
            wide = channels * (6 if stage else 1)
            layers = [("conv_dw", (wide, 1, kernel, kernel))]
            if stage:
                layers.insert(0, ("conv_pw", (wide, channels, 1, 1)))
            layers.append(("conv_pwl" if stage else "conv_pw", (out, wide, 1, 1)))
            for place, (layer, shape) in enumerate(layers, 1):
                add(f"{name}.{layer}", f"{name}.bn{place}", shape)
            channels = out
    return tensors


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an untrained EfficientNet-Lite0."""
    folder = tmp_path_factory.mktemp("classifier")
    save_file(made_up_tensors(), folder / "model.safetensors")
    return folder


def test_the_classifier_normalises_and_pads_as_published(classifier: Path) -> None:
    network = EfficientNetLite(classifier / "model.safetensors")
    assert not list(network.parameters())
    image = torch.rand(2, 3, 64, 96) * 2 - 1
    shown = network(image)
    assert [tuple(each.shape[1:]) for each in shown] == [
        (channels, 64 >> level, 96 >> level) for level, channels in enumerate(CHANNELS, 1)
    ]
    tensors = made_up_tensors()

    def normalised(x: Tensor, norm: str) -> Tensor:
        mean, variance, weight, bias = (
            tensors[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean, variance, weight, bias, eps=1e-3)

    x = functional.pad(image, (0, 1, 0, 1))  # an odd padding goes right and below
    x = functional.conv2d(x, tensors["conv_stem.weight"], stride=2)
    x = functional.relu6(normalised(x, "bn1"))
    x = functional.conv2d(x, tensors["blocks.0.0.conv_dw.weight"], padding=1, groups=32)
    x = functional.relu6(normalised(x, "blocks.0.0.bn1"))
    x = functional.conv2d(x, tensors["blocks.0.0.conv_pw.weight"])
    torch.testing.assert_close(
        shown[0], normalised(x, "blocks.0.0.bn2"), atol=1e-4, rtol=1e-4, check_stride=False
    )


def test_another_network_is_refused(tmp_path: Path) -> None:
    tensors = made_up_tensors()
    del tensors["blocks.3.1.bn2.bias"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"it lacks blocks\.3\.1\.bn2\.bias"):
        make_judge(tmp_path)
    with pytest.raises(WeightsError, match="does not exist"):
        make_judge(tmp_path / "none")


def judged(judge: MouthJudge, painted: Tensor, real: Tensor) -> dict[str, Tensor]:
    maps = torch.full((len(real), 2, 32, 40), -1.0)
    maps[:, :, 12:22, 10:30] = 0.5
    losses: dict[str, Tensor] = judge(painted, real, real, maps)
    return losses


@pytest.mark.parametrize("sees_features", [False, True])
def test_gradients_reach_the_painter_or_the_discriminator(
    classifier: Path, *, sees_features: bool
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        judge = make_judge(classifier if sees_features else None)
        real = torch.rand(2, 3, PATCH_HEIGHT_PX, PATCH_WIDTH_PX) * 2 - 1
        painted = (torch.rand_like(real) * 2 - 1).requires_grad_()
    losses = judged(judge, painted, real)
    learned = [each for each in judge.parameters() if each.requires_grad]
    assert learned
    for name in ("pixel", "feature", "adversarial"):
        (reached,) = torch.autograd.grad(losses[name], painted, retain_graph=True)
        assert reached[..., 48:88, 40:120].abs().sum() > 0
        assert reached[..., :16, :].abs().sum() == 0
        unreached = torch.autograd.grad(losses[name], learned, retain_graph=True, allow_unused=True)
        assert all(each is None for each in unreached)
    found = torch.autograd.grad(losses["discriminator"], learned, allow_unused=True)
    # The pulls on a bias by real and by painted mouths may cancel out.
    assert all(each is not None and (each.ndim == 1 or bool(each.any())) for each in found)
    judge.eval()  # the spectral norms stay as they are
    same = judged(judge, real, real)
    assert same["pixel"] == same["feature"] == 0


def test_a_discriminator_learns_to_tell_mouths_by_features(classifier: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        judge = make_judge(classifier)
        real = torch.rand(2, 3, PATCH_HEIGHT_PX, PATCH_WIDTH_PX) * 2 - 1
    flat = functional.avg_pool2d(real, 9, 1, 4)
    optimizer = torch.optim.AdamW([p for p in judge.parameters() if p.requires_grad], lr=5e-4)
    values = []
    for _ in range(20):
        loss = judged(judge, flat, real)["discriminator"]
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.5 * values[0]


def test_training_sees_features_and_keeps_the_classifier_out_of_its_state(
    write_settings: WriteSettings, classifier: Path
) -> None:
    path = write_settings("mouth-denoiser")
    text = path.read_text().replace("[task]", f'[task]\nfeatures = "{classifier}"')
    path.write_text(text)
    reports = run_steps("mouth-denoiser", path)
    assert {"feature", "adversarial", "discriminator"} <= reports[0].values.keys()
    with safe_open(path.parent / "run" / "state" / "model.safetensors", framework="pt") as state:
        names = set(state.keys())
    assert any(name.startswith("judge.discriminator.heads") for name in names)
    assert not any("features" in name for name in names)

from pathlib import Path

import pytest
import torch
from torch import Tensor

from talkhead.audio2landmarks.generator import (
    MAX_SHAPE,
    NUM_SHAPE,
    NUM_STYLE,
    LandmarkGenerator,
)
from talkhead.audio2landmarks.speech_features import frame_positions
from talkhead.networks import public_config
from tests.tiny import TINY_GENERATOR, tiny_generator, voice, write_tiny_weights

NUM_COMPONENTS = TINY_GENERATOR["num_components"]
NUM_FRAMES = 20


@pytest.fixture
def generator() -> LandmarkGenerator:
    torch.manual_seed(0)
    return tiny_generator().eval()


def inputs(*seeds: int, seconds: float = 0.8) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    waveform = torch.stack([torch.from_numpy(voice(seconds, seed)) for seed in seeds])
    positions = frame_positions(NUM_FRAMES, 25.0, 0.0).expand(len(seeds), -1)
    return waveform, positions, torch.zeros(len(seeds), 4), torch.full((len(seeds), 4), 0.1)


def test_every_frame_has_its_coefficients(generator: LandmarkGenerator) -> None:
    coefficients, conv_features = generator(*inputs(0, 1))
    assert coefficients.shape == (2, NUM_FRAMES, NUM_COMPONENTS)
    assert coefficients.dtype == torch.float32
    assert conv_features.shape == (2, (12_800 - 400) // 320 + 1, generator.speech.conv_size)
    assert coefficients.isfinite().all()


def test_each_of_a_batch_speaks_alone(generator: LandmarkGenerator) -> None:
    given = inputs(0, 1, 2)
    together, _ = generator(*given)
    for index in range(3):
        alone, _ = generator(*(value[index : index + 1] for value in given))
        torch.testing.assert_close(alone[0], together[index], atol=1e-3, rtol=1e-3)


def test_voice_style_and_shape_matter(generator: LandmarkGenerator) -> None:
    waveform, positions, style, shape = inputs(0)
    before, _ = generator(waveform, positions, style, shape)
    for changed in (
        (inputs(1)[0], positions, style, shape),
        (waveform, positions, style + 1, shape),
        (waveform, positions, style, shape + 0.5),
    ):
        after, _ = generator(*changed)
        assert (after - before).abs().max() > 1e-3


def test_the_future_matters_too(generator: LandmarkGenerator) -> None:
    waveform, positions, style, shape = inputs(0)
    before, _ = generator(waveform, positions, style, shape)
    later = waveform.clone()
    later[:, 10_000:] = 0
    after, _ = generator(later, positions, style, shape)
    assert (after - before)[:, 12].abs().max() > 1e-5  # frame 12 ends at 8,320 samples


def test_proportions_are_counted_in_spreads_over_people(generator: LandmarkGenerator) -> None:
    waveform, positions, style, shape = inputs(0)
    before, _ = generator(waveform, positions, style, shape)
    generator.shape_mean.fill_(2.0)
    generator.shape_spread.fill_(3.0)
    after, _ = generator(waveform, positions, style, shape * 3 + 2)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


def test_the_motion_basis_travels_with_the_weights(tmp_path: Path) -> None:
    folder = write_tiny_weights(tmp_path) / "landmark_generator"
    fresh = LandmarkGenerator(**TINY_GENERATOR)
    assert not fresh.components.any()
    model = LandmarkGenerator.from_pretrained(folder)
    assert public_config(model) == public_config(fresh)
    assert model.components.shape == (NUM_COMPONENTS, 478, 3)
    assert model.components.abs().sum() > 1
    assert model.blink.abs().sum() > 1


def test_the_shipped_sizes_fit_together() -> None:
    model = LandmarkGenerator.sketch({})
    assert model.components.shape == (model.config.num_components, 478, 3)
    assert model.style.shape == (NUM_STYLE,)
    assert model.shape_mean.shape == (NUM_SHAPE,)


def test_one_clip_is_learnt_by_heart() -> None:
    torch.manual_seed(0)
    model = LandmarkGenerator(**TINY_GENERATOR)
    given = inputs(0, 1)
    time = torch.linspace(0, 6, NUM_FRAMES)
    target = torch.stack([time.sin(), time.cos()])[..., None].expand(-1, -1, NUM_COMPONENTS)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        optimiser.zero_grad()
        loss = (model(*given)[0] - target).square().mean()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.25 * float(target.square().mean())


def test_odd_proportions_count_as_rare_ones(generator: LandmarkGenerator) -> None:
    waveform, positions, style, _ = inputs(0)
    rare = generator.shape_mean + MAX_SHAPE * generator.shape_spread
    odd = generator.shape_mean + 40 * generator.shape_spread
    usual = generator.shape_mean + 0 * rare
    generated = [
        generator(waveform, positions, style, shape[None])[0] for shape in (usual, rare, odd)
    ]
    torch.testing.assert_close(generated[2], generated[1])
    assert not torch.allclose(generated[0], generated[1])

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from talkhead.audio2landmarks.dual_domain import DualDomain, DualDomainConfig, lift
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.audio2landmarks.speech_features import frame_positions
from talkhead.geometry.mesh import to_ibug68
from tests.meshes import hand_made_basis
from tests.tiny import TINY_DUAL, TINY_GENERATOR, voice

DUAL = TINY_GENERATOR | {"dual_domain": TINY_DUAL}
NUM_COMPONENTS = TINY_GENERATOR["num_components"]
NUM_FRAMES = 40
PER_FRAME = 640


@pytest.fixture
def generator() -> LandmarkGenerator:
    torch.manual_seed(0)
    model = LandmarkGenerator(**DUAL)
    basis = hand_made_basis()
    model.components.copy_(torch.from_numpy(basis.components))
    model.blink.copy_(torch.from_numpy(basis.blink))
    return model.eval()


def inputs(*seeds: int, num_frames: int = NUM_FRAMES) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    seconds = num_frames / 25
    waveform = torch.stack([torch.from_numpy(voice(seconds, seed)) for seed in seeds])
    positions = frame_positions(num_frames, 25.0, 0.0).expand(len(seeds), -1)
    return waveform, positions, torch.zeros(len(seeds), 4), torch.full((len(seeds), 4), 0.1)


def test_every_frame_has_its_coefficients(generator: LandmarkGenerator) -> None:
    generated, conv_features = generator(*inputs(0, 1))
    assert generated.shape == (2, NUM_FRAMES, NUM_COMPONENTS)
    assert generated.isfinite().all()
    assert conv_features.shape[2] == generator.speech.conv_size


def test_each_of_a_batch_speaks_alone(generator: LandmarkGenerator) -> None:
    given = inputs(0, 1, 2)
    together, _ = generator(*given)
    for index in range(3):
        alone, _ = generator(*(value[index : index + 1] for value in given))
        torch.testing.assert_close(alone[0], together[index], atol=1e-3, rtol=1e-3)


def test_both_domains_the_person_and_the_style_matter(generator: LandmarkGenerator) -> None:
    waveform, positions, style, shape = inputs(0)
    dual = generator.dual
    person = torch.cat([style, shape], -1)
    features = torch.randn(1, NUM_FRAMES, dual.content_in.in_features)

    def generated(*given: Tensor) -> Tensor:
        found: Tensor = dual(*given, generator.components)
        return found

    before = generated(waveform, features, positions, person)
    for changed in (
        (waveform * 0.3, features, positions, person),
        (waveform, features * 0.3, positions, person),
        (waveform, features, positions, person + 1),
    ):
        assert (generated(*changed) - before).abs().max() > 1e-4


def test_what_is_said_is_attended_to_around_a_frame_only(generator: LandmarkGenerator) -> None:
    dual = generator.dual
    person = torch.zeros(1, 8)
    features = torch.randn(1, NUM_FRAMES, dual.content_in.in_features)
    before = dual._content(features, person)
    changed = features.clone()
    changed[:, 20] += 1
    moved = (dual._content(changed, person) - before).abs().amax((0, 2, 3)) > 1e-6
    # The layers add up their reach, and the depthwise convolution reaches 4 frames.
    reach = dual.config.reach_frames * (dual.config.num_layers + 1) + 4
    assert moved[20]
    assert moved.any()
    assert not moved[: 20 - reach].any()
    assert not moved[20 + reach + 1 :].any()


def test_a_longer_recording_has_the_same_middle(generator: LandmarkGenerator) -> None:
    dual = generator.dual
    features = torch.randn(1, 60, dual.content_in.in_features)
    whole = dual._content(features, torch.zeros(1, 8))
    part = dual._content(features[:, 10:50], torch.zeros(1, 8))
    torch.testing.assert_close(part[:, 15:25], whole[:, 25:35], atol=1e-5, rtol=1e-4)


def test_the_way_to_the_mesh_finds_what_the_basis_generated() -> None:
    components = torch.from_numpy(to_ibug68(hand_made_basis().components))
    coefficients = torch.randn(2, 5, len(components), generator=torch.Generator().manual_seed(0))
    points = torch.einsum("btk,kpc->btpc", coefficients, components)
    found = lift(points, components)
    assert found.shape == coefficients.shape
    again = torch.einsum("btk,kpc->btpc", found, components)
    assert float((again - points).norm()) < 0.02 * float(points.norm())


def test_one_clip_is_learnt_by_heart(generator: LandmarkGenerator) -> None:
    given = inputs(0, 1)
    time = torch.linspace(0, 6, NUM_FRAMES)
    wave = torch.stack([time.sin(), time.cos()])[..., None]
    target = wave * torch.tensor([1.0, *[0.0] * (NUM_COMPONENTS - 1)])
    optimiser = torch.optim.Adam(generator.parameters(), lr=3e-3)
    losses = []
    for _ in range(50):
        optimiser.zero_grad()
        loss = (generator(*given)[0] - target).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * float(target.square().mean())
    assert np.isfinite(losses).all()


def test_beside_an_lstm_it_makes_its_share(generator: LandmarkGenerator) -> None:
    torch.manual_seed(1)
    lstm = LandmarkGenerator(**TINY_GENERATOR).eval()
    lstm.load_state_dict(
        lstm.state_dict() | {k: v for k, v in generator.state_dict().items() if "dual" not in k}
    )
    given = inputs(0)
    dual, said = (model(*given)[0] for model in (generator, lstm))
    for share in (0.0, 0.3, 1.0):
        both = LandmarkGenerator(**DUAL, dual_share=share).eval()
        both.load_state_dict(
            lstm.state_dict() | generator.state_dict() | {"shares": both.shares.detach()}
        )
        generated, _ = both(*given)
        torch.testing.assert_close(generated, (1 - share) * said + share * dual)


@pytest.mark.parametrize(
    "config",
    [TINY_GENERATOR | {"dual_share": 0.5}, DUAL | {"dual_share": 1.5}],
    ids=["alone", "much"],
)
def test_a_share_of_nothing_and_more_than_all_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="dual_share"):
        LandmarkGenerator(**config)


def test_the_published_kan_is_inside() -> None:
    with torch.device("meta"):
        model = DualDomain(DualDomainConfig(), 514, 8)

    def count(*parts: nn.Module) -> int:
        return sum(p.numel() for part in parts for p in part.parameters())

    assert count(model.kan_in, model.kan_out) == 696_320

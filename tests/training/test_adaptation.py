import dataclasses

import numpy as np
import torch

from talkhead.data.one_person import PersonClip, PersonVideo
from talkhead.landmarks2video.mouth_patch import LIP_MAP_PX, PATCH_HEIGHT_PX, PATCH_WIDTH_PX
from talkhead.landmarks2video.renderer import LatentRenderer
from talkhead.training.adaptation import (
    DETAIL_GOAL,
    Mouths,
    detail_loss,
    draw_mouths,
    tune_denoiser,
    tune_mouth_denoiser,
)
from talkhead.training.fine_tuning import Limit
from talkhead.training.person_pairs import choose_pairs, make_residual_pairs
from tests.prepared import describe_clip, make_clip
from tests.tiny import tiny_mouth_denoiser, tiny_pipeline


def person() -> list[PersonVideo]:
    """Two videos, the second of two clips."""
    parts = []
    for seed in range(3):
        clip = make_clip(60, seed)
        parts.append(PersonClip(describe_clip(f"clip{seed}", clip), clip))
    return [PersonVideo("one", (parts[0],), ()), PersonVideo("two", tuple(parts[1:]), ())]


def renderer() -> LatentRenderer:
    pipeline = tiny_pipeline()
    pipeline.register_modules(mouth_denoiser=tiny_mouth_denoiser())
    made = pipeline.renderer()
    assert isinstance(made, LatentRenderer)
    return made


def test_pairs_are_of_one_video_and_repeatable() -> None:
    videos = person()
    chosen = choose_pairs(videos, 200, 0)
    assert chosen == choose_pairs(videos, 200, 0)
    assert chosen != choose_pairs(videos, 200, 1)
    places = [(pair.video, *place) for pair in chosen for place in (pair.source, pair.target)]
    assert {place[:2] for place in places} == {(0, 0), (1, 0), (1, 1)}
    assert {frame for *_, frame in places} == set(range(60))
    second = sum(pair.video for pair in chosen) / 200
    assert 0.5 < second < 0.8  # it has two thirds of the frames


def test_cached_pairs_are_what_the_loss_needs() -> None:
    videos, made = person(), renderer()
    chosen = choose_pairs(videos, 20, 0)
    counts: list[int] = []
    pairs = make_residual_pairs(
        videos, chosen, made.denoiser.registration(), made.autoencoder, counts.append
    )
    assert counts == [8, 16, 20]
    assert pairs.target.shape == pairs.warped.shape == (20, 8, 20, 24)
    assert (pairs.maps.shape, pairs.weight.shape) == ((20, 9, 80, 96), (20, 1, 20, 24))
    same = [k for k, pair in enumerate(chosen) if pair.source == pair.target]
    apart = (pairs.target.float() - pairs.warped.float()).abs().mean((1, 2, 3))
    assert all(float(apart[k]) < float(apart.max()) / 2 for k in same)


def test_training_lowers_the_loss_of_the_denoiser_alone() -> None:
    videos, made = person(), renderer()
    before = {name: value.clone() for name, value in made.autoencoder.state_dict().items()}
    registration = made.denoiser.registration()
    pairs = make_residual_pairs(videos, choose_pairs(videos, 16, 0), registration, made.autoencoder)
    losses = [progress.loss for progress in tune_denoiser(made, pairs, Limit(60), 0)]
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])
    after = made.autoencoder.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    np.testing.assert_array_equal(made.denoiser.registration().weights, registration.weights)


def test_training_lowers_the_loss_of_the_mouth_denoiser() -> None:
    videos, made = person(), renderer()
    drawer = dataclasses.replace(made, painter=None)
    parts = list(draw_mouths(drawer, videos, 24, 0))
    mouths = Mouths.join(parts)
    assert 20 <= len(mouths.pairs.infos) <= 28
    assert {info.clip for info in mouths.pairs.infos} == {"clip0", "clip1", "clip2"}
    losses = [progress.loss for progress in tune_mouth_denoiser(made, mouths, Limit(60), 0)]
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])
    assert made.painter is not None
    details = [info.detail for info in mouths.pairs.infos]
    sharpness = made.painter.denoiser.config.sharpness
    assert min(details) <= sharpness <= max(details)


def test_detail_is_right_at_its_goal_and_wrong_above_and_below() -> None:
    shape = (2, 3, PATCH_HEIGHT_PX, PATCH_WIDTH_PX)
    real = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    opened = torch.ones(2, 2, PATCH_HEIGHT_PX // LIP_MAP_PX, PATCH_WIDTH_PX // LIP_MAP_PX)
    assert float(detail_loss(DETAIL_GOAL * real, real, opened)) < 1e-6
    # Half and double the goal are equally far from it: the square of log 2.
    for factor in (0.5, 2.0):
        loss = float(detail_loss(factor * DETAIL_GOAL * real, real, opened))
        np.testing.assert_allclose(loss, np.log(2) ** 2, rtol=1e-3)
    assert float(detail_loss(0 * real, real, -opened)) == 0.0  # closed lips have no inside

from dataclasses import replace

import numpy as np
import pytest

from talkhead.data.one_person import PersonClip
from talkhead.training import speaking_style
from talkhead.training.speaking_style import (
    SpokenClip,
    fit_speaking_style,
    opening_correlation,
    spoken_clips,
)
from tests.prepared import describe_clip, make_clip
from tests.tiny import tiny_pipeline


def parts() -> list[PersonClip]:
    return [
        PersonClip(describe_clip(f"clip{seed}", clip), clip)
        for seed, clip in enumerate(make_clip(150, seed) for seed in range(3))
    ]


def test_a_fitted_layer_predicts_the_person_better_and_as_computed() -> None:
    generator = tiny_pipeline().landmark_generator
    clips = spoken_clips(generator, parts())
    assert [clip.features.shape[0] for clip in clips] == [len(clip.truth) for clip in clips]
    before = opening_correlation(generator, clips)
    change = fit_speaking_style(generator, clips)
    assert change is not None
    computed = opening_correlation(generator, clips, change)
    assert before is not None
    assert computed is not None
    assert computed > before + 0.05
    change.apply(generator)
    after = opening_correlation(generator, spoken_clips(generator, parts()))
    assert after is not None
    np.testing.assert_allclose(after, computed, atol=1e-4)


def test_a_fitted_prediction_moves_as_far_as_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaking_style, "RIDGES", (0.01,))
    generator = tiny_pipeline().landmark_generator
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2000, generator.out.in_features)).astype(np.float32)
    motion = np.zeros((2000, 4), np.float32)
    known = features[:, :4]
    truth = (known + rng.normal(size=known.shape)).astype(np.float32)  # correlation 0.71
    clip = SpokenClip(features, motion, truth, truth[:, 0])
    change = fit_speaking_style(generator, [clip])
    assert change is not None
    np.testing.assert_allclose(change.moved(clip).std(0), truth.std(0), rtol=0.1)


def test_little_speech_or_sound_of_another_changes_nothing() -> None:
    generator = tiny_pipeline().landmark_generator
    assert fit_speaking_style(generator, spoken_clips(generator, parts()[:1])) is None
    assert opening_correlation(generator, []) is None
    strangers = [
        PersonClip(replace(part.info, sound="unrelated"), part.clip) for part in parts()[:1]
    ]
    assert spoken_clips(generator, strangers) == []

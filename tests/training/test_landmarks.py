import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from talkhead.audio2landmarks.audio2motion import generate_motion
from talkhead.audio2landmarks.dual_domain import DualDomainConfig
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.errors import TalkheadError, WeightsError
from talkhead.networks import public_config
from talkhead.training.config import CHECKPOINT
from talkhead.training.landmark_loss import closure_error, correlation
from talkhead.training.tasks import Settings, build_task, read_settings
from talkhead.weights import installed_list
from talkhead.weights.systems import PUBLISHED_FILES
from tests.tiny import TINY_DUAL, TINY_GENERATOR, TINY_LOG_MEL
from tests.training.settings import (
    EXAMPLES,
    TENSORS,
    WriteSettings,
    as_toml,
    batch_of,
    run_steps,
)


def sizes(settings: Settings) -> dict[str, Any]:
    return public_config(LandmarkGenerator.sketch(settings.model))


def shipped(**changes: Any) -> dict[str, Any]:
    return public_config(LandmarkGenerator.sketch({})) | changes


def test_the_generator_begins_with_a_pre_trained_encoder(
    write_settings: WriteSettings, tmp_path: Path
) -> None:
    run_steps("speech", write_settings("speech", run="speech", steps=1))
    settings = write_settings("landmarks")
    text = settings.read_text().replace("[task]", '[task]\nspeech = "speech/checkpoint"')
    settings.write_text(text)
    task, _ = build_task("landmarks", settings)
    encoder: Any = task.model.generator
    stored = load_file(tmp_path / "speech" / TENSORS)
    for key, value in encoder.speech.state_dict().items():
        assert torch.equal(value, stored[key].to(value.dtype)), key
    run_steps("landmarks", settings)
    (tmp_path / "run/checkpoint").rename(tmp_path / "generator")
    again = text.replace("speech/checkpoint", "generator")  # the encoder inside it
    settings.write_text(again)
    task, _ = build_task("landmarks", settings)
    encoder = task.model.generator
    stored = load_file(tmp_path / "generator" / Path(TENSORS).name)
    for key, value in encoder.speech.state_dict().items():
        assert torch.equal(value, stored[f"speech.{key}"].to(value.dtype)), key
    for taken in (text, again):
        settings.write_text(taken.replace("feedforward_size = 32", "feedforward_size = 64"))
        with pytest.raises(WeightsError, match="feedforward_size"):
            build_task("landmarks", settings)


def test_the_generator_learns_from_a_spectrum_alone(
    write_settings: WriteSettings, tmp_path: Path
) -> None:
    path = write_settings("landmarks", steps=1)
    before, after = path.read_text().split("[model.speech_encoder]")
    encoder = as_toml({"speech_encoder": TINY_LOG_MEL}, "model.")
    path.write_text(before + encoder + after[after.index("[task]") :])
    run_steps("landmarks", path)
    model = LandmarkGenerator.from_pretrained(tmp_path / "run/checkpoint")
    assert public_config(model)["speech_encoder"] == TINY_LOG_MEL
    generated, _ = model(
        torch.zeros(1, 4000), torch.zeros(1, 3), torch.zeros(1, 4), torch.zeros(1, 4)
    )
    assert generated.shape == (1, 3, model.config.num_components)


def test_the_dual_domain_generator_is_trained_by_its_own_loss(
    write_settings: WriteSettings, tmp_path: Path
) -> None:
    path = write_settings("landmarks", steps=2)
    sizes = as_toml({"dual_domain": TINY_DUAL}, "model.")
    path.write_text(path.read_text().replace("[task]", f'{sizes}[task]\nloss = "points"'))
    run_steps("landmarks", path)
    generator = LandmarkGenerator.from_pretrained(tmp_path / "run/checkpoint")
    assert generator.config.dual_domain == TINY_DUAL
    motion = generate_motion(
        generator, np.zeros(16_000, np.float32), 25, 25.0, np.ones(4, np.float32)
    )
    assert motion.shape == (25, generator.config.num_components)
    assert np.isfinite(motion).all()
    logged = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert any("points" in json.dumps(line) for line in logged)


def test_what_does_not_learn_runs_without_dropout(write_settings: WriteSettings) -> None:
    task, _ = build_task("landmarks", write_settings("landmarks"))
    model: Any = task.model.train()
    model.generator.speech.requires_grad_(False)
    task.loss(model, batch_of(task, 1), torch.Generator())
    assert not any(part.training for part in model.generator.speech.modules())
    assert model.generator.lstm.training
    assert model.generator.drop.training


def test_a_dual_domain_generator_joins_an_lstm(
    write_settings: WriteSettings, tmp_path: Path
) -> None:
    lstm = write_settings("landmarks", run="lstm", steps=1)
    text = lstm.read_text()
    run_steps("landmarks", lstm)
    sizes = as_toml({"dual_domain": TINY_DUAL}, "model.")
    lstm.write_text(text.replace("[task]", f"{sizes}[task]").replace('"lstm"', '"dual"'))
    run_steps("landmarks", lstm)
    joined = text.replace("[model]", "[model]\ndual_share = 0.5").replace('"lstm"', '"both"')
    folders = 'initial = "lstm/checkpoint"\ndual = "dual/checkpoint"\n'
    settings = tmp_path / "both.toml"
    settings.write_text(joined.replace("[task]", f"{sizes}[task]\n{folders}"))
    task, _ = build_task("landmarks", settings)
    begun: Any = task.model
    stored = {name: load_file(tmp_path / name / TENSORS) for name in ("lstm", "dual")}
    parts = begun.generator.state_dict()
    assert parts.pop("shares").tolist() == [0.5] * TINY_GENERATOR["num_components"]
    for key, value in parts.items():
        source = stored["dual" if key.startswith("dual.") else "lstm"]
        assert torch.equal(value, source[key].to(value.dtype)), key
    frozen = ["speech", "project", "condition", "lstm", "out", "dual"]
    rates = ", ".join(f'"generator.{part}" = 0' for part in frozen)
    alone = settings.read_text().replace("[train]", f"[train]\nrates = {{ {rates} }}")
    settings.write_text(alone)
    run_steps("landmarks", settings)
    joint = LandmarkGenerator.from_pretrained(tmp_path / "both/checkpoint").state_dict()
    assert (joint.pop("shares") - 0.5).abs().max() > 1e-4  # only the shares have learnt
    for key, value in joint.items():
        assert torch.equal(value, parts[key]), key
    settings.write_text(settings.read_text().replace('initial = "lstm/checkpoint"', ""))
    with pytest.raises(TalkheadError, match="initial"):
        build_task("landmarks", settings)
    settings.write_text(text.replace("[task]", f"{sizes}[task]\n{folders}"))
    with pytest.raises(TalkheadError, match="dual_share"):
        build_task("landmarks", settings)
    settings.write_text(joined)  # a dual_share without dual
    with pytest.raises(TalkheadError, match="dual_share"):
        build_task("landmarks", settings)


@pytest.mark.parametrize("name", ["again", "measured", "taught"])
def test_an_lstm_that_goes_on_has_the_shipped_sizes(name: str) -> None:
    settings = read_settings("landmarks", EXAMPLES / f"train-landmarks-{name}.toml")
    assert sizes(settings) == shipped(dropout=0.3)


def test_the_settings_of_the_dual_domain_generator_are_the_published_ones() -> None:
    settings = read_settings("landmarks", EXAMPLES / "train-landmarks-kan.toml")
    published = dataclasses.asdict(DualDomainConfig())
    assert sizes(settings) == shipped(dual_domain=published)
    assert settings.task.loss == "points"
    both = read_settings("landmarks", EXAMPLES / "train-landmarks-both.toml")
    assert sizes(both) == shipped(dual_domain=published, dual_share=0.5, dropout=0.3)


def test_the_settings_of_a_spectrum_can_be_read() -> None:
    settings = read_settings("landmarks", EXAMPLES / "train-landmarks-log-mel.toml")
    generator = LandmarkGenerator.sketch(settings.model)
    assert sum(value.numel() for value in generator.speech.parameters()) < 1e6


def test_the_settings_of_a_published_encoder_name_it_in_one_line() -> None:
    settings = read_settings("landmarks", EXAMPLES / "train-landmarks-published.toml")
    assert "speech_encoder" not in settings.model
    entry = installed_list().entry(settings.task.speech)
    assert {file.path for file in entry.files} == set(PUBLISHED_FILES)
    assert settings.loop.rates == {"generator.speech": 0}


def test_teacher_and_pupil_share_a_motion_basis() -> None:
    teacher = read_settings("landmarks", EXAMPLES / "train-landmarks-teacher.toml")
    pupil = read_settings("landmarks", EXAMPLES / "train-landmarks-taught.toml")
    assert pupil.path("teacher") == teacher.run / CHECKPOINT
    assert "speech_encoder" not in teacher.model
    basis = teacher.path("basis")
    assert basis is not None
    generator = LandmarkGenerator.from_pretrained(basis)
    for settings in (teacher, pupil):
        assert settings.model["num_components"] == generator.config.num_components
    frozen = {prefix.rpartition(".")[2] for prefix in pupil.loop.rates}
    assert frozen == set("0123")


def test_lips_that_stay_open_where_they_have_to_close_cost_most_between_words() -> None:
    truth = torch.zeros(1, 60)
    truth[:, :30] = 0.08
    truth[:, 10:13] = 0.0  # closed for a sound; from frame 30 on it is silence

    def cost(start: int, end: int) -> float:
        generated = truth.clone()
        generated[:, start:end] += 0.05
        return float(closure_error(generated, truth))

    assert cost(0, 9) == 0  # open lips may be more open
    assert cost(10, 13) > 4 * cost(45, 48) > 0
    assert float(closure_error(truth - 0.05, truth)) == 0  # pressed together


def test_a_mouth_that_moves_as_measured_correlates_however_wide_it_opens() -> None:
    measured = torch.sin(torch.arange(40.0) / 3)[None] * 0.05 + 0.02
    generated = torch.cat([3 * measured - 1, -measured, 0 * measured]).requires_grad_()
    found = correlation(generated, measured.expand(3, -1))
    assert found.tolist() == pytest.approx([1, -1, 0], abs=1e-3)
    still = correlation(generated, torch.zeros(3, 40))  # silence: nothing to correlate with
    assert still.tolist() == [1, 1, 1]
    (gradient,) = torch.autograd.grad(found.sum() + still.sum(), generated)
    assert bool(gradient.isfinite().all())


def test_correlation_with_what_was_measured_counts_as_much_as_its_weight_says(
    write_settings: WriteSettings,
) -> None:
    path = write_settings("landmarks")
    path.write_text(path.read_text().replace("[task]", "[task]\nsilent_share = 0.0"))
    values = {}
    for weight in (0.0, 2.0):
        settings = path.read_text().replace("[task]", f"[task]\ncorrelation_weight = {weight}")
        other = path.with_name(f"correlation-{weight}.toml")
        other.write_text(settings)
        task, _ = build_task("landmarks", other)
        batch = batch_of(task, 4)
        assert bool((batch["mouth"].std(1) > 0).all())
        values[weight] = task.loss(task.model.eval(), batch, torch.Generator().manual_seed(0))
    gained = (values[2.0]["loss"] - values[0.0]["loss"]).item()
    assert gained == pytest.approx(2 * values[2.0]["correlation"].item(), rel=1e-3)
    assert gained > 0


def test_samples_without_speech_keep_the_face_at_rest(write_settings: WriteSettings) -> None:
    path = write_settings("landmarks")
    path.write_text(path.read_text().replace("[task]", "[task]\nsilent_share = 1.0"))
    task, _ = build_task("landmarks", path)
    sample = task.samples.sample(0)
    assert not sample["coefficients"].any()
    assert np.abs(sample["waveform"]).max() > 0

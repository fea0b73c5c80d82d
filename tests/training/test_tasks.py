import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from talkhead.pipelines.networks import load_generator

from talkhead.audio2landmarks import (
    dual_domain,
)
from talkhead.audio2landmarks import (
    emotion_classifier as emotion,
)
from talkhead.audio2landmarks import (
    generator as landmarks,
)
from talkhead.audio2landmarks import (
    speech_encoder as speech,
)
from talkhead.audio2landmarks.audio2motion import generate_motion
from talkhead.errors import TalkheadError, WeightsError
from talkhead.landmarks2video import autoencoder, denoiser
from talkhead.landmarks2video.mask_noise import video_denoiser
from talkhead.networks import load_state, read_config
from talkhead.training.denoiser import DenoiserTask
from talkhead.training.landmarks import closure_error, correlation
from talkhead.training.loop import Report, train
from talkhead.training.tasks import TASKS, build_task, read_settings

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PRESETS = {
    "autoencoder": autoencoder.COMPACT,
    "denoiser": denoiser.COMPACT,
    "emotion": emotion.SMALL,
    "landmarks": landmarks.COMPACT,
    "speech": speech.COMPACT,
    "video-denoiser": video_denoiser.COMPACT,
}
TINY: dict[str, tuple[Any, dict[str, Any]]] = {
    "autoencoder": (autoencoder.TINY, {"crop_px": 128}),
    "denoiser": (
        denoiser.TINY,
        {"validation_frames": 2, "registration_pairs": 8, "adversarial_weight": 0.1},
    ),
    "emotion": (emotion.TINY, {"window_s": 1.0}),
    "landmarks": (landmarks.TINY, {"window_frames": 16}),
    "speech": (speech.TINY, {"validation_samples": 2, "recorded_share": 0.5}),
    "video-denoiser": (
        video_denoiser.TINY,
        {"validation_windows": 1, "registration_pairs": 8, "window_frames": 3},
    ),
}
MODELS: dict[str, tuple[type[Any], type[Any]]] = {
    "autoencoder": (autoencoder.Autoencoder, autoencoder.AutoencoderConfig),
    "denoiser": (denoiser.Denoiser, denoiser.DenoiserConfig),
    "emotion": (emotion.EmotionClassifier, emotion.EmotionConfig),
    "landmarks": (landmarks.LandmarkGenerator, landmarks.LandmarkGeneratorConfig),
    "speech": (speech.SpeechEncoder, speech.SpeechConfig),
    "video-denoiser": (video_denoiser.VideoDenoiser, video_denoiser.VideoDenoiserConfig),
}
WriteSettings = Callable[..., Path]


def as_toml(tables: dict[str, Any], prefix: str = "") -> str:
    """Write tables of numbers, strings, lists and tables; JSON values are valid TOML values."""
    lines = []
    for name, values in tables.items():
        lines.append(f"[{prefix}{name}]")
        nested = {key: value for key, value in values.items() if isinstance(value, dict)}
        plain = {k: v for k, v in values.items() if k not in nested and v is not None}
        lines += [f"{k} = {json.dumps(v)}" for k, v in plain.items()]
        lines.append(as_toml(nested, f"{prefix}{name}."))
    return "\n".join(lines)


@pytest.fixture
def write_settings(
    tmp_path: Path, prepared: Path, recordings: Path, tiny_autoencoder: Path
) -> WriteSettings:
    """Write settings for a few steps of a tiny model; keywords change the [train] table."""

    def write(name: str, **changes: Any) -> Path:
        model, task = TINY[name]
        data = recordings if name == "emotion" else prepared
        loop = {"data": str(data), "run": "run", "steps": 4, "batch_size": 2}
        loop |= {"learning_rate": 1e-3, "warmup_steps": 1, "precision": "float32"}
        loop |= {"num_workers": 0, "log_every": 1, "validate_every": 4, "save_every": 2}
        paths = {"autoencoder": str(tiny_autoencoder)} if name == "denoiser" else {}
        tables = {
            "train": loop | changes,
            "model": dataclasses.asdict(model),
            "task": task | paths,
        }
        path = tmp_path / f"{name}.toml"
        path.write_text(as_toml(tables))
        return path

    return write


def run_steps(name: str, path: Path, *, stop_after: int | None = None) -> list[Report]:
    task, settings = build_task(name, path)
    reports = []
    running = train(task, settings.loop, settings.run, "cpu")
    for report in running:
        reports.append(report)
        if report.step == stop_after:
            running.close()
    return reports


@pytest.mark.parametrize("name", TASKS)
def test_a_run_that_was_stopped_ends_bit_for_bit_like_one_that_was_not(
    name: str, write_settings: WriteSettings, tmp_path: Path
) -> None:
    reports = run_steps(name, write_settings(name, run="whole"))
    assert [report.step for report in reports if report.kind == "train"] == [1, 2, 3, 4]
    assert all(report.values["loss"] > 0 for report in reports if report.kind == "train")
    assert reports[-1].kind == "validate"
    assert reports[-1].values

    cut = write_settings(name, run="cut")
    run_steps(name, cut, stop_after=3)  # one step after the state was saved
    rest = run_steps(name, cut)
    assert [report.step for report in rest] == [3, 4, 4]
    whole, cut_run = tmp_path / "whole", tmp_path / "cut"
    for file in ("state/model", "state/average", "state/optimizer", "checkpoint/model"):
        one = load_file(whole / f"{file}.safetensors")
        other = load_file(cut_run / f"{file}.safetensors")
        assert one.keys() == other.keys()
        assert [key for key in one if not torch.equal(one[key], other[key])] == []
    logs = [
        [(line["kind"], line["step"]) for line in map(json.loads, log.read_text().splitlines())]
        for log in (whole / "log.jsonl", cut_run / "log.jsonl")
    ]
    assert logs[0] == logs[1]
    assert (cut_run / "preview-000004.png").is_file()

    model_type, config_type = MODELS[name]
    config = read_config(whole / "checkpoint", config_type, architecture=name)
    assert config == TINY[name][0]
    model = model_type(config)
    load_state(whole / "checkpoint", model)
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())


@pytest.mark.parametrize("condition", ["warp", "speech"])
def test_a_denoiser_is_trained_without_maps_or_by_what_is_heard(
    condition: str, write_settings: WriteSettings, tiny_weights: Path
) -> None:
    settings = write_settings("denoiser", run=condition)
    text = settings.read_text().replace("map_channels = 9", "map_channels = 0")
    if condition == "speech":
        size = 2 * (landmarks.TINY.speech.hidden_size + 1)
        text = text.replace("speech_channels = 0", f"speech_channels = {size}")
        text = text.replace("[task]", f'[task]\nspeech = "{tiny_weights / "landmarks"}"')
    settings.write_text(text)
    reports = run_steps("denoiser", settings)
    assert reports[-1].kind == "validate"
    task, _ = build_task("denoiser", settings)
    assert ("heard" in task.samples.sample(0)) == (condition == "speech")


def test_ears_without_a_listener_and_a_listener_of_another_size_are_refused(
    write_settings: WriteSettings, tiny_weights: Path
) -> None:
    settings = write_settings("denoiser")
    deaf = settings.read_text().replace("speech_channels = 0", "speech_channels = 7")
    settings.write_text(deaf)
    with pytest.raises(TalkheadError, match=r"needs \[task\] speech"):
        build_task("denoiser", settings)
    settings.write_text(deaf.replace("[task]", f'[task]\nspeech = "{tiny_weights / "landmarks"}"'))
    with pytest.raises(TalkheadError, match="speech_channels is 7"):
        build_task("denoiser", settings)


@pytest.mark.parametrize("name", ["denoiser", "landmarks", "speech", "video-denoiser"])
def test_a_run_starts_from_a_checkpoint(
    name: str, write_settings: WriteSettings, tmp_path: Path
) -> None:
    run_steps(name, write_settings(name, run="first", steps=1))
    first = tmp_path / "first/checkpoint"
    settings = write_settings(name, run="second", seed=1)
    text = settings.read_text().replace("[task]", '[task]\ninitial = "first/checkpoint"')
    settings.write_text(text)
    task, _ = build_task(name, settings)
    model: Any = task.model
    parts = {"landmarks": "generator", "speech": "encoder", "denoiser": "denoiser"}
    model = getattr(model, parts[name]) if name in parts else model
    stored = load_file(first / "model.safetensors")
    for key, value in model.state_dict().items():
        assert torch.equal(value, stored[key].to(value.dtype)), key

    settings.write_text(text.replace("first/checkpoint", "elsewhere"))
    with pytest.raises(WeightsError, match="elsewhere"):
        build_task(name, settings)
    config = json.loads((first / "config.json").read_text())
    key = {"denoiser": "num_heads", "video-denoiser": "embedding_size"}.get(name, "num_layers")
    (first / "config.json").write_text(json.dumps(config | {key: 2 * config[key]}))
    settings.write_text(text)
    with pytest.raises(WeightsError, match=key):
        build_task(name, settings)


def test_the_generator_begins_with_a_pre_trained_encoder(
    write_settings: WriteSettings, tmp_path: Path
) -> None:
    run_steps("speech", write_settings("speech", run="speech", steps=1))
    settings = write_settings("landmarks")
    text = settings.read_text().replace("[task]", '[task]\nspeech = "speech/checkpoint"')
    settings.write_text(text)
    task, _ = build_task("landmarks", settings)
    encoder: Any = task.model.generator
    stored = load_file(tmp_path / "speech/checkpoint/model.safetensors")
    for key, value in encoder.speech.state_dict().items():
        assert torch.equal(value, stored[key].to(value.dtype)), key
    run_steps("landmarks", settings)
    (tmp_path / "run/checkpoint").rename(tmp_path / "heard")
    again = text.replace("speech/checkpoint", "heard")  # the encoder inside the landmark generator
    settings.write_text(again)
    task, _ = build_task("landmarks", settings)
    encoder = task.model.generator
    stored = load_file(tmp_path / "heard/model.safetensors")
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
    tables = path.read_text().split("[model.speech]")
    task = tables[1][tables[1].index("[task]") :]
    bins = "\nnum_mel = 40\nhidden_size = 16\ndropout = 0.0\n\n"
    path.write_text(f"{tables[0]}[model.speech]{bins}{task}")
    run_steps("landmarks", path)
    config = read_config(
        tmp_path / "run/checkpoint", landmarks.LandmarkGeneratorConfig, architecture="landmarks"
    )
    assert config.speech == speech.LogMelConfig(num_mel=40, hidden_size=16, dropout=0.0)
    model = landmarks.LandmarkGenerator(config)
    load_state(tmp_path / "run/checkpoint", model)
    made, _ = model(torch.zeros(1, 4000), torch.zeros(1, 3), torch.zeros(1, 4), torch.zeros(1, 4))
    assert made.shape == (1, 3, config.num_components)


def test_the_dual_domain_generator_is_trained_by_its_own_loss(
    write_settings: WriteSettings, tmp_path: Path
) -> None:
    path = write_settings("landmarks", steps=2)
    sizes = as_toml({"dual": dataclasses.asdict(dual_domain.TINY)}, "model.")
    path.write_text(path.read_text().replace("[task]", f'{sizes}[task]\nloss = "points"'))
    run_steps("landmarks", path)
    generator = load_generator(tmp_path / "run/checkpoint", torch.device("cpu"))
    assert generator.config.dual == dual_domain.TINY
    made = generate_motion(
        generator, np.zeros(16_000, np.float32), 25, 25.0, np.ones(4, np.float32)
    )
    assert made.shape == (25, generator.config.num_components)
    assert np.isfinite(made).all()
    logged = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert any("points" in json.dumps(line) for line in logged)


def test_what_does_not_learn_runs_without_dropout(write_settings: WriteSettings) -> None:
    task, _ = build_task("landmarks", write_settings("landmarks"))
    model: Any = task.model.train()
    model.generator.speech.requires_grad_(False)
    sample = task.samples.sample(0)
    batch = {name: torch.as_tensor(value)[None] for name, value in sample.items()}
    task.loss(model, batch, torch.Generator())
    assert not any(part.training for part in model.generator.speech.modules())
    assert model.generator.lstm.training
    assert model.generator.dropout.training


def test_a_dual_domain_generator_joins_an_lstm(
    write_settings: WriteSettings, tmp_path: Path
) -> None:
    lstm = write_settings("landmarks", run="lstm", steps=1)
    text = lstm.read_text()
    run_steps("landmarks", lstm)
    sizes = as_toml({"dual": dataclasses.asdict(dual_domain.TINY)}, "model.")
    lstm.write_text(text.replace("[task]", f"{sizes}[task]").replace('"lstm"', '"dual"'))
    run_steps("landmarks", lstm)
    joined = text.replace("[model]", "[model]\ndual_share = 0.5").replace('"lstm"', '"both"')
    folders = 'initial = "lstm/checkpoint"\ndual = "dual/checkpoint"\n'
    settings = tmp_path / "both.toml"
    settings.write_text(joined.replace("[task]", f"{sizes}[task]\n{folders}"))
    task, _ = build_task("landmarks", settings)
    begun: Any = task.model
    stored = {
        name: load_file(tmp_path / name / "checkpoint/model.safetensors")
        for name in ("lstm", "dual")
    }
    parts = begun.generator.state_dict()
    assert parts.pop("shares").tolist() == [0.5] * landmarks.TINY.num_components
    for key, value in parts.items():
        source = stored["dual" if key.startswith("dual.") else "lstm"]
        assert torch.equal(value, source[key].to(value.dtype)), key
    frozen = ["speech", "project", "condition", "lstm", "out", "dual"]
    rates = ", ".join(f'"generator.{part}" = 0' for part in frozen)
    alone = settings.read_text().replace("[train]", f"[train]\nrates = {{ {rates} }}")
    settings.write_text(alone)
    run_steps("landmarks", settings)
    made = load_generator(tmp_path / "both/checkpoint", torch.device("cpu")).state_dict()
    assert (made.pop("shares") - 0.5).abs().max() > 1e-4  # only the shares have learnt
    for key, value in made.items():
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


@pytest.mark.parametrize("name", ["again", "measured"])
def test_an_lstm_that_goes_on_has_the_shipped_sizes(name: str) -> None:
    settings = read_settings("landmarks", EXAMPLES / f"train-landmarks-{name}.toml")
    assert settings.model == dataclasses.replace(landmarks.COMPACT, dropout=0.3)


def test_the_settings_of_the_dual_domain_generator_are_the_published_ones() -> None:
    settings = read_settings("landmarks", EXAMPLES / "train-landmarks-kan.toml")
    assert settings.model == dataclasses.replace(landmarks.COMPACT, dual=dual_domain.PUBLISHED)
    assert settings.task.loss == "points"
    both = read_settings("landmarks", EXAMPLES / "train-landmarks-both.toml")
    assert both.model == dataclasses.replace(settings.model, dual_share=0.5, dropout=0.3)


def test_lips_that_stay_open_where_they_have_to_close_cost_most_between_words() -> None:
    truth = torch.zeros(1, 60)
    truth[:, :30] = 0.08
    truth[:, 10:13] = 0.0  # closed for a sound; from frame 30 on it is silence

    def cost(start: int, end: int) -> float:
        made = truth.clone()
        made[:, start:end] += 0.05
        return float(closure_error(made, truth))

    assert cost(0, 9) == 0  # open lips may be more open
    assert cost(10, 13) > 4 * cost(45, 48) > 0
    assert float(closure_error(truth - 0.05, truth)) == 0  # pressed together


@pytest.mark.parametrize("name", ["published", "log-mel"])
def test_the_settings_of_other_encoders_can_be_read(name: str) -> None:
    settings = read_settings("landmarks", EXAMPLES / f"train-landmarks-{name}.toml")
    with torch.device("meta"):
        generator = landmarks.LandmarkGenerator(settings.model)
    names = {key for key, _ in generator.named_parameters()}
    for prefix in settings.loop.rates:
        assert any(f"generator.{key}".startswith(prefix) for key in names)
    count = sum(value.numel() for value in generator.speech.parameters())
    assert count > 90e6 if name == "published" else count < 1e6


def test_a_mouth_that_moves_as_measured_correlates_however_wide_it_opens() -> None:
    measured = torch.sin(torch.arange(40.0) / 3)[None] * 0.05 + 0.02
    made = torch.cat([3 * measured - 1, -measured, 0 * measured]).requires_grad_()
    found = correlation(made, measured.expand(3, -1))
    assert found.tolist() == pytest.approx([1, -1, 0], abs=1e-3)
    still = correlation(made, torch.zeros(3, 40))  # silence: nothing to correlate with
    assert still.tolist() == [1, 1, 1]
    (gradient,) = torch.autograd.grad(found.sum() + still.sum(), made)
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
        samples = [task.samples.sample(index) for index in range(4)]
        batch = {k: torch.stack([torch.as_tensor(s[k]) for s in samples]) for k in samples[0]}
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


def test_a_run_that_is_complete_does_nothing_more(write_settings: WriteSettings) -> None:
    path = write_settings("autoencoder", steps=1)
    assert len(run_steps("autoencoder", path)) == 2
    assert run_steps("autoencoder", path) == []


def losses_of(path: Path, *, shut: bool = False) -> tuple[Any, dict[str, torch.Tensor]]:
    """Return the model, and the losses of a batch, with all mouths closed if `shut`."""
    task, settings = build_task("denoiser", path)
    model: Any = task.model
    samples = [task.samples.sample(index) for index in range(4)]
    batch = {k: torch.stack([torch.as_tensor(s[k]) for s in samples]) for k in samples[0]}
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
    assert learns(model.discriminator, values["judge"])
    assert not learns(model.denoiser, values["judge"])
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


@pytest.mark.parametrize("file", [*TASKS, "denoiser-sharp"])
def test_the_shipped_settings_are_the_shipped_sizes(file: str) -> None:
    name = file if file in TASKS else file.partition("-")[0]
    settings = read_settings(name, EXAMPLES / f"train-{file}.toml")
    assert settings.model == PRESETS[name]
    assert settings.data == EXAMPLES / settings.loop.data


def test_the_denoisers_of_the_ablation_differ_in_what_they_are_told_alone() -> None:
    names = ("landmarks", "warp", "speech")
    told = [read_settings("denoiser", EXAMPLES / f"ablation-{name}.toml") for name in names]
    conditions = [(each.model.map_channels, each.model.speech_channels) for each in told]
    heard = 2 * (landmarks.COMPACT.speech.hidden_size + 1)
    assert conditions == [(9, 0), (0, 0), (0, heard)]
    alike = [
        (
            dataclasses.replace(each.model, map_channels=0, speech_channels=0),
            dataclasses.replace(each.task, speech=""),
            dataclasses.replace(each.loop, run=""),
        )
        for each in told
    ]
    assert alike == [alike[0]] * 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch_size = 2", "batchsize = 2", "[train]: 1 key missing (batch_size); 1 key unknown"),
        ("steps = 4", 'steps = "4"', "[train]: steps is '4', but must be int"),
        ("steps = 4", "steps = 0", "[train]: steps must be at least 1"),
        ("float32", "float8", "[train]: precision is 'float8', but must be one of"),
        ("learning_rate = 0.001", "learning_rate = -1", "learning_rate must be greater than 0"),
        ("width = 16", "width = 16\ndepth = 3", "[model]: 1 key unknown (depth)"),
        ("[task]", "[tasks]", "has tasks besides the tables [train], [model] and [task]"),
        ("[train]", "[train", "cannot read the settings"),
        ("crop_px = 128", "crop_px = 33", "crop_px is 33: it must be a multiple of 8"),
        ('data = "', 'data = "/nowhere', "has no manifest.jsonl: run talkhead prepare"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(
    old: str, new: str, message: str, write_settings: WriteSettings
) -> None:
    path = write_settings("autoencoder")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(TalkheadError) as caught:
        build_task("autoencoder", path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


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

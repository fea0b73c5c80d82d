"""wav2vec 2.0, HuBERT and WavLM in the hub's layout, from tiny models that transformers wrote."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    HubertConfig,
    HubertForCTC,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

import talkhead
from talkhead.audio2landmarks.audio2motion import predict_motion
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.audio2landmarks.speech_encoder import SpeechEncoder
from talkhead.errors import TalkheadError, WeightsError
from talkhead.media.audio_clip import AudioClip
from talkhead.networks import public_config
from talkhead.training.encoders import load_encoder, published_config
from talkhead.training.tasks import build_task
from tests.tiny import TINY_DUAL, TINY_SPEECH, voice
from tests.training.settings import WriteSettings, as_toml, run_steps
from tests.weights_server import HubServer

TYPES = ("wav2vec2", "hubert", "wavlm")
SIZES: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "wav2vec2": (Wav2Vec2Model, Wav2Vec2Config, {"layer_norm_eps": 1e-3}),
    "hubert": (HubertModel, HubertConfig, {"feat_proj_layer_norm": False}),
    "wavlm": (WavLMModel, WavLMConfig, {"num_buckets": 32, "max_bucket_distance": 40}),
}
REPO = "somebody/their-encoder"
OLDER, NEWER = "0123456789" * 4, "9876543210" * 4


def write_model(folder: Path, model_type: str, **changes: Any) -> Path:
    """Write a tiny model with fields that differ from their defaults."""
    model_class, config_class, own = KINDS[model_type]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class(config_class(**(SIZES | own | changes)))
    model.save_pretrained(folder)
    return folder


def one_line_settings(path: Path, speech: object) -> Path:
    """Choose an encoder in [task], without its sizes in [model]."""
    before, after = path.read_text().split("[model.speech_encoder]")
    task = after[after.index("[task]") :].replace("[task]", f'[task]\nspeech = "{speech}"')
    path.write_text(before.replace("[train]", '[train]\nrates = { "generator.speech" = 0 }') + task)
    return path


@pytest.mark.parametrize("model_type", TYPES)
def test_features_are_those_of_transformers(model_type: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path, model_type)
    encoder = SpeechEncoder(**published_config(folder)).eval().requires_grad_(False)
    load_encoder(folder, encoder)
    model: Any = AutoModel.from_pretrained(folder).eval()
    assert type(encoder.wav2vec) is type(model) is KINDS[model_type][0]
    waveform = torch.from_numpy(voice(0.7))[None]
    with torch.no_grad():
        expected = model(10 * waveform).last_hidden_state
        convolved = model.feature_extractor(10 * waveform).transpose(1, 2)
        if model_type != "hubert":  # transformers normalises these
            convolved = model.feature_projection.layer_norm(convolved)
    features, conv_features, level = encoder(waveform)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(conv_features, convolved, atol=1e-5, rtol=1e-4)
    assert level.shape == features.shape[:2] == (1, (waveform.shape[1] - 400) // 320 + 1)


@pytest.mark.parametrize("model_type", TYPES)
def test_a_generator_is_trained_saved_and_used_with_one_line_of_settings(
    model_type: str, write_settings: WriteSettings, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "encoder", model_type)
    path = one_line_settings(write_settings("landmarks", steps=1), "encoder")
    run_steps("landmarks", path)
    generator = LandmarkGenerator.from_pretrained(tmp_path / "run/checkpoint")
    assert generator.config.speech_encoder["published"]["model_type"] == model_type
    loaded = SpeechEncoder(**published_config(folder))
    load_encoder(folder, loaded)
    stored = generator.speech.state_dict()
    for name, value in loaded.state_dict().items():  # frozen, and stored in half precision
        assert torch.equal(stored[name], value.half().float()), name
    audio = AudioClip.from_samples(voice(1.0), 16_000)
    motion = predict_motion(generator, audio, np.ones(4, np.float32))
    assert motion.coefficients.shape == (25, generator.config.num_components)
    assert np.abs(motion.coefficients).max() > 0
    generator.save_pretrained(tmp_path / "again")
    again = LandmarkGenerator.from_pretrained(tmp_path / "again")
    assert public_config(again) == public_config(generator)
    same = predict_motion(again, audio, np.ones(4, np.float32))
    np.testing.assert_array_equal(same.coefficients, motion.coefficients)


def test_the_commit_of_an_encoder_is_known(write_settings: WriteSettings, tmp_path: Path) -> None:
    path = write_settings("landmarks", steps=1)
    text = path.read_text()
    for folder, commit in ((OLDER, OLDER), ("encoder", None)):
        write_model(tmp_path / folder, "hubert")
        path.write_text(text)
        _, settings = build_task("landmarks", one_line_settings(path, folder))
        assert settings.encoder == tmp_path / folder
        assert settings.encoder_commit == commit
    path.write_text(text)
    _, settings = build_task("landmarks", path)
    assert settings.encoder is None
    assert settings.encoder_commit is None


def test_gradients_reach_an_encoder_that_learns(
    write_settings: WriteSettings, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "encoder", "hubert")
    path = one_line_settings(write_settings("landmarks", steps=2), "encoder")
    path.write_text(path.read_text().replace('"generator.speech" = 0', '"generator.speech" = 1'))
    run_steps("landmarks", path)
    before = load_file(folder / "model.safetensors")
    generator: Any = LandmarkGenerator.from_pretrained(tmp_path / "run/checkpoint")
    for name in ("feature_extractor.conv_layers.0.conv.weight", "encoder.layer_norm.weight"):
        after = generator.speech.wav2vec.state_dict()[name]
        assert not torch.equal(after, before[name].half().float()), name


def test_the_rate_of_the_features_comes_from_the_strides(
    write_settings: WriteSettings, tmp_path: Path
) -> None:
    # 5 * 2**5 = 160 samples: 100 features a second. The field is that of kernels before the last
    # stride, and so still 400: 2, 4, 9, 19, 39, 79 and (79 - 1) * 5 + 10, from the last one on.
    write_model(tmp_path / "encoder", "wav2vec2", conv_stride=(5, 2, 2, 2, 2, 2, 1))
    path = one_line_settings(write_settings("landmarks", steps=1), "encoder")
    run_steps("landmarks", path)
    generator = LandmarkGenerator.from_pretrained(tmp_path / "run/checkpoint")
    speech: Any = generator.speech
    assert (speech.hop_samples, speech.field_samples) == (160, 400)
    features, _, level = speech(torch.from_numpy(voice(0.5))[None])
    assert features.shape[1] == level.shape[1] == (8000 - 400) // 160 + 1
    positions = generator.frame_positions(2, 25.0, 0.1)
    # The middles of the frames, 0.12 s and 0.16 s, are the samples 1920 and 2560.
    torch.testing.assert_close(positions, torch.tensor([1720 / 160, 2360 / 160]))
    audio = AudioClip.from_samples(voice(1.0), 16_000)
    motion = predict_motion(generator, audio, np.ones(4, np.float32), Fraction(25))
    assert np.abs(motion.coefficients).max() > 0
    dual = as_toml({"dual_domain": TINY_DUAL}, "model.")
    path.write_text(path.read_text().replace("[task]", f"{dual}[task]"))
    with pytest.raises(TalkheadError, match="dual_domain needs a speech encoder with 50 features"):
        build_task("landmarks", path)


def test_folders_of_older_versions_still_describe_a_wav2vec() -> None:
    older = {
        "conv_bias": False,
        "conv_norm": "group",
        "activation": "gelu",
        "stable_layer_norm": False,
        "position_kernel": 16,
        "position_groups": 2,
    }
    encoder = SpeechEncoder(**TINY_SPEECH, published=older)
    assert type(encoder.wav2vec) is Wav2Vec2Model
    assert encoder.config.published["model_type"] == "wav2vec2"


def test_heads_are_left_out(tmp_path: Path) -> None:
    write_model(tmp_path / "plain", "hubert")
    config = HubertConfig(**SIZES, **KINDS["hubert"][2], vocab_size=32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        HubertForCTC(config).save_pretrained(tmp_path / "letters")
    stored = load_file(tmp_path / "letters/model.safetensors")
    assert "lm_head.weight" in stored
    encoder = SpeechEncoder(**published_config(tmp_path / "letters"))
    load_encoder(tmp_path / "letters", encoder)
    name = "encoder.layers.0.attention.k_proj.weight"
    assert torch.equal(encoder.wav2vec.state_dict()[name], stored[f"hubert.{name}"])


@pytest.mark.parametrize("model_type", TYPES)
def test_kernels_under_their_older_names_are_read(model_type: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path, model_type)
    encoder, again = (SpeechEncoder(**published_config(folder)) for _ in range(2))
    load_encoder(folder, encoder)
    path = folder / "model.safetensors"
    renamed = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in load_file(path).items()
    }
    assert any(name.endswith("conv.weight_g") for name in renamed)
    save_file(renamed, path)
    load_encoder(folder, again)
    for name, value in encoder.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "data2vec-audio"}, "'data2vec-audio', but must have one of wav2vec2, hub"),
        ({"model_type": None}, "has model_type None"),
        ({"hidden_size": 23}, "does not describe a valid encoder"),
        ({"hidden_size": 10**9}, "hidden_size is 1000000000, but must be from 0 to 65536"),
        ({"num_hidden_layers": 9999}, "num_layers is 9999, but must be from 0 to 512"),
        ({"conv_stride": [5, 2]}, "config.json"),
        ({"conv_stride": [0, 2, 2, 2, 2, 2, 2]}, "config.json"),
        ({"hidden_act": "a_new_one", "feat_extract_activation": "a_new_one"}, "config.json"),
        ({"feat_extract_norm": "batch"}, "conv_norm is 'batch'"),
        ({"add_adapter": True}, "sets add_adapter, which talkhead does not support"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused_in_one_line(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = write_model(tmp_path, "wavlm")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(WeightsError, match=message) as caught:
        published_config(folder)
    assert "\n" not in str(caught.value)


def test_only_whole_safetensors_are_read(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "wavlm")
    encoder = SpeechEncoder(**published_config(folder))
    path = folder / "model.safetensors"
    tensors = load_file(path)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    name = "encoder.layers.0.attention.rel_attn_embed.weight"
    lacking = {key: value for key, value in tensors.items() if key != name}
    for damaged, message in (
        (lacking, rf"1 tensor missing \({name}\)"),
        (tensors | {"surprise": torch.zeros(1)}, r"1 tensor unexpected \(surprise\)"),
        (tensors | {name: torch.zeros(3, 2)}, "of another shape"),
        (tensors | {name: torch.full_like(tensors[name], np.nan)}, "not finite"),
    ):
        save_file(damaged, path)
        with pytest.raises(WeightsError, match=message):
            load_encoder(folder, encoder)
    path.unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"has no model\.safetensors: no other file format"):
        load_encoder(folder, encoder)
    for key, value in encoder.state_dict().items():
        assert torch.equal(value, before[key]), key


HUB_SCRIPT = """
from pathlib import Path
from talkhead.errors import WeightsError
from talkhead.training.encoders import find_network
import sys
for name in sys.argv[1:]:
    try:
        folder = find_network(name, Path("."))
        print(folder.name, *sorted(path.name for path in folder.iterdir()))
    except WeightsError as error:
        print(error)
"""


def test_a_branch_of_the_hub_means_its_commit_and_only_two_files_are_fetched(
    tmp_path: Path,
) -> None:
    folder = write_model(tmp_path / "encoder", "hubert")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files |= {"run.py": b"import os", "pytorch_model.bin": b"PK"}
    without = {name: content for name, content in files.items() if "safe" not in name}

    def found(*names: str, **more: str) -> list[str]:
        environment = {key: value for key, value in os.environ.items() if "HF_" not in key}
        environment |= {
            "PYTHONPATH": str(Path(talkhead.__file__).parents[1]),
            "HF_HOME": str(tmp_path / "hub"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        ended = subprocess.run(
            [sys.executable, "-c", HUB_SCRIPT, *names],
            cwd=tmp_path,
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.splitlines()

    with HubServer() as hub:
        hub.repos[REPO] = {OLDER: files, NEWER: files}
        hub.repos["somebody/pickles"] = {OLDER: without}
        lines = found(f"{REPO}@{OLDER}", REPO, "somebody/pickles", HF_ENDPOINT=hub.url)
    assert lines[:2] == [
        f"{OLDER} config.json model.safetensors",
        f"{NEWER} config.json model.safetensors",
    ]
    assert lines[2] == ("somebody/pickles@main does not hold a network: it lacks model.safetensors")
    # A commit needs no network once it is here.
    assert found(f"{REPO}@{OLDER}", HF_HUB_OFFLINE="1") == lines[:1]

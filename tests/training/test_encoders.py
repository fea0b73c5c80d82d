import functools
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from talkhead.audio2landmarks.speech_encoder import (
    KERNELS,
    STRIDES,
    LogMelEncoder,
    SpeechEncoder,
)
from talkhead.errors import WeightsError
from talkhead.training.encoders import find_network, load_encoder, published_config
from tests.tiny import TINY_LOG_MEL, voice

REVISION = "0123456789" * 4


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in the hub's layout, with a letter head, as base-960h has."""
    folder = tmp_path_factory.mktemp("published")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Wav2Vec2ForCTC(
            Wav2Vec2Config(
                hidden_size=24,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=32,
                conv_dim=(16,) * 7,
                num_conv_pos_embeddings=16,
                num_conv_pos_embedding_groups=2,
                vocab_size=32,
            )
        )
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def encoder(published: Path) -> SpeechEncoder:
    return SpeechEncoder(**published_config(published)).eval().requires_grad_(False)


def test_the_sizes_are_read_from_the_hubs_file(published: Path) -> None:
    assert published_config(published) == {
        "conv_channels": (16,) * 7,
        "hidden_size": 24,
        "num_layers": 1,
        "num_heads": 2,
        "feedforward_size": 32,
        "dropout": 0.0,
        "published": {
            "conv_bias": False,
            "conv_norm": "group",
            "activation": "gelu",
            "stable_layer_norm": False,
            "position_kernel": 16,
            "position_groups": 2,
            "model_type": "wav2vec2",
            "conv_kernels": KERNELS,
            "conv_strides": STRIDES,
            "norm_epsilon": 1e-5,
            "projection_norm": True,
            "num_buckets": 320,
            "max_distance": 800,
        },
    }


def test_features_are_those_of_the_published_model(published: Path, encoder: SpeechEncoder) -> None:
    load_encoder(published, encoder)
    model: Any = Wav2Vec2ForCTC.from_pretrained(published)
    model.eval()
    waveform = torch.from_numpy(voice(0.7))[None]
    with torch.no_grad():
        expected = model.wav2vec2(10 * waveform).last_hidden_state
    torch.testing.assert_close(encoder(waveform)[0], expected, atol=1e-5, rtol=1e-4)


def test_other_sizes_are_refused(published: Path) -> None:
    config = published_config(published)
    with pytest.raises(WeightsError, match="has num_layers 1, but 2 is needed"):
        load_encoder(published, SpeechEncoder(**(config | {"num_layers": 2})))
    config["published"]["position_groups"] = 4
    with pytest.raises(WeightsError, match=r"has published\.position_groups 2, but 4 is needed"):
        load_encoder(published, SpeechEncoder(**config))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model_type", "bert", "has model_type 'bert'"),
        ("conv_stride", [5, 2, 2, 2, 2, 2], "conv"),
        ("feat_extract_activation", "relu", "two different activations"),
    ],
)
def test_models_of_another_kind_are_refused(
    key: str, value: object, message: str, published: Path, tmp_path: Path
) -> None:
    config = json.loads((published / "config.json").read_text())
    assert (tuple(config["conv_kernel"]), tuple(config["conv_stride"])) == (KERNELS, STRIDES)
    (tmp_path / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(WeightsError, match=message):
        published_config(tmp_path)


def test_a_file_that_lacks_tensors_or_is_damaged_is_refused(
    published: Path, encoder: SpeechEncoder, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_bytes((published / "config.json").read_bytes())
    with pytest.raises(WeightsError, match=r"has no model\.safetensors"):
        load_encoder(tmp_path, encoder)
    tensors = load_file(published / "model.safetensors")
    del tensors["wav2vec2.encoder.layers.0.attention.k_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"does not fit .*missing .*k_proj"):
        load_encoder(tmp_path, encoder)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(WeightsError, match="is corrupt"):
        load_encoder(tmp_path, encoder)


def test_there_is_nothing_to_load_into_a_spectrum(published: Path) -> None:
    with pytest.raises(WeightsError, match="log-mel bins are not learned"):
        load_encoder(published, LogMelEncoder(**TINY_LOG_MEL))


def test_a_folder_goes_before_a_name(tmp_path: Path) -> None:
    (tmp_path / "default").mkdir()
    assert find_network("default", tmp_path) == tmp_path / "default"
    with pytest.raises(WeightsError, match="nowhere"):
        find_network("nowhere", tmp_path)


class _Hub(http.server.SimpleHTTPRequestHandler):
    """Answers the two requests that huggingface-hub makes for a file of a repository."""

    def _answer(self, *, with_content: bool) -> None:
        prefix = f"/owner/name/resolve/{REVISION}/"
        path = Path(self.directory) / self.path.removeprefix(prefix)
        if not self.path.startswith(prefix) or not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_content:
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(published: Path) -> Iterator[str]:
    """The address of a local hub that serves the published model."""
    handler = functools.partial(_Hub, directory=str(published))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_published_encoder_comes_from_the_hub_once(
    hub: str, published: Path, tmp_path: Path
) -> None:
    files = ", ".join(
        f'{{ path = "{name}", bytes = {len(content)}, sha256 = "'
        f'{hashlib.sha256(content).hexdigest()}" }}'
        for name in ("config.json", "model.safetensors")
        for content in [(published / name).read_bytes()]
    )
    (tmp_path / "weights.toml").write_text(
        f'[net]\nkind = "asset"\nabout = "tiny"\nlicence = "MIT"\norigin = "here"\n'
        f'where = "hub"\nrepo = "owner/name"\nrevision = "{REVISION}"\nfiles = [{files}]\n'
    )
    script = """
import sys
from pathlib import Path
from talkhead.audio2landmarks.speech_encoder import SpeechEncoder
from talkhead.training.encoders import load_encoder, published_config
from talkhead.weights import WeightsList
here = Path(sys.argv[1])
folder = WeightsList(here / "weights.toml", checkpoints=here, cache=here).resolve("net")
encoder = SpeechEncoder(**published_config(folder))
load_encoder(folder, encoder)
print(encoder.wav2vec.config.hidden_size)
"""

    def run(**environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)],
            env=os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub")} | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    first = run(HF_ENDPOINT=hub, HF_HUB_DISABLE_XET="1")
    assert first.stdout.strip() == "24", first.stderr
    again = run(HF_HUB_OFFLINE="1")
    assert again.stdout.strip() == "24", again.stderr

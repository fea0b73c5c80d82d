from typing import Any

import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

from talkhead.audio2landmarks.speech_encoder import build_encoder
from talkhead.audio2landmarks.whisper_encoder import WhisperEncoder
from tests.tiny import TINY_WHISPER, voice


@pytest.fixture(scope="module")
def encoder() -> WhisperEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = build_encoder(TINY_WHISPER)
    assert isinstance(built, WhisperEncoder)
    return built.eval().requires_grad_(False)


@pytest.mark.parametrize("num_samples", [400, 719, 720, 16_000, 16_080])
def test_there_are_as_many_features_as_of_any_encoder(
    encoder: WhisperEncoder, num_samples: int
) -> None:
    features, convolved, level = encoder(torch.randn(2, num_samples))
    count = (num_samples - 400) // 320 + 1
    assert features.shape == convolved.shape == (2, count, TINY_WHISPER["hidden_size"])
    assert level.shape == (2, count)


def test_features_are_the_mean_of_the_last_layers_of_transformers(encoder: WhisperEncoder) -> None:
    waveform = voice(30.0)
    model: Any = WhisperModel(
        WhisperConfig(
            d_model=TINY_WHISPER["hidden_size"],
            encoder_layers=TINY_WHISPER["num_layers"],
            encoder_attention_heads=TINY_WHISPER["num_heads"],
            encoder_ffn_dim=TINY_WHISPER["feedforward_size"],
            decoder_layers=1,
            decoder_ffn_dim=8,
            vocab_size=60,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        )
    )
    model.eval()
    whole = WhisperEncoder(**(TINY_WHISPER | {"max_features": 1500})).eval()
    whole.load_state_dict(model.encoder.state_dict())
    # transformers centres its first frame on the first sample, talkhead its own 200 samples later.
    extractor: Any = WhisperFeatureExtractor  # it has no types
    extracted = extractor()(waveform, sampling_rate=16_000, return_tensors="np")
    mel = torch.from_numpy(extracted.input_features)
    early = torch.from_numpy(np.pad(waveform, (200, 200), mode="reflect"))[None]
    with torch.no_grad():
        torch.testing.assert_close(whole.spectrum(early)[..., :3000], mel, atol=1e-4, rtol=1e-4)
        found = model.encoder(mel, output_hidden_states=True)
        features, _, _ = whole(early)
    before = found.hidden_states[-TINY_WHISPER["averaged_layers"] : -1]
    mean = torch.stack([*before, found.last_hidden_state]).mean(0)
    expected = torch.nn.functional.layer_norm(mean, mean.shape[-1:])
    torch.testing.assert_close(features[:, :1490], expected[:, :1490], atol=1e-3, rtol=1e-3)


def test_long_sound_is_encoded_in_pieces(encoder: WhisperEncoder) -> None:
    assert TINY_WHISPER["max_features"] == 100
    features, convolved, _ = encoder(torch.from_numpy(voice(5.0))[None])
    assert features.shape[1] == 249
    for start in (0, 100, 200):
        piece = encoder._encode(convolved[:, start : start + 100])
        torch.testing.assert_close(features[:, start : start + 100], piece)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 5}, "multiple"),
        ({"averaged_layers": 9}, "averaged_layers"),
        ({"max_features": 0}, "max_features"),
    ],
)
def test_sizes_that_make_no_transformer(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WhisperEncoder(**(TINY_WHISPER | changes))

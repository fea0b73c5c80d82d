import librosa
import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2Model

from talkhead.audio2landmarks.speech_encoder import (
    KERNELS,
    STRIDES,
    LogMelEncoder,
    SpeechEncoder,
    build_encoder,
)
from talkhead.audio2landmarks.speech_features import (
    FIELD_SAMPLES,
    HOP_SAMPLES,
    LogMel,
    frame_positions,
    resample_features,
    sound_level,
)
from talkhead.media.rates import SAMPLE_RATE_HZ
from tests.tiny import TINY_SPEECH, voice


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SpeechEncoder(**TINY_SPEECH).eval().requires_grad_(False)


def sound(seconds: float, seed: int = 0) -> Tensor:
    return torch.from_numpy(voice(seconds, seed))[None]


@pytest.mark.parametrize("num_samples", [400, 719, 720, 16_000, 16_079, 16_080, 12_345])
def test_there_are_as_many_features_as_transformers_computes(
    encoder: SpeechEncoder, num_samples: int
) -> None:
    expected = int(encoder.wav2vec._get_feat_extract_output_lengths(num_samples))
    assert (num_samples - FIELD_SAMPLES) // HOP_SAMPLES + 1 == expected
    features, conv_features, level = encoder(torch.randn(1, num_samples))
    assert features.shape == (1, expected, TINY_SPEECH["hidden_size"])
    assert conv_features.shape == (1, expected, TINY_SPEECH["conv_channels"][-1])
    assert level.shape == (1, expected)


def test_hop_and_field_follow_from_the_convolutions() -> None:
    hop, field = 1, 1
    for kernel, stride in zip(KERNELS, STRIDES, strict=True):
        field += (kernel - 1) * hop
        hop *= stride
    assert (hop, field) == (HOP_SAMPLES, FIELD_SAMPLES)
    original = Wav2Vec2Config()
    assert (tuple(original.conv_kernel), tuple(original.conv_stride)) == (KERNELS, STRIDES)


def test_the_encoder_is_wav2vec_itself(encoder: SpeechEncoder) -> None:
    assert type(encoder.wav2vec) is Wav2Vec2Model
    waveform = sound(0.5)
    expected = encoder.wav2vec(waveform).last_hidden_state
    torch.testing.assert_close(encoder(waveform)[0], expected)


def test_transformers_takes_the_shipped_sizes() -> None:
    config = SpeechEncoder.sketch({}).config
    assert config.hidden_size % config.num_heads == 0
    assert len(config.conv_channels) == len(KERNELS)


def test_frozen_convolutions_keep_nothing_for_gradients() -> None:
    encoder = SpeechEncoder(**TINY_SPEECH).train()
    waveform = torch.from_numpy(voice(0.5))[None]
    convolutions = encoder.wav2vec.feature_extractor
    assert encoder(waveform)[0].requires_grad
    assert convolutions(waveform).requires_grad
    convolutions.requires_grad_(False)
    assert encoder(waveform)[0].requires_grad
    assert not convolutions(waveform).requires_grad


def test_each_of_a_batch_is_encoded_alone(encoder: SpeechEncoder) -> None:
    waveforms = torch.cat([sound(0.6, 1), sound(0.6, 2)])
    together = encoder(waveforms)
    for index in range(2):
        for one, both in zip(encoder(waveforms[index : index + 1]), together, strict=True):
            torch.testing.assert_close(one[0], both[index], atol=1e-4, rtol=1e-3)


def test_sound_that_comes_a_hop_later_has_its_features_one_later(encoder: SpeechEncoder) -> None:
    waveform = sound(0.6)
    _, conv, level = encoder(waveform)
    _, conv_later, level_later = encoder(torch.cat([torch.zeros(1, HOP_SAMPLES), waveform], 1))
    torch.testing.assert_close(conv_later[:, 1:], conv, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(level_later[:, 1:], level)


def test_a_feature_hears_its_field_and_nothing_else(encoder: SpeechEncoder) -> None:
    waveform = sound(0.5)
    number = 10
    start = number * HOP_SAMPLES
    changed = waveform.clone()
    changed[:, :start] = 0
    changed[:, start + FIELD_SAMPLES :] = 0
    _, conv, level = encoder(waveform)
    _, conv_alone, level_alone = encoder(changed)
    torch.testing.assert_close(conv_alone[:, number], conv[:, number], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(level_alone[:, number], level[:, number])
    assert (conv_alone[:, number - 2] - conv[:, number - 2]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("amplitude", "expected"),
    [
        (1.0, 20 / 50),  # 0 dB of full scale
        (0.1, 0.0),  # -20 dB, the level speech is normalised to
        (0.01, (10 * -3.99568 + 20) / 50),  # -40 dB, plus a little of the -60 dB floor
        (0.0, -0.8),  # silence: the floor itself
    ],
)
def test_the_level_of_a_constant_sound_by_hand(amplitude: float, expected: float) -> None:
    level = sound_level(torch.full((1, 1360), amplitude))
    assert level.shape == (1, 4)
    torch.testing.assert_close(level, torch.full((1, 4), expected), atol=1e-4, rtol=0)


def test_the_level_is_that_of_the_features_own_stretch() -> None:
    waveform = torch.zeros(1, 2000)
    waveform[:, 640:1040] = 0.1  # exactly the third feature's field
    level = sound_level(waveform)[0]
    assert float(level[2]) == pytest.approx(0, abs=1e-3)
    assert float(level[2]) > max(float(level[1]), float(level[3]))
    assert float(level[5]) == pytest.approx(-0.8)


def test_the_first_frames_middle_is_found_by_hand() -> None:
    # 25 frames a second: middles at 20 ms, 60 ms, ...; feature k is centred at 12.5 ms + k * 20 ms.
    positions = frame_positions(3, 25.0, 0.0)
    torch.testing.assert_close(positions, torch.tensor([0.375, 2.375, 4.375]))
    torch.testing.assert_close(frame_positions(1, 25.0, 0.3), torch.tensor([15.375]))


def test_an_hour_of_positions_is_exact() -> None:
    positions = frame_positions(90_000, 25.0, 0.0)
    assert float(positions[-1]) == pytest.approx(2 * 89_999 + 0.375, abs=0.01)


@pytest.mark.parametrize("fps", [25.0, 24.0, 60.0])
def test_a_click_is_found_in_the_frame_that_it_falls_in(fps: float) -> None:
    at_s = 0.73
    waveform = torch.zeros(1, SAMPLE_RATE_HZ)
    waveform[:, round(at_s * SAMPLE_RATE_HZ)] = 1
    count = round(fps)
    positions = frame_positions(count, fps, 0.0)[None]
    level = resample_features(sound_level(waveform)[..., None], positions)[0, :, 0]
    assert abs(int(level.argmax()) - int(at_s * fps)) <= (1 if fps > 50 else 0)


def test_features_are_read_at_and_between_their_places() -> None:
    features = torch.tensor([[[0.0, 5.0], [10.0, 5.0], [40.0, -5.0]]])
    positions = torch.tensor([[0.0, 1.0, 2.0, 0.5, 1.25, -3.0, 7.0]])
    expected = [[0, 5], [10, 5], [40, -5], [5, 5], [17.5, 2.5], [0, 5], [40, -5]]
    torch.testing.assert_close(
        resample_features(features, positions), torch.tensor([expected], dtype=torch.float32)
    )


def test_a_single_feature_is_read_everywhere() -> None:
    features = torch.tensor([[[3.0]], [[4.0]]])
    read = resample_features(features, torch.tensor([[0.0, 2.5], [1.0, -1.0]]))
    torch.testing.assert_close(read, torch.tensor([[[3.0], [3.0]], [[4.0], [4.0]]]))


def test_reading_features_agrees_with_torchs_own_interpolation() -> None:
    features = torch.randn(2, 20, 3, generator=torch.Generator().manual_seed(0))
    positions = torch.linspace(0, 19, 77).expand(2, -1)
    expected = torch.nn.functional.interpolate(
        features.transpose(1, 2), size=77, mode="linear", align_corners=True
    ).transpose(1, 2)
    torch.testing.assert_close(
        resample_features(features, positions), expected, atol=1e-4, rtol=1e-4
    )


def test_the_spectrum_is_librosas() -> None:
    waveform = sound(0.5)
    mel = LogMel(40)(waveform)[0]
    count = (waveform.shape[1] - FIELD_SAMPLES) // HOP_SAMPLES + 1
    assert mel.shape == (count, 40)
    # librosa centres the window of 400 in 512 samples, so its frames begin 56 samples earlier.
    padded = np.pad(waveform[0].numpy(), (56, 56))
    expected = librosa.feature.melspectrogram(
        y=padded, sr=SAMPLE_RATE_HZ, n_fft=512, hop_length=HOP_SAMPLES, win_length=FIELD_SAMPLES,
        n_mels=40, center=False,
    )  # fmt: skip
    expected = ((np.log(expected + 1e-4) + 4) / 3).T
    shared = min(count, len(expected)) - 1
    later = LogMel(40)(torch.from_numpy(padded)[None])[0]
    np.testing.assert_allclose(later[:shared].numpy(), expected[:shared], atol=1e-3)


def test_a_spectrum_is_an_encoder_too() -> None:
    torch.manual_seed(0)
    encoder = build_encoder({"num_mel": 40, "hidden_size": 24, "dropout": 0.1}).eval()
    assert isinstance(encoder, LogMelEncoder)
    waveform = torch.cat([sound(0.6, 1), sound(0.6, 2)])
    features, mel, level = encoder(waveform)
    assert features.shape[:2] == mel.shape[:2] == level.shape
    assert (features.shape[2], mel.shape[2], encoder.conv_size) == (24, 40, 40)
    one, _, _ = encoder(waveform[1:])
    torch.testing.assert_close(one[0], features[1], atol=1e-5, rtol=1e-4)
    assert not any("filters" in name for name in encoder.state_dict())

"""Compact wav2vec 2.0: waveform to speech features, 50 a second, with the sound level beside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Wav2Vec2Config, Wav2Vec2Model

from talkhead.media.rates import SAMPLE_RATE_HZ

KERNELS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)
HOP_SAMPLES = 320
"""Product of the strides: 20 ms."""
FIELD_SAMPLES = 400
"""Samples that one feature sees of the waveform: 25 ms."""
FEATURE_RATE_HZ = SAMPLE_RATE_HZ / HOP_SAMPLES


@dataclass(frozen=True)
class SpeechConfig:
    """Sizes of the compact encoder."""

    conv_channels: tuple[int, ...]
    """Channels of the seven convolutions over the waveform."""
    hidden_size: int
    num_layers: int
    num_heads: int
    feedforward_size: int
    dropout: float


COMPACT = SpeechConfig(
    conv_channels=(96, 128, 128, 192, 192, 256, 256),
    hidden_size=256,
    num_layers=4,
    num_heads=4,
    feedforward_size=768,
    dropout=0.1,
)
TINY = SpeechConfig(
    conv_channels=(16,) * 7,
    hidden_size=32,
    num_layers=1,
    num_heads=2,
    feedforward_size=32,
    dropout=0.0,
)


class SpeechEncoder(nn.Module):
    """`transformers.Wav2Vec2Model` in a small size, for waveforms of normalised loudness."""

    def __init__(self, config: SpeechConfig) -> None:
        super().__init__()
        self.config = config
        # Not among the arguments that every version of transformers declares.
        attention: dict[str, Any] = {"attn_implementation": "sdpa"}
        self.wav2vec = Wav2Vec2Model(
            Wav2Vec2Config(
                hidden_size=config.hidden_size,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                intermediate_size=config.feedforward_size,
                conv_dim=config.conv_channels,
                conv_kernel=KERNELS,
                conv_stride=STRIDES,
                conv_bias=True,
                feat_extract_norm="layer",
                feat_extract_activation="relu",  # several times cheaper than GELU on a CPU
                hidden_act="relu",
                do_stable_layer_norm=True,
                num_conv_pos_embeddings=32,
                num_conv_pos_embedding_groups=8,
                hidden_dropout=config.dropout,
                attention_dropout=0.0,
                activation_dropout=0.0,
                feat_proj_dropout=config.dropout,
                layerdrop=0.0,
                mask_time_prob=0.0,
                apply_spec_augment=False,
                **attention,
            )
        )

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode waveforms.

        Args:
            waveform: (B, N) with N >= 400, normalised loudness.

        Returns:
            Features (B, T, hidden_size), features of the convolutions alone, (B, T, last of
            conv_channels), and sound level (B, T), about 0 for loud speech and -0.8 for silence;
            T = (N - 400) // 320 + 1.
        """
        out = self.wav2vec(waveform)
        return out.last_hidden_state, out.extract_features, sound_level(waveform)


def sound_level(waveform: Tensor) -> Tensor:
    """Return every feature's sound level, (B, N) to (B, T): decibels over 50, at least -0.8."""
    square = waveform.float().square()[:, None]
    power = functional.avg_pool1d(square, FIELD_SAMPLES, HOP_SAMPLES)[:, 0]
    return (10 * torch.log10(power + 1e-6) + 20) / 50


def resample_features(features: Tensor, positions: Tensor) -> Tensor:
    """Read features between their time stamps, linearly.

    Args:
        features: (B, T, D).
        positions: (B, F), in feature numbers; clamped to the features that exist.

    Returns:
        (B, F, D).
    """
    last = features.shape[1] - 1
    positions = positions.clamp(0, last)
    low = positions.floor().long().clamp(max=max(last - 1, 0))
    share = (positions - low)[..., None].to(features.dtype)
    size = features.shape[-1]
    index = low[..., None].expand(-1, -1, size)
    after = (index + 1).clamp(max=last)
    return features.gather(1, index) * (1 - share) + features.gather(1, after) * share


def frame_positions(num_frames: int, fps: float, lead_s: float) -> Tensor:
    """Return the feature positions of the middles of video frames, shape = (F,).

    Args:
        num_frames: F.
        fps: video frames a second.
        lead_s: seconds of sound before the first frame begins.
    """
    middle_s = (torch.arange(num_frames, dtype=torch.float64) + 0.5) / fps + lead_s
    return ((middle_s * SAMPLE_RATE_HZ - FIELD_SAMPLES / 2) / HOP_SAMPLES).float()

"""Speech encoders: waveform to speech features, 50 per second as a rule, plus the sound level.

The default is a compact wav2vec 2.0. A published wav2vec 2.0, HuBERT or WavLM can replace it by
configuration. A plain spectrum with convolutions serves as the baseline for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel
from transformers.audio_utils import mel_filter_bank

from talkhead.config import check_arguments
from talkhead.errors import TalkheadError
from talkhead.media.rates import SAMPLE_RATE_HZ
from talkhead.networks import Network, register_to_config

KERNELS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)
HOP_SAMPLES = 320
"""Product of the strides: 20 ms."""
FIELD_SAMPLES = 400
"""Receptive field of one feature: 25 ms."""
NUM_FFT = 512
FEATURE_RATE_HZ = SAMPLE_RATE_HZ / HOP_SAMPLES
PUBLISHED_GAIN = 10.0
"""Published encoders expect a standard deviation of 1; speech at -20 dB has 0.1."""


ModelType = Literal["wav2vec2", "hubert", "wavlm"]


@dataclass(frozen=True)
class PublishedConfig:
    """What a published encoder does differently, as in its config.json on the hub."""

    conv_bias: bool
    conv_norm: Literal["group", "layer"]
    activation: str
    stable_layer_norm: bool
    """Normalise before attention and feed-forward instead of after them."""
    position_kernel: int
    position_groups: int
    model_type: ModelType = "wav2vec2"
    conv_kernels: tuple[int, ...] = KERNELS
    conv_strides: tuple[int, ...] = STRIDES
    norm_epsilon: float = 1e-5
    """Added to the variance in layer normalisation."""
    projection_norm: bool = True
    """HuBERT: normalise the features of the convolutions."""
    num_buckets: int = 320
    """WavLM: buckets of relative positions."""
    max_distance: int = 800
    """WavLM: relative positions at least this far apart share a bucket, in features."""


OWN = PublishedConfig(
    conv_bias=True,
    conv_norm="layer",
    activation="relu",  # several times cheaper than GELU on a CPU
    stable_layer_norm=True,
    position_kernel=32,
    position_groups=8,
)


class SpeechEncoder(Network):
    """An encoder of `transformers` for waveforms with normalised loudness.

    Args:
        conv_channels: channels of the convolutions over the waveform.
        hidden_size: width of the transformer.
        num_layers: layers of the transformer.
        num_heads: attention heads.
        feedforward_size: width of the feed-forward layers.
        dropout: share of features dropped in training.
        published: the fields of `PublishedConfig`, for a published encoder; None for ours, a
            `transformers.Wav2Vec2Model`.

    Raises:
        ValueError: channels, kernels and strides differ in number, or one of them is 0.
    """

    nested_configs: ClassVar[Mapping[str, Any]] = {"published": PublishedConfig | None}

    @register_to_config
    def __init__(
        self,
        conv_channels: tuple[int, ...] = (96, 128, 128, 192, 192, 256, 256),
        hidden_size: int = 256,
        num_layers: int = 4,
        num_heads: int = 4,
        feedforward_size: int = 768,
        dropout: float = 0.1,
        published: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        style = OWN if published is None else PublishedConfig(**published)
        if published is not None:  # older folders lack some fields
            self.register_to_config(published=asdict(style))
        if not len(conv_channels) == len(style.conv_kernels) == len(style.conv_strides) > 0:
            raise ValueError("conv_channels, conv_kernels and conv_strides must have one length")
        if min(style.conv_kernels + style.conv_strides) < 1:
            raise ValueError("conv_kernels and conv_strides must be at least 1")
        self.hop_samples = prod(style.conv_strides)
        self.field_samples = _receptive_field(style.conv_kernels, style.conv_strides)
        self.wav2vec = AutoModel.from_config(  # type: ignore[no-untyped-call]
            AutoConfig.for_model(
                style.model_type,
                hidden_size=hidden_size,
                num_hidden_layers=num_layers,
                num_attention_heads=num_heads,
                intermediate_size=feedforward_size,
                conv_dim=conv_channels,
                conv_kernel=style.conv_kernels,
                conv_stride=style.conv_strides,
                conv_bias=style.conv_bias,
                feat_extract_norm=style.conv_norm,
                feat_extract_activation=style.activation,
                hidden_act=style.activation,
                do_stable_layer_norm=style.stable_layer_norm,
                num_conv_pos_embeddings=style.position_kernel,
                num_conv_pos_embedding_groups=style.position_groups,
                layer_norm_eps=style.norm_epsilon,
                hidden_dropout=dropout,
                attention_dropout=0.0,
                activation_dropout=0.0,
                feat_proj_dropout=dropout,
                layerdrop=0.0,
                mask_time_prob=0.0,
                apply_spec_augment=False,
                **_own_fields(style),
            ),
            trust_remote_code=False,
        )
        self._gain = 1.0 if published is None else PUBLISHED_GAIN

    @property
    def conv_size(self) -> int:
        """Number of channels of the convolutional features."""
        return int(self.config.conv_channels[-1])

    @property
    def is_local(self) -> bool:
        """Whether `convolve` gives a piece of sound what it gives the whole."""
        return self.config.published is None or self.config.published["conv_norm"] == "layer"

    def convolve(self, waveform: Tensor) -> Tensor:
        """Return the output of the convolutions alone, (B, T, last of conv_channels)."""
        found: Tensor = self.wav2vec.feature_extractor(waveform * self._gain)
        return found.transpose(1, 2)

    def forward(
        self, waveform: Tensor, convolved: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Encode waveforms.

        Args:
            waveform: (B, N) with N >= `field_samples`, normalised loudness.
            convolved: the waveform's output of `convolve`, where it is known.

        Returns:
            Features (B, T, hidden_size), features of the convolutions alone, (B, T, last of
            conv_channels), and sound level (B, T), about 0 for loud speech and -0.8 for silence;
            T = (N - `field_samples`) // `hop_samples` + 1.
        """
        convolutions = self.wav2vec.feature_extractor
        if not any(parameter.requires_grad for parameter in convolutions.parameters()):
            # Otherwise transformers computes gradients of the waveform, with all their memory.
            convolutions._freeze_parameters()
        if convolved is None:
            convolved = self.convolve(waveform)
        projected = self.wav2vec.feature_projection(convolved)
        # HuBERT does not return the features before their projection.
        hidden, features = projected if isinstance(projected, tuple) else (projected, convolved)
        level = sound_level(waveform, self.field_samples, self.hop_samples)
        return self.wav2vec.encoder(hidden)[0], features, level


def _own_fields(style: PublishedConfig) -> dict[str, Any]:
    """Return the fields of a configuration that only one model type has."""
    if style.model_type == "wavlm":  # it has an attention of its own
        return {"num_buckets": style.num_buckets, "max_bucket_distance": style.max_distance}
    fields: dict[str, Any] = {"attn_implementation": "sdpa"}
    if style.model_type == "hubert":
        fields["feat_proj_layer_norm"] = style.projection_norm
    return fields


def _receptive_field(kernels: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Return how many samples one feature depends on."""
    field = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        field = (field - 1) * stride + kernel
    return field


class LogMelEncoder(Network):
    """Log-mel bins through two convolutions: the baseline that learned encoders must beat.

    Args:
        num_mel: number of mel bins.
        hidden_size: channels of both convolutions.
        dropout: share of features dropped in training.
    """

    @register_to_config
    def __init__(self, num_mel: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.spectrum = LogMel(num_mel)
        self.conv_in = nn.Conv1d(num_mel, hidden_size, 5, padding=2)
        self.conv_out = nn.Conv1d(hidden_size, hidden_size, 5, padding=2)
        self.drop = nn.Dropout(dropout)
        self.hop_samples, self.field_samples = HOP_SAMPLES, FIELD_SAMPLES

    @property
    def conv_size(self) -> int:
        """Number of mel bins, which take the place of the convolutional features."""
        return int(self.config.num_mel)

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode waveforms; shapes as for `SpeechEncoder`."""
        mel = self.spectrum(waveform)
        x = functional.relu(self.conv_in(mel.transpose(1, 2)))
        x = functional.relu(self.conv_out(self.drop(x)))
        return x.transpose(1, 2), mel, sound_level(waveform)


class LogMel(nn.Module):
    """Log-mel spectrum, one frame per speech feature; mean 0 and spread 1 for speech, roughly."""

    filters: Tensor

    def __init__(self, num_mel: int) -> None:
        super().__init__()
        filters = mel_filter_bank(
            NUM_FFT // 2 + 1,
            num_mel,
            0.0,
            SAMPLE_RATE_HZ / 2,
            SAMPLE_RATE_HZ,
            norm="slaney",
            mel_scale="slaney",
        ).T.astype(np.float32)
        self.register_buffer("filters", torch.from_numpy(filters), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Map (B, N) to (B, T, num_mel)."""
        window = torch.hann_window(FIELD_SAMPLES, device=waveform.device)
        spectrum = torch.stft(
            waveform.float(),
            NUM_FFT,
            HOP_SAMPLES,
            FIELD_SAMPLES,
            window,
            center=False,
            return_complex=True,
        ).abs()
        mel = torch.einsum("mf,bft->btm", self.filters, spectrum.square())
        # The window of 400 samples is centred in 512: one frame fewer, 56 samples later.
        level = (torch.log(mel + 1e-4) + 4) / 3
        frames = (waveform.shape[1] - FIELD_SAMPLES) // HOP_SAMPLES + 1
        missing = (0, frames - level.shape[1])
        return functional.pad(level.transpose(1, 2), missing, mode="replicate").transpose(1, 2)


def build_encoder(config: Mapping[str, Any]) -> SpeechEncoder | LogMelEncoder:
    """Build the encoder for a configuration: log-mel if it names mel bins, else wav2vec 2.0.

    Raises:
        ValueError: a key is missing or unknown, or has an invalid value.
    """
    encoder: type[Any] = LogMelEncoder if "num_mel" in config else SpeechEncoder
    arguments = check_arguments(
        encoder.__init__,
        config,
        source="speech_encoder",
        error=_ConfigError,
        nested=encoder.nested_configs,
    )
    return encoder(**arguments)  # type: ignore[no-any-return]


class _ConfigError(TalkheadError, ValueError):
    """A nested configuration is invalid."""


def sound_level(
    waveform: Tensor, field_samples: int = FIELD_SAMPLES, hop_samples: int = HOP_SAMPLES
) -> Tensor:
    """Return the sound level of each feature, (B, N) to (B, T): dB / 50, at least -0.8."""
    square = waveform.float().square()[:, None]
    power = functional.avg_pool1d(square, field_samples, hop_samples)[:, 0]
    return (10 * torch.log10(power + 1e-6) + 20) / 50


def resample_features(features: Tensor, positions: Tensor) -> Tensor:
    """Interpolate features linearly at fractional positions.

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


def frame_positions(
    num_frames: int,
    rate_hz: float,
    lead_s: float,
    field_samples: int = FIELD_SAMPLES,
    hop_samples: int = HOP_SAMPLES,
) -> Tensor:
    """Return the feature positions of the centres of video frames, (F,).

    Args:
        num_frames: F.
        rate_hz: video frames per second.
        lead_s: seconds of sound before the first frame begins.
        field_samples: receptive field of a feature.
        hop_samples: distance of the features.
    """
    middle_s = (torch.arange(num_frames, dtype=torch.float64) + 0.5) / rate_hz + lead_s
    return ((middle_s * SAMPLE_RATE_HZ - field_samples / 2) / hop_samples).float()

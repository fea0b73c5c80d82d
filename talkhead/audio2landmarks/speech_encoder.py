"""Speech encoders: waveform to speech features, 50 per second as a rule, plus the sound level.

The default is a compact wav2vec 2.0. A published wav2vec 2.0, HuBERT, WavLM or Whisper can replace
it by configuration. A plain spectrum with convolutions serves as the baseline for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel

from talkhead.audio2landmarks.speech_features import (
    FIELD_SAMPLES,
    HOP_SAMPLES,
    LogMel,
    sound_level,
)
from talkhead.audio2landmarks.whisper_encoder import WhisperEncoder
from talkhead.config import check_arguments
from talkhead.errors import TalkheadError
from talkhead.networks import Network, register_to_config

KERNELS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)
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
        if not self.is_local:
            found: Tensor = self.wav2vec.feature_extractor(waveform * self._gain)
            return found.transpose(1, 2)
        # The same layers with channels last: layer normalisation needs them there, and transformers
        # moves them twice per layer. This takes half the time on a CPU.
        x = (waveform * self._gain)[:, None, None]
        x = x.contiguous(memory_format=torch.channels_last)
        for layer in self.wav2vec.feature_extractor.conv_layers:
            kernel = layer.conv.weight[:, :, None].contiguous(memory_format=torch.channels_last)
            x = functional.conv2d(x, kernel, layer.conv.bias, (1, layer.conv.stride[0]))
            normal = layer.layer_norm(x.permute(0, 2, 3, 1))
            x = layer.activation(normal).permute(0, 3, 1, 2)
        return x[:, :, 0].transpose(1, 2)

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


AnyEncoder = SpeechEncoder | LogMelEncoder | WhisperEncoder


def build_encoder(config: Mapping[str, Any]) -> AnyEncoder:
    """Build the encoder for a configuration, whose keys say which one it is.

    Raises:
        ValueError: a key is missing or unknown, or has an invalid value.
    """
    encoder: type[Any] = SpeechEncoder
    if "num_mel" in config:
        encoder = LogMelEncoder
    elif "num_mel_bins" in config:
        encoder = WhisperEncoder
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

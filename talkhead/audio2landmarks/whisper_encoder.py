"""Whisper's encoder, for sound of any length.

`transformers.WhisperModel` only takes windows of exactly 30 s, ten times the length that a training
sample has. This is the same network without that limit.

Source: Radford et al., "Robust speech recognition via large-scale weak supervision" (2022).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.audio2landmarks.speech_features import (
    FIELD_SAMPLES,
    HOP_SAMPLES,
    mel_filters,
    sound_level,
)
from talkhead.networks import Network, register_to_config

MEL_HOP_SAMPLES = 160
AVERAGED_LAYERS = 4
_RANGE = 8.0
"""Powers of ten below the loudest bin that the spectrum keeps."""


class WhisperEncoder(Network):
    """The encoder of a Whisper, whose last layers are averaged.

    The last layer alone is close to text; those before it know more of the mouth.

    Args:
        num_mel_bins: bins of the spectrum.
        hidden_size: width of the transformer.
        num_layers: layers of the transformer.
        num_heads: attention heads.
        feedforward_size: width of the feed-forward layers.
        max_features: longest sound that the transformer sees at once, in features; longer sound is
            encoded in pieces.
        averaged_layers: how many of the last layers are averaged.

    Raises:
        ValueError: the sizes do not make a transformer.
    """

    @register_to_config
    def __init__(
        self,
        num_mel_bins: int,
        hidden_size: int,
        num_layers: int,
        num_heads: int,
        feedforward_size: int,
        max_features: int,
        averaged_layers: int = AVERAGED_LAYERS,
    ) -> None:
        super().__init__()
        if num_heads < 1 or hidden_size % num_heads:
            raise ValueError("hidden_size must be a multiple of num_heads")
        if not 1 <= averaged_layers <= num_layers or max_features < 1:
            raise ValueError(
                "averaged_layers must be from 1 to num_layers, max_features at least 1"
            )
        self.spectrum = _LogMel(num_mel_bins)
        self.conv1 = nn.Conv1d(num_mel_bins, hidden_size, 3, padding=1)
        self.conv2 = nn.Conv1d(hidden_size, hidden_size, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(max_features, hidden_size)
        self.layers = nn.ModuleList(
            _Layer(hidden_size, num_heads, feedforward_size) for _ in range(num_layers)
        )
        self.layer_norm = nn.LayerNorm(hidden_size)
        self.hop_samples, self.field_samples = HOP_SAMPLES, FIELD_SAMPLES

    @property
    def conv_size(self) -> int:
        """Number of channels of the convolutional features."""
        return int(self.config.hidden_size)

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode waveforms; shapes as for `SpeechEncoder`."""
        x = functional.gelu(self.conv1(self.spectrum(waveform)))
        convolved = functional.gelu(self.conv2(x)).transpose(1, 2)
        pieces = torch.split(convolved, int(self.config.max_features), dim=1)
        features = torch.cat([self._encode(piece) for piece in pieces], 1)
        return features, convolved, sound_level(waveform)

    def _encode(self, convolved: Tensor) -> Tensor:
        x = convolved + self.embed_positions.weight[: convolved.shape[1]]
        layers = []
        for layer in self.layers:
            x = layer(x)
            layers.append(x)
        layers[-1] = self.layer_norm(layers[-1])
        mean = torch.stack(layers[-int(self.config.averaged_layers) :]).mean(0)
        return functional.layer_norm(mean, mean.shape[-1:])


class _Layer(nn.Module):
    """A transformer layer; its parts are named as in published files."""

    def __init__(self, hidden_size: int, num_heads: int, feedforward_size: int) -> None:
        super().__init__()
        self.self_attn = _Attention(hidden_size, num_heads)
        self.self_attn_layer_norm = nn.LayerNorm(hidden_size)
        self.fc1 = nn.Linear(hidden_size, feedforward_size)
        self.fc2 = nn.Linear(feedforward_size, hidden_size)
        self.final_layer_norm = nn.LayerNorm(hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        hidden = functional.gelu(self.fc1(self.final_layer_norm(x)))
        return x + torch.as_tensor(self.fc2(hidden))


class _Attention(nn.Module):
    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(hidden_size, hidden_size)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size)
        self.out_proj = nn.Linear(hidden_size, hidden_size)
        self._num_heads = num_heads

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            projection(x).unflatten(-1, (self._num_heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = functional.scaled_dot_product_attention(query, key, value)
        return torch.as_tensor(self.out_proj(attended.transpose(1, 2).flatten(2)))


class _LogMel(nn.Module):
    """Whisper's log-mel spectrum; its frames are centred where speech features are."""

    filters: Tensor

    def __init__(self, num_bins: int) -> None:
        super().__init__()
        self.register_buffer("filters", mel_filters(num_bins, FIELD_SAMPLES), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Map (B, N) to (B, num_bins, T)."""
        window = torch.hann_window(FIELD_SAMPLES, device=waveform.device)
        spectrum = torch.stft(
            waveform.float(),
            FIELD_SAMPLES,
            MEL_HOP_SAMPLES,
            window=window,
            center=False,
            return_complex=True,
        )
        mel = (self.filters @ spectrum.abs().square()).clamp(min=1e-10).log10()
        loudest = mel.amax((1, 2), keepdim=True)
        return (torch.maximum(mel, loudest - _RANGE) + 4) / 4

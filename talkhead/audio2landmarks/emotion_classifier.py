"""Emotion classifier: a small Conformer over log-mel bins, pooled over time.

Source of the blocks: Gulati et al., "Conformer: convolution-augmented transformer for speech
recognition" (2020). The original uses batch normalisation in the convolutions; this version uses
layer normalisation, because the recordings in a batch differ in length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.audio2landmarks.speech_features import FIELD_SAMPLES, HOP_SAMPLES, LogMel
from talkhead.emotions import AS_MEAD, EMOTIONS, VOICE_LABELS
from talkhead.networks import Network, register_to_config

MIN_SAMPLES = 3 * HOP_SAMPLES + FIELD_SAMPLES
"""Shortest recording that can be classified, 85 ms."""


class _FeedForward(nn.Sequential):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )


class ConformerBlock(nn.Module):
    """Half-step feed-forward, attention, convolution, half-step feed-forward, normalisation."""

    def __init__(self, width: int, num_heads: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.first = _FeedForward(width, dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.attention_in = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.conv_norm = nn.LayerNorm(width)
        self.conv_in = nn.Linear(width, 2 * width)
        self.conv = nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2, groups=width)
        self.conv_mid = nn.LayerNorm(width)
        self.conv_out = nn.Linear(width, width)
        self.second = _FeedForward(width, dropout)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, is_sound: Tensor) -> Tensor:
        """Map (B, T, width) to the same shape; `is_sound` (B, T) is False in the padding."""
        x = x + 0.5 * self.first(x)
        x = x + self.dropout(self._attention(self.attention_norm(x), is_sound))
        x = x + self.dropout(self._convolution(self.conv_norm(x), is_sound))
        x = x + 0.5 * self.second(x)
        return self.norm(x)  # type: ignore[no-any-return]

    def _attention(self, x: Tensor, is_sound: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in self.attention_in(x).chunk(3, -1)
        )
        found = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=is_sound[:, None, None]
        )
        return self.attention_out(found.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _convolution(self, x: Tensor, is_sound: Tensor) -> Tensor:
        gated = functional.glu(self.conv_in(x), -1) * is_sound[..., None]
        mixed = self.conv(gated.transpose(1, 2)).transpose(1, 2)
        return self.conv_out(functional.silu(self.conv_mid(mixed)))  # type: ignore[no-any-return]


class EmotionClassifier(Network):
    """Classifies the emotion of a voice into `VOICE_LABELS`.

    The logits are divided by the buffer `temperature` (), which calibrates the probabilities. It is
    fitted on speakers who were not in the training set.

    Args:
        num_mel: number of mel bins.
        width: width of the blocks.
        num_layers: number of blocks.
        num_heads: attention heads.
        kernel_size: kernel size of the convolutions over time, odd.
        dropout: share of features dropped in training.
    """

    temperature: Tensor

    @register_to_config
    def __init__(
        self,
        num_mel: int = 80,
        width: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        kernel_size: int = 15,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if width % num_heads or not kernel_size % 2:
            raise ValueError("width must be a multiple of num_heads, and kernel_size must be odd")
        self.spectrum = LogMel(num_mel)
        self.conv_in = nn.Conv1d(num_mel, width, 5, padding=2)
        self.conv_half = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(
            ConformerBlock(width, num_heads, kernel_size, dropout) for _ in range(num_layers)
        )
        self.head = nn.Linear(2 * width, len(VOICE_LABELS))
        self.drop = nn.Dropout(dropout)
        self.register_buffer("temperature", torch.ones(()))

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Map waveforms to logits.

        Args:
            waveform: (B, N) with N >= MIN_SAMPLES, normalised loudness.
            lengths: (B,), number of samples before the padding, at least MIN_SAMPLES; None for all.

        Returns:
            (B, number of labels); `probabilities` calibrates them.
        """
        mel, is_sound = self.spectrogram(waveform, lengths)
        return self.classify(mel, is_sound)

    def spectrogram(self, waveform: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return log-mel bins (B, T, num_mel) and a mask that is False in the padding (B, T).

        Each bin's mean over the recording is subtracted: it identifies the microphone, not the
        emotion.
        """
        mel = self.spectrum(waveform)
        if lengths is None:
            lengths = torch.full((len(waveform),), waveform.shape[1], device=waveform.device)
        frames = (lengths - FIELD_SAMPLES) // HOP_SAMPLES + 1
        is_sound = torch.arange(mel.shape[1], device=mel.device) < frames[:, None]
        weight = is_sound[..., None].float()
        mean = (mel * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
        return (mel - mean) * weight, is_sound

    def classify(self, mel: Tensor, is_sound: Tensor) -> Tensor:
        """Return the logits for the output of `spectrogram`."""
        x = functional.silu(self.conv_in(mel.transpose(1, 2))) * is_sound[:, None]
        x = functional.silu(self.conv_half(x)).transpose(1, 2)
        is_sound = is_sound[:, ::2]
        for block in self.blocks:
            x = block(x, is_sound)
        weight = is_sound[..., None].to(x.dtype)
        count = weight.sum(1)
        mean = (x * weight).sum(1) / count
        spread = ((x - mean[:, None]).square() * weight).sum(1) / count
        pooled = torch.cat([mean, (spread + 1e-4).sqrt()], -1)
        return self.head(self.drop(pooled))  # type: ignore[no-any-return]

    def probabilities(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the calibrated probability of each label, (B, number of labels)."""
        logits: Tensor = self(waveform, lengths)
        return (logits.float() / self.temperature).softmax(-1)


def mead_probabilities(probabilities: Tensor) -> Tensor:
    """Map the probabilities of the voice labels to MEAD's eight emotions, (..., 9) to (..., 8).

    Calm and bored count as neutral. Contempt, which no corpus contains, gets 0.
    """
    table = torch.zeros(len(VOICE_LABELS), len(EMOTIONS))
    for row, label in enumerate(VOICE_LABELS):
        table[row, EMOTIONS.index(AS_MEAD.get(label, label))] = 1
    return probabilities @ table.to(probabilities)

"""Features of sound, 50 per second: the grid they lie on, log-mel spectrum and sound level."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank

from talkhead.media.rates import SAMPLE_RATE_HZ

HOP_SAMPLES = 320
"""Distance of two features: 20 ms."""
FIELD_SAMPLES = 400
"""Receptive field of one feature: 25 ms."""
NUM_FFT = 512


class LogMel(nn.Module):
    """Log-mel spectrum, one frame per speech feature; mean 0 and spread 1 for speech, roughly."""

    filters: Tensor

    def __init__(self, num_mel: int) -> None:
        super().__init__()
        self.register_buffer("filters", mel_filters(num_mel, NUM_FFT), persistent=False)

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


def mel_filters(num_mel: int, num_fft: int) -> Tensor:
    """Return Slaney's filters for spectra of `num_fft` samples, (num_mel, num_fft // 2 + 1)."""
    filters = mel_filter_bank(
        num_fft // 2 + 1,
        num_mel,
        0.0,
        SAMPLE_RATE_HZ / 2,
        SAMPLE_RATE_HZ,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(filters.T.astype(np.float32))


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

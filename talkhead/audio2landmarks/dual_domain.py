"""Dual-domain generator: a raw-waveform branch and a speech-feature branch, fused by a KAN.

The *global* branch reads the waveform itself, which carries loudness. The *content* branch reads
the features of the speech encoder: each of the 68 points of the identity's face queries them around
the current frame. Two convolutions fuse both branches, and a KAN over the points corrects the whole
face at once.

Source: Vo et al., "KFusion of dual-domain for speech to landmark" (2024), and its use in
"Individual audio-driven talking head generation based on sequence of landmark". The original
attends over the batch and generates one second at a time. This version attends over a window of
time around each frame, so its output does not depend on the length. The original takes the identity
from its true first frame; this version takes it from the mean face and the given proportions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.audio2landmarks.kan import KanLinear
from talkhead.audio2landmarks.speech_encoder import PUBLISHED_GAIN
from talkhead.audio2landmarks.speech_features import resample_features
from talkhead.geometry.mesh import MEAN_FACE, NUM_POINTS, to_ibug68

NUM_IBUG = 68
_KERNELS, _STRIDES = (10, 8, 8, 8), (5, 4, 4, 4)
_PADDING = 172
"""The convolutions span 744 samples, speech features 400; this padding aligns their centres."""
RIDGE = 1e-3
"""Regularisation of the fit from 68 points to the mesh, relative to the mean component energy."""


@dataclass(frozen=True)
class DualDomainConfig:
    """Sizes of the two branches and of the KAN."""

    width: int = 96
    """Width of the content branch."""
    num_heads: int = 4
    num_layers: int = 2
    """Attention layers over time in the content branch, before the points' queries."""
    reach_frames: int = 12
    """Each frame attends to this many frames before and after it."""
    raw_channels: int = 64
    """Channels of the convolutions over the waveform."""
    raw_hidden: int = 68
    """Hidden size of the global branch's LSTM, per direction."""
    kan_size: int = 512
    """Hidden size between the two KAN layers."""


class DualDomain(nn.Module):
    """Two branches, their fusion, and a least-squares fit from 68 points to the motion basis.

    Args:
        config: sizes.
        num_features: number of speech features per frame.
        num_person: number of values that describe the identity and its speaking style.
    """

    view: Tensor
    face: Tensor

    def __init__(self, config: DualDomainConfig, num_features: int, num_person: int) -> None:
        super().__init__()
        self.config = config
        width = config.width
        view = to_ibug68(np.eye(NUM_POINTS, dtype=np.float32))
        face = to_ibug68(MEAN_FACE)
        self.register_buffer("view", torch.from_numpy(view), persistent=False)
        self.register_buffer(
            "face", torch.from_numpy((face - face.mean(0)) / face.std()), persistent=False
        )
        channels = [1, *[config.raw_channels] * len(_KERNELS)]
        self.raw = nn.ModuleList(
            nn.Conv1d(channels[n], channels[n + 1], kernel, stride)
            for n, (kernel, stride) in enumerate(zip(_KERNELS, _STRIDES, strict=True))
        )
        for convolution in self.raw:  # the default would attenuate the signal
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")  # type: ignore[arg-type]
        self.raw_lstm = nn.LSTM(
            config.raw_channels, config.raw_hidden, batch_first=True, bidirectional=True
        )
        self.raw_out = nn.Linear(2 * config.raw_hidden, 3 * NUM_IBUG)
        self.content_in = nn.Linear(num_features, width)
        self.place = nn.Conv1d(width, width, 9, padding=4, groups=width)
        self.layers = nn.ModuleList(_TimeLayer(width, config) for _ in range(config.num_layers))
        self.query_in = nn.Linear(3 + num_person, width)
        self.ask = _TimeLayer(width, config)
        self.content_out = nn.Linear(width, 3)
        self.join = nn.Conv2d(6, 16, 3, padding=1)
        self.joined = nn.Conv2d(16, 3, 1)
        self.kan_in = KanLinear(NUM_IBUG, config.kan_size)
        self.norm = nn.LayerNorm(config.kan_size)
        self.kan_out = KanLinear(config.kan_size, NUM_IBUG)

    def forward(
        self,
        waveform: Tensor,
        features: Tensor,
        positions: Tensor,
        person: Tensor,
        components: Tensor,
        first: int = 0,
    ) -> Tensor:
        """Generate coefficients of the motion basis, (B, F - first, K).

        Args:
            waveform: (B, N), normalised loudness.
            features: (B, F, num_features), speech features of each frame.
            positions: (B, F), positions of the frames, in speech features.
            person: (B, num_person), standardised.
            components: (K, 478, 3), components of the motion basis.
            first: the first frame to generate; those before it are context.
        """
        start = max(first - 1, 0)  # the fusion sees one frame on either side
        from_waveform = self._global(waveform, positions)[:, start:]
        from_features = self._content(features, person, start)
        both = torch.cat([from_waveform, from_features], -1).permute(0, 3, 1, 2)  # (B, 6, F, 68)
        fused = self.joined(functional.relu(self.join(both)))
        fused = fused[:, :, first - start :]
        x = self.norm(self.kan_in(torch.tanh(fused).float()))
        points = self.kan_out(torch.tanh(x)).permute(0, 2, 3, 1)  # (B, F, 68, 3)
        seen = torch.einsum("pn,knc->kpc", self.view, components.float())
        return lift(points.float() * seen.square().sum(0).sqrt(), seen)

    def _global(self, waveform: Tensor, positions: Tensor) -> Tensor:
        x = functional.pad(PUBLISHED_GAIN * waveform, (_PADDING, _PADDING))[:, None]
        # Under bfloat16 with AMX, these convolutions produced a NaN gradient once in 250 steps.
        with torch.autocast(x.device.type, enabled=False):
            for convolution in self.raw:
                x = functional.relu(convolution(x))
        x = resample_features(x.transpose(1, 2), positions)
        hidden, _ = self.raw_lstm(x.float())
        found: Tensor = self.raw_out(hidden)
        return found.reshape(*found.shape[:2], NUM_IBUG, 3)

    def _content(self, features: Tensor, person: Tensor, first: int = 0) -> Tensor:
        x = functional.relu(self.content_in(features))
        x = x + self.place(x.transpose(1, 2)).transpose(1, 2)
        for layer in self.layers:
            x = layer(x, x)
        face = self.face.expand(len(person), -1, -1)
        queries = self.query_in(
            torch.cat([face, person[:, None].expand(-1, NUM_IBUG, -1)], -1)
        )  # (B, 68, width)
        asked = self.ask((x[:, first:, None] + queries[:, None]).flatten(1, 2), x, first)
        found: Tensor = self.content_out(asked)
        return found.reshape(len(found), -1, NUM_IBUG, 3)


class _TimeLayer(nn.Module):
    """Pre-norm attention over a window of time around each frame, then a feed-forward layer."""

    def __init__(self, width: int, config: DualDomainConfig) -> None:
        super().__init__()
        self._reach, self._num_heads = config.reach_frames, config.num_heads
        self.norm_query = nn.LayerNorm(width)
        self.norm_key = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, time: Tensor, first: int = 0) -> Tensor:
        """Attend from x, with P values for each frame from `first` on, to time, (B, F, width).

        x is (B, (F - first) * P, width).
        """
        count, num_frames, _ = time.shape
        width = 2 * self._reach + 1
        size = x.shape[-1]
        query = self.query(self.norm_query(x)).reshape(count, num_frames - first, -1, size)
        key, value = (
            functional.pad(part, (0, 0, self._reach, self._reach)).unfold(1, width, 1)[:, first:].mT
            for part in self.key_value(self.norm_key(time)).chunk(2, -1)
        )  # (B, F - first, 2 reach + 1, size): only the window is computed
        around = torch.arange(num_frames + 2 * self._reach, device=x.device).unfold(0, width, 1)[
            first:
        ]
        there = (around >= self._reach) & (around < num_frames + self._reach)
        query, key, value = map(self._in_heads, (query, key, value))
        found = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=there[:, None, None]
        )
        x = x + self.out(found.transpose(2, 3).reshape(count, -1, size))
        grown: Tensor = x + self.narrow(functional.relu(self.wide(self.norm(x))))
        return grown

    def _in_heads(self, x: Tensor) -> Tensor:
        """Split (B, F, T, width) into (B, F, heads, T, width / heads)."""
        return x.reshape(*x.shape[:3], self._num_heads, -1).transpose(2, 3)


def lift(points: Tensor, components: Tensor) -> Tensor:
    """Return the coefficients whose motion of the 68 points is closest to the given one.

    Args:
        points: (..., 68, 3), motion of the points.
        components: (K, 68, 3), displacement of the points per unit of each coefficient.

    Returns:
        (..., K).
    """
    flat = components.flatten(1)
    gram = flat @ flat.T
    size = len(gram)
    steady = gram + RIDGE * gram.diagonal().mean() * torch.eye(size, device=gram.device)
    found: Tensor = torch.linalg.solve(steady, flat @ points.reshape(-1, flat.shape[1]).T)
    return found.T.reshape(*points.shape[:-2], size)

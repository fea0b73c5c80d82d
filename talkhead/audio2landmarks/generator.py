"""Landmark generator: speech features to motion coefficients.

The motion comes from a bidirectional LSTM, from the dual-domain generator of
`talkhead.audio2landmarks.dual_domain`, or from a mix of both. The mix has a smaller mean error than
either alone: one sees only the speech features, the other also the raw waveform with its breaths.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.audio2landmarks.dual_domain import TINY as DUAL_TINY
from talkhead.audio2landmarks.dual_domain import DualDomain, DualDomainConfig
from talkhead.audio2landmarks.idle_motion import HEAD_AXES
from talkhead.audio2landmarks.speech_encoder import COMPACT as SPEECH_COMPACT
from talkhead.audio2landmarks.speech_encoder import TINY as SPEECH_TINY
from talkhead.audio2landmarks.speech_encoder import (
    AnySpeechConfig,
    build_encoder,
    resample_features,
)
from talkhead.geometry.mesh import NUM_POINTS

NUM_STYLE = 4
NUM_SHAPE = 4
MAX_SHAPE = 1.5
"""Limit of the proportions in standard deviations. A single frame measures them poorly, and faces
unlike those of the training clips should not get lip motion unlike theirs."""


@dataclass(frozen=True)
class LandmarkGeneratorConfig:
    """Sizes of the generator and of the speech encoder inside it."""

    speech: AnySpeechConfig
    num_components: int
    """Components of the motion basis."""
    reads: int
    """Speech features read per video frame, one feature apart; 2 span a frame at 25 fps."""
    hidden_size: int
    """Hidden size of the LSTM, per direction."""
    num_layers: int
    dropout: float
    dual: DualDomainConfig | None = None
    """Replaces the LSTM (whose sizes are then unused) with raw waveform and features, fused by a
    KAN."""
    dual_share: float | None = None
    """Keeps the LSTM alongside `dual`. The share of `dual` in each component, from 0 to 1, starts
    at this value and is learnt."""

    @property
    def has_lstm(self) -> bool:
        """Whether the generator has an LSTM, alone or alongside `dual`."""
        return self.dual is None or self.dual_share is not None


COMPACT = LandmarkGeneratorConfig(
    speech=SPEECH_COMPACT, num_components=16, reads=2, hidden_size=192, num_layers=2, dropout=0.2
)
TINY = LandmarkGeneratorConfig(
    speech=SPEECH_TINY, num_components=4, reads=2, hidden_size=16, num_layers=1, dropout=0.0
)

DUAL = replace(TINY, dual=DUAL_TINY)
BOTH = replace(DUAL, dual_share=0.5)


class LandmarkGenerator(nn.Module):
    """Speech encoder, LSTM or dual-domain generator, and the motion basis of their coefficients.

    Raises:
        ValueError: `dual_share` is set without `dual`, or is not in [0, 1].

    Buffers: `components` (K, 478, 3) and `blink` (478, 3) of the basis; `head` (2, 5, 5), the slow
    and the fast factor of the head motion, and `head_pace` (3,), both of its paces and the share in
    pauses (`talkhead.audio2landmarks.idle_motion.HeadStyle`); `style` (4,), the default speaking
    style; `shape_mean` and `shape_spread` (4,), statistics of the proportions over the training
    speakers.
    """

    components: Tensor
    blink: Tensor
    head: Tensor
    head_pace: Tensor
    style: Tensor
    shape_mean: Tensor
    shape_spread: Tensor

    def __init__(self, config: LandmarkGeneratorConfig) -> None:
        super().__init__()
        share = config.dual_share
        if share is not None and (config.dual is None or not 0 <= share <= 1):
            raise ValueError(f"dual_share {share} needs dual, and must be from 0 to 1")
        self.config = config
        self.speech = build_encoder(config.speech)
        hidden = config.hidden_size
        num_features = config.reads * (config.speech.hidden_size + 1)
        if config.dual is not None:
            self.dual = DualDomain(config.dual, num_features, NUM_STYLE + NUM_SHAPE)
        if config.has_lstm:
            self.project = nn.Linear(num_features, hidden)
            self.condition = nn.Linear(NUM_STYLE + NUM_SHAPE, hidden)
            self.lstm = nn.LSTM(
                hidden,
                hidden,
                config.num_layers,
                batch_first=True,
                bidirectional=True,
                dropout=config.dropout if config.num_layers > 1 else 0.0,
            )
            self.out = nn.Linear(2 * hidden, config.num_components)
        if share is not None:
            self.shares = nn.Parameter(torch.full((config.num_components,), share))
        self.dropout = nn.Dropout(config.dropout)
        self.register_buffer("components", torch.zeros(config.num_components, NUM_POINTS, 3))
        self.register_buffer("blink", torch.zeros(NUM_POINTS, 3))
        self.register_buffer("head", torch.zeros(2, HEAD_AXES, HEAD_AXES))
        self.register_buffer("head_pace", torch.ones(3))
        self.register_buffer("style", torch.zeros(NUM_STYLE))
        self.register_buffer("shape_mean", torch.zeros(NUM_SHAPE))
        self.register_buffer("shape_spread", torch.ones(NUM_SHAPE))

    def forward(
        self, waveform: Tensor, positions: Tensor, style: Tensor, shape: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Generate motion.

        Args:
            waveform: (B, N), normalised loudness.
            positions: (B, F), feature positions of the video frames.
            style: (B, 4), how wide and how lively the mouth moves, in standard deviations over
                people.
            shape: (B, 4), proportions of the identity's mouth and jaw; see
                `talkhead.geometry.motion_basis.proportions`.

        Returns:
            Coefficients (B, F, K) in standard deviations, and the features of the convolutions
            (B, T, C), which training needs.
        """
        features, conv_features, level = self.speech(waveform)
        joined = torch.cat([features, level[..., None].to(features.dtype)], -1)
        around = torch.arange(self.config.reads, device=positions.device)
        around = around - (self.config.reads - 1) / 2
        read = [resample_features(joined, positions + offset) for offset in around]
        heard = self.dropout(torch.cat(read, -1))
        standard = (shape - self.shape_mean) / self.shape_spread
        person = torch.cat([style, standard.clamp(-MAX_SHAPE, MAX_SHAPE)], -1)
        made: list[Tensor] = []
        if self.config.has_lstm:
            x = self.project(heard)
            x = functional.relu(x + self.condition(person)[:, None])
            hidden, _ = self.lstm(x.float())
            made.append(self.out(self.dropout(hidden)).float())
        if self.config.dual is not None:
            made.append(self.dual(waveform, heard, positions, person, self.components))
        coefficients = made[0]
        if self.config.dual_share is not None:
            coefficients = torch.lerp(made[0], made[1], self.shares)
        return coefficients, conv_features

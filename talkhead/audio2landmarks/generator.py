"""Landmark generator: speech features to motion coefficients.

The motion comes from a bidirectional LSTM, from the dual-domain generator of
`talkhead.audio2landmarks.dual_domain`, or from a mix of both. The mix has a smaller mean error than
either alone: one sees only the speech features, the other also the raw waveform with its breaths.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.audio2landmarks.dual_domain import DualDomain, DualDomainConfig
from talkhead.audio2landmarks.idle_motion import HEAD_AXES, HeadStyle
from talkhead.audio2landmarks.speech_encoder import build_encoder
from talkhead.audio2landmarks.speech_features import (
    FIELD_SAMPLES,
    HOP_SAMPLES,
    frame_positions,
    resample_features,
)
from talkhead.errors import WeightsError
from talkhead.geometry.mesh import NUM_POINTS
from talkhead.geometry.motion_basis import MotionBasis
from talkhead.networks import Network, public_config, register_to_config

NUM_STYLE = 4
NUM_SHAPE = 4
MAX_SHAPE = 1.5
"""Limit of the proportions in standard deviations. A single frame measures them poorly, and faces
unlike those of the training clips should not get lip motion unlike theirs."""


class LandmarkGenerator(Network):
    """Speech encoder, LSTM or dual-domain generator, and the motion basis of their coefficients.

    Args:
        speech_encoder: the arguments of `SpeechEncoder`, `LogMelEncoder` or `WhisperEncoder`;
            None for the defaults of the first.
        num_components: components of the motion basis.
        num_features: speech features read per video frame, one feature apart; 2 span a frame at
            25 fps.
        hidden_size: hidden size of the LSTM, per direction.
        num_layers: layers of the LSTM.
        dropout: share of features dropped in training.
        dual_domain: the fields of `DualDomainConfig`. Replaces the LSTM (whose sizes are then
            unused) with raw waveform and features, fused by a KAN.
        dual_share: keeps the LSTM alongside the dual-domain generator. The share of the latter in
            each component, from 0 to 1, starts at this value and is learnt.

    Raises:
        ValueError: `dual_share` is set without `dual_domain`, or is not in [0, 1]; or the
            dual-domain generator, which reads 50 features per second, gets another encoder.

    Buffers: `components` (K, 478, 3) and `blink` (478, 3) of the basis; `head` (2, 5, 5), the slow
    and the fast factor of the head motion, and `head_pace` (3,), both of its paces and the share in
    pauses (`talkhead.audio2landmarks.idle_motion.HeadStyle`); `style` (4,), the default speaking
    style; `shape_mean` and `shape_spread` (4,), statistics of the proportions over the training
    speakers.
    """

    nested_configs: ClassVar[Mapping[str, Any]] = {"dual_domain": DualDomainConfig | None}

    components: Tensor
    blink: Tensor
    head: Tensor
    head_pace: Tensor
    style: Tensor
    shape_mean: Tensor
    shape_spread: Tensor

    @register_to_config
    def __init__(
        self,
        speech_encoder: dict[str, Any] | None = None,
        num_components: int = 16,
        num_features: int = 2,
        hidden_size: int = 192,
        num_layers: int = 2,
        dropout: float = 0.2,
        dual_domain: dict[str, Any] | None = None,
        dual_share: float | None = None,
    ) -> None:
        super().__init__()
        if dual_share is not None and (dual_domain is None or not 0 <= dual_share <= 1):
            raise ValueError(f"dual_share {dual_share} needs dual_domain, and must be from 0 to 1")
        self.speech = build_encoder(speech_encoder or {})
        self.register_to_config(speech_encoder=public_config(self.speech))
        own_rate = (self.speech.hop_samples, self.speech.field_samples) == (
            HOP_SAMPLES,
            FIELD_SAMPLES,
        )
        if dual_domain is not None and not own_rate:
            raise ValueError("dual_domain needs a speech encoder with 50 features per second")
        size = num_features * (int(self.speech.config.hidden_size) + 1)
        if dual_domain is not None:
            dual = DualDomainConfig(**dual_domain)
            self.register_to_config(dual_domain=asdict(dual))
            self.dual = DualDomain(dual, size, NUM_STYLE + NUM_SHAPE)
        if self.has_lstm:
            self.project = nn.Linear(size, hidden_size)
            self.condition = nn.Linear(NUM_STYLE + NUM_SHAPE, hidden_size)
            self.lstm = nn.LSTM(
                hidden_size,
                hidden_size,
                num_layers,
                batch_first=True,
                bidirectional=True,
                dropout=dropout if num_layers > 1 else 0.0,
            )
            self.out = nn.Linear(2 * hidden_size, num_components)
        if dual_share is not None:
            self.shares = nn.Parameter(torch.full((num_components,), dual_share))
        self.drop = nn.Dropout(dropout)
        self.register_buffer("components", torch.zeros(num_components, NUM_POINTS, 3))
        self.register_buffer("blink", torch.zeros(NUM_POINTS, 3))
        self.register_buffer("head", torch.zeros(2, HEAD_AXES, HEAD_AXES))
        self.register_buffer("head_pace", torch.ones(3))
        self.register_buffer("style", torch.zeros(NUM_STYLE))
        self.register_buffer("shape_mean", torch.zeros(NUM_SHAPE))
        self.register_buffer("shape_spread", torch.ones(NUM_SHAPE))

    @property
    def has_lstm(self) -> bool:
        """Whether the generator has an LSTM, alone or alongside the dual-domain generator."""
        return self.config.dual_domain is None or self.config.dual_share is not None

    def dual_domain_alone(self) -> LandmarkGenerator:
        """Return a copy whose motion comes from the dual-domain generator alone.

        Raises:
            WeightsError: it has no dual-domain generator.
        """
        if self.config.dual_domain is None:
            raise WeightsError("the landmark generator has no dual-domain part to use alone")
        alone = copy.deepcopy(self)
        if self.config.dual_share is not None:
            with torch.no_grad():
                alone.shares.fill_(1)
        return alone

    def motion_basis(self) -> MotionBasis:
        """Return the motion basis."""
        components, blink = self.components.float().cpu(), self.blink.float().cpu()
        return MotionBasis(components.numpy(), blink.numpy())

    def head_style(self) -> HeadStyle:
        """Return the head motion statistics of the training clips."""
        slow, fast = self.head.float().cpu().numpy()
        return HeadStyle(slow, fast, *self.head_pace.float().tolist())

    def frame_positions(self, num_frames: int, rate_hz: float, lead_s: float) -> Tensor:
        """Return the positions of video frames in the encoder's features, (F,).

        See `talkhead.audio2landmarks.speech_features.frame_positions`.
        """
        encoder = self.speech
        return frame_positions(
            num_frames, rate_hz, lead_s, encoder.field_samples, encoder.hop_samples
        )

    def forward(
        self,
        waveform: Tensor,
        positions: Tensor,
        style: Tensor,
        shape: Tensor,
        first: int = 0,
        convolved: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Generate motion.

        Args:
            waveform: (B, N), normalised loudness.
            positions: (B, F), feature positions of the video frames.
            style: (B, 4), how wide and how lively the mouth moves, in standard deviations over
                people.
            shape: (B, 4), proportions of the identity's mouth and jaw; see
                `talkhead.geometry.motion_basis.proportions`.
            first: the first frame to return. Those before it are context, which costs less.
            convolved: what `SpeechEncoder.convolve` gives for the waveform, where it is known.

        Returns:
            Coefficients (B, F - first, K) in standard deviations, and the features of the
            convolutions (B, T, C), which training needs.
        """
        known = () if convolved is None else (convolved,)
        features, conv_features, level = self.speech(waveform, *known)
        coefficients = self.animate(waveform, features, level, positions, style, shape, first=first)
        return coefficients, conv_features

    def animate(
        self,
        waveform: Tensor,
        features: Tensor,
        level: Tensor,
        positions: Tensor,
        style: Tensor,
        shape: Tensor,
        *,
        first: int = 0,
    ) -> Tensor:
        """Generate motion from the output of the speech encoder.

        Args:
            waveform: (B, N), the one that was encoded.
            features: (B, T, hidden size), of the encoder.
            level: (B, T), sound level.
            positions: as for `forward`, like the rest.
            style: (B, 4).
            shape: (B, 4).
            first: the first frame to return.

        Returns:
            Coefficients (B, F - first, K) in standard deviations.
        """
        joined = torch.cat([features, level[..., None].to(features.dtype)], -1)
        around = torch.arange(self.config.num_features, device=positions.device)
        around = around - (self.config.num_features - 1) / 2
        read = [resample_features(joined, positions + offset) for offset in around]
        content = self.drop(torch.cat(read, -1))
        standard = (shape - self.shape_mean) / self.shape_spread
        person = torch.cat([style, standard.clamp(-MAX_SHAPE, MAX_SHAPE)], -1)
        generated: list[Tensor] = []
        if self.has_lstm:
            x = self.project(content)
            x = functional.relu(x + self.condition(person)[:, None])
            hidden, _ = self.lstm(x.float())
            generated.append(self.out(self.drop(hidden[:, first:])).float())
        if self.config.dual_domain is not None:
            generated.append(
                self.dual(waveform, content, positions, person, self.components, first)
            )
        coefficients = generated[0]
        if self.config.dual_share is not None:
            coefficients = torch.lerp(generated[0], generated[1], self.shares)
        return coefficients

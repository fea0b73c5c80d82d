"""Adapt the landmark generator to how one person speaks: its last layer, by ridge regression.

The features that the last layer reads stay as they are, so a minute of speech is enough, and what
the generator knows about sounds is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from talkhead.audio2landmarks.audio2motion import generate_motion
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.data.av_sync import best_lag
from talkhead.data.one_person import PersonClip
from talkhead.data.selection import MIN_AGREEMENT, teaches_lips
from talkhead.geometry.motion_basis import opening_direction
from talkhead.training.landmark_samples import talking_clip

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

RIDGES = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Weights of a change of the last layer, relative to the mean power of its inputs; the one that
predicts the end of each clip best is chosen."""
MIN_FRAMES = 300
"""With less speech, nothing is fitted."""
FITTED_SHARE = 0.8
"""Share of each clip to fit to while the ridge is chosen."""
MIN_CORRELATION = 0.5
"""A prediction is amplified by at most the inverse of this, to move as far as the person does."""
MIN_SHARE = 0.2
"""Components of which the LSTM has a smaller share are corrected in part."""


@dataclass(frozen=True)
class SpokenClip:
    """What the last layer reads and the generator predicts, and what the person did.

    Attributes:
        features: (T, D).
        motion: (T, K), predicted coefficients.
        truth: (T, K), tracked ones.
        opening: (T,), tracked opening of the lips.
    """

    features: Floats
    motion: Floats
    truth: Floats
    opening: Floats

    def __getitem__(self, frames: slice) -> SpokenClip:
        return SpokenClip(
            self.features[frames], self.motion[frames], self.truth[frames], self.opening[frames]
        )


@dataclass(frozen=True)
class LayerChange:
    """A change of the last layer: of its weight, (D, K), and of its bias, (K,)."""

    weight: Doubles
    bias: Doubles
    shares: Floats
    """(K,), how much of it reaches the motion."""

    def moved(self, clip: SpokenClip) -> Floats:
        """Return the motion that a clip would have, (T, K)."""
        change = (clip.features @ self.weight + self.bias) * self.shares
        return np.asarray(clip.motion + change, np.float32)

    @torch.no_grad()
    def apply(self, generator: LandmarkGenerator) -> None:
        """Change the generator."""
        layer = generator.out
        layer.weight.add_(torch.from_numpy(self.weight.T).to(layer.weight))
        layer.bias.add_(torch.from_numpy(self.bias).to(layer.bias))


def spoken_clips(generator: LandmarkGenerator, parts: Sequence[PersonClip]) -> list[SpokenClip]:
    """Run a generator with an LSTM on the clips whose sound belongs to the lips.

    Measured lags are taken out.
    """
    seen: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0][0].float().cpu())

    found = []
    hook = generator.out.register_forward_pre_hook(keep)
    try:
        for part in parts:
            if not teaches_lips(part.info, MIN_AGREEMENT):
                continue
            clip = talking_clip(part.clip, part.info, generator.motion_basis(), True)
            rate, count = float(Fraction(part.info.fps)), len(clip.coefficients)
            motion = generate_motion(generator, clip.waveform, count, rate, clip.shape)
            # The picture is late by so many frames.
            late, early = max(clip.lag, 0), max(-clip.lag, 0)
            picture, sound = slice(late, count - early), slice(early, count - late)
            found.append(
                SpokenClip(
                    seen[-1].numpy()[sound],
                    motion[sound],
                    clip.coefficients[picture],
                    clip.mouth[picture, 0],
                )
            )
    finally:
        hook.remove()
    return found


def opening_correlation(
    generator: LandmarkGenerator, clips: Sequence[SpokenClip], change: LayerChange | None = None
) -> float | None:
    """Return the correlation of predicted and tracked opening, the mean over frames of clips.

    None if there is nothing to correlate.
    """
    direction = opening_direction(generator.motion_basis().components)
    total, count = 0.0, 0
    for clip in clips:
        motion = clip.motion if change is None else change.moved(clip)
        if len(motion) >= 10:
            correlation = best_lag(clip.opening, motion @ direction, 0, detrend_frames=None)[1]
            total, count = total + len(motion) * correlation, count + len(motion)
    return total / count if count else None


def fit_speaking_style(
    generator: LandmarkGenerator, clips: Sequence[SpokenClip]
) -> LayerChange | None:
    """Fit a change of the last layer to a person.

    Args:
        generator: what predicted the clips' motion.
        clips: the person's.

    Returns:
        The change; None if there is too little speech, or if no change predicts the ends of the
        clips at least as well as the generator does.
    """
    if sum(len(clip.truth) for clip in clips) < MIN_FRAMES:
        return None
    shares = np.ones(clips[0].motion.shape[1], np.float32)
    if generator.config.dual_share is not None:
        shares = np.asarray(1 - generator.shares.detach().float().cpu().numpy(), np.float32)
    starts = [clip[: round(len(clip.truth) * FITTED_SHARE)] for clip in clips]
    ends = [clip[round(len(clip.truth) * FITTED_SHARE) :] for clip in clips]
    best, best_score = None, opening_correlation(generator, ends)
    for ridge in RIDGES:
        score = opening_correlation(generator, ends, _fit(starts, shares, ridge))
        if score is not None and best_score is not None and score >= best_score:
            best, best_score = ridge, score
    return None if best is None else _fit(clips, shares, best)


def _fit(clips: Sequence[SpokenClip], shares: Floats, ridge: float) -> LayerChange:
    """Fit the change for one ridge.

    Least squares would answer what the sound leaves open with less motion. The truth is therefore
    amplified, so that the prediction moves as far as the person does.
    """
    features, motion, truth = (
        np.concatenate([getattr(clip, name) for clip in clips]).astype(np.float64)
        for name in ("features", "motion", "truth")
    )
    centre = features.mean(0)
    shifted = features - centre
    gram = shifted.T @ shifted / len(shifted)
    gram[np.diag_indices_from(gram)] += ridge * gram.diagonal().mean() + 1e-9
    motion, truth = motion - motion.mean(0), truth - truth.mean(0)

    def solve(goal: Doubles) -> Doubles:
        return np.asarray(np.linalg.solve(gram, shifted.T @ (goal - motion) / len(shifted)))

    fitted = motion + shifted @ solve(truth)
    spread = np.sqrt(np.square(fitted).mean(0) * np.square(truth).mean(0)) + 1e-9
    correlation = np.maximum((fitted * truth).mean(0) / spread, MIN_CORRELATION)
    weight = solve(truth / correlation) / np.maximum(shares, MIN_SHARE)
    return LayerChange(weight, -centre @ weight, shares)

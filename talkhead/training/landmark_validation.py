"""Validation of the task `landmarks`: scores and curves of the mouth's opening."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from talkhead.audio2landmarks.audio2motion import generate_motion
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.data.av_sync import best_lag
from talkhead.training.landmark_loss import mouth_directions
from talkhead.training.landmark_samples import TalkingClip

Floats = npt.NDArray[np.float32]

_ROW_PX = 110
_MAX_FRAMES = 180


def score_clip(generator: LandmarkGenerator, clip: TalkingClip, rate_hz: float) -> dict[str, float]:
    """Correlate generated and measured opening and width, at the best lag and at lag 0."""
    generated = generate_clip(generator, clip, rate_hz)
    directions = _directions(generator)
    opening, width = (generated @ direction for direction in directions)
    true_opening = clip.coefficients @ directions[0]
    seen_opening, seen_width = clip.mouth.T
    return {
        "opening_best": best_lag(seen_opening, opening, detrend_frames=None)[1],
        "opening_lag0": best_lag(seen_opening, opening, 0, detrend_frames=None)[1],
        "width_best": best_lag(seen_width, width, detrend_frames=None)[1],
        "opening_size": float(opening.std() / max(true_opening.std(), 1e-6)),
    }


def draw_curves(
    generator: LandmarkGenerator, clips: Sequence[TalkingClip], rate_hz: float
) -> npt.NDArray[np.uint8] | None:
    """Return curves of the opening: truth in black, generated motion in red."""
    if not clips:
        return None
    direction, _ = _directions(generator)
    picture = np.full((_ROW_PX * len(clips), 750, 3), 255, np.uint8)
    for row, clip in enumerate(clips):
        generated = generate_clip(generator, clip, rate_hz)
        pair = clip.coefficients @ direction, generated @ direction
        low = min(values.min() for values in pair)
        high = max(values.max() for values in pair)
        for values, colour in zip(pair, ((0, 0, 0), (220, 30, 30)), strict=True):
            x = np.linspace(0, len(values) - 1, 4 * min(len(values), _MAX_FRAMES))
            x = x.clip(0, _MAX_FRAMES)
            y = np.interp(x, np.arange(len(values)), values)
            line = _ROW_PX * row + 5 + (100 * (high - y) / (high - low + 1e-6)).astype(int)
            picture[line, (4 * x).astype(int)] = colour
    return picture


def generate_clip(generator: LandmarkGenerator, clip: TalkingClip, rate_hz: float) -> Floats:
    """Generate a whole clip's coefficients in the default style, (T, K)."""
    return generate_motion(generator, clip.waveform, len(clip.coefficients), rate_hz, clip.shape)


def _directions(generator: LandmarkGenerator) -> tuple[Floats, Floats]:
    opening, width = mouth_directions(generator.components.detach().cpu())
    return opening.numpy(), width.numpy()

"""The base rates, defined once, and exact conversion between seconds and frames."""

from __future__ import annotations

import math
from fractions import Fraction

from talkhead.errors import TalkheadError

SAMPLE_RATE_HZ = 16_000
DEFAULT_FPS = Fraction(25)
MIN_FPS = Fraction(1)
MAX_FPS = Fraction(120)

# The usual decimal spellings of the NTSC rates, which are multiples of 1000/1001.
_NTSC_FPS = {
    "23.976": Fraction(24_000, 1001),
    "23.98": Fraction(24_000, 1001),
    "29.97": Fraction(30_000, 1001),
    "59.94": Fraction(60_000, 1001),
    "119.88": Fraction(120_000, 1001),
}


def parse_fps(text: str) -> Fraction:
    """Parse a frame rate: ``25``, ``30000/1001`` or ``29.97`` (which means 30000/1001).

    Raises:
        TalkheadError: the text is not a number, or not between 1 and 120 frames per second.
    """
    advice = "give a number from 1 to 120, such as 25, 29.97 or 30000/1001"
    try:
        fps = _NTSC_FPS.get(text.strip()) or Fraction(text.strip()).limit_denominator(100_000)
    except (ValueError, ZeroDivisionError):
        raise TalkheadError(f"frame rate {text!r} is not a number; {advice}") from None
    if not MIN_FPS <= fps <= MAX_FPS:
        raise TalkheadError(f"frame rate {text!r} is out of range; {advice}")
    return fps


def num_frames(duration_s: Fraction, fps: Fraction) -> int:
    """Return the number of frames that cover a duration: ceil(duration_s * fps), exactly."""
    return math.ceil(duration_s * fps)

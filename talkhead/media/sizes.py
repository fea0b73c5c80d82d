"""Size limits for pictures, and so for everything made from them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from talkhead.errors import TalkheadError
from talkhead.limits import MAX_SCALED_SIDE_PX, MAX_VIDEO_PIXELS, MIN_SIDE_PX


@dataclass(frozen=True)
class SizeLimit:
    """A size that larger pictures are scaled down to fit.

    The default, 3840 x 2160 in either orientation, is level 5.1 of H.264 up to 30 frames per second
    and 5.2 up to 60, which phones play.
    """

    side_px: int
    """Limit for the longer side."""
    num_pixels: int

    @classmethod
    def parse(cls, text: str) -> SizeLimit:
        """Parse a limit: `1280` for the longer side alone, or `1280x720` for the pixel count too.

        Raises:
            TalkheadError: the text has another form, or a side is below 64 or above 8192.
        """
        match = re.fullmatch(r"([0-9]{1,5})(?:[xX]([0-9]{1,5}))?", text.strip())
        sides = [int(side) for side in match.groups() if side] if match else [0]
        if not all(MIN_SIDE_PX <= side <= MAX_SCALED_SIDE_PX for side in sides):
            raise TalkheadError(
                f"max-size must be WxH or the longer side in pixels, from {MIN_SIDE_PX} to"
                f" {MAX_SCALED_SIDE_PX}, not {text!r}"
            )
        return cls(max(sides), math.prod(sides) if len(sides) == 2 else MAX_VIDEO_PIXELS)

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """Return the size to scale a picture down to, or its own size if that fits."""
        pixels = min(self.num_pixels, MAX_VIDEO_PIXELS)
        scale = min(1.0, self.side_px / max(width, height), math.sqrt(pixels / (width * height)))
        if scale == 1.0:
            return width, height
        wide, high = max(1, round(width * scale)), max(1, round(height * scale))
        if wide * high > pixels:  # both were rounded up
            wide, high = int(width * scale), int(height * scale)
        return wide, high


DEFAULT_SIZE = "3840x2160"
DEFAULT_LIMIT = SizeLimit.parse(DEFAULT_SIZE)


def scaled_note(name: object, original: tuple[int, int], size: tuple[int, int]) -> str | None:
    """Return a note that a picture was scaled down, or None if it was not."""
    if original == size:
        return None
    return (
        f"{name} is scaled down from {original[0]} x {original[1]} to {size[0]} x {size[1]} px"
        " (max-size sets the limit)"
    )

"""Detect cuts in a video, and distinguish them from motion and flashes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.float32]
Frames = npt.NDArray[np.uint8]

THUMBNAIL_SIDE_PX = 32
CUT_DIFFERENCE = 16.0
"""Minimum mean change of pixel values at a cut, out of 255."""
CUT_RATIO = 4.0
"""A cut changes the picture this many times more than the frames before it."""
CUT_MEMORY = 8
FLASH_FRAMES = 6
"""A change undone within this many frames is a flash, not a cut; these frames wait in memory."""
LIKE_CORRELATION = 0.85
"""Pictures with a higher correlation show the same scene, regardless of the lighting."""


class CutFinder:
    """Finds the first frame of each shot, one frame at a time."""

    def __init__(self) -> None:
        self._before: Floats | None = None
        self._changes: deque[float] = deque(maxlen=CUT_MEMORY)

    def is_cut(self, frame: Frames) -> bool:
        """Return whether a frame, uint8 (H, W, 3), starts a shot; the first frame does."""
        now = thumbnail(frame)
        before, self._before = self._before, now
        if before is None:
            return True
        change = _change(before, now)
        usual = float(np.mean(self._changes)) if self._changes else 0.0
        if change > CUT_DIFFERENCE and change > CUT_RATIO * usual:
            self._changes.clear()
            return True
        self._changes.append(change)
        return False

    def find(self, frames: Iterable[Frames]) -> Iterator[tuple[Frames, bool]]:
        """Yield frames, and whether each starts a shot; flashes do not count.

        At a sudden change, up to `FLASH_FRAMES` frames are read ahead.
        """
        source, ahead = iter(frames), deque[Frames]()
        while True:
            frame = ahead.popleft() if ahead else next(source, None)
            if frame is None:
                return
            before = self._before
            is_cut = self.is_cut(frame)
            if is_cut and before is not None:
                while len(ahead) < FLASH_FRAMES and (later := next(source, None)) is not None:
                    ahead.append(later)
                flash = self._flash_length(before, frame, ahead)
                if flash:
                    self._before = before
                    yield frame, False
                    for _ in range(flash - 1):
                        yield ahead.popleft(), False
                    continue
            yield frame, is_cut

    def _flash_length(self, before: Floats, frame: Frames, ahead: Iterable[Frames]) -> int:
        """Return the number of frames until the old picture returns; 0 if it does not."""
        change = _change(before, thumbnail(frame))
        for count, later in enumerate(ahead, start=1):
            if _change(before, thumbnail(later)) < min(CUT_DIFFERENCE, change / 2):
                return count
        return 0


def thumbnail(frame: Frames) -> Floats:
    """Return a small copy for comparing pictures: float32 (32, 32, 3), 0 to 255."""
    side = (THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX)
    small = Image.fromarray(frame).resize(side, Image.Resampling.BOX)
    return np.asarray(small, np.float32)


def shows_same_scene(one: Floats, other: Floats) -> bool:
    """Return whether two thumbnails show the same scene, regardless of the lighting."""
    a, b = (thumb - thumb.mean((0, 1)) for thumb in (one, other))
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return norm > 0 and float((a * b).sum()) / norm > LIKE_CORRELATION


def _change(before: Floats, after: Floats) -> float:
    return float(np.abs(after - before).mean())

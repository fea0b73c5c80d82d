"""Pictures and videos of several people, all made from `examples/face.png`."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from talkhead.media.video import VideoWriter

Pixels = npt.NDArray[np.uint8]
FACE_PX = 110
"""Height of the face in the picture; including the ears it is about as wide."""
WALL = (120, 130, 140)
BLUE = (0.7, 0.85, 1.2)


def head(
    side: int, tint: tuple[float, float, float] = (1, 1, 1), *, mirrored: bool = False
) -> Pixels:
    """Return head and shoulders with a face `side` px high."""
    with Image.open(Path(__file__).parents[1] / "examples/face.png") as picture:
        part = picture.convert("RGB").crop((62, 0, 400, 318))
    scale = side / FACE_PX
    part = part.resize((round(part.width * scale), round(part.height * scale)))
    pixels = np.clip(np.asarray(part) * np.array(tint), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels


def room(
    size: tuple[int, int],
    *people: tuple[Pixels, int, int],
    wall: tuple[int, int, int] = WALL,
) -> Pixels:
    """Place people in front of a wall, each centred at (x, y); `size` is (W, H)."""
    picture = np.full((size[1], size[0], 3), wall, np.uint8)
    for pixels, x, y in people:
        left, top = x - pixels.shape[1] // 2, y - pixels.shape[0] // 2
        inside = picture[max(0, top) : top + pixels.shape[0], max(0, left) : left + pixels.shape[1]]
        part = pixels[max(0, -top) :, max(0, -left) :]
        inside[...] = part[: inside.shape[0], : inside.shape[1]]
    return picture


def film(path: Path, frames: Iterable[Pixels], fps: int = 25) -> Path:
    """Write a video."""
    stack = np.stack(list(frames))
    size = (stack.shape[2], stack.shape[1])
    with VideoWriter(path, size=size, fps=Fraction(fps), sound=None, crf=12) as writer:
        writer.write(stack)
    return path

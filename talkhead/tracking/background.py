"""Replace the background of a picture or a video: transparent, a colour, or another picture."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from talkhead.errors import TalkheadError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from talkhead.tracking.cutout import PersonCutter

    Pixels = npt.NDArray[np.uint8]
    Frames = Generator[Pixels, None, None]

TRANSPARENT = "transparent"


@dataclass(frozen=True, eq=False)
class Backdrop:
    """What people stand in front of.

    Attributes:
        pixels: uint8 (H, W, 3); None leaves the frames transparent.
        alpha: uint8 (H, W), the picture's own transparency; None to look for people.
    """

    pixels: Pixels | None
    alpha: Pixels | None = None


def check_background(text: str) -> Path | tuple[int, int, int] | None:
    """Return a background: None for a transparent one, a colour (R, G, B), or a picture's path.

    Raises:
        TalkheadError: the text is none of them.
    """
    from PIL import ImageColor

    from talkhead.media.files import check_input

    if text == TRANSPARENT:
        return None
    path = Path(text)
    if path.suffix or path.exists():
        check_input(path)
        return path
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise TalkheadError(
            f"background {text!r} is not {TRANSPARENT}, a colour such as white or #00b140, or the"
            " file of a picture"
        ) from error
    return red, green, blue


def open_backdrop(text: str, size: tuple[int, int], alpha: Pixels | None) -> Backdrop:
    """Read a background; a picture is scaled and cropped to fill the frames.

    Args:
        text: as for `check_background`.
        size: (width, height) of the frames.
        alpha: uint8 (H, W), the face's own transparency, if it has one.

    Raises:
        TalkheadError: the text is no background, or the picture cannot be read.
    """
    import numpy as np
    from PIL import Image, ImageOps

    from talkhead.media.picture import read_picture

    wanted = check_background(text)
    if wanted is None:
        return Backdrop(None, alpha)
    if isinstance(wanted, Path):
        picture = Image.fromarray(read_picture(wanted).pixels)
        return Backdrop(np.array(ImageOps.fit(picture, size, Image.Resampling.LANCZOS)), alpha)
    return Backdrop(np.full((size[1], size[0], 3), wanted, np.uint8), alpha)


def cut_out(picture: Pixels, backdrop: Backdrop) -> tuple[Pixels, Pixels]:
    """Cut the people out of a picture, uint8 (H, W, 3).

    Returns:
        Their colours alone, uint8 (H, W, 3), and their alpha, uint8 (H, W).

    Raises:
        TalkheadError: no person is found, or mediapipe cannot find people.
    """
    from talkhead.tracking.cutout import PersonCutter, cut_by_alpha

    if backdrop.alpha is not None:
        cut = cut_by_alpha(picture, backdrop.alpha)
    else:
        with PersonCutter() as cutter:
            cut = cutter.cut_picture(picture)
    return cut[..., :3].copy(), cut[..., 3].copy()


def place(frames: Frames, backdrop: Backdrop) -> Frames:
    """Cut people out of frames, unless they have an alpha, and put them before the background.

    Yields:
        uint8 (H, W, 3), or (H, W, 4) if the background is transparent.
    """
    with ExitStack() as stack:
        stack.enter_context(closing(frames))
        cutter: PersonCutter | None = None
        for frame in frames:
            cut = frame
            if frame.shape[-1] == 3:
                if cutter is None:
                    from talkhead.tracking.cutout import PersonCutter

                    cutter = stack.enter_context(PersonCutter())
                cut = cutter.cut_frame(frame)
            yield cut if backdrop.pixels is None else laid_on(cut, backdrop.pixels)


def laid_on(frame: Pixels, behind: Pixels) -> Pixels:
    """Return a frame (H, W, 4) before a background (H, W, 3), uint8 (H, W, 3)."""
    import numpy as np

    alpha = frame[..., 3:].astype(np.uint16)
    mixed = frame[..., :3] * alpha + behind * (255 - alpha)  # at most 255 squared
    return np.asarray((mixed + 127) // 255, np.uint8)

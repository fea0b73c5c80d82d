"""Read common picture formats as upright 8-bit RGB of bounded size, and write pictures."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from talkhead.atomic import replacing
from talkhead.errors import TalkheadError
from talkhead.limits import (
    MAX_CODED_PICTURE_PIXELS,
    MAX_PICTURE_PIXELS,
    MAX_PICTURE_SIDE_PX,
    MIN_SIDE_PX,
)
from talkhead.media.files import check_input
from talkhead.media.kinds import AVIF_BRANDS, HEIF_BRANDS, brand_of
from talkhead.media.native_logs import stderr_silenced
from talkhead.media.sizes import DEFAULT_LIMIT, SizeLimit

JPEG_QUALITY = 95

# Only formats with self-contained readers: Pillow's EPS reader, for one, starts another program.
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM", "JPEG2000")
_ANIMATED = ("GIF", "WEBP", "PNG")
_CODED_WHOLE = ("WEBP", "AVIF", "JPEG2000")
_READ_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError)
DECODE_ERRORS = (*_READ_ERRORS, struct.error, zlib.error)
"""Exceptions that Pillow raises for a damaged picture."""
_ORIENTATION_TAG = 0x0112
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BAND_PX = 256  # rows converted at a time, so that a huge picture is not held twice
_pillow_limit = Lock()


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    `pixels` is uint8, RGB, shape = (H, W, 3), upright; `original_size` is the upright
    (width, height) before scaling down.
    """

    pixels: npt.NDArray[np.uint8]
    original_size: tuple[int, int]


def read_picture(path: Path, *, limit: SizeLimit = DEFAULT_LIMIT) -> Picture:
    """Read a picture as upright sRGB of bounded size; transparency becomes white.

    Animations and multi-page files give their first picture. 16-bit grey is scaled to 8 bits.

    Args:
        path: PNG, JPEG, WebP, AVIF, TIFF, BMP, GIF, PPM or JPEG 2000.
        limit: larger pictures are scaled down to fit.

    Raises:
        TalkheadError: the file is missing, a directory, empty, not a picture, or truncated; it has
            a side below 64 or above 20,000 px, or more than 250 million pixels (100 million for
            WebP, AVIF and JPEG 2000).
    """
    path = Path(path)
    with _decoded(path, limit) as (image, (width, height), target):
        orientation = _orientation(image)
        upright = _to_rgb(path, image, target)
    if orientation in _TRANSPOSES:
        upright = upright.transpose(_TRANSPOSES[orientation])
    swaps_sides = orientation in (5, 6, 7, 8)
    return Picture(np.array(upright), (height, width) if swaps_sides else (width, height))


def read_alpha(path: Path, *, limit: SizeLimit = DEFAULT_LIMIT) -> npt.NDArray[np.uint8] | None:
    """Read the transparency of a picture, as upright and as large as `read_picture` gives it.

    Args:
        path: as for `read_picture`.
        limit: larger pictures are scaled down to fit.

    Returns:
        uint8 (H, W), 0 where it is transparent; None if it is nowhere.

    Raises:
        TalkheadError: as `read_picture`.
    """
    with _opened(path) as image:
        if not image.has_transparency_data:
            return None
    with _decoded(path, limit) as (image, _, target):
        orientation = _orientation(image)
        alpha = image.convert("RGBA").getchannel("A").resize(target, Image.Resampling.LANCZOS)
    if orientation in _TRANSPOSES:
        alpha = alpha.transpose(_TRANSPOSES[orientation])
    values = np.array(alpha)
    return None if values.min() == 255 else values


@contextmanager
def _decoded(
    path: Path, limit: SizeLimit
) -> Iterator[tuple[Image.Image, tuple[int, int], tuple[int, int]]]:
    """Yield a decoded picture, its own size, and the size to scale it to."""
    check_input(path)
    with _opened(path) as image:
        width, height = image.size
        if min(width, height) < MIN_SIDE_PX or max(width, height) > MAX_PICTURE_SIDE_PX:
            raise TalkheadError(
                f"{path} is {width} x {height} px; scale it so that each side is {MIN_SIDE_PX} to"
                f" {MAX_PICTURE_SIDE_PX} px"
            )
        most = MAX_CODED_PICTURE_PIXELS if image.format in _CODED_WHOLE else MAX_PICTURE_PIXELS
        if width * height > most:
            raise TalkheadError(
                f"{path} is {width} x {height} px, above the limit of {most / 1e6:.0f} million"
                f" pixels for {image.format}; scale it down"
            )
        target = limit.fit(width, height)
        try:
            image.draft(None, target)  # decodes a JPEG at 1/2, 1/4 or 1/8 if that is enough
            with stderr_silenced():  # libtiff prints its own errors
                image.load()
        except DECODE_ERRORS as error:
            reason = str(error).strip() or type(error).__name__
            raise TalkheadError(
                f"{path} is truncated or damaged ({reason}); copy or export it again"
            ) from error
        yield image, (width, height), target


def write_picture(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Write RGB pixels, uint8, shape = (H, W, 3), as .png or .jpg, replacing an existing file.

    Raises:
        TalkheadError: the suffix is not supported, or the folder is missing or not writable.
    """
    path = Path(path)
    kind = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}.get(path.suffix.lower())
    if kind is None:
        raise TalkheadError(f"{path} has no picture suffix; end its name in .png or .jpg")
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, kind, quality=JPEG_QUALITY, subsampling=0)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture without Pillow's size limit, which is a third of ours."""
    Image.init()
    formats = [name for name in _FORMATS if name in Image.OPEN]
    try:
        with _pillow_limit:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(path, formats=formats)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
    except DECODE_ERRORS as error:
        raise TalkheadError(_refusal(path)) from error
    # Pillow warns about damaged tags that do not matter here.
    with image, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield image


def _refusal(path: Path) -> str:
    """Return why a file cannot be read as a picture, and what to do about it."""
    with path.open("rb") as file:
        brand = brand_of(file.read(12))
    if brand in HEIF_BRANDS:
        return (
            f"{path} is a HEIC picture, which is not supported; export it as JPEG (on an iPhone:"
            " Settings, Camera, Formats, Most Compatible)"
        )
    if brand in AVIF_BRANDS and "AVIF" not in Image.OPEN:
        return (
            f"{path} is an AVIF picture, which this Pillow cannot read; update it with `pip install"
            " -U pillow`, or convert the picture to PNG or JPEG"
        )
    return f"{path} is not a picture in a supported format; convert it to PNG or JPEG"


def animation(path: Path) -> bool | None:
    """Return whether a picture is animated (GIF, WebP, PNG); None if it is not a readable picture.

    Only headers are read.
    """
    try:
        with _opened(path) as image:
            return image.format in _ANIMATED and bool(getattr(image, "is_animated", False))
    except (TalkheadError, *DECODE_ERRORS):
        return None


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, or 1 (upright) if the tags are damaged."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except DECODE_ERRORS:
        return 1


def _to_rgb(path: Path, image: Image.Image, target: tuple[int, int]) -> Image.Image:
    """Convert to RGB and scale down, first band by band and then as a whole."""
    # Averaging whole pixels first, down to 1.5 times the target or more, saves memory.
    factor = max(1, int(min(image.width / target[0], image.height / target[1]) / 1.5))
    band_px = _BAND_PX * factor
    size = (-(-image.width // factor), -(-image.height // factor))
    reduced = Image.new("RGB", size)
    for top in range(0, image.height, band_px):
        band = image.crop((0, top, image.width, min(top + band_px, image.height)))
        reduced.paste(_flatten(path, band).reduce(factor), (0, top // factor))
    if reduced.size == target:
        return reduced
    box = (0, 0, image.width / factor, image.height / factor)
    return reduced.resize(target, Image.Resampling.LANCZOS, box)


def _flatten(path: Path, image: Image.Image) -> Image.Image:
    """Convert a picture of any mode to RGB, on white."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int32)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise TalkheadError(f"{path} has more than 16 bits per channel; export it with 8 or 16")
        # 0..65535 to 0..255, rounded: 65535 = 255 * 257.
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise TalkheadError(f"{path} has floating-point pixels; export it with 8 or 16 bits")
    profile = image.info.get("icc_profile")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    if profile and image.mode in ("RGB", "CMYK"):
        return _to_srgb(image, profile)
    return image.convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Apply a colour profile; ignore one that is damaged or for another colour space."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return image.convert("RGB")
        srgb = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, *DECODE_ERRORS):
        return image.convert("RGB")
    return image.convert("RGB") if converted is None else converted

"""Validate pictures and audio passed in memory, and convert them to the form that files have."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
from PIL import Image, ImageOps

from talkhead.errors import TalkheadError
from talkhead.limits import MIN_SIDE_PX
from talkhead.media.audio import MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ
from talkhead.media.files import native_name
from talkhead.media.kinds import is_video
from talkhead.media.picture import DECODE_ERRORS, read_picture
from talkhead.media.sizes import DEFAULT_LIMIT, SizeLimit

Pixels = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.float32]

_FULL_SCALE = {"int16": 2**15, "int32": 2**31}


def pixels_of(image: Any, limit: SizeLimit = DEFAULT_LIMIT) -> Pixels:
    """Return a picture's pixels, uint8 (H, W, 3), RGB; warn if the picture is scaled down.

    Args:
        image: a path, a PIL image (turned upright, transparency becomes white), or a uint8 array
            (H, W, 3), RGB.
        limit: larger pictures are scaled down to fit, as in `read_picture`.

    Raises:
        TalkheadError: the file or the image cannot be read, is a video, or is too small.
        TypeError: it has another type, or it is another kind of array.
    """
    if isinstance(image, (str, os.PathLike)):
        path = Path(image)
        if is_video(path):
            raise TalkheadError(f"{path} is a video: pass a picture, or dub it by talkhead render")
        picture = read_picture(path, limit=limit)
        _warn(path, picture.original_size, picture.pixels)
        return picture.pixels
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise TypeError(
                f"image is {image.dtype} {image.shape}, not uint8 (H, W, 3): pass RGB from 0 to"
                " 255, channels last"
            )
        image = Image.fromarray(image)
    elif isinstance(image, Image.Image):
        image = _upright_rgb(image)
    else:
        raise TypeError(
            f"image is a {type(image).__name__}: pass a path, a PIL image or a uint8 array"
        )
    if min(image.size) < MIN_SIDE_PX:
        raise TalkheadError(
            f"image is {image.width} x {image.height} px: each side must be {MIN_SIDE_PX} px or"
            " more"
        )
    original, size = image.size, limit.fit(*image.size)
    pixels = np.array(image if size == original else image.resize(size, Image.Resampling.LANCZOS))
    _warn("image", original, pixels)
    return pixels


def _warn(name: object, original: tuple[int, int], pixels: Pixels) -> None:
    size = (pixels.shape[1], pixels.shape[0])
    if original != size:
        warnings.warn(
            f"{name} is scaled down from {original[0]} x {original[1]} to {size[0]} x {size[1]} px:"
            " max_size sets the limit",
            stacklevel=4,
        )


def _upright_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        raise TalkheadError(f"image has mode {image.mode}, more than 8 bits: pass its path instead")
    try:
        image = ImageOps.exif_transpose(image)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert("RGB")
    except DECODE_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TalkheadError(f"image cannot be decoded ({reason}): load it again") from error


def samples_of(audio: Any, rate_hz: int) -> Samples:
    """Return audio as float32, shape = (N,) or (N, channels).

    Args:
        audio: an array, (N,), (N, channels) or (channels, N); the longer side is time. Floats in
            [-1, 1], or int16 or int32, which are scaled to that range.
        rate_hz: samples per second.

    Raises:
        TalkheadError: it is empty, has values that are not finite, or its sample rate or channel
            count is out of range.
        TypeError: it is not such an array.
    """
    if not isinstance(audio, np.ndarray):
        raise TypeError(f"audio is a {type(audio).__name__}: pass a path or an array")
    if audio.ndim not in (1, 2):
        raise TypeError(f"audio has shape {audio.shape}: it must be (N,) or (channels, N)")
    if audio.dtype.kind != "f" and audio.dtype.name not in _FULL_SCALE:
        raise TypeError(f"audio is {audio.dtype}: it must be floating point, int16 or int32")
    if isinstance(rate_hz, bool) or not isinstance(rate_hz, (int, np.integer)):
        raise TypeError(f"sampling_rate is {rate_hz!r}: it must be an integer")
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise TalkheadError(
            f"sampling_rate is {rate_hz:,}: it must be {MIN_RATE_HZ:,} to {MAX_RATE_HZ:,} Hz"
        )
    if audio.size == 0:
        raise TalkheadError("audio has no samples")
    if audio.ndim == 2 and audio.shape[0] < audio.shape[1]:
        audio = audio.T
    if audio.ndim == 2 and audio.shape[1] > MAX_CHANNELS:
        raise TalkheadError(f"audio has {audio.shape[1]} channels: the limit is {MAX_CHANNELS}")
    with np.errstate(over="ignore"):  # an overflow becomes infinite, which is rejected below
        samples = np.array(audio, np.float32, order="C")
    samples /= _FULL_SCALE.get(audio.dtype.name, 1)
    if not np.isfinite(samples).all():
        raise TalkheadError("audio contains NaN or infinite samples")
    return samples


@contextmanager
def sound_file(samples: Samples, rate_hz: int) -> Iterator[Path]:
    """Yield a temporary file with these samples, unchanged, for programs that need a file.

    Raises:
        TalkheadError: the file cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="talkhead-") as folder:
        path = Path(folder) / "waveform.wav"
        try:
            soundfile.write(native_name(path), samples, rate_hz, subtype="FLOAT", format="RF64")
        except (soundfile.LibsndfileError, OSError) as error:
            raise TalkheadError(
                f"audio cannot be stored in {folder} ({error}): free some space, or set TMPDIR"
            ) from error
        yield path

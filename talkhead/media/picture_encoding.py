"""Build ffmpeg's arguments for the picture of a video; nothing is run here."""

from __future__ import annotations

import math
from fractions import Fraction

from talkhead.limits import MAX_CRF
from talkhead.media import ffmpeg
from talkhead.media.containers import Container
from talkhead.media.picture_format import SCALE_FLAGS

# x264's output depends on the number of threads; a fixed number makes it the same everywhere.
NUM_ENCODER_THREADS = 8
ENCODER_PRESET = "veryfast"
VP9_MAX_CRF = 63
"""The worst quality of VP9."""
VP9_SPEED = 4
GIF_FPS = Fraction(25)
"""The highest rate of a GIF, which counts time in hundredths of a second."""

_TO_709 = f"scale=out_color_matrix=bt709:out_range=tv:{SCALE_FLAGS}"
_TAGGED_709 = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
TO_BT709 = (_TO_709, "format=yuv420p", _TAGGED_709)


def raw_input_args(size: tuple[int, int], fps: Fraction, *, has_alpha: bool) -> list[str]:
    """Return the arguments that read raw frames from stdin, RGB or RGBA."""
    pixels = "rgba" if has_alpha else "rgb24"
    return [
        *("-f", "rawvideo", "-pixel_format", pixels, "-video_size", f"{size[0]}x{size[1]}"),
        *("-framerate", ffmpeg.rate_text(fps), "-i", "pipe:0"),
    ]


def picture_args(
    container: Container,
    *,
    size: tuple[int, int],
    fps: Fraction,
    crf: int,
    key_frame_s: float,
    has_alpha: bool = False,
) -> list[str]:
    """Return the arguments that encode the picture.

    Args:
        container: where it goes.
        size: (width, height) of the frames; of an odd size the last column or row is dropped,
            because 4:2:0 needs even sizes.
        fps: frames per second.
        crf: quality in terms of H.264, from 0 (lossless) to 51 (worst); ProRes and GIF have none.
        key_frame_s: longest distance between key frames.
        has_alpha: whether the frames are RGBA and stay transparent.
    """
    even = f"crop={size[0] - size[0] % 2}:{size[1] - size[1] % 2}:0:0"
    key_frames = ["-g:v", str(math.ceil(fps * key_frame_s))]
    threads = ["-threads:v", str(NUM_ENCODER_THREADS)]
    if container.picture == "h264":
        return [
            *("-c:v", "libx264", "-preset", ENCODER_PRESET, "-crf", str(crf)),
            *key_frames,
            *threads,
            *("-vf", ",".join((even, *TO_BT709))),
        ]
    if container.picture == "vp9":
        pixels = "yuva420p" if has_alpha else "yuv420p"
        return [
            *("-c:v", "libvpx-vp9", "-crf", str(round(crf * VP9_MAX_CRF / MAX_CRF)), "-b:v", "0"),
            *("-deadline", "good", "-cpu-used", str(VP9_SPEED), "-tile-columns", "2"),
            *(("-auto-alt-ref", "0") if has_alpha else ()),  # hidden frames carry no transparency
            *key_frames,
            *threads,
            *("-vf", ",".join((even, _TO_709, f"format={pixels}", _TAGGED_709))),
        ]
    if container.picture == "prores":
        profile, pixels = ("4444", "yuva444p10le") if has_alpha else ("hq", "yuv422p10le")
        return [
            *("-c:v", "prores_ks", "-profile:v", profile, "-vendor", "apl0"),
            *threads,
            *("-vf", ",".join((even, _TO_709, f"format={pixels}", _TAGGED_709))),
        ]
    if container.picture == "gif":
        width, height = fitted(size, container)
        scale = f"scale={width}:{height}:{SCALE_FLAGS}"
        rate = () if fps <= GIF_FPS else (f"fps={ffmpeg.rate_text(GIF_FPS)}",)
        palette = "split[a][b];[a]palettegen=stats_mode=full[p]"
        dither = "[b][p]paletteuse=dither=bayer:bayer_scale=4:diff_mode=rectangle"
        return ["-c:v", "gif", "-loop", "0", "-vf", ",".join((*rate, scale, f"{palette};{dither}"))]
    if container.picture == "webp":
        quality = round(100 * (1 - crf / MAX_CRF) ** 0.5)
        pixels = "bgra" if has_alpha else "yuv420p"
        return [
            *("-c:v", "libwebp_anim", "-quality", str(quality), "-loop", "0"),
            *("-vf", f"{even},scale=out_range=tv:{SCALE_FLAGS},format={pixels}"),
        ]
    raise ValueError(f"{container.name} is not written by ffmpeg")


def fitted(size: tuple[int, int], container: Container) -> tuple[int, int]:
    """Return the size of the picture in a container, which may be smaller than the frames."""
    if container.max_side_px is None or max(size) <= container.max_side_px:
        return size
    scale = container.max_side_px / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))

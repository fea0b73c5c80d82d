from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from talkhead.media.video import VideoWriter, probe_video, read_frames
from tests.media.colour_bars import COLOURS, SDR, colour_bars, colours_of, frames_of
from tests.media.conftest import Encode

LOSSLESS = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "0")
SIZES_OF_UNTAGGED = [((64, 48), "smpte170m"), ((1280, 720), "bt709"), ((720, 1280), "bt709")]


@pytest.mark.parametrize(("size", "matrix"), SIZES_OF_UNTAGGED)
@pytest.mark.parametrize("pixels", ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv420p10le"])
def test_colours_of_a_video_without_tags_are_those_of_its_size(
    tmp_path: Path, encode: Encode, size: tuple[int, int], matrix: str, pixels: str
) -> None:
    span = "pc" if pixels.startswith("yuvj") else "tv"
    pixels = pixels.replace("yuvj", "yuv")
    filters = (
        f"scale=out_color_matrix={matrix}:out_range={span}:flags=accurate_rnd,format={pixels},"
        f"setparams=colorspace=unknown:color_primaries=unknown:color_trc=unknown:range={span}"
    )
    path = encode(colour_bars(*size), "a.mp4", filters, *LOSSLESS)
    assert probe_video(path).picture.matrix == "unknown"
    check_colours(path, tmp_path)


def check_colours(path: Path, folder: Path, tolerance: int = 2) -> None:
    """Check the colours of a video as read, and again after writing and reading it."""
    frame = next(read_frames(path))
    np.testing.assert_allclose(colours_of(frame), COLOURS, atol=tolerance)
    size = (frame.shape[1], frame.shape[0])
    again = folder / "again.mp4"
    with VideoWriter(again, size=size, fps=Fraction(25), sound=None, crf=0) as writer:
        writer.write(frame)
    np.testing.assert_allclose(colours_of(next(read_frames(again))), colours_of(frame), atol=2)


@pytest.mark.parametrize(
    ("name", "filters", "codec"),
    [
        ("601.mp4", "bt601 tv yuv420p smpte170m", "libx264"),
        ("pal.mp4", "bt601 tv yuv422p bt470bg", "libx264"),
        ("709.mp4", "bt709 tv yuv420p bt709", "libx264"),
        ("full.mp4", "bt709 pc yuv444p bt709", "libx264"),
        ("full601.mp4", "bt601 pc yuv420p smpte170m", "libx264"),
        ("ten.mp4", "bt709 tv yuv422p10le bt709", "libx264"),
        ("sdr2020.mp4", "bt2020 tv yuv444p10le bt2020nc", "libx264"),
        ("smpte240.mkv", "smpte240m tv yuv444p smpte240m", "ffv1"),
        ("vp9.webm", "bt709 tv yuv420p bt709", "libvpx-vp9"),
        ("vp8.webm", "bt601 tv yuv420p unknown", "libvpx"),
        ("mjpeg.avi", "bt601 pc yuvj420p unknown", "mjpeg"),
        ("prores.mov", "bt709 tv yuv422p10le bt709", "prores_ks"),
        ("dnx.mov", "bt709 tv yuv422p bt709", "dnxhd"),
    ],
)
def test_colours_are_those_that_the_tags_say(
    tmp_path: Path, encode: Encode, name: str, filters: str, codec: str
) -> None:
    matrix, span, pixels, tag = filters.split()
    # The tag sets the matrix only; primaries stay BT.709, so that the colours do not change.
    primaries = "" if tag == "unknown" else ":color_primaries=bt709:color_trc=bt709"
    chain = (
        f"scale=out_color_matrix={matrix}:out_range={span}:flags=accurate_rnd+full_chroma_int,"
        f"format={pixels},setparams=colorspace={tag}{primaries}:range={span}"
    )
    options = {"libx264": LOSSLESS, "dnxhd": ("-c:v", codec, "-b:v", "120M")}.get(
        codec, ("-c:v", codec, "-b:v", "20M", "-q:v", "1")
    )
    # DNxHD supports few sizes.
    size = (1920, 1080) if codec == "dnxhd" else (1280, 720) if codec == "libvpx" else (192, 144)
    path = encode(colour_bars(*size), name, chain, *options)
    check_colours(path, tmp_path, tolerance=4 if codec in ("libvpx", "prores_ks", "dnxhd") else 2)


@pytest.mark.parametrize(
    ("name", "pixels", "options"),
    [
        ("a.mov", "rgb24", ("-c:v", "png")),
        ("b.mov", "rgb24", ("-c:v", "qtrle")),
        ("a.mkv", "gbrp", ("-c:v", "ffv1")),
        ("b.mp4", "rgb24", ("-c:v", "libx264rgb", "-qp", "0")),
        ("a.avi", "bgr24", ("-c:v", "rawvideo")),
    ],
)
def test_rgb_is_read_as_it_is_at_any_size(
    tmp_path: Path, encode: Encode, name: str, pixels: str, options: tuple[str, ...]
) -> None:
    frames = colour_bars(1280, 720)
    path = encode(frames, name, f"format={pixels}", *options)
    np.testing.assert_array_equal(frames_of(path)[0], frames[0])


@pytest.mark.parametrize(
    ("name", "pixels", "span", "options"),
    [
        ("a.mkv", "gray", "pc", ("-c:v", "ffv1")),
        ("b.mkv", "gray", "tv", ("-c:v", "ffv1")),
        ("c.mkv", "gray10le", "tv", ("-c:v", "ffv1")),
        ("d.mp4", "gray", "tv", ("-c:v", "libx265", "-x265-params", "log-level=none:lossless=1")),
        ("e.mp4", "gray", "unknown", ("-c:v", "libx265", "-x265-params", "log-level=none:crf=0")),
    ],
)
def test_grey_without_chroma_goes_from_black_to_white(
    encode: Encode, name: str, pixels: str, span: str, options: tuple[str, ...]
) -> None:
    levels = np.array([0, 40, 128, 220, 255], np.uint8)
    frames = np.broadcast_to(np.repeat(levels, 32)[:, None], (2, 64, 160, 3)).copy()
    coded = "tv" if span == "unknown" else span
    colours = pixels.replace("gray10le", "yuv420p10le").replace("gray", "yuv420p")
    filters = f"scale=out_range={coded},format={colours},extractplanes=y,setparams=range={span}"
    path = encode(frames, name, filters, *options)
    assert probe_video(path).picture.pixel_format == pixels
    np.testing.assert_allclose(frames_of(path)[0, 32, 16::32, 1].astype(int), levels, atol=2)


@pytest.mark.parametrize("primaries", ["bt2020", "smpte432"])
def test_wide_colours_are_mapped_to_those_of_hd(encode: Encode, primaries: str) -> None:
    matrix = {"bt2020": "bt2020nc", "smpte432": "bt709"}[primaries]
    filters = (
        f"scale=out_color_matrix=bt709:out_range=tv,format=yuv444p12le,{SDR},"
        f"zscale=p={primaries}:t=bt709:m={matrix},format=yuv444p12le"
    )
    # Avoid colours near black, where quantisation steps are coarse.
    frames = colour_bars(192, 144) // 2 + 64
    path = encode(frames, "a.mkv", filters, "-c:v", "ffv1")
    assert probe_video(path).picture.primaries == primaries
    np.testing.assert_allclose(colours_of(next(read_frames(path))), colours_of(frames[0]), atol=2)


@pytest.mark.parametrize(
    ("name", "pixels", "options"),
    [
        ("a.mov", "yuva444p10le", ("-c:v", "prores_ks", "-profile:v", "4444")),
        ("b.mov", "rgba", ("-c:v", "png")),
        ("c.webm", "yuva420p", ("-c:v", "libvpx-vp9", "-lossless", "1", "-auto-alt-ref", "0")),
        ("d.webm", "yuva420p", ("-c:v", "libvpx", "-b:v", "9M", "-auto-alt-ref", "0")),
    ],
)
def test_what_is_transparent_is_white(
    encode: Encode, name: str, pixels: str, options: tuple[str, ...]
) -> None:
    frames = np.full((2, 96, 128, 3), (180, 120, 90), np.uint8)
    alpha = "format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='if(lt(X,64),0,255)'"
    path = encode(frames, name, f"{alpha},format={pixels}", *options)
    frame = frames_of(path)[0]
    assert (frame[:, :60] == 255).all()
    np.testing.assert_allclose(frame[:, 72:].astype(int), frames[0, :, 72:], atol=4)


def test_the_fourth_byte_of_raw_pictures_is_not_taken_for_transparency(encode: Encode) -> None:
    frames = colour_bars(192, 144)
    path = encode(frames, "a.avi", "format=bgra,lutrgb=a=0", "-c:v", "rawvideo")
    np.testing.assert_array_equal(frames_of(path)[0], frames[0])

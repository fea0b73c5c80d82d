import math
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from talkhead.errors import TalkheadError
from talkhead.media import ffmpeg
from talkhead.media.picture_format import (
    PictureFormat,
    field_filters,
    parse_picture_format,
    rgb_filters,
    video_line,
)
from talkhead.media.video import VideoWriter, probe_video, read_frames
from tests.media.conftest import Convert, Refusal
from tests.media.test_video import counting_frames, number_of

Frames = npt.NDArray[np.uint8]
Encode = Callable[..., Path]

ROOT = Path(__file__).parents[2]
SDR = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
COLOURS = np.array(
    [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (180, 120, 90)], np.uint8
)
LOSSLESS = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "0")


def listing(pictures: str, *more: str) -> str:
    lines = ("Input #0, matroska,webm, from 'a.mkv':", f"  Stream #0:0(und): Video: {pictures}")
    return "\n".join([*lines, *more, "At least one output file must be specified\n"])


@pytest.fixture
def encode(tmp_path: Path) -> Encode:
    """Encode RGB frames with ffmpeg, through filters that the test chooses."""

    def run(
        frames: Frames, name: str, filters: str, *options: str, fps: Fraction = Fraction(25)
    ) -> Path:
        raw, path = tmp_path / "frames.rgb", tmp_path / name
        raw.write_bytes(frames.tobytes())
        size = f"{frames.shape[2]}x{frames.shape[1]}"
        source = ("-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", size)
        rate = ("-framerate", f"{fps.numerator}/{fps.denominator}")
        args = ["-y", "-loglevel", "error", *source, *rate, "-i", str(raw), "-vf", filters]
        status, _, messages = ffmpeg.run_ffmpeg([*args, *options, str(path)])
        assert status == 0, messages
        return path

    return run


@pytest.fixture
def face(tmp_path: Path, convert: Convert) -> Path:
    """A lossless SDR video of the face: five identical frames."""
    scaled = f"scale=256:256:out_color_matrix=bt709:out_range=tv,format=yuv444p10le,{SDR}"
    options = ("-vf", f"{scaled},loop=4:1", "-c:v", "ffv1")
    return convert(ROOT / "examples" / "face.png", tmp_path / "sdr.mkv", *options)


def hdr(transfer: str, pixels: str = "yuv444p10le") -> str:
    """Return filters that convert SDR to HDR, with white at 203 nits."""
    return (
        "zscale=t=linear,format=gbrpf32le,"
        f"zscale=p=bt2020:t={transfer}:m=bt2020nc:r=tv:npl=203,format={pixels}"
    )


def psnr(a: Frames, b: Frames) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


def frames_of(path: Path) -> Frames:
    return np.stack(list(read_frames(path)))


def colour_bars(width: int, height: int) -> Frames:
    bars = np.repeat(COLOURS, -(-width // len(COLOURS)), axis=0)[:width]
    return np.broadcast_to(bars, (2, height, width, 3)).copy()


def colours_of(frame: Frames) -> npt.NDArray[np.int_]:
    height, width, _ = frame.shape
    columns = (np.arange(len(COLOURS)) * 2 + 1) * width // (2 * len(COLOURS))
    return np.asarray(frame[height // 2, columns], int)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "h264 (High) (avc1 / 0x31637661), yuv420p(progressive), 640x360 [SAR 1:1 DAR 16:9]",
            PictureFormat("h264", "yuv420p", 640, 360),
        ),
        (
            "h264 (High), yuv420p(tv, bt709, top first), 1920x1080, 25 fps",
            PictureFormat("h264", "yuv420p", 1920, 1080, "bt709", "bt709", "bt709", "tv", "top"),
        ),
        (
            "hevc (Main 10) (hvc1 / 0x31637668), yuv420p10le(tv, bt2020nc/bt2020/arib-std-b67,"
            " progressive), 3840x2160, 9 kb/s",
            PictureFormat(
                "hevc", "yuv420p10le", 3840, 2160, "bt2020nc", "bt2020", "arib-std-b67", "tv"
            ),
        ),
        (
            "rawvideo (2vuy / 0x79757632), uyvy422(top coded first (swapped)), 720x576, SAR 1:1",
            PictureFormat("rawvideo", "uyvy422", 720, 576, first_field="top"),
        ),
        (
            "mpeg2video, yuv420p(10 bpc, tv, smpte170m/bt470m/unknown, bottom coded first"
            " (swapped)), 720x480",
            PictureFormat(
                "mpeg2video", "yuv420p", 720, 480, "smpte170m", "bt470m", "unknown", "tv", "bottom"
            ),
        ),
        ("dvvideo, yuv411p, 720x480 [SAR 8:9]", PictureFormat("dvvideo", "yuv411p", 720, 480)),
    ],
)
def test_the_list_of_streams_says_how_pictures_are_stored(
    line: str, expected: PictureFormat
) -> None:
    assert parse_picture_format(listing(line)) == expected


def test_covers_and_outputs_are_not_the_video() -> None:
    cover = "  Stream #0:0: Video: mjpeg, yuvj420p(pc), 600x600 (attached pic)"
    movie = "  Stream #0:1: Video: h264, yuv420p(tv, bt709), 64x48"
    output = "  Stream #0:0: Video: wrapped_avframe, gray, 32x32"
    found = parse_picture_format("\n".join((cover, movie, output)))
    assert (found.codec, found.pixel_format, found.width) == ("h264", "yuv420p", 64)
    assert video_line(cover) is None
    with pytest.raises(TalkheadError, match="does not report its pixel format"):
        parse_picture_format(cover)


@pytest.mark.parametrize("codec", ["vp8", "vp9"])
def test_transparency_in_webm_needs_another_decoder(codec: str) -> None:
    line = f"{codec}, yuv420p(tv, progressive), 64x48"
    assert parse_picture_format(listing(line)).decoder is None
    alpha = listing(line, "    Metadata:", "      alpha_mode      : 1")
    assert parse_picture_format(alpha).decoder == {"vp8": "libvpx", "vp9": "libvpx-vp9"}[codec]


@pytest.mark.parametrize(
    ("size", "details", "matrix"),
    [
        ((640, 360), {}, None),
        ((720, 576), {}, None),
        ((1280, 720), {}, "bt709"),
        ((1280, 534), {}, "bt709"),
        ((720, 1280), {}, "bt709"),
        ((1080, 1920), {"matrix": "smpte170m"}, None),
        ((1920, 1080), {"matrix": "reserved"}, "bt709"),
        ((640, 360), {"transfer": "smpte2084"}, "bt2020"),
        ((640, 360), {"primaries": "bt2020"}, "bt2020"),
        ((1920, 1080), {"codec": "vp8"}, None),
        ((1920, 1080), {"pixel_format": "rgb24"}, None),
        ((1920, 1080), {"pixel_format": "gray"}, None),
    ],
)
def test_a_matrix_is_assumed_only_where_none_is_stated(
    size: tuple[int, int], details: dict[str, str], matrix: str | None
) -> None:
    picture = PictureFormat(
        **{"codec": "h264", "pixel_format": "yuv420p", **details},  # type: ignore[arg-type]
        width=size[0],
        height=size[1],
    )
    scale = rgb_filters(picture, (64, 48))[0]
    assert scale.partition(":in_color_matrix=")[2] == (matrix or "")


def test_pictures_that_bwdif_would_convert_or_refuse_do_not_pass_it() -> None:
    for pixels in ("yuv420p", "yuvj422p", "yuv420p10le", "yuv444p12le", "yuv411p"):
        assert "bwdif" in field_filters(PictureFormat("h264", pixels, 64, 48))[-1]
    for pixels in ("rgb24", "bgr0", "nv12", "yuv420p10be", "yuv440p10le", "gbrap10le"):
        assert field_filters(PictureFormat("png", pixels, 64, 48)) == ["settb=intb/2"]
    assert field_filters(PictureFormat("h264", "yuv420p", 8, 8)) == ["settb=intb/2"]
    packed = PictureFormat("v210", "uyvy422", 64, 48, first_field="top")
    assert field_filters(packed) == ["bwdif=mode=send_frame:deint=interlaced"]


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_hdr_looks_like_sdr(tmp_path: Path, face: Path, convert: Convert, transfer: str) -> None:
    bright = convert(face, tmp_path / "hdr.mkv", "-vf", hdr(transfer), "-c:v", "ffv1")
    expected, read = frames_of(face), frames_of(bright)
    assert len(read) == len(expected) == 5
    assert psnr(read, expected) > 40
    assert read.std() == pytest.approx(expected.std(), rel=0.02)
    assert np.array_equal(read, frames_of(bright))


def test_hdr_of_a_phone_is_turned_and_looks_like_sdr(
    tmp_path: Path, face: Path, convert: Convert
) -> None:
    options = ("-c:v", "libx265", "-x265-params", "log-level=none:crf=4", "-tag:v", "hvc1")
    filters = hdr("arib-std-b67", "yuv420p10le")
    lying = convert(face, tmp_path / "lying.mp4", "-vf", filters, *options)
    turned = tmp_path / "turned.mp4"
    convert(face, turned, "-display_rotation", "90", "-i", str(lying), "-map", "1:v", "-c", "copy")
    assert probe_video(turned).picture.pixel_format == "yuv420p10le"
    assert psnr(np.rot90(frames_of(face), 1, (1, 2)), frames_of(turned)) > 33


def test_light_above_white_keeps_its_steps_and_its_hue(encode: Encode) -> None:
    # 4000, 1000, 500, 203 and 100 nits in PQ. Source: ITU-R BT.2100.
    def pq(nits: float) -> float:
        y = math.pow(nits / 10_000, 0.1593017578125)
        return math.pow((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y), 78.84375)

    steps = np.array([round(255 * pq(nits)) for nits in (4000, 1000, 500, 203, 100)], np.uint8)
    grey = np.repeat(np.repeat(steps, 32)[None, :, None], 3, 2)
    tags = "setparams=colorspace=gbr:color_primaries=bt2020:color_trc=smpte2084:range=pc"
    frames = np.broadcast_to(grey, (2, 64, 160, 3)).copy()
    path = encode(frames, "a.mkv", f"format=gbrp,{tags}", "-c:v", "ffv1")
    row = frames_of(path)[0, 32, 16::32].astype(int)
    assert (np.ptp(row, axis=1) <= 1).all()
    assert row[0, 0] == 255
    assert (np.diff(row[1:, 0]) < 0).all()
    assert 235 < row[3, 0] < 250  # reference white
    assert row[4, 0] == pytest.approx(255 * (100 / 203) ** (1 / 2.4), abs=3)


@pytest.mark.parametrize("name", ["odd.mkv", "odd.webm"])
def test_hdr_of_an_odd_size_is_read(
    tmp_path: Path, face: Path, convert: Convert, name: str
) -> None:
    codec = {".mkv": "ffv1", ".webm": "libvpx-vp9"}[Path(name).suffix]
    size = "crop=255:133:0:0:exact=1"
    filters = f"{size},{hdr('smpte2084')},scale,format=yuv420p10le"
    lossless = ("-deadline", "realtime", "-lossless", "1") if codec == "libvpx-vp9" else ()
    options = ("-c:v", codec, *lossless)
    path = convert(face, tmp_path / name, "-vf", filters, *options)
    expected = frames_of(face)[:, :133, :255]
    assert frames_of(path).shape == expected.shape
    assert psnr(frames_of(path), expected) > 30


@pytest.mark.skipif(sys.platform == "win32", reason="makes an ffmpeg of a shell script")
def test_hdr_is_refused_in_one_line_by_an_ffmpeg_that_cannot_convert_it(
    tmp_path: Path, face: Path, convert: Convert
) -> None:
    bright = convert(face, tmp_path / "hdr.mkv", "-vf", hdr("smpte2084"), "-c:v", "ffv1")
    poor = tmp_path / "ffmpeg"
    real = f'"{ffmpeg.ffmpeg_exe()}" "$@"'
    poor.write_text(
        f'#!/bin/sh\ncase "$*" in *-filters*) {real} | grep -v zscale ;; *) exec {real} ;; esac\n'
    )
    poor.chmod(0o755)

    def inspect(path: Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "talkhead", "inspect", str(path)],
            env={**os.environ, "IMAGEIO_FFMPEG_EXE": str(poor), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    ended = inspect(bright)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith(f"talkhead: {bright} has HDR or wide-gamut colours")
    assert inspect(face).returncode == 0


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


def combing(frames: Frames) -> float:
    rows = frames[..., 1].astype(float)
    return float(np.abs(rows[:, 1:-1] - (rows[:, :-2] + rows[:, 2:]) / 2).mean())


def moving_bar(count: int, width: int = 720, height: int = 576) -> Frames:
    frames = np.full((count, height, width, 3), 60, np.uint8)
    for k, frame in enumerate(frames):
        frame[:, 40 + 8 * k : 140 + 8 * k] = 200
    return frames


INTERLACED = [
    ("a.mp4", "yuv420p", "tff", ("-c:v", "libx264", "-x264-params", "interlaced=1:tff=1")),
    ("b.mp4", "yuv420p10le", "bff", ("-c:v", "libx264", "-x264-params", "interlaced=1:bff=1")),
    ("c.mpg", "yuv420p", "tff", ("-c:v", "mpeg2video", "-q:v", "2", "-flags", "+ildct+ilme")),
    ("d.avi", "yuv420p", "bff", ("-c:v", "dvvideo")),
    ("e.mov", "yuv422p10le", "tff", ("-c:v", "prores_ks", "-flags", "+ildct")),
    ("f.mov", "uyvy422", "tff", ("-c:v", "rawvideo", "-field_order", "tt")),
    ("g.mkv", "yuv422p", "tff", ("-c:v", "huffyuv", "-field_order", "tt")),
]


@pytest.mark.parametrize(("name", "pixels", "order", "options"), INTERLACED)
def test_fields_become_whole_pictures_at_the_same_times(
    encode: Encode, name: str, pixels: str, order: str, options: tuple[str, ...]
) -> None:
    fields = moving_bar(40)
    weave = {"tff": "interleave_top", "bff": "interleave_bottom"}[order]
    planar = pixels.replace("uyvy422", "yuv422p")
    filters = f"format={planar},tinterlace={weave},setfield={order},format={pixels}"
    path = encode(fields, name, filters, *options, fps=Fraction(50))
    read = np.stack(list(read_frames(path, size=(720, 576))))  # DV's pixels are not square
    assert probe_video(path).fps == 25
    assert len(read) == 20
    assert combing(fields[::2]) < 0.01
    # Without deinterlacing, eight columns at each edge of the bar are combed, for about 3.
    assert combing(read) < 0.5
    # The bar has its position in the first of the two fields.
    assert np.abs(read.astype(int) - fields[::2]).mean() < 2
    # A window equals a slice of the whole video.
    (window,) = read_frames(path, start_s=15 / 25, duration_s=1 / 25, size=(720, 576))
    assert np.abs(window.astype(int) - read[15]).mean() < 0.2


def test_whole_pictures_among_fields_are_not_touched(
    tmp_path: Path, encode: Encode, convert: Convert
) -> None:
    source = moving_bar(20)
    coded = ("-c:v", "mpeg2video", "-q:v", "2")
    filters = "format=yuv420p,tinterlace=interleave_top,setfield=tff"
    flags = ("-flags", "+ildct+ilme")
    fields = encode(source, "fields.mpg", filters, *coded, *flags, fps=Fraction(50))
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (10, 36, 45, 3)).astype(np.uint8).repeat(16, 1).repeat(16, 2)
    whole = encode(noise, "whole.mpg", "format=yuv420p", *coded)
    joined = tmp_path / "joined.mpg"
    joined.write_bytes(whole.read_bytes() + fields.read_bytes())
    alone, both = frames_of(whole), frames_of(joined)
    assert len(both) >= 19
    np.testing.assert_array_equal(both[:9], alone[:9])
    assert combing(both[12:19]) < 0.5


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mjpeg.avi", ("-c:v", "mjpeg", "-q:v", "1")),
        ("png.avi", ("-c:v", "png")),
        ("raw.avi", ("-c:v", "rawvideo", "-pix_fmt", "bgr24")),
    ],
)
@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30), Fraction(30000, 1001)])
def test_a_window_of_an_avi_is_a_slice_of_the_whole(
    encode: Encode, name: str, options: tuple[str, ...], fps: Fraction
) -> None:
    path = encode(counting_frames(40), name, "null", *options, fps=fps)
    assert [number_of(frame) for frame in read_frames(path)] == list(range(40))
    for start in range(1, 40, 3):
        frame = next(read_frames(path, start_s=float(start / fps)))
        assert number_of(frame) == start


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


def with_dolby_vision(path: Path, profile: int, compatibility: int) -> Path:
    """Add the Dolby Vision box to an HEVC mp4 whose index is at its end."""
    record = bytes([1, 0, profile << 1, 1 << 3 | 0b101, compatibility << 4]) + bytes(19)
    box = (8 + len(record)).to_bytes(4, "big") + b"dvvC" + record
    data = bytearray(path.read_bytes())
    parts = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hvc1")
    places = [data.index(name, data.index(b"moov")) - 4 for name in parts]
    end = places[-1] + int.from_bytes(data[places[-1] : places[-1] + 4], "big")
    for place in places:
        size = int.from_bytes(data[place : place + 4], "big") + len(box)
        data[place : place + 4] = size.to_bytes(4, "big")
    data[end:end] = box
    path.write_bytes(data)
    return path


def test_dolby_vision_is_read_where_others_can_read_it(
    tmp_path: Path, face: Path, convert: Convert, refused: Refusal
) -> None:
    options = ("-c:v", "libx265", "-x265-params", "log-level=none:crf=4", "-tag:v", "hvc1")
    filters = hdr("arib-std-b67", "yuv420p10le")
    plain = convert(face, tmp_path / "plain.mp4", "-vf", filters, *options)
    phone = with_dolby_vision(convert(plain, tmp_path / "a.mp4", "-c", "copy"), 8, 4)
    np.testing.assert_array_equal(frames_of(phone), frames_of(plain))
    stream = with_dolby_vision(convert(plain, tmp_path / "b.mp4", "-c", "copy"), 5, 0)
    with refused(stream, "Dolby Vision colours have no fallback"):
        probe_video(stream)

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from talkhead.media import ffmpeg
from talkhead.media.video import probe_video
from tests.media.colour_bars import SDR, Frames, frames_of
from tests.media.conftest import Convert, Encode, Refusal

ROOT = Path(__file__).parents[2]


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

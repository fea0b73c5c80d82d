from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from talkhead.media.video import probe_video, read_frames
from tests.media.colour_bars import Frames, frames_of
from tests.media.conftest import Convert, Encode


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

import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from talkhead.media.kinds import is_video
from talkhead.media.picture import read_picture
from talkhead.media.video import VideoWriter, probe_video, read_frames
from tests.media.conftest import Convert, Refusal

SIDE, NUM_FRAMES = 96, 30
BRIGHTNESS = [40 + 5 * k for k in range(NUM_FRAMES)]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video whose frames get brighter, so that each is recognisable."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with VideoWriter(path, size=(SIDE, SIDE), fps=Fraction(25), sound=None, crf=5) as writer:
        for value in BRIGHTNESS:
            writer.write(np.full((SIDE, SIDE, 3), value, np.uint8))
    return path


def animate(path: Path) -> Path:
    pictures = [Image.new("RGB", (SIDE, SIDE), (value,) * 3) for value in BRIGHTNESS]
    options: dict[str, Any] = {"append_images": pictures[1:], "duration": 40, "loop": 0}
    if path.suffix == ".webp":
        options["lossless"] = True
    pictures[0].save(path, save_all=True, **options)
    return path


CONTAINERS = {
    "a.MTS": ("-f", "mpegts"),
    "a.ts": (),
    "a.m2ts": (),
    "a.3gp": ("-c:v", "h263", "-s", "128x96"),
    "a.wmv": (),
    "a.flv": (),
    "a.ogv": ("-q:v", "10"),
    "a.vob": (),
    "a.mxf": (),
    "a.nut": (),
    "a.h264": (),
    "a.m2v": (),
    "a.y4m": (),
    "no-ending": ("-f", "mp4"),
    "a.png": ("-f", "matroska"),
    "a.txt": ("-f", "avi"),
    "a%03d.png": ("-f", "mp4"),
    "a*.jpg": ("-f", "matroska"),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_video_is_one_whatever_it_is_called(
    name: str, film: Path, tmp_path: Path, convert: Convert
) -> None:
    made = convert(film, tmp_path / f"made{Path(name).suffix}", "-q:v", "2", *CONTAINERS[name])
    video = made.rename(tmp_path / name)
    assert is_video(video)
    assert probe_video(video).fps == 25
    seen = [float(frame.mean()) for frame in read_frames(video)]
    # Some containers show the first picture one frame longer; none loses frames at the start.
    assert NUM_FRAMES - 1 <= len(seen) <= NUM_FRAMES + 2
    assert seen[0] == pytest.approx(BRIGHTNESS[0], abs=8)
    assert seen[-1] == pytest.approx(BRIGHTNESS[-1], abs=8)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "%02d.png", "{a}?.webp", "a.mp4"])
def test_animated_pictures_are_videos_that_end(name: str, tmp_path: Path) -> None:
    suffix = ".gif" if name == "a.mp4" else Path(name).suffix
    video = animate(tmp_path / f"made{suffix}").rename(tmp_path / name)
    assert is_video(video)
    seen = [float(frame.mean()) for frame in read_frames(video, fps=Fraction(25))]
    np.testing.assert_allclose(seen, BRIGHTNESS, atol=3)


@pytest.mark.parametrize("name", ["a.webp", "a.h264", "a.flv", "a.ts"])
def test_a_part_is_the_same_as_in_the_whole(
    name: str, film: Path, tmp_path: Path, convert: Convert
) -> None:
    video = animate(tmp_path / name) if name == "a.webp" else convert(film, tmp_path / name)
    whole = [float(frame.mean()) for frame in read_frames(video, fps=Fraction(25))]
    part = read_frames(video, fps=Fraction(25), start_s=0.8, duration_s=0.2)
    # Each frame is 5 brighter than the last; time stamps may round to the next frame.
    np.testing.assert_allclose([float(f.mean()) for f in part], whole[20:25], atol=7)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "JPEG", "TIFF", "BMP", "AVIF"])
@pytest.mark.parametrize("name", ["still.mp4", "still.MTS", "still"])
def test_a_still_picture_is_one_whatever_it_is_called(kind: str, name: str, tmp_path: Path) -> None:
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip("this Pillow has no AVIF")
    Image.new("RGB", (80, 70), "red").save(tmp_path / name, kind)
    assert not is_video(tmp_path / name)
    assert read_picture(tmp_path / name).original_size == (80, 70)


def test_pages_are_no_animation(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (80, 70), colour) for colour in ("red", "blue")]
    pages[0].save(tmp_path / "pages.tiff", save_all=True, append_images=pages[1:])
    assert not is_video(tmp_path / "pages.tiff")


def test_what_is_neither_goes_by_its_name(tmp_path: Path) -> None:
    for content in (b"", b"text, no film of letters\n", b"%PDF-1.7\n"):
        for name, expected in (("a.mp4", True), ("a.png", False), ("a.txt", False)):
            (tmp_path / name).write_bytes(content)
            assert is_video(tmp_path / name) is expected, (content, name)
    assert not is_video(tmp_path / "absent")
    assert is_video(tmp_path / "absent.mkv")
    assert not is_video(tmp_path)


def test_a_play_list_is_no_video(film: Path, tmp_path: Path) -> None:
    shutil.copy(film, tmp_path / "film.mp4")
    (tmp_path / "list").write_text("ffconcat version 1.0\nfile film.mp4\n")
    assert not is_video(tmp_path / "list")


def test_a_phones_photograph_is_refused_with_the_way_out(tmp_path: Path, refused: Refusal) -> None:
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(400))
    assert not is_video(path)
    with refused(path, "HEIC picture, which is not supported; export it as JPEG"):
        read_picture(path)

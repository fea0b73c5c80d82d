"""Dub videos of many kinds: each gets the right length, rate and size, and new lips."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from talkhead.media import ffmpeg
from talkhead.media.audio_clip import AudioClip
from talkhead.media.video import VideoWriter, probe_video, read_frames
from tests import people
from tests.cli.conftest import RunHere, refused
from tests.drawn_face import BACKGROUND, draw_face
from tests.people import BLUE, head, room
from tests.tiny import write_voice

Pixels = npt.NDArray[np.uint8]
SIDE = 240
PLAIN = np.full((SIDE, SIDE, 3), BACKGROUND, np.uint8)
pytestmark = pytest.mark.usefixtures("detector_is_here")


def face(shift: int = 0) -> Pixels:
    return np.roll(draw_face(SIDE), shift, axis=1)


def film(path: Path, frames: list[Pixels], fps: Fraction = Fraction(10)) -> Path:
    size = (frames[0].shape[1], frames[0].shape[0])
    with VideoWriter(path, size=size, fps=fps, sound=None, crf=10) as writer:
        writer.write(np.stack(frames))
    return path


def convert(source: Path, target: Path, *after: str, before: tuple[str, ...] = ()) -> Path:
    status, _, messages = ffmpeg.run_ffmpeg(
        ["-y", "-loglevel", "error", *before, "-i", str(source), *after, str(target)]
    )
    assert status == 0, messages
    return target


def simple(folder: Path) -> Path:
    return film(folder / "v.mp4", [face(k) for k in range(5)])


def nobody_at_first(folder: Path) -> Path:
    return film(folder / "v.mp4", [PLAIN, PLAIN, face(), face(), face()])


def two_people(folder: Path) -> Path:
    both = np.concatenate([face(), draw_face(SIDE)[:, ::-1]], axis=1)
    return film(folder / "v.mp4", [both] * 5)


def cut(folder: Path) -> Path:
    return film(folder / "v.mp4", [face()] * 3 + [np.bitwise_not(PLAIN)] * 2)


def rotated(folder: Path) -> Path:
    lying = [np.asarray(np.rot90(face()[:, 20:220]), np.uint8) for _ in range(5)]
    source = film(folder / "lying.mp4", lying)
    return convert(source, folder / "v.mp4", "-c", "copy", before=("-display_rotation", "-90"))


def variable(folder: Path) -> Path:
    source = film(folder / "even.mp4", [face(k) for k in range(5)])
    stretched = "setpts=(N+0.4*mod(N\\,2))/10/TB"
    return convert(source, folder / "v.mkv", "-vf", stretched, "-fps_mode", "vfr")


def at_rate(fps: Fraction) -> Callable[[Path], Path]:
    return lambda folder: film(folder / "v.mp4", [face(k) for k in range(5)], fps)


def odd(folder: Path) -> Path:
    source = simple(folder)
    return convert(source, folder / "v.mkv", "-vf", "crop=231:237", "-c:v", "ffv1")


def one_frame(folder: Path) -> Path:
    return film(folder / "v.mp4", [face()])


def ten_bits(folder: Path) -> Path:
    return convert(simple(folder), folder / "v.mkv", "-pix_fmt", "yuv420p10le", "-c:v", "ffv1")


def grey(folder: Path) -> Path:
    return convert(simple(folder), folder / "v.mkv", "-pix_fmt", "gray", "-c:v", "ffv1")


def portrait(folder: Path) -> Path:
    tall = np.pad(draw_face(1080), ((300, 540), (0, 0), (0, 0)), mode="edge")
    return film(folder / "v.mp4", [tall] * 2)


def wide_pixels(folder: Path) -> Path:
    return convert(
        simple(folder), folder / "v.mkv", "-vf", "scale=120:240,setsar=2", "-c:v", "ffv1"
    )


def webm(folder: Path) -> Path:
    return convert(simple(folder), folder / "v.webm", "-c:v", "libvpx", "-b:v", "1M")


def with_sound(folder: Path) -> Path:
    voice = write_voice(folder / "own.wav", 0.5)
    return convert(simple(folder), folder / "v.mov", "-i", str(voice), "-c:v", "copy")


def late_sound(folder: Path) -> Path:
    voice = write_voice(folder / "own.wav", 0.3)
    delayed = ("-itsoffset", "0.2", "-i", str(voice), "-c:v", "copy")
    return convert(simple(folder), folder / "v.mov", *delayed)


def gif(folder: Path) -> Path:
    colours = "split[a][b];[a]palettegen[p];[b][p]paletteuse=dither=none"
    return convert(simple(folder), folder / "v.gif", "-vf", colours)


def webp_without_an_ending(folder: Path) -> Path:
    pictures = [Image.fromarray(face(k)) for k in range(5)]
    rest: dict[str, Any] = {"append_images": pictures[1:], "duration": 100, "loop": 0}
    pictures[0].save(folder / "v", "WEBP", save_all=True, quality=95, **rest)
    return folder / "v"


def transport_stream(folder: Path) -> Path:
    return convert(simple(folder), folder / "v.MTS", "-c:v", "libx264", "-f", "mpegts")


VIDEOS: dict[str, tuple[Callable[[Path], Path], tuple[int, int], Fraction]] = {
    "simple": (simple, (240, 240), Fraction(10)),
    "nobody at first": (nobody_at_first, (240, 240), Fraction(10)),
    "two people": (two_people, (480, 240), Fraction(10)),
    "a cut": (cut, (240, 240), Fraction(10)),
    "a rotation flag": (rotated, (200, 240), Fraction(10)),
    "a variable rate": (variable, (240, 240), Fraction(10)),
    "23.976": (at_rate(Fraction(24000, 1001)), (240, 240), Fraction(24000, 1001)),
    "59.94": (at_rate(Fraction(60000, 1001)), (240, 240), Fraction(60000, 1001)),
    "odd sizes": (odd, (230, 236), Fraction(10)),
    "one frame": (one_frame, (240, 240), Fraction(10)),
    "10 bits": (ten_bits, (240, 240), Fraction(10)),
    "grey": (grey, (240, 240), Fraction(10)),
    "1080 x 1920": (portrait, (1080, 1920), Fraction(10)),
    "wide pixels": (wide_pixels, (240, 240), Fraction(10)),
    "webm": (webm, (240, 240), Fraction(10)),
    "GIF": (gif, (240, 240), Fraction(10)),
    "animated WebP without an ending": (webp_without_an_ending, (240, 240), Fraction(10)),
    "a camera's .MTS": (transport_stream, (240, 240), Fraction(10)),
    "sound of its own": (with_sound, (240, 240), Fraction(10)),
    "sound that is late": (late_sound, (240, 240), Fraction(10)),
}


@pytest.mark.parametrize("name", VIDEOS)
def test_a_video_gets_the_length_of_the_sound_and_keeps_its_rate_and_size(
    name: str, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    make, size, fps = VIDEOS[name]
    video = make(tmp_path)
    audio = write_voice(tmp_path / "voice.wav", 0.65)
    ended = run_here(
        *("render", str(video), str(audio), "-o", "out.mp4", "--json"),
        *("--weights", str(tiny_weights)),
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    told = json.loads(ended.stdout)
    count = -(-65 * fps // 100)
    made = probe_video(tmp_path / "out.mp4")
    frames = list(read_frames(tmp_path / "out.mp4"))
    assert (made.width, made.height, made.fps) == (*size, fps)
    assert (told["width"], told["height"], told["fps"]) == (*size, str(fps))
    assert len(frames) == told["frames"] == count
    assert made.has_audio
    assert AudioClip.open(tmp_path / "out.mp4").duration_s >= Fraction(64, 100)
    assert told["shots"] == (2 if name in {"nobody at first", "a cut"} else 1)
    # Played forward and back: 0 1 2 3 4 3 2.
    assert told["frames_without_face"] == {"nobody at first": 2, "a cut": 3}.get(name, 0)
    source = next(read_frames(video))[: size[1], : size[0]]
    change = np.abs(frames[0].astype(int) - source)
    assert change[: size[1] // 5].mean() < 4  # above the face the picture is unchanged


def test_lips_move_and_what_is_around_the_face_does_not(
    run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    film(tmp_path / "v.mp4", [face()] * 6)
    audio = write_voice(tmp_path / "voice.wav", 0.6)
    arguments = ("render", "v.mp4", str(audio), "--weights", str(tiny_weights), "--crf", "0")
    for name in ("one.mp4", "two.mp4"):
        assert run_here(*arguments, "-o", name).returncode == 0
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()
    frames = np.stack(list(read_frames(tmp_path / "one.mp4"))).astype(int)
    moved = np.abs(np.diff(frames, axis=0)).max((0, 3))
    assert moved[150:175, 100:140].max() > 40
    assert moved[:, :30].max() <= 8  # encoding noise
    assert moved[:60].max() <= 8


def test_the_mouth_of_the_small_face_that_is_chosen_moves_and_no_other(
    run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    size, large, small = (1920, 1080), head(326), head(110, BLUE, mirrored=True)
    people.film(tmp_path / "v.mp4", [room(size, (large, 600, 560), (small, 1500, 500))] * 4, fps=10)
    audio = write_voice(tmp_path / "voice.wav", 0.4)
    arguments = ("render", "v.mp4", str(audio), "--weights", str(tiny_weights), "--json")
    refused(run_here(*arguments, "-o", "none.mp4", "--choose", "1000,900"), 2, "no face at")
    ended = run_here(*arguments, "-o", "out.mp4", "--choose", "right")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["uncertain_shots"] == 0
    made, source = (next(read_frames(tmp_path / n)).astype(int) for n in ("out.mp4", "v.mp4"))
    changed = np.abs(made - source).mean(-1)
    assert changed[400:520, 1440:1560].max() > 30
    assert changed[:, :1300].mean() < 1.5
    assert changed[:, :1300].max() < 25


def test_a_track_is_followed_in_a_video(
    run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    simple(tmp_path)
    audio = write_voice(tmp_path / "voice.wav", 0.5)
    assert run_here("landmarks", "v.mp4", "--detect", "-o", "seen.npz").returncode == 0
    arguments = ("render", "v.mp4", str(audio), "--weights", str(tiny_weights), "-o", "out.mp4")
    ended = run_here(*arguments, "--landmarks", "seen.npz")
    assert (ended.returncode, ended.stderr) == (0, "")
    made, source = (np.stack(list(read_frames(tmp_path / n))) for n in ("out.mp4", "v.mp4"))
    assert np.abs(made.astype(int) - source)[:, :120].mean() < 2
    assert np.abs(made.astype(int) - source).mean() < 3


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--pose", "still"), 2, "leave out the pose"),
        (("--loop", "spin"), 2, "loop must be one of pingpong, hold, error"),
        (("--loop", "error"), 2, "has 5 frames, but the sound needs 7: set loop to pingpong"),
        (("--choose", "3"), 2, "no face 3: "),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    options: tuple[str, ...],
    code: int,
    words: str,
    run_here: RunHere,
    tiny_weights: Path,
    tmp_path: Path,
) -> None:
    simple(tmp_path)
    audio = write_voice(tmp_path / "voice.wav", 0.65)
    arguments = ("render", "v.mp4", str(audio), "-o", "out.mp4", "--weights", str(tiny_weights))
    ended = run_here(*arguments, *options)
    assert words in ended.stderr
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (code, "", 1)
    assert not (tmp_path / "out.mp4").exists()


def test_a_video_without_a_face_exits_3(
    run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    film(tmp_path / "v.mp4", [PLAIN] * 3)
    audio = write_voice(tmp_path / "voice.wav", 0.3)
    arguments = ("render", "v.mp4", str(audio), "-o", "out.mp4", "--weights", str(tiny_weights))
    ended = run_here(*arguments)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "no face" in ended.stderr

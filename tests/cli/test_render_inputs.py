from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from talkhead.media.video import VideoWriter
from talkhead.tracking.landmark_track import LandmarkTrack
from tests.cli.conftest import SECONDS, SIDE, RunHere, listing, refused
from tests.drawn_face import draw_face
from tests.meshes import mean_mesh
from tests.tiny import voice

pytestmark = pytest.mark.usefixtures("detector_is_here")


def missing(folder: Path) -> Path:
    return folder / "absent"


def directory(folder: Path) -> Path:
    (folder / "folder").mkdir()
    return folder / "folder"


def empty(folder: Path) -> Path:
    (folder / "empty.png").touch()
    return folder / "empty.png"


def text(folder: Path) -> Path:
    (folder / "text.png").write_text("not a picture, nor a sound")
    return folder / "text.png"


def truncated(folder: Path, suffix: str) -> Path:
    whole = folder / f"whole{suffix}"
    Image.fromarray(draw_face(SIDE)).save(whole)
    content = whole.read_bytes()
    whole.unlink()
    path = folder / f"truncated{suffix}"
    path.write_bytes(content[: len(content) // 2])
    return path


def truncated_png(folder: Path) -> Path:
    return truncated(folder, ".png")


def truncated_jpeg(folder: Path) -> Path:
    return truncated(folder, ".jpg")


def small_picture(folder: Path) -> Path:
    Image.new("RGB", (40, 40)).save(folder / "small.png")
    return folder / "small.png"


def silent_video(folder: Path) -> Path:
    path = folder / "video.mp4"
    with VideoWriter(path, size=(64, 64), fps=Fraction(25), sound=None) as writer:
        writer.write(np.zeros((5, 64, 64, 3), np.uint8))
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (missing, ("absent", "does not exist")),
        (directory, ("folder", "is a directory")),
        (empty, ("empty.png", "is empty")),
        (text, ("text.png", "is not a picture")),
        (truncated_png, ("truncated.png", "truncated")),
        (truncated_jpeg, ("truncated.jpg", "truncated")),
        (small_picture, ("small.png", "40 x 40 px")),
    ],
)
def test_a_bad_face_is_refused_in_one_line(
    make: Callable[[Path], Path],
    words: tuple[str, ...],
    audio: Path,
    run_here: RunHere,
    tiny_weights: Path,
    tmp_path: Path,
) -> None:
    face = make(tmp_path)
    before = listing(tmp_path)
    ended = run_here(
        "render", str(face), str(audio), "-o", "out.mp4", "--weights", str(tiny_weights)
    )
    refused(ended, 2, *words)
    assert listing(tmp_path) == before


def test_a_picture_without_a_face_exits_3(
    audio: Path, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    y, x = np.mgrid[:120, :160]
    plain = np.stack([x, y, x + y], -1).astype(np.uint8)
    Image.fromarray(plain).save(tmp_path / "plain.png")
    before = listing(tmp_path)
    ended = run_here(
        "render", "plain.png", str(audio), "-o", "out.mp4", "--weights", str(tiny_weights)
    )
    refused(ended, 3, "no face found")
    assert listing(tmp_path) == before


def empty_sound(folder: Path) -> Path:
    soundfile.write(folder / "zero.wav", np.zeros(0, np.float32), 16_000)
    return folder / "zero.wav"


def text_as_sound(folder: Path) -> Path:
    (folder / "text.wav").write_text("not a sound, nor a picture")
    return folder / "text.wav"


def corrupt_sound(folder: Path) -> Path:
    path = folder / "corrupt.flac"
    soundfile.write(path, voice(2.0), 16_000)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)
    return path


def cut_off_sound(folder: Path) -> Path:
    path = folder / "cut.wav"
    soundfile.write(path, voice(2.0), 16_000)
    path.write_bytes(path.read_bytes()[:30_000])
    return path


def sound_with_nan(folder: Path) -> Path:
    samples = voice(SECONDS)
    samples[1000] = np.nan
    soundfile.write(folder / "nan.wav", samples, 16_000, subtype="FLOAT")
    return folder / "nan.wav"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (missing, ("absent", "does not exist")),
        (directory, ("folder", "is a directory")),
        (empty, ("empty.png", "is empty")),
        (text_as_sound, ("text.wav", "cannot be read as audio")),
        (empty_sound, ("zero.wav", "contains no sound")),
        (corrupt_sound, ("corrupt.flac", "is corrupt")),
        (cut_off_sound, ("cut.wav", "is cut off")),
        (sound_with_nan, ("nan.wav", "NaN or infinite")),
        (silent_video, ("video.mp4", "no audio stream")),
    ],
)
def test_a_bad_sound_is_refused_in_one_line(
    make: Callable[[Path], Path],
    words: tuple[str, ...],
    face: Path,
    run_here: RunHere,
    tiny_weights: Path,
    tmp_path: Path,
) -> None:
    sound = make(tmp_path)
    before = listing(tmp_path)
    ended = run_here(
        "render", str(face), str(sound), "-o", "out.mp4", "--weights", str(tiny_weights)
    )
    refused(ended, 2, *words)
    assert listing(tmp_path) == before


def write_track(path: Path, size: tuple[int, int]) -> Path:
    points = np.repeat(mean_mesh(60, size[0] / 2, size[1] / 2)[None], 5, 0)
    LandmarkTrack(points, Fraction(25), size, "drawn").write(path)
    return path


def damaged_track(folder: Path) -> Path:
    path = write_track(folder / "damaged.npz", (SIDE, SIDE))
    path.write_bytes(path.read_bytes()[:500])
    return path


def track_for_another_picture(folder: Path) -> Path:
    return write_track(folder / "track.npz", (320, 240))


def track_as_text(folder: Path) -> Path:
    (folder / "track.txt").write_text("1 2 3")
    return folder / "track.txt"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (track_for_another_picture, ("320 x 240", "256 x 256")),
        (damaged_track, ("damaged.npz", "cannot be read as a landmark track")),
        (track_as_text, ("track.txt", ".npz or .json")),
    ],
)
def test_bad_landmarks_are_refused_in_one_line(
    make: Callable[[Path], Path],
    words: tuple[str, ...],
    face: Path,
    audio: Path,
    run_here: RunHere,
    tiny_weights: Path,
    tmp_path: Path,
) -> None:
    track = make(tmp_path)
    before = listing(tmp_path)
    ended = run_here(
        *("render", str(face), str(audio), "-o", "out.mp4"),
        *("--weights", str(tiny_weights), "--landmarks", str(track)),
    )
    refused(ended, 2, *words)
    assert listing(tmp_path) == before

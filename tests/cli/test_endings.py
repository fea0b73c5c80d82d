"""Render to other endings than mp4, and with other backgrounds."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from talkhead.media.metadata import probe_streams
from talkhead.media.video import read_frames
from talkhead.tracking.person_segmenter import PersonSegmenter
from tests.cli.conftest import PACKAGE, RunHere, command_line, listing, refused, write_face
from tests.tiny import write_voice
from tests.tracks import film_of_a_face, run

SIDE, NUM_FRAMES = 256, 13
EXAMPLE = PACKAGE.parent / "examples" / "face.png"


@pytest.fixture
def segmenter_is_here() -> None:
    try:
        PersonSegmenter().close()
    except Exception as error:  # noqa: BLE001  # it says why
        pytest.skip(str(error))


@pytest.fixture
def clear_face(face: Path) -> Path:
    """The drawn face with a transparent border that becomes solid in steps."""
    with Image.open(face) as image:
        picture = image.convert("RGBA")
    x = np.arange(SIDE)
    alpha = np.minimum(x, SIDE - 1 - x).clip(0, 16) * 15
    picture.putalpha(Image.fromarray(np.tile(alpha.astype(np.uint8), (SIDE, 1))))
    picture.save(face.with_name("clear.png"))
    return face.with_name("clear.png")


def alpha_of(path: Path, side: int = SIDE) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    raw = run("-c:v", "libvpx-vp9", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgba", "-")
    return np.frombuffer(raw, np.uint8).reshape(-1, side, side, 4)[..., 3]


@pytest.mark.parametrize(
    ("name", "codecs"),
    [
        ("out.webm", ("vp9", "opus")),
        ("out.mov", ("prores", "pcm_s24le")),
        ("out.gif", ("gif", None)),
        ("out.webp", ("webp_anim", None)),
    ],
)
def test_the_ending_chooses_the_format_and_the_mark_can_be_read(
    name: str,
    codecs: tuple[str, str | None],
    face: Path,
    audio: Path,
    run_here: RunHere,
    tiny_weights: Path,
    tmp_path: Path,
) -> None:
    ended = run_here(
        *("render", str(face), str(audio), "-o", name, "--json", "--weights", str(tiny_weights))
    )
    assert ended.returncode == 0, ended.stderr
    silent = codecs[1] is None
    assert ended.stderr == (f"talkhead: {name[4:]} cannot keep the sound\n" if silent else "")
    facts = json.loads(ended.stdout)
    assert facts.get("not_kept") == (["the sound"] if silent else None)
    streams = probe_streams(tmp_path / name)
    assert (streams.video_codec, streams.audio_codec) == codecs
    assert facts["frames"] == len(list(read_frames(tmp_path / name))) == NUM_FRAMES
    seen = run_here("inspect", name, "--json", "--face", str(face), "--audio", str(audio))
    read = json.loads(seen.stdout)
    assert read["note"]["synthetic"] is True
    assert (read["face_matches"], read["sound_matches"]) == (True, True)


def test_frames_are_numbered_files_and_an_existing_sequence_is_kept(
    face: Path, audio: Path, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    arguments = ("render", str(face), str(audio), "--weights", str(tiny_weights))
    ended = run_here(*arguments, "-o", "out/%05d.png")
    assert ended.stderr == "talkhead: png cannot keep the sound\n"
    names = {"out", *(f"out/{number:05}.png" for number in range(1, NUM_FRAMES + 1))}
    assert listing(tmp_path) == {face.name, audio.name, *names}
    read = json.loads(run_here("inspect", "out/00001.png", "--json", "--face", str(face)).stdout)
    assert (read["note"]["synthetic"], read["face_matches"]) == (True, True)
    refused(run_here(*arguments, "-o", "out/%05d.png"), 2, "out has frames")
    ended = run_here(*arguments, "-o", "out/%05d.png", "--skip-existing")
    assert (ended.returncode, ended.stdout) == (0, "out/%05d.png: exists, skipped\n")


def test_raw_frames_are_all_that_goes_to_stdout(
    face: Path, audio: Path, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    arguments = ("render", str(face), str(audio), "--weights", str(tiny_weights))
    ended = subprocess.run(
        command_line(*arguments, "-o", "-", "--format", "rawvideo"),
        cwd=tmp_path,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    frames = np.frombuffer(ended.stdout, np.uint8).reshape(-1, SIDE, SIDE, 3)
    assert len(frames) == NUM_FRAMES
    run_here(*arguments, "-o", "out/%d.png")
    for number, frame in enumerate(frames, 1):
        with Image.open(tmp_path / "out" / f"{number}.png") as image:
            assert np.array_equal(np.array(image), frame)


@pytest.mark.parametrize(
    ("output", "options", "seconds", "words"),
    [
        ("out.gif", (), 10.5, "a gif is for at most 10 s"),
        ("out.mp4", ("--background", "transparent"), 0.5, "mp4 cannot be transparent"),
        ("out.gif", ("--background", "transparent"), 0.5, "gif cannot be transparent"),
        ("out.webm", ("--background", "greenish"), 0.5, "is not transparent, a colour"),
        ("out.webm", ("--background", "no.jpg"), 0.5, "no.jpg"),
        ("out.png", (), 0.5, "would hold one frame"),
        ("out.avi", (), 0.5, "has no video suffix"),
        ("out.mp4", ("--format", "rawvideo"), 0.5, "raw frames go to stdout"),
        ("{audio}/%05d.png", (), 0.5, "numbers the frames of one video"),
    ],
)
def test_what_an_ending_cannot_be_is_said_in_one_line(
    output: str,
    options: tuple[str, ...],
    seconds: float,
    words: str,
    face: Path,
    run_here: RunHere,
    tiny_weights: Path,
    tmp_path: Path,
) -> None:
    write_voice(tmp_path / "voice.wav", seconds)
    before = listing(tmp_path)
    arguments = ("render", str(face), "voice.wav", "-o", output, "--weights", str(tiny_weights))
    refused(run_here(*arguments, *options), 2, words)
    assert listing(tmp_path) == before


def test_a_dub_to_a_gif_says_all_that_is_lost_in_one_line(
    run_here: RunHere, tiny_weights: Path, tmp_path: Path, detector_is_here: None
) -> None:
    film_of_a_face(tmp_path)
    write_voice(tmp_path / "voice.wav", 0.5)
    arguments = ("render", "film.mkv", "voice.wav", "-o", "out.gif")
    ended = run_here(*arguments, "--weights", str(tiny_weights))
    assert ended.stderr == (
        "talkhead: gif cannot keep the sound; its other tracks, chapters and metadata of film.mkv\n"
    )


def test_a_transparent_picture_stays_so_where_it_can(
    clear_face: Path, audio: Path, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    arguments = ("render", clear_face.name, str(audio), "--weights", str(tiny_weights))
    assert run_here(*arguments, "-o", "out.webm").stderr == ""
    alpha = alpha_of(tmp_path / "out.webm")
    assert len(alpha) == NUM_FRAMES
    assert alpha[:, :, 128].min() > 230
    assert alpha[:, :, 0].max() < 20
    assert 80 < alpha[:, :, 8].mean() < 160
    ended = run_here(*arguments, "-o", "out.mp4")
    assert ended.stderr == "talkhead: mp4 cannot keep the transparency of clear.png\n"
    frame = next(read_frames(tmp_path / "out.mp4"))
    assert frame[:, 0].min() > 235
    ended = run_here(*arguments, "-o", "red.mp4", "--background", "red")
    assert ended.stderr == ""
    frame = next(read_frames(tmp_path / "red.mp4"))
    assert (frame[:, 0].mean(0) > (230, -1, -1)).all()
    assert (frame[:, 0].mean(0) < (256, 30, 30)).all()


def test_the_background_of_a_picture_and_of_a_video_is_replaced(
    segmenter_is_here: None,
    audio: Path,
    run_here: RunHere,
    tiny_weights: Path,
    tmp_path: Path,
    detector_is_here: None,
) -> None:
    with Image.open(EXAMPLE) as image:
        image.convert("RGB").resize((SIDE, SIDE)).save(tmp_path / "person.png")
    write_face(tmp_path / "wall.png")
    run("-loop", "1", "-i", str(tmp_path / "person.png"), "-t", "0.6", str(tmp_path / "p.mp4"))
    for face in ("person.png", "p.mp4"):
        arguments = ("render", face, str(audio), "--weights", str(tiny_weights))
        ended = run_here(*arguments, "-o", f"{face}.webm", "--background", "transparent")
        assert (ended.returncode, ended.stderr) == (0, "")
        alpha = alpha_of(tmp_path / f"{face}.webm")
        assert len(alpha) == NUM_FRAMES
        assert alpha[:, 50:70, 104:120].min() > 230
        assert alpha[:, :12, 150:200].max() < 25
        between = (alpha > 25) & (alpha < 230)
        assert 0.003 < between.mean() < 0.2
        ended = run_here(*arguments, "-o", f"{face}.mp4", "--background", "#00ff00")
        assert (ended.returncode, ended.stderr) == (0, "")
        frame = next(read_frames(tmp_path / f"{face}.mp4"))
        assert np.abs(frame[:12, 150:200] - np.array([0, 255, 0.0])).mean() < 12
    ended = run_here(
        *("render", "person.png", str(audio), "-o", "w.mp4", "--background", "wall.png"),
        *("--weights", str(tiny_weights)),
    )
    assert ended.returncode == 0

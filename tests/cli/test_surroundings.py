"""Unusual process environments: odd file names, closed streams, other locales."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import talkhead
from talkhead.media.video import probe_video
from tests.cli.conftest import write_face
from tests.tiny import write_tiny_weights, write_voice

HOME = Path(talkhead.__file__).parents[1]
LATIN = os.fsdecode(b"caf\xe9")
pytestmark = pytest.mark.usefixtures("detector_is_here")


def run(
    folder: Path, *arguments: str, redirect: str = "", **environment: str
) -> "subprocess.CompletedProcess[bytes]":
    """Run the command from a shell in a folder, with a redirection."""
    return subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {redirect}', sys.executable, "-m", "talkhead", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(HOME), "TALKHEAD_CACHE": str(folder)} | environment,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
        check=False,
    )


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    write_face(tmp_path / "face.png")
    write_voice(tmp_path / "voice.wav", 0.3)
    return tmp_path


NAMES = [LATIN, "two\nlines 100%d:%03d 'single' \"double\" [x]*?"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not take such names")
@pytest.mark.parametrize("name", NAMES)
def test_any_name_serves_for_every_file(name: str, inputs: Path, tiny_weights: Path) -> None:
    shutil.move(inputs / "face.png", inputs / f"{name}.png")
    shutil.move(inputs / "voice.wav", inputs / f"{name}.wav")
    shutil.copytree(tiny_weights, inputs / f"{name}.weights")
    weights = ("--weights", f"{name}.weights")
    ended = run(
        inputs,
        *("landmarks", f"{name}.wav", "--face", f"{name}.png", "-o", f"{name}.npz", *weights),
        *("--preview", f"{name}.mov"),
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    ended = run(
        inputs,
        *("render", f"{name}.png", f"{name}.wav", "-o", f"{name}.mp4", "--json", *weights),
        *("--landmarks", f"{name}.npz"),
        PYTHONIOENCODING="utf-8:strict",
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert json.loads(ended.stdout.decode("utf-8"))["output"] == f"{name}.mp4"
    assert probe_video(inputs / f"{name}.mp4").has_audio
    for command in ("doctor", "inspect"):
        ended = run(inputs, command, f"{name}.png", "--json", PYTHONIOENCODING="utf-8:strict")
        assert (ended.returncode, ended.stderr) == (0, b"")
        json.loads(ended.stdout.decode("utf-8"))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not take such names")
@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8"])
def test_a_name_is_told_in_every_locale(locale: str, tmp_path: Path) -> None:
    for path in (LATIN, "café"):
        ended = run(tmp_path, "doctor", f"{path}.png", LC_ALL=locale)
        assert ended.returncode == 2
        assert ended.stderr.startswith(b"talkhead: caf")
        assert ended.stderr.count(b"\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not take such names")
def test_a_batch_in_a_folder_of_any_name(inputs: Path, tiny_weights: Path) -> None:
    shutil.copy(inputs / "voice.wav", inputs / f"{LATIN}.wav")
    weights = ("--weights", str(tiny_weights), "--json")
    for state in ("done", "skipped"):
        ended = run(
            inputs, "render", "face.png", f"{LATIN}.wav", "voice.wav", "-o", f"{LATIN}/", *weights
        )
        assert ended.returncode == 0, ended.stderr
        lines = [json.loads(line) for line in ended.stdout.decode("utf-8").splitlines()]
        assert [line["state"] for line in lines] == [state, state, "summary"]
    assert {path.name for path in (inputs / LATIN).glob("*.mp4")} == {f"{LATIN}.mp4", "voice.mp4"}


CLOSED = [">&-", "2>&-", "<&- >&- 2>&-"]


@pytest.mark.parametrize("redirect", CLOSED)
def test_closed_streams_change_nothing(redirect: str, inputs: Path, tiny_weights: Path) -> None:
    arguments = ("render", "face.png", "voice.wav", "--weights", str(tiny_weights), "-o")
    assert run(inputs, *arguments, "open.mp4").returncode == 0
    ended = run(inputs, *arguments, "closed.mp4", redirect=redirect)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert (inputs / "closed.mp4").read_bytes() == (inputs / "open.mp4").read_bytes()
    assert bool(ended.stdout) == (">&-" not in redirect.replace("2>&-", ""))


def test_workers_take_closed_streams_too(inputs: Path) -> None:
    write_tiny_weights(inputs / "weights")
    write_voice(inputs / "other.wav", 0.2)
    ended = run(
        inputs,
        *("render", "face.png", "voice.wav", "other.wav", "-o", "made/", "--jobs", "2"),
        *("--weights", "weights"),
        redirect="<&- >&- 2>&-",
    )
    assert ended.returncode == 0
    assert all(probe_video(inputs / "made" / f"{n}.mp4").has_audio for n in ("voice", "other"))


@pytest.mark.parametrize(
    ("arguments", "redirect", "words"),
    [
        (("render", "face.png", "-", "-o", "a.mp4"), "<&-", b"talkhead: stdin is closed"),
        (("render", "face.png", "voice.wav", "-o", "-"), ">&-", b"talkhead: stdout is closed"),
        (("render", "face.png", "voice.wav", "-o", "-"), ">&- 2>&-", b""),
    ],
)
def test_a_closed_stream_that_is_needed_is_named(
    arguments: tuple[str, ...], redirect: str, words: bytes, inputs: Path
) -> None:
    ended = run(inputs, *arguments, redirect=redirect)
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert ended.stderr.startswith(words)
    assert ended.stderr.count(b"\n") <= 1


def test_a_large_picture_is_scaled_down_and_the_command_says_so(
    inputs: Path, tiny_weights: Path
) -> None:
    weights = ("--weights", str(tiny_weights))
    track = run(inputs, "landmarks", "voice.wav", "--face", "face.png", "-o", "full.npz", *weights)
    assert (track.returncode, track.stderr) == (0, b"")
    said = b"talkhead: face.png is scaled down from 256 x 256 to 160 x 160 px (max-size sets"
    # A track made at full size also works for the smaller picture.
    ended = run(
        inputs,
        *("render", "face.png", "voice.wav", "-o", "out.mp4", "--json", "--max-size", "160"),
        *("--landmarks", "full.npz", *weights),
    )
    assert ended.returncode == 0
    assert ended.stderr.startswith(said)
    assert ended.stderr.count(b"\n") == 1
    assert json.loads(ended.stdout)["scaled_from"] == [256, 256]
    video = probe_video(inputs / "out.mp4")
    assert (video.width, video.height) == (160, 160)


@pytest.mark.skipif(sys.platform != "linux", reason="the limits are those of Linux")
@pytest.mark.parametrize(
    ("limit", "arguments", "words"),
    [
        # No file can be written anywhere.
        ("ulimit -f 0", ("inspect", "voice.wav"), b"set TMPDIR"),
        # Some of these would let mediapipe start, and abort.
        *(
            (f"ulimit -v {kilobytes}", ("doctor", "face.png"), b"memory ran out")
            for kilobytes in (400_000, 500_000, 600_000, 700_000)
        ),
    ],
)
def test_what_the_machine_lacks_is_one_line(
    limit: str, arguments: tuple[str, ...], words: bytes, inputs: Path
) -> None:
    ended = subprocess.run(
        ["sh", "-c", f'{limit}; exec "$0" -m talkhead "$@"', sys.executable, *arguments],
        cwd=inputs,
        env=os.environ | {"PYTHONPATH": str(HOME)},
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert ended.stderr.startswith(b"talkhead: ")
    assert words in ended.stderr
    assert ended.stderr.count(b"\n") == 1

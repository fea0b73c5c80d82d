import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from talkhead.media.audio_clip import AudioClip
from talkhead.media.video import probe_video, read_frames
from talkhead.tracking.landmark_track import LandmarkTrack
from tests.cli.conftest import (
    PACKAGE,
    SECONDS,
    SIDE,
    RunHere,
    command_line,
    listing,
    refused,
)
from tests.tiny import level_of, write_voice


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files of this process and its children."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def start(
    folder: Path, *arguments: object, stdin: int | None = None, stdout: int = subprocess.PIPE
) -> "subprocess.Popen[bytes]":
    """Start a command like a user, in a separate process."""
    return subprocess.Popen(
        command_line(*arguments),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent), "HF_HUB_OFFLINE": "1"},
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


def test_a_voice_from_a_pipe_becomes_a_video_in_a_pipe(
    face: Path,
    audio: Path,
    scratch: Path,
    run_here: RunHere,
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = ("render", str(face), "-", "-o", "-", "--weights", str(tiny_weights))
    process = start(tmp_path, *arguments, stdin=subprocess.PIPE)
    video, messages = process.communicate(audio.read_bytes(), timeout=300)
    assert (process.returncode, messages) == (0, b"")
    (tmp_path / "piped.mp4").write_bytes(video)
    assert probe_video(tmp_path / "piped.mp4").width == SIDE
    assert len(list(read_frames(tmp_path / "piped.mp4"))) == 13
    sound = AudioClip.open(tmp_path / "piped.mp4")
    assert float(sound.duration_s) == pytest.approx(SECONDS, abs=0.07)
    assert level_of(tmp_path / "piped.mp4") == pytest.approx(level_of(audio), rel=0.1)
    # Redirected to a file, stdout holds the same bytes and nothing else.
    with (
        (tmp_path / "redirected.mp4").open("w") as stdout,
        audio.open() as stdin,
        monkeypatch.context() as patch,
    ):
        patch.setattr(sys, "stdout", stdout)
        patch.setattr(sys, "stdin", stdin)
        ended = run_here(*arguments)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert (tmp_path / "redirected.mp4").read_bytes() == video
    assert not any(name.startswith("talkhead-") for name in listing(scratch))


def test_a_voice_from_stdin_makes_what_its_file_makes(
    face: Path,
    audio: Path,
    scratch: Path,
    run_here: RunHere,
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shared = ("--weights", str(tiny_weights))
    for command, suffix in (("render", "mp4"), ("landmarks", "npz")):
        faces = (str(face),) if command == "render" else ()
        ended = run_here(command, *faces, str(audio), "-o", f"file.{suffix}", *shared)
        assert ended.returncode == 0, ended.stderr
        with audio.open() as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            ended = run_here(command, *faces, "-", "-o", f"stdin.{suffix}", *shared)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.startswith(f"stdin.{suffix}: 13 frames at 25 fps")
        made = [(tmp_path / f"{name}.{suffix}").read_bytes() for name in ("file", "stdin")]
        assert made[0] == made[1]
    assert LandmarkTrack.read(tmp_path / "stdin.npz").num_frames == 13
    assert not any(name.startswith("talkhead-") for name in listing(scratch))


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "stdin is empty"), (b"neither a sound, nor a picture", "stdin cannot be read as audio")],
)
def test_a_bad_sound_on_stdin_is_refused_in_one_line(
    content: bytes,
    words: str,
    face: Path,
    scratch: Path,
    run_here: RunHere,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "sound").write_bytes(content)
    before = listing(tmp_path)
    with (tmp_path / "sound").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        refused(run_here("render", str(face), "-", "-o", "out.mp4"), 2, words)
    assert listing(tmp_path) == before


def test_json_and_a_video_do_not_go_to_stdout_together(
    face: Path, audio: Path, run_here: RunHere
) -> None:
    refused(run_here("render", str(face), str(audio), "-o", "-", "--json"), 2, "--json")


@pytest.mark.skipif(sys.platform == "win32", reason="opens a terminal as Unix does")
@pytest.mark.parametrize("name", ["stdin", "stdout"])
def test_a_terminal_is_no_place_for_a_video_or_a_sound(
    name: str, face: Path, audio: Path, tmp_path: Path
) -> None:
    arguments = ("-", "-o", "out.mp4") if name == "stdin" else (audio, "-o", "-")
    ours, terminal = os.openpty()
    try:
        ends = {"stdin": terminal} if name == "stdin" else {"stdout": terminal}
        process = start(tmp_path, "render", face, *arguments, **ends)
        shown, messages = process.communicate(timeout=60)
    finally:
        os.close(ours)
        os.close(terminal)
    assert messages.decode().startswith(f"talkhead: {name} is a terminal: pipe ")
    assert (process.returncode, shown or b"", messages.count(b"\n")) == (2, b"", 1)


@pytest.mark.skipif(sys.platform == "win32", reason="closes descriptors as Unix does")
def test_closed_pipes_are_refused_in_one_line(face: Path, audio: Path, tmp_path: Path) -> None:
    for redirection, sound, output in (("<&-", "-", "out.mp4"), (">&-", audio, "-")):
        arguments = ("render", face, sound, "-o", output)
        ended = subprocess.run(
            ["sh", "-c", f'exec "$@" {redirection}', "sh", *command_line(*arguments)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert " is closed: pipe " in ended.stderr
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)


def encoders_of(mark: str) -> list[str]:
    """Return the names of running programs with a mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "comm").read_text().strip())
        except OSError:  # it has just ended, or belongs to another user
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="asks Linux for processes")
def test_a_reader_that_stops_ends_the_command_in_one_line(
    face: Path, scratch: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = write_voice(tmp_path / "long.wav", 60)
    before = listing(tmp_path)
    mark = f"MARK={tmp_path}"
    monkeypatch.setenv(*mark.split("=", 1))
    process = start(tmp_path, "render", face, long, "-o", "-", "--weights", tiny_weights)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert process.stdout.read(8)[4:] == b"ftyp"
        assert process.poll() is None  # rendering is still running
        assert len(encoders_of(mark)) == 2
        process.stdout.close()
        messages = process.stderr.read()
        assert process.wait(timeout=120) == 2
    finally:
        process.kill()
        process.stderr.close()
    assert messages.startswith(b"talkhead: the program reading the video stopped early")
    assert messages.count(b"\n") == 1
    assert encoders_of(mark) == []
    assert {name for name in listing(tmp_path) if "torchinductor" not in name} == before


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_while_stdin_is_read_leaves_nothing(
    face: Path, scratch: Path, tmp_path: Path
) -> None:
    before = listing(tmp_path)
    process = start(tmp_path, "render", face, "-", "-o", "out.mp4", stdin=subprocess.PIPE)
    assert process.stdin is not None
    try:
        process.stdin.write(b"RIFF")
        process.stdin.flush()
        limit = time.monotonic() + 60
        while time.monotonic() < limit and not list(scratch.glob("talkhead-*/stdin")):
            time.sleep(0.05)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, messages = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out, messages) == (130, b"", b"talkhead: interrupted\n")
    assert listing(tmp_path) == before

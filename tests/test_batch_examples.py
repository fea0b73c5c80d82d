"""Run the shell scripts in examples/ that render many videos, unmodified."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from talkhead.batch.journal import JOURNAL_NAME, LOCK_NAME
from talkhead.media.video import probe_video
from tests.drawn_face import draw_face
from tests.tiny import write_voice

TOP = Path(__file__).resolve().parents[1]
EXAMPLES = TOP / "examples"
OWN = {JOURNAL_NAME, LOCK_NAME}
ODD = 'a "b"\n$(c)'
RunScript = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [
    pytest.mark.usefixtures("detector_is_here"),
    pytest.mark.skipif(shutil.which("sh") is None, reason="needs a shell"),
]


@pytest.fixture
def run_script(tmp_path: Path, tiny_weights: Path) -> RunScript:
    """Run a script with a `talkhead` on the PATH that uses tiny weights."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "talkhead").write_text(
        '#!/bin/sh\nshift\nexec "$PYTHON" -m talkhead render --weights "$WEIGHTS" "$@"\n'
    )
    (programs / "talkhead").chmod(0o755)

    def run(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["sh", EXAMPLES / name, *arguments],
            cwd=tmp_path,
            env=os.environ
            | {
                "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
                "PYTHON": sys.executable,
                "PYTHONPATH": str(TOP),
                "WEIGHTS": str(tiny_weights),
                "HOME": str(tmp_path),  # GNU parallel keeps files there
                "JOBS": "2",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A face, and a folder with two recordings and a broken one."""
    Image.fromarray(draw_face(160)).save(tmp_path / "face.png")
    folder = tmp_path / "sounds"
    (folder / "deeper").mkdir(parents=True)
    write_voice(folder / f"{ODD}.wav", 0.3)
    write_voice(folder / "deeper" / "b.wav", 0.4, seed=1)
    (folder / "broken.wav").write_text("no sound")
    return folder


def check_videos(folder: Path, own: set[str]) -> None:
    assert {path.name for path in folder.iterdir()} == {f"{ODD}.mp4", "b.mp4", *own}
    for path in folder.glob("*.mp4"):
        assert probe_video(path).has_audio


def test_a_shell_script_makes_a_video_for_each_sound_and_tells_of_the_broken_one(
    run_script: RunScript, sounds: Path, tmp_path: Path
) -> None:
    names = [f"sounds/{ODD}.wav", "sounds/broken.wav", "sounds/deeper/b.wav"]
    ended = run_script("batch.sh", "face.png", "videos", *names)
    assert ended.returncode == 5
    assert ended.stderr.startswith("talkhead: 3 items: 2 done, 1 failed: videos/broken.mp4: ")
    check_videos(tmp_path / "videos", OWN)
    write_voice(sounds / "broken.wav", 0.4, seed=1)
    ended = run_script("batch.sh", "face.png", "videos", *names)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == "talkhead: 3 items: 1 done, 2 skipped\n"


def test_xargs_hands_all_sounds_below_a_folder_to_a_batch(
    run_script: RunScript, sounds: Path, tmp_path: Path
) -> None:
    ended = run_script("batch-xargs.sh", "face.png", "sounds", "videos")
    assert ended.returncode == 123
    assert "2 done, 1 failed: videos/broken.mp4: " in ended.stderr
    check_videos(tmp_path / "videos", OWN)
    (sounds / "broken.wav").unlink()
    ended = run_script("batch-xargs.sh", "face.png", "sounds", "videos")
    assert (ended.returncode, ended.stderr) == (0, "talkhead: 2 items: 2 skipped\n")


@pytest.mark.skipif(shutil.which("parallel") is None, reason="needs GNU parallel")
@pytest.mark.usefixtures("sounds")
def test_gnu_parallel_makes_a_video_in_every_process(run_script: RunScript, tmp_path: Path) -> None:
    names = [f"sounds/{ODD}.wav", "sounds/broken.wav", "sounds/deeper/b.wav"]
    ended = run_script("batch-parallel.sh", "face.png", "videos", *names)
    assert ended.returncode == 1, ended.stderr  # one item failed
    assert "talkhead: sounds/broken.wav" in ended.stderr
    check_videos(tmp_path / "videos", set())
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "videos").iterdir()}
    ended = run_script("batch-parallel.sh", "face.png", "videos", *names[::2])
    assert ended.returncode == 0, ended.stderr
    assert "exists, skipped" in ended.stdout
    assert written == {path: path.stat().st_mtime_ns for path in (tmp_path / "videos").iterdir()}


@pytest.mark.parametrize("name", ["batch.sh", "batch-xargs.sh", "batch-parallel.sh"])
def test_a_script_says_how_it_is_used(name: str, run_script: RunScript) -> None:
    ended = run_script(name)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"usage: sh {name} FACE FOLDER_OF_")

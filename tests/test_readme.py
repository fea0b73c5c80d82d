import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from talkhead.media.video import probe_video
from tests.pages import TOP, programs, run_program, shell_lines

README = TOP / "README.md"
EXAMPLES = TOP / "examples"
SET_UP_AND_RENDER, SET_UP_AND_TEST = [
    line for line in shell_lines(README) if line.startswith("python3 -m venv")
]


def test_the_readme_is_short() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    assert len(text.encode()) <= 10_000


def test_the_two_commands_need_nothing_but_python_and_pip() -> None:
    for command in (SET_UP_AND_RENDER, SET_UP_AND_TEST):
        steps = [shlex.split(step) for step in command.split("&&")]
        assert steps[0] == ["python3", "-m", "venv", ".venv"]
        assert steps[1][:2] == [".venv/bin/pip", "install"]
        assert steps[2][0].startswith(".venv/bin/")
        assert len(steps) == 3
    assert shlex.split(SET_UP_AND_TEST)[-3:] == [".venv/bin/python", "-m", "tests"]


def test_ci_runs_the_readmes_commands_as_they_stand() -> None:
    script = TOP / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    text = script.read_text(encoding="utf-8")
    patterns = re.findall(r"readme_command '(.*)'", text)
    lines = README.read_text(encoding="utf-8").splitlines()
    found = [[line for line in lines if re.search(pattern, line)] for pattern in patterns]
    assert found == [[SET_UP_AND_RENDER], [SET_UP_AND_TEST]]
    assert "pip install" not in text


def test_the_readmes_program_makes_a_video(tmp_path: Path) -> None:
    (program,) = programs(README)
    assert len([line for line in program.splitlines() if line]) <= 8
    assert run_program(program, tmp_path).stdout == "(13, 512, 512, 3)\n"
    assert probe_video(tmp_path / "out.mp4").width == 512


def test_the_readmes_render_command_makes_a_video(tmp_path: Path) -> None:
    render = shlex.split(SET_UP_AND_RENDER.split("&&")[2])
    (tmp_path / "examples").symlink_to(EXAMPLES)
    ended = subprocess.run(
        [sys.executable, "-m", "talkhead", *render[1:]],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(TOP), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out.mp4").stat().st_size > 10_000


def test_the_example_picture_is_a_portrait_of_512_px() -> None:
    with Image.open(EXAMPLES / "face.png") as picture:
        assert (picture.size, picture.mode) == ((512, 512), "RGB")


def test_the_example_speech_is_a_few_seconds_with_pauses() -> None:
    waveform, rate = soundfile.read(EXAMPLES / "speech.wav", dtype="float32")
    info = soundfile.info(EXAMPLES / "speech.wav")
    assert (rate, info.channels, info.subtype) == (22050, 1, "PCM_16")
    assert 6 <= len(waveform) / rate <= 8
    tenths = waveform[: len(waveform) // 2205 * 2205].reshape(-1, 2205)
    is_quiet = np.sqrt((tenths**2).mean(axis=1)) < 0.01
    pauses = np.flatnonzero(is_quiet[1:] & ~is_quiet[:-1])
    assert 3 <= len(pauses) <= 12


def test_the_batch_example_says_how_it_is_used() -> None:
    ended = subprocess.run(
        ["sh", EXAMPLES / "batch.sh"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("usage: sh batch.sh FACE FOLDER_OF_VIDEOS SOUND...")

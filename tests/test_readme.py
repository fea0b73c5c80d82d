import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from PIL import Image

from talkhead.cli.app import app
from talkhead.face.mesh import LEFT_BROW, RIGHT_BROW
from talkhead.face.track import LandmarkTrack
from talkhead.media.video import probe_video
from tests.tiny import write_voice

TOP = Path(__file__).resolve().parents[1]
README = (TOP / "README.md").read_text(encoding="utf-8")
EXAMPLES = TOP / "examples"
PROGRAMS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
SET_UP_AND_RENDER, SET_UP_AND_TEST = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
    if line.startswith("python3 -m venv")
]


def talkhead_commands() -> Iterator[list[str]]:
    """Every `talkhead ...` of the README's shell blocks, as a list of words."""
    for block in re.findall(r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|", line):
                words = shlex.split(part, comments=True)
                if words and Path(words[0]).name == "talkhead":
                    yield words


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
    found = [
        [line for line in README.splitlines() if re.search(pattern, line)] for pattern in patterns
    ]
    assert found == [[SET_UP_AND_RENDER], [SET_UP_AND_TEST]]
    assert "pip install" not in text


def test_every_link_of_the_readme_leads_to_a_file() -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", README)
    links += re.findall(r'src="(?!https?://)([^"]+)"', README)
    for link in links:
        assert (TOP / link).exists(), link


def test_every_talkhead_command_of_the_readme_is_understood() -> None:
    command = typer.main.get_command(app)
    for words in talkhead_commands():
        context = command.make_context("talkhead", words[1:])
        # Parses the arguments of the sub-command, and goes no further.
        name, sub, rest = command.resolve_command(context, words[1:])  # type: ignore[attr-defined]
        sub.make_context(name, rest, parent=context)


def test_the_readmes_program_edits_a_track(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, _ = PROGRAMS
    assert len([line for line in program.splitlines() if line]) <= 12
    points = np.random.default_rng(0).uniform(0, 99, (80, 478, 3)).astype(np.float32)
    track = LandmarkTrack(points, Fraction(25), (100, 100), "hand")
    track.write(tmp_path / "track.npz")
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "README.md", "exec"), {})
    change = LandmarkTrack.read(tmp_path / "raised.npz").points - points
    assert change[50, LEFT_BROW, 1] == pytest.approx(-8, abs=0.01)
    assert np.abs(change[20]).max() < 1e-3
    assert np.flatnonzero(np.abs(change[50]).max(1)).tolist() == sorted([*LEFT_BROW, *RIGHT_BROW])


def test_the_readmes_program_makes_a_video(tmp_path: Path) -> None:
    _, program = PROGRAMS
    (tmp_path / "face.png").symlink_to(EXAMPLES / "face.png")
    write_voice(tmp_path / "voice.wav", 0.5)
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(TOP), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "(13, 512, 512, 3) 13\n"
    assert probe_video(tmp_path / "out.mp4").width == 512
    assert (tmp_path / "mine/landmarks/config.json").is_file()


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

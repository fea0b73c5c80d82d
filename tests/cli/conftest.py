import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from PIL import Image

import talkhead
from talkhead.cli.app import app
from talkhead.cli.errors import exit_code_of
from tests.drawn_face import draw_face
from tests.tiny import write_voice

Run = Callable[..., "subprocess.CompletedProcess[str]"]
PACKAGE = Path(talkhead.__file__).parent
SIDE = 256
SECONDS = 0.5


class Ended(NamedTuple):
    """How a command ended, and all output of the command and its libraries."""

    returncode: int
    stdout: str
    stderr: str


RunHere = Callable[..., Ended]


@pytest.fixture
def run_talkhead(tmp_path: Path) -> Run:
    """Run the command like a user, in a separate process and an empty folder."""

    def run(*arguments: str, home: Path | None = None) -> "subprocess.CompletedProcess[str]":
        environment = os.environ | {
            "PYTHONPATH": str(home or PACKAGE.parent),
            "TALKHEAD_CACHE": str(tmp_path / "cache"),
            "COLUMNS": "200",
        }
        return subprocess.run(
            [sys.executable, "-m", "talkhead", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def copied_talkhead(tmp_path: Path) -> Path:
    """A folder with a copy of talkhead whose weights a test may damage."""
    home = tmp_path / "home"
    shutil.copytree(
        PACKAGE,
        home / "talkhead",
        ignore=shutil.ignore_patterns("checkpoints", "__pycache__", "weights.toml"),
    )
    (home / "weights.toml").write_text("")
    return home


@pytest.fixture
def run_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> RunHere:
    """Run the command in this process, which is seconds faster as torch is already loaded."""
    command = typer.main.get_command(app)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ended:
        capfd.readouterr()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
        try:
            with warnings.catch_warnings():
                code = exit_code_of(
                    lambda: command.main(
                        list(arguments), prog_name="talkhead", standalone_mode=False
                    )
                )
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return Ended(code, *capfd.readouterr())

    return run


@pytest.fixture
def face(tmp_path: Path, detector_is_here: None) -> Path:
    return write_face(tmp_path / "face.png")


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    return write_voice(tmp_path / "voice.wav", SECONDS)


def command_line(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "talkhead", *map(str, arguments)]


def write_face(path: Path, width: int = SIDE, height: int = SIDE) -> Path:
    Image.fromarray(draw_face(SIDE)[:height, :width]).save(path)
    return path


def refused(ended: "Ended | subprocess.CompletedProcess[str]", code: int, *words: str) -> None:
    """Check for one line on stderr with these words, an empty stdout, and the exit code."""
    assert ended.stderr.startswith("talkhead: "), ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    for word in words:
        assert word in ended.stderr
    assert (ended.returncode, ended.stdout) == (code, "")


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}

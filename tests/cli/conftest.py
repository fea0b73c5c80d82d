import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import talkhead

Run = Callable[..., "subprocess.CompletedProcess[str]"]
PACKAGE = Path(talkhead.__file__).parent


@pytest.fixture
def run_talkhead(tmp_path: Path) -> Run:
    """Run the command as a user does: a process of its own, in an empty folder."""

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
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def copied_talkhead(tmp_path: Path) -> Path:
    """A folder with a talkhead of its own, whose weights a test may spoil."""
    home = tmp_path / "home"
    shutil.copytree(
        PACKAGE,
        home / "talkhead",
        ignore=shutil.ignore_patterns("checkpoints", "__pycache__", "weights.toml"),
    )
    (home / "weights.toml").write_text("")
    return home

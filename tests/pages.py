"""The documentation pages, and the commands and programs in them."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.tiny import write_voice

TOP = Path(__file__).resolve().parents[1]
PAGES = [
    TOP / "README.md",
    *sorted((TOP / "docs").glob("*.md")),
    *sorted((TOP / ".github").glob("*.md")),
    *sorted((TOP / "talkhead" / "checkpoints").glob("**/*.md")),
    TOP / "examples" / "README.md",
]


def shell_blocks(page: Path) -> list[str]:
    """Return a page's shell blocks."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def shell_lines(page: Path) -> Iterator[str]:
    """Return all lines of a page's shell blocks."""
    for block in shell_blocks(page):
        yield from block.replace("\\\n", " ").splitlines()


def talkhead_commands(page: Path) -> Iterator[list[str]]:
    """Return every `talkhead ...` command in a page's shell blocks, as a list of words."""
    for line in shell_lines(page):
        for part in re.split(r"&&|;|\|", line):
            words = shlex.split(part, comments=True)
            if words and Path(words[0]).name == "talkhead":
                yield words


def programs(page: Path) -> list[str]:
    """Return a page's Python programs."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def run_program(program: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a page's program in a folder that contains the files it uses."""
    (folder / "face.png").symlink_to(TOP / "examples" / "face.png")
    write_voice(folder / "voice.wav", 0.5)
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(TOP), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended

import os
from pathlib import Path

import pytest

from tests.reliability.case import Case
from tests.reliability.verdict import Snapshot, judge
from tests.reliability.worker import Ended

CASE = Case("render", ("render",), ("out.mp4",))
REFUSED = "talkhead: no\n"


def faults_of(folder: Path, ended: Ended, made: tuple[str, ...] = (), case: Case = CASE) -> str:
    """Judge a command that made files."""
    (folder / "in.png").write_text("seed")
    before = Snapshot.of(folder)
    for name in made:
        (folder / name).write_text("x")
    return "; ".join(judge(case, ended, before, Snapshot.of(folder), folder))


@pytest.mark.parametrize(
    ("code", "stderr", "made", "fault"),
    [
        (2, REFUSED, (), ""),
        (0, "", ("out.mp4",), ""),
        (0, "", (), "exit 0 without out.mp4"),
        (2, REFUSED, ("out.mp4",), "exit 2, but out.mp4 is there"),
        (2, "", (), "exit 2 with 0 lines"),
        (2, "oh\n" + REFUSED, (), "exit 2 with 2 lines"),
        (1, "Traceback (most recent call last):\nKeyError: 'a'\n", (), "exit 1 (KeyError: 'a'"),
        (2, REFUSED, ("other.txt",), "changed 'other.txt', exit 2"),
        (2, REFUSED, ("in.png",), "changed 'in.png', exit 2"),
        (2, REFUSED, (".talkhead-12.mp4",), "left '.talkhead-12.mp4', exit 2"),
        (None, "", (), "died"),
    ],
)
def test_what_is_not_as_it_should_be_is_found(
    tmp_path: Path, code: int | None, stderr: str, made: tuple[str, ...], fault: str
) -> None:
    found = faults_of(tmp_path, Ended(code, "", stderr, 1.0, 100.0), made)
    assert fault in found
    assert bool(found) == bool(fault)


def test_too_much_time_and_memory_are_found(tmp_path: Path) -> None:
    assert "3500 MB" in faults_of(tmp_path, Ended(2, "", REFUSED, 1.0, 3500.0))
    assert "61 s" in faults_of(tmp_path, Ended(2, "", REFUSED, 61.0, 10.0))
    assert "over 60 s" in faults_of(tmp_path, Ended(None, "", "", 61.0, 10.0))
    assert "over 3000 MB" in faults_of(tmp_path, Ended(None, "", "", 1.0, 3500.0))


def test_a_snapshot_neither_opens_nor_follows_what_it_finds(tmp_path: Path) -> None:
    (tmp_path / "ring").symlink_to("ring")
    (tmp_path / "up").symlink_to(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
    before = Snapshot.of(tmp_path)
    assert Snapshot.of(tmp_path).changed_since(before) == []
    (tmp_path / "ring").unlink()
    assert Snapshot.of(tmp_path).changed_since(before) == [str(tmp_path / "ring")]

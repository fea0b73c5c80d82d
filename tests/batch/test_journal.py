import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from talkhead.batch.journal import (
    JOURNAL_NAME,
    LOCK_NAME,
    Entry,
    Journal,
    has_made,
    read_entries,
)
from talkhead.errors import TalkheadError


def entry(name: str = "a.mp4", **changes: object) -> Entry:
    return dataclasses.replace(Entry("done", name, "k", 3, 5, {"frames": 10}), **changes)  # type: ignore[arg-type]


def test_what_is_written_is_read_again_and_the_last_line_counts(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff\n\"'.mp4")
    with Journal(tmp_path) as journal:
        journal.write(entry(state="made"))
        journal.write(entry())
        journal.write(entry(odd))
    assert read_entries(tmp_path) == {"a.mp4": entry(), odd: entry(odd)}
    with Journal(tmp_path) as journal:
        assert journal.entries["a.mp4"] == entry()
        journal.write(entry(key="other"))
    assert read_entries(tmp_path)["a.mp4"].key == "other"


@pytest.mark.parametrize(
    "cut", [b'{"state": "done", "outp', b"[]\n", b'"text"', b"\xff\x00", b"[" * 100_000, b"{}"]
)
def test_a_line_that_was_cut_off_is_ignored_and_the_next_one_is_whole(
    tmp_path: Path, cut: bytes
) -> None:
    with Journal(tmp_path) as journal:
        journal.write(entry())
    path = tmp_path / JOURNAL_NAME
    path.write_bytes(path.read_bytes() + cut)
    with Journal(tmp_path) as journal:
        assert set(journal.entries) == {"a.mp4"}
        journal.write(entry("b.mp4"))
    assert set(read_entries(tmp_path)) == {"a.mp4", "b.mp4"}


def test_every_beginning_of_a_journal_is_a_journal(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for name in ("a.mp4", "b.mp4"):
            journal.write(entry(name))
    content = (tmp_path / JOURNAL_NAME).read_bytes()
    for end in range(len(content)):
        (tmp_path / JOURNAL_NAME).write_bytes(content[:end])
        # A line is whole without its end, too.
        expected = [name for name in ("a.mp4", "b.mp4") if _is_whole(content, end, name)]
        assert sorted(read_entries(tmp_path)) == expected


def _is_whole(content: bytes, end: int, name: str) -> bool:
    lines = content.split(b"\n")[:2]
    return end >= (len(lines[0]) if name == "a.mp4" else len(lines[0]) + 1 + len(lines[1]))


def test_two_batches_do_not_write_to_one_folder(tmp_path: Path) -> None:
    with (
        Journal(tmp_path),
        pytest.raises(TalkheadError, match="another batch is writing to"),
        Journal(tmp_path),
    ):
        pass
    with Journal(tmp_path) as journal:
        assert journal.entries == {}


def test_leftovers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    old = time.time() - 3600
    mine = [".talkhead-batch-0123456789ab.mp4", ".talkhead-0123456789ab.mp4"]
    mine += [".talkhead-batch-0123456789ab.webm", ".talkhead-0123456789ab.gif"]
    others = [
        ".talkhead-0123456789AB.mp4",
        ".talkhead-0123456789ab.png",
        ".talkhead-batch-0123456789ab.mp4.bak",
        ".talkhead-batch-012.mp4",
        ".talkhead-notes",
        "video.mp4",
    ]
    for name in (*mine, *others):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (old, old))
    being_written = tmp_path / ".talkhead-aaaaaaaaaaaa.mp4"
    being_written.touch()
    (tmp_path / ".talkhead-batch-bbbbbbbbbbbb.mp4").mkdir()
    with Journal(tmp_path):
        left = {path.name for path in tmp_path.iterdir()}
    assert left == {
        *others,
        being_written.name,
        ".talkhead-batch-bbbbbbbbbbbb.mp4",
        JOURNAL_NAME,
        LOCK_NAME,
    }


def test_a_video_is_the_journals_by_its_size_and_before_its_naming_by_its_time(
    tmp_path: Path,
) -> None:
    video = tmp_path / "a.mp4"
    assert not has_made(entry(), video)
    video.write_bytes(b"abc")
    assert has_made(entry(), video)
    assert not has_made(entry(state="made"), video)
    os.utime(video, ns=(5, 5))
    assert has_made(entry(state="made"), video)
    video.write_bytes(b"abcd")
    assert not has_made(entry(), video)


@pytest.mark.skipif(sys.platform == "win32", reason="limits files as Unix does")
def test_a_full_disk_ends_in_one_error_and_the_lines_before_it_stay(tmp_path: Path) -> None:
    program = """
import resource, signal, sys
from pathlib import Path
from talkhead.batch.journal import Entry, Journal
from talkhead.errors import TalkheadError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))
try:
    with Journal(Path(sys.argv[1])) as journal:
        for number in range(100):
            journal.write(Entry("done", f"{number}.mp4", "k" * 20, 3, 5, {}))
except TalkheadError as error:
    print(number, error)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    count, message = ended.stdout.split(" ", 1)
    assert "is not writable" in message
    assert list(read_entries(tmp_path)) == [f"{number}.mp4" for number in range(int(count))]
    assert int(count) > 1
    with Journal(tmp_path) as journal:
        journal.write(entry())
    assert read_entries(tmp_path)["a.mp4"] == entry()
    assert len(read_entries(tmp_path)) == int(count) + 1

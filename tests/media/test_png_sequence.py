"""Sequences of PNG files that appear whole or not at all."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from talkhead.errors import TalkheadError
from talkhead.media.picture_notes import read_picture_notes
from talkhead.media.png_sequence import LOCKS, QUIET_S, PngSequenceWriter, check_sequence

NOTES = {"comment": "Synthetic: a test", "description": '{"a": "é"}'}
RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (11, 24, 32, 4), np.uint8)

WRITES_FOR_EVER = """
import sys
from pathlib import Path
import numpy as np
from talkhead.media.png_sequence import PngSequenceWriter
with PngSequenceWriter(Path(sys.argv[1]), size=(32, 24)) as writer:
    for number in range(10**6):
        writer.write(np.zeros((24, 32, 3), np.uint8))
        if number == 40:
            print("going", flush=True)
"""


def write(target: Path, num_frames: int = 11, *, overwrite: bool = False) -> None:
    writer = PngSequenceWriter(
        target, size=(32, 24), notes=NOTES, overwrite=overwrite, has_alpha=True
    )
    with writer:
        writer.write(FRAMES[:2])
        for frame in FRAMES[2:num_frames]:
            writer.write(frame)


def test_frames_are_numbered_from_one_and_exact_and_carry_the_notes(tmp_path: Path) -> None:
    write(tmp_path / "out" / "a-%03d.png")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"a-{number:03}.png" for number in range(1, 12)]
    for name, frame in zip(names, FRAMES, strict=True):
        with Image.open(tmp_path / "out" / name) as image:
            assert image.mode == "RGBA"
            assert np.array_equal(np.array(image), frame)
        assert read_picture_notes(tmp_path / "out" / name) == NOTES


def test_an_empty_folder_is_filled_and_frames_are_replaced_on_request(tmp_path: Path) -> None:
    target = tmp_path / "out" / "%05d.png"
    target.parent.mkdir()
    write(target)
    with pytest.raises(TalkheadError, match="has frames"):
        write(target)
    write(target, 5, overwrite=True)
    assert len(list(target.parent.iterdir())) == 5


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("out/a.png", "would hold one frame"),
        ("out/%s.png", "would hold one frame"),
        ("out/%d-%d.png", "would hold one frame"),
        ("missing/out/%d.png", "does not exist"),
        ("file/%d.png", "is not a folder"),
        ("full/%d.png", "has other files"),
    ],
)
def test_bad_names_are_refused(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "1.png").touch()
    (tmp_path / "full" / "notes.txt").touch()
    with pytest.raises(TalkheadError, match=words):
        check_sequence(tmp_path / name, overwrite=True)
    assert (tmp_path / "full" / "notes.txt").exists()


def test_frames_need_a_folder_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("%05d.png", f"../{tmp_path.name}/%05d.png"):
        with pytest.raises(TalkheadError, match="needs a folder of its own"):
            check_sequence(Path(name), overwrite=True)


def pause(folders: list[Path]) -> None:
    """Let time pass since the last file in folders."""
    for folder in folders:
        past_s = folder.stat().st_mtime - QUIET_S - 1
        os.utime(folder, (past_s, past_s))


def _write_and_fail(writer: PngSequenceWriter) -> None:
    writer.write(FRAMES)
    raise KeyError


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "out" / "%05d.png"
    writer = PngSequenceWriter(target, size=(32, 24), has_alpha=True)
    with pytest.raises(KeyError), writer:
        _write_and_fail(writer)
    with pytest.raises(TalkheadError, match="no frames"), PngSequenceWriter(target, size=(32, 24)):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not LOCKS, reason="folders cannot be locked here")
def test_a_killed_sequence_has_no_name_and_the_next_one_removes_it(tmp_path: Path) -> None:
    killed, running = (
        subprocess.Popen(
            [sys.executable, "-c", WRITES_FOR_EVER, str(tmp_path / name / "%05d.png")],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        for name in ("killed", "running")
    )
    with killed, running:
        for process in (killed, running):
            assert process.stdout is not None
            assert process.stdout.readline() == b"going\n"
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        left = list(tmp_path.iterdir())
        assert [path.name.startswith(".talkhead-") for path in left] == [True, True]
        write(tmp_path / "at-once" / "%05d.png")  # too soon to tell
        assert len(list(tmp_path.iterdir())) == 3
        shutil.rmtree(tmp_path / "at-once")
        pause(left)
        write(tmp_path / "out" / "%05d.png")
        # The other process still writes to its folder.
        others = [path for path in tmp_path.iterdir() if path.name != "out"]
        assert len(others) == 1
        assert others[0] in left
        running.send_signal(signal.SIGKILL)
    pause(others)
    check_sequence(tmp_path / "again" / "%05d.png", overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]

"""Render many videos with one command, like a user does."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from talkhead.batch.journal import JOURNAL_NAME, LOCK_NAME
from tests.cli.conftest import (
    PACKAGE,
    Ended,
    RunHere,
    command_line,
    listing,
    refused,
    write_face,
)
from tests.tiny import write_noise, write_voice

SIDE = 160
pytestmark = pytest.mark.usefixtures("detector_is_here")
OWN = {JOURNAL_NAME, LOCK_NAME}


@pytest.fixture
def folder(tmp_path: Path, tiny_weights: Path) -> Path:
    """A face, three recordings, and weights with a short name."""
    write_face(tmp_path / "face.png", SIDE, SIDE)
    for number, name in enumerate("abc"):
        write_voice(tmp_path / f"{name}.wav", 0.4, number)
    (tmp_path / "weights").symlink_to(tiny_weights)
    return tmp_path


def lines(ended: Ended) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ended.stdout.splitlines()]


def states(ended: Ended) -> dict[str, str]:
    """Return each item's state by output name, from `--json`, after checking the summary."""
    *items, summary = lines(ended)
    found = {Path(item["output"]).name: item["state"] for item in items}
    assert len(found) == len(items)
    assert summary.pop("state") == "summary"
    for state in ("done", "skipped", "failed"):
        assert summary[state] == sum(each == state for each in found.values())
    assert summary["items"] == len(items) + summary["undone"]
    return found


def made(folder: Path) -> dict[str, bytes]:
    """Return everything in a folder except the journal's files."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name not in OWN}


def journal(folder: Path) -> list[dict[str, Any]]:
    text = (folder / JOURNAL_NAME).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_batch_makes_what_single_commands_make_and_goes_on_where_it_was(
    folder: Path, run_here: RunHere
) -> None:
    shared = ("--weights", "weights", "--json")
    batch = ("render", "face.png", "[ab].wav", "c.wav", "-o", "out/", *shared)
    ended = run_here(*batch, "--jobs", "2")
    assert (ended.returncode, ended.stderr) == (0, "talkhead: 3 items: 3 done\n")
    assert states(ended) == dict.fromkeys(("a.mp4", "b.mp4", "c.mp4"), "done")
    for line in lines(ended)[:3]:
        assert (line["frames"], line["width"], line["device"]) == (10, SIDE, "cpu")
        assert line["output"] == f"out/{Path(line['audio']).stem}.mp4"
    videos = made(folder / "out")
    for name in "ab":
        single = run_here("render", "face.png", f"{name}.wav", "-o", f"{name}.mp4", *shared)
        assert single.returncode == 0, single.stderr
        assert (folder / f"{name}.mp4").read_bytes() == videos[f"{name}.mp4"]
    assert sorted(
        each["output"] for each in journal(folder / "out") if each["state"] == "done"
    ) == [*("a.mp4", "b.mp4", "c.mp4")]
    # A second run makes only the missing video.
    (folder / "out" / "b.mp4").unlink()
    before = (folder / "out" / "a.mp4").stat()
    ended = run_here(*batch)
    assert states(ended) == {"a.mp4": "skipped", "b.mp4": "done", "c.mp4": "skipped"}
    assert made(folder / "out") == videos
    assert (folder / "out" / "a.mp4").stat().st_mtime_ns == before.st_mtime_ns
    # Different options are refused unless overwriting is allowed.
    ended = run_here(*batch, "--seed", "9")
    assert ended.returncode == 5
    assert states(ended) == dict.fromkeys(videos, "failed")
    assert "was rendered from other files, options or weights" in ended.stderr
    assert made(folder / "out") == videos
    ended = run_here(*batch, "--seed", "9", "--overwrite")
    assert states(ended) == dict.fromkeys(videos, "done")
    changed = made(folder / "out")
    assert all(changed[name] != videos[name] for name in videos)


def test_a_batch_says_which_sounds_have_no_speech(folder: Path, run_here: RunHere) -> None:
    write_noise(folder / "b.wav", 0.4)
    ended = run_here(
        "render", "face.png", "a.wav", "b.wav", "-o", "out/", "--weights", "weights", "--json"
    )
    assert ended.returncode == 0
    assert [line["speech"] for line in lines(ended)[:2]] == [True, False]
    warning, summary = ended.stderr.splitlines()
    assert warning.startswith("talkhead: warning: no speech found in b.wav")
    assert summary == "talkhead: 2 items: 2 done"


def test_a_list_has_options_of_its_own_for_every_item(folder: Path, run_here: RunHere) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "list.csv").write_text(
        "face,audio,output,seed,fps\n"
        "../face.png,../a.wav,zero.mp4,,\n"
        "../face.png,../a.wav,one.mp4,1,12.5\n"
    )
    ended = run_here("render", "--list", "sub/list.csv", "--weights", "weights", "--json")
    assert states(ended) == {"zero.mp4": "done", "one.mp4": "done"}
    facts = {Path(line["output"]).name: line for line in lines(ended)[:2]}
    assert (facts["zero.mp4"]["seed"], facts["zero.mp4"]["fps"]) == (0, "25")
    assert (facts["one.mp4"]["seed"], facts["one.mp4"]["fps"]) == (1, "25/2")
    assert set(made(folder / "sub")) == {"list.csv", "zero.mp4", "one.mp4"}


def test_with_fail_fast_nothing_is_begun_after_a_failure(folder: Path, run_here: RunHere) -> None:
    (folder / "list.csv").write_text(
        "face,audio\nface.png,a.wav\nabsent.png,b.wav\nface.png,c.wav\n"
    )
    batch = ("render", "--list", "list.csv", "-o", "out", "--weights", "weights", "--json")
    before = listing(folder)
    ended = run_here(*batch, "--fail-fast")
    assert (ended.returncode, states(ended)) == (5, {"b.mp4": "failed"})
    assert lines(ended)[-1]["undone"] == 2
    assert ended.stderr.count("\n") == 1
    assert "3 items: 1 failed, 2 undone (--keep-going renders the others)" in ended.stderr
    assert "out/b.mp4: absent.png does not exist" in ended.stderr
    assert listing(folder) == before
    # A failure that only occurs during rendering stops the following items.
    (folder / "absent.png").write_bytes(b"no picture")
    ended = run_here(*batch, "--fail-fast")
    assert states(ended) == {"a.mp4": "done", "b.mp4": "failed"}
    assert (ended.returncode, lines(ended)[-1]["undone"]) == (5, 1)
    ended = run_here(*batch)
    assert states(ended) == {"a.mp4": "skipped", "b.mp4": "failed", "c.mp4": "done"}
    assert (ended.returncode, lines(ended)[-1]["undone"]) == (5, 0)
    failed = next(line for line in lines(ended) if line["state"] == "failed")
    assert failed["exit_code"] == 2
    assert "absent.png" in failed["error"]
    assert set(made(folder / "out")) == {"a.mp4", "c.mp4"}


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(
    folder: Path, run_here: RunHere
) -> None:
    before = listing(folder)
    batch = ("render", "face.png", "*.wav", "absent.wav", "-o", "out/{n:02}.mp4", "--dry-run")
    ended = run_here(*batch, "--weights", "weights")
    assert ended.stdout.splitlines() == [
        "out/01.mp4: to be rendered from face.png and a.wav",
        "out/02.mp4: to be rendered from face.png and b.wav",
        "out/03.mp4: to be rendered from face.png and c.wav",
        "out/04.mp4: failed, absent.wav does not exist; check the name and the folder",
    ]
    assert ended.returncode == 5
    assert ended.stderr.startswith("talkhead: 4 items: 1 failed, 3 undone")
    assert listing(folder) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("face.png", "*.mp3", "-o", "out/"), "no file matches '*.mp3'"),
        (("face.png", "a.wav", "a.wav", "-o", "out/"), "a.wav and a.wav would both be written to"),
        (("face.png", "a.wav", "b.wav", "-o", "out.mp4"), "would both be written to out.mp4"),
        (("face.png", "a.wav", "b.wav", "-o", "{name}.mp4"), "unknown field {name}"),
        (("face.png", "a.wav", "-", "-o", "out/"), "- (stdin or stdout) is for one video"),
        (("face.png", "a.wav", "b.wav", "-o", "-"), "- (stdin or stdout) is for one video"),
        (("face.png", "a.wav", "-o", "out.mp4", "--dry-run"), "--dry-run is for batches"),
        (("face.png", "a.wav", "-o", "out.mp4", "--jobs", "2"), "--jobs is for batches"),
        (("face.png", "a.wav", "--list", "list.csv"), "leave out AUDIO or --list"),
        (("--list", "absent.csv"), "absent.csv does not exist"),
        (("face.png", "a.wav", "-o", "out/", "--jobs", "0"), "--jobs"),
        (("face.png", "a.wav", "b.wav"), "the output is missing"),
        (("face.png", "-o", "out/"), "AUDIO is missing"),
        (("-o", "out/"), "FACE is missing"),
    ],
)
def test_what_makes_no_batch_is_refused_in_one_line(
    arguments: tuple[str, ...], words: str, folder: Path, run_here: RunHere
) -> None:
    before = listing(folder)
    refused(run_here("render", *arguments), 2, words)
    assert listing(folder) == before


def test_missing_weights_end_a_batch_before_it_begins(folder: Path, run_here: RunHere) -> None:
    before = listing(folder)
    arguments = ("render", "face.png", "*.wav", "-o", "out/", "--weights", "absent")
    refused(run_here(*arguments), 4, "no weights named")
    assert listing(folder) == before


def test_the_second_batch_into_one_folder_is_refused(folder: Path, run_here: RunHere) -> None:
    (folder / "out").mkdir()
    with FileLock(folder / "out" / LOCK_NAME):
        arguments = ("render", "face.png", "*.wav", "-o", "out/", "--weights", "weights")
        refused(run_here(*arguments), 2, "another batch is writing to out")
    assert set(listing(folder / "out")) == {LOCK_NAME}


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_folder_that_cannot_be_written_to_is_refused(folder: Path, run_here: RunHere) -> None:
    (folder / "out").mkdir(mode=0o500)
    ended = run_here("render", "face.png", "*.wav", "-o", "out/", "--weights", "weights")
    assert ended.returncode == 5
    assert "is not writable" in ended.stderr


def test_one_video_that_exists_can_be_skipped(folder: Path, run_here: RunHere) -> None:
    (folder / "out.mp4").write_text("precious")
    ended = run_here("render", "face.png", "a.wav", "-o", "out.mp4", "--skip-existing")
    assert ended == (0, "out.mp4: exists, skipped\n", "")
    assert (folder / "out.mp4").read_text() == "precious"


# Interrupted processes.


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command_line("render", *arguments, "--weights", "weights", "--json"),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def children(process: "subprocess.Popen[str]") -> Iterator[int]:
    """Yield the rendering processes, without multiprocessing's resource tracker."""
    for path in Path(f"/proc/{process.pid}/task").glob("*/children"):
        for child in path.read_text().split():
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                yield int(child)


def wait_for_the_first_video(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    line: dict[str, Any] = json.loads(process.stdout.readline())
    assert line["state"] == "done"
    return line


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals as Unix does")
@pytest.mark.parametrize(
    ("number", "code", "message"),
    [
        (signal.SIGINT, 130, "talkhead: interrupted\n"),
        (signal.SIGTERM, 143, "talkhead: terminated by SIGTERM\n"),
    ],
)
def test_who_ends_a_batch_keeps_what_is_done_and_nothing_half_made(
    number: signal.Signals, code: int, message: str, folder: Path, run_here: RunHere
) -> None:
    write_voice(folder / "b.wav", 60.0)
    batch = ("face.png", "[abc].wav", "-o", "out/")
    process = start(folder, *batch)
    try:
        wait_for_the_first_video(process)
        time.sleep(0.5)  # while the long one renders
        os.killpg(process.pid, number)  # like a terminal does
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (code, "", message)
    assert set(made(folder / "out")) == {"a.mp4"}
    write_voice(folder / "b.wav", 0.4)
    ended = run_here("render", *batch, "--weights", "weights", "--json", "--jobs", "2")
    assert states(ended) == {"a.mp4": "skipped", "b.mp4": "done", "c.mp4": "done"}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks Linux for processes")
def test_a_process_that_is_killed_fails_its_item_alone(folder: Path) -> None:
    write_voice(folder / "b.wav", 60.0)
    process = start(folder, "face.png", "[abc].wav", "-o", "out/")
    try:
        wait_for_the_first_video(process)
        time.sleep(0.5)
        (worker,) = children(process)
        os.kill(worker, signal.SIGKILL)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    failed, done, summary = map(json.loads, out.splitlines())
    assert (failed["state"], failed["audio"], failed["exit_code"]) == ("failed", "b.wav", 2)
    assert failed["error"].startswith("the worker process was killed")
    assert (done["state"], done["audio"]) == ("done", "c.wav")
    assert (summary["done"], summary["failed"], process.returncode) == (2, 1, 5)
    assert err.startswith("talkhead: 3 items: 2 done, 1 failed: out/b.mp4: the worker process was")
    assert set(made(folder / "out")) == {"a.mp4", "c.mp4"}

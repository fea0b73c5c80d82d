import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import talkhead
from talkhead.data.clips import read_clip, read_manifest
from talkhead.data.prepare import read_face_counts
from talkhead.errors import WeightsError
from talkhead.media.audio import write_waveform
from talkhead.media.video import VideoWriter
from talkhead.tracking.face_detector import FaceDetector
from tests.cli.conftest import Run
from tests.drawn_face import draw_face
from tests.prepared import lip_motion, voice


@pytest.fixture(autouse=True)
def needs_a_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    try:
        FaceDetector().close()
    except WeightsError:
        pytest.skip("mediapipe 1.x needs its networks, and they have not been downloaded")


def write_talking_head(path: Path, num_frames: int, *, has_sound: bool = True) -> None:
    """Write a video of a drawn face, with a voice whose loudness follows the mouth opening."""
    opening = lip_motion(num_frames, seed=0)
    levels = np.linspace(0, 0.08, 5)
    drawings = [draw_face(256, float(level)) for level in levels]
    sound = path.with_suffix(".wav")
    write_waveform(sound, voice(opening, seed=0))
    with VideoWriter(
        path, size=(256, 256), fps=Fraction(25), sound=sound if has_sound else None
    ) as writer:
        for index in np.abs(opening[:, None] - levels).argmin(1):
            writer.write(drawings[index])
    sound.unlink()


def write_wall(path: Path) -> None:
    with VideoWriter(path, size=(256, 256), fps=Fraction(25), sound=None) as writer:
        writer.write(np.full((25, 256, 256, 3), 120, np.uint8))


def test_a_batch_with_a_broken_video_exits_5_and_goes_on_where_it_was(
    run_talkhead: Run, tmp_path: Path, tiny_weights: Path
) -> None:
    videos, data = tmp_path / "videos", tmp_path / "data"
    videos.mkdir()
    write_talking_head(videos / "talk.mp4", 40)
    write_wall(videos / "wall.mp4")
    (videos / "broken.mp4").write_text("not a video")
    command = ["prepare", str(videos), "-o", str(data), "--workers", "1", "--weights"]
    first = run_talkhead(*command, "none")
    assert first.returncode == 5
    assert first.stdout.startswith(f"{data}: 3 videos, 1 clip, 1 dropped, 1 failed (train: 1 clip")
    lines = sorted(first.stderr.splitlines())
    assert len(lines) == 3, first.stderr
    assert lines[0].startswith(f"broken failed: {videos / 'broken.mp4'} cannot be decoded")
    assert lines[1] == "talkhead: 1 of 3 videos cannot be read: see the lines above"
    assert lines[2] == "wall dropped: no stretch with a steady, frontal face"

    (row,) = read_manifest(data)
    assert (row.clip, row.num_frames, row.fps, row.has_sound) == ("talk", 40, "25", True)
    assert abs(row.offset_frames) <= 1
    assert (row.agreement > 0.6, row.agreement_method) == (True, "loudness")
    assert read_face_counts(data) == {"talk": (40, 0), "wall": (25, 25)}
    clip = read_clip(data, "talk")
    assert clip.frame(39).shape == (256, 256, 3)
    assert abs(len(clip.waveform) - 40 * 640) < 640
    written = (data / "clips" / "talk.npz").stat().st_mtime_ns

    (videos / "broken.mp4").unlink()
    write_wall(videos / "broken.mp4")  # repaired: only this video is tried again
    second = run_talkhead(*command, str(tiny_weights), "--json")
    assert second.returncode == 0, second.stderr
    summary = json.loads(second.stdout)
    assert summary["splits"] == {"train": {"clips": 1, "people": 1, "seconds": 1.6}}
    assert (sorted(summary["dropped"]), summary["failed"]) == (["broken", "wall"], {})
    assert (data / "clips" / "talk.npz").stat().st_mtime_ns == written
    (row,) = read_manifest(data)
    assert row.agreement_method == "generator"


def test_what_is_odd_about_a_data_set_is_told(run_talkhead: Run, tmp_path: Path) -> None:
    videos, data = tmp_path / "HDTF", tmp_path / "data"
    videos.mkdir()
    write_talking_head(videos / "WDA_BenCardin1_000.mp4", 30, has_sound=False)
    (tmp_path / "WDA_annotion_time.txt").write_text(
        "\ufeffBenCardin1.mp4 00:05-00:20 00:30-00:45 \nKatieHill.mp4 00:02-00:20\n",
        encoding="utf-8",
    )
    command = ["prepare", str(videos), "-o", str(data), "--workers", "1", "--weights", "none"]
    ended = run_talkhead(*command, "--json")
    assert ended.returncode == 0, ended.stderr
    notes = [
        "read as HDTF because of the file names: if that is wrong, choose the layout folder",
        "clips without an audio track, kept for their frames: 1 (WDA_BenCardin1_000)",
        "videos with fewer clips than listed: 1 (BenCardin1 1 of 2)",
        "listed videos without clips: 1 (KatieHill)",
    ]
    assert ended.stderr.splitlines() == [f"{videos}: {note}" for note in notes]
    summary = json.loads(ended.stdout)
    assert (summary["layout"], summary["notes"]) == ("hdtf", notes)
    (row,) = read_manifest(data)
    assert (row.clip, row.person) == ("WDA_BenCardin1_000", "BenCardin")
    assert (row.sound, row.has_sound, row.num_frames) == ("none", False, 30)

    again = run_talkhead(*command, "--layout", "folder", "--json")
    assert (again.returncode, again.stderr) == (0, "")
    assert json.loads(again.stdout)["layout"] == "folder"


@pytest.mark.skipif(sys.platform == "win32", reason="process groups")
def test_ctrl_c_ends_the_workers_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    videos, data = tmp_path / "videos", tmp_path / "data"
    videos.mkdir()
    write_wall(videos / "a.mp4")
    write_talking_head(videos / "b.mp4", 1500)
    arguments = ["prepare", str(videos), "-o", str(data), "--workers", "1", "--weights", "none"]
    process = subprocess.Popen(
        [sys.executable, "-m", "talkhead", *arguments],
        cwd=Path(talkhead.__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group, as in a terminal
    )
    while not (data / "done" / "a.json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "talkhead: interrupted"
    assert set(err.splitlines()[:-1]) <= {"a dropped: no stretch with a steady, frontal face"}
    assert list(data.rglob(".talkhead-*")) == []
    assert not (data / "done" / "b.json").exists()
    for _ in range(500):  # a worker's ffmpeg ends slightly later
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.02)
    else:
        pytest.fail("processes are left")


def test_nothing_to_do_exits_2_with_one_line(run_talkhead: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "videos").mkdir()
    write_wall(tmp_path / "videos" / "wall.mp4")
    for arguments, message in (
        (["empty", "-o", "data"], "empty contains no videos"),
        (["missing", "-o", "data"], "missing does not exist"),
        (["videos", "-o", "file"], "file is not a folder"),
        (["videos", "-o", "data", "--fps", "fast"], "frame rate 'fast' is not a number"),
        (
            ["videos", "-o", "data", "--layout", "mead"],
            "videos contains no MEAD videos to prepare, expected M030/",
        ),
        (["videos", "-o", "data", "--layout", "csv"], "videos is a folder, so the layout csv does"),
        (["videos", "-o", "data", "--layout", "lrs3"], "Invalid value for '--layout'"),
        (["videos", "-o", "data", "--workers", "0"], "Invalid value for '--workers'"),
        (["videos"], "Missing option '--output' / '-o'"),
        (["videos", "-o", "data", "--weights", "mine"], "no weights named 'mine'"),
    ):
        ended = run_talkhead("prepare", *arguments)
        assert (ended.returncode, ended.stdout) == (4 if "mine" in arguments else 2, "")
        assert ended.stderr.startswith(f"talkhead: {message}")
        assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()

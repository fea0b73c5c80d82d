import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from talkhead.errors import TalkheadError
from talkhead.media import ffmpeg
from talkhead.media.video import VideoWriter, probe_video, read_frames
from tests.media.conftest import Refusal
from tests.media.numbered_frames import FPS, counting_frames, write


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_between_frames_leaves_nothing(
    tmp_path: Path, wav: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "out.mp4"
    target.write_text("the old one")

    def break_off() -> None:
        with VideoWriter(target, size=(96, 64), fps=FPS, sound=wav, overwrite=True) as writer:
            writer.write(counting_frames(20))
            raise error

    with pytest.raises(error):
        break_off()
    assert target.read_text() == "the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "voice.wav"]


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to a process group")
def test_ctrl_c_at_the_terminal_leaves_nothing(tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        from fractions import Fraction
        from pathlib import Path
        import numpy as np
        from talkhead.media.video import VideoWriter
        path = Path({str(tmp_path / "out.mp4")!r})
        with VideoWriter(path, size=(640, 480), fps=Fraction(25), sound=None) as writer:
            print("started", flush=True)
            while True:
                writer.write(np.zeros((480, 640, 3), np.uint8))
    """)
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
        _, messages = process.communicate(timeout=20)
    assert process.returncode in (1, -signal.SIGINT, 130)
    assert messages.rstrip().endswith(b"KeyboardInterrupt")
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_dies_is_reported_and_leaves_nothing(
    tmp_path: Path, wav: Path, refused: Refusal
) -> None:
    target = tmp_path / "out.mp4"

    def lose_the_encoder() -> None:
        with VideoWriter(target, size=(96, 64), fps=FPS, sound=wav) as writer:
            writer.write(counting_frames(1))
            writer._process.process.kill()
            for _ in range(200):
                writer.write(counting_frames(1))

    with refused(target, "could not be written"):
        lose_the_encoder()
    assert not target.exists()


def test_a_video_without_frames_is_not_written(tmp_path: Path, refused: Refusal) -> None:
    target = tmp_path / "out.mp4"
    with refused(target, "no frames"), VideoWriter(target, size=(96, 64), fps=FPS, sound=None):
        pass
    assert not target.exists()


def test_frames_of_another_shape_are_a_bug(tmp_path: Path) -> None:
    bad = [np.zeros((64, 97, 3), np.uint8), np.zeros((64, 96, 3), np.float32)]
    bad.append(np.zeros((1, 1, 64, 96, 3), np.uint8))
    for frames in bad:
        with (
            pytest.raises(ValueError, match="frames"),
            VideoWriter(tmp_path / "out.mp4", size=(96, 64), fps=FPS, sound=None) as writer,
        ):
            writer.write(frames)  # type: ignore[arg-type]


def test_what_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, wav: Path, refused: Refusal
) -> None:
    def start(path: Path, size: tuple[int, int] = (96, 64), crf: int = 18) -> None:
        VideoWriter(path, size=size, fps=FPS, sound=wav, crf=crf)

    (tmp_path / "old.mp4").write_text("old")
    with refused(tmp_path / "old.mp4", "exists"):
        start(tmp_path / "old.mp4")
    with refused(tmp_path / "absent", "create it first"):
        start(tmp_path / "absent" / "out.mp4")
    with refused(tmp_path / "out.avi", "end the output's name in .mp4"):
        start(tmp_path / "out.avi")
    with refused(tmp_path / "out.mp4", "choose sides of 2"):
        start(tmp_path / "out.mp4", size=(20_000, 64))
    with pytest.raises(TalkheadError, match="give 0 to 51"):
        start(tmp_path / "out.mp4", crf=52)
    mute = write(tmp_path / "mute.mp4", counting_frames(1))
    with refused(mute, "has no readable audio stream"):
        VideoWriter(tmp_path / "out.mp4", size=(96, 64), fps=FPS, sound=mute)


def test_what_is_no_video_is_refused(tmp_path: Path, wav: Path, refused: Refusal) -> None:
    with refused(tmp_path / "absent.mp4", "does not exist"):
        probe_video(tmp_path / "absent.mp4")
    with refused(tmp_path, "is a directory"):
        next(read_frames(tmp_path))
    with refused(wav, "no video stream"):
        probe_video(wav)
    (tmp_path / "text.mp4").write_text("no video\n" * 99)
    with refused(tmp_path / "text.mp4", "cannot be decoded"):
        probe_video(tmp_path / "text.mp4")
    data = write(tmp_path / "a.mp4", counting_frames(50)).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 10])
    with refused(tmp_path / "cut.mp4", ""):
        list(read_frames(tmp_path / "cut.mp4"))
    with refused(tmp_path / "a.mp4", "no frame at 9 s"):
        list(read_frames(tmp_path / "a.mp4", start_s=9))


def make_video(path: Path, source: str, *options: str) -> Path:
    """Make a video of grey pictures with ffmpeg's filter."""
    args = ["-y", "-loglevel", "error", "-f", "lavfi", "-i", f"color=gray:{source}", *options]
    status, _, messages = ffmpeg.run_ffmpeg([*args, "-pix_fmt", "yuv420p", str(path)])
    assert status == 0, messages
    return path


@pytest.mark.parametrize(
    ("source", "options", "reason"),
    [
        ("s=16000x9000:r=25", ("-c:v", "png", "-frames:v", "1"), "cannot be decoded"),
        ("s=8192x64:r=25", ("-frames:v", "1"), "an aspect ratio of at most 16:1"),
        ("s=64x64:r=25", ("-frames:v", "1", "-vf", "setsar=20/1"), "1280 x 64 px"),
        ("s=64x64:r=25", ("-frames:v", "1", "-vf", "setsar=1/20"), "3 x 64 px"),
        ("s=64x64:r=1/100", ("-frames:v", "3"), "one frame every 100 s"),
    ],
)
def test_videos_that_no_camera_makes_are_refused_before_they_are_read(
    tmp_path: Path, refused: Refusal, source: str, options: tuple[str, ...], reason: str
) -> None:
    path = make_video(tmp_path / "a.mkv", source, *options)
    for look in (probe_video, lambda path: next(read_frames(path))):
        with refused(path, reason):
            look(path)


def test_8k_and_a_picture_a_second_are_read(tmp_path: Path) -> None:
    large = make_video(tmp_path / "a.mkv", "s=8192x4320:r=25", "-c:v", "png", "-frames:v", "1")
    assert next(read_frames(large, size=(64, 32))).shape == (32, 64, 3)
    slow = make_video(tmp_path / "b.mp4", "s=64x64:r=1", "-frames:v", "3")
    assert len(list(read_frames(slow))) == 3
    fast = make_video(tmp_path / "c.mp4", "s=64x64:r=1000", "-frames:v", "1000")
    assert len(list(read_frames(fast))) == 25

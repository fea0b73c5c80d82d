import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from talkhead.errors import TalkheadError
from talkhead.media.audio_clip import AudioClip
from talkhead.media.video import VideoWriter, probe_video, read_frames
from tests.media.conftest import Convert
from tests.media.numbered_frames import FPS, Frames, counting_frames, number_of


@contextmanager
def pipe_into(got: bytearray) -> Iterator[IO[bytes]]:
    """A pipe whose reader collects the data as it arrives."""
    reader, writer = os.pipe()

    def collect() -> None:
        with os.fdopen(reader, "rb", 0) as file:
            while part := file.read(65_536):
                got.extend(part)

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        with os.fdopen(writer, "wb") as pipe:
            yield pipe
    finally:
        thread.join()


def stream(path: Path, frames: Frames, sound: Path | None) -> Path:
    """Write frames to a pipe, and the pipe's output to a file."""
    got = bytearray()
    size = (frames.shape[2], frames.shape[1])
    with pipe_into(got) as pipe, VideoWriter(pipe, size=size, fps=FPS, sound=sound) as writer:
        writer.write(frames)
    path.write_bytes(got)
    return path


def boxes(data: bytes) -> list[tuple[str, bytes]]:
    """Yield the name and content of each box in an mp4 or in one of its boxes."""
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        found.append((data[4:8].decode("ascii"), data[8:size]))
        data = data[size:]
    return found


def test_a_stream_has_the_frames_and_the_sound_of_a_file(tmp_path: Path, wav: Path) -> None:
    path = stream(tmp_path / "a.mp4", counting_frames(50), wav)
    info = probe_video(path)
    assert (info.width, info.height, info.fps) == (96, 64, FPS)
    assert [number_of(frame) for frame in read_frames(path)] == list(range(50))
    before, after = AudioClip.open(wav).waveform(), AudioClip.open(path).waveform()
    assert np.corrcoef(before[:31_000], after[:31_000])[0, 1] > 0.98
    # Fragments have no edit list to trim the last packet.
    assert 0 <= len(after) - len(before) <= 1024 * 16_000 / 48_000
    silent = stream(tmp_path / "silent.mp4", counting_frames(3), None)
    assert [number_of(frame) for frame in read_frames(silent)] == [0, 1, 2]


@pytest.mark.parametrize("name", ["a.m4a", "a.aac"])
def test_a_stream_copies_aac_untouched(
    tmp_path: Path, wav: Path, convert: Convert, name: str
) -> None:
    song = convert(wav, tmp_path / name, "-c:a", "aac")
    path = stream(tmp_path / "a.mp4", counting_frames(50), song)
    before, after = AudioClip.open(song).waveform(), AudioClip.open(path).waveform()
    np.testing.assert_array_equal(before[:31_000], after[:31_000])


def test_a_stream_is_fragments_of_a_second_with_pictures_and_their_sound(
    tmp_path: Path, wav: Path
) -> None:
    frames = np.repeat(counting_frames(1), 50, 0)  # only the rule asks for key frames
    whole = boxes(stream(tmp_path / "a.mp4", frames, wav).read_bytes())
    assert [name for name, _ in whole] == ["ftyp", "moov", "moof", "mdat", "moof", "mdat", "mfra"]
    for second, moof in enumerate(content for name, content in whole if name == "moof"):
        picture, sound = (dict(boxes(part)) for name, part in boxes(moof) if name == "traf")
        assert int.from_bytes(picture["trun"][4:8], "big") == 25
        assert int.from_bytes(sound["trun"][4:8], "big") == pytest.approx(48_000 / 1024, abs=5)
        assert int.from_bytes(sound["tfdt"][4:], "big") == pytest.approx(second * 48_000, abs=5120)


def test_a_stream_is_the_same_bytes_in_a_pipe_and_in_a_file(tmp_path: Path, wav: Path) -> None:
    piped = stream(tmp_path / "a.mp4", counting_frames(50), wav).read_bytes()
    time.sleep(1.1)  # a date would differ now
    with (
        (tmp_path / "b.mp4").open("wb") as file,
        VideoWriter(file, size=(96, 64), fps=FPS, sound=wav) as writer,
    ):
        for frame in counting_frames(50):
            writer.write(frame)
            time.sleep(0.01)  # simulate rendering
    assert (tmp_path / "b.mp4").read_bytes() == piped


def test_a_stream_comes_while_frames_are_written(wav: Path) -> None:
    got = bytearray()
    with pipe_into(got) as pipe, VideoWriter(pipe, size=(96, 64), fps=FPS, sound=wav) as writer:
        writer.write(counting_frames(100))
        limit = time.monotonic() + 60
        while got.count(b"moof") < 2 and time.monotonic() < limit:
            time.sleep(0.02)
        assert got.count(b"moof") >= 2
        ended = boxes(bytes(got[: got.index(b"moof", got.index(b"moof") + 1) - 4]))
        assert [name for name, _ in ended] == ["ftyp", "moov", "moof", "mdat"]
        writer.write(counting_frames(1))


def test_a_reader_of_a_stream_that_stops_is_reported(wav: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    frames = counting_frames(100)

    def write_all() -> None:
        with (
            os.fdopen(writer, "wb") as pipe,
            VideoWriter(pipe, size=(96, 64), fps=FPS, sound=wav) as video,
        ):
            for _ in range(10):
                video.write(frames)

    with pytest.raises(TalkheadError, match="the program reading the video stopped early"):
        write_all()


def test_a_stream_without_frames_is_reported(tmp_path: Path) -> None:
    with (
        (tmp_path / "a.mp4").open("wb") as file,
        pytest.raises(TalkheadError, match="the video would have no frames"),
        VideoWriter(file, size=(96, 64), fps=FPS, sound=None),
    ):
        pass
    assert (tmp_path / "a.mp4").read_bytes() == b""

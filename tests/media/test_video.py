import itertools
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from talkhead.errors import TalkheadError
from talkhead.media import ffmpeg
from talkhead.media.audio_clip import AudioClip
from talkhead.media.rates import num_frames
from talkhead.media.video import VideoWriter, probe_video, read_frames
from tests.media.conftest import Convert, Encode, Refusal

Frames = npt.NDArray[np.uint8]
FPS = Fraction(25)
FFMPEG_TRIMS = (
    int(re.findall(r"version n?(\d+)", ffmpeg.run_ffmpeg(["-version"])[1].decode())[0]) >= 8
)


def counting_frames(count: int, width: int = 96, height: int = 64) -> Frames:
    """Return frames that encode their number in eight bars: dark for 0, light for 1."""
    bits = (np.arange(count)[:, None] >> np.arange(8)) & 1
    bars = np.repeat(60 + 130 * bits, width // 8, axis=1).astype(np.uint8)
    padded = np.pad(bars, ((0, 0), (0, width - bars.shape[1])), mode="edge")
    return np.broadcast_to(padded[:, None, :, None], (count, height, width, 3)).copy()


def number_of(frame: Frames) -> int:
    width = frame.shape[1] // 8
    centres = frame[frame.shape[0] // 2, width // 2 : 8 * width : width, 1]
    return int(((centres > 125) << np.arange(8)).sum())


def write(path: Path, frames: Frames, *, fps: Fraction = FPS, sound: Path | None = None) -> Path:
    size = (frames.shape[2], frames.shape[1])
    with VideoWriter(path, size=size, fps=fps, sound=sound, overwrite=True) as writer:
        writer.write(frames)
    return path


def is_as_long(path: Path, sound: Path, rate_hz: int = 48_000) -> bool:
    """Return whether a video's audio is as long as its source file.

    ffmpeg before version 8 also decodes the last packet's padding, up to 1024 samples.
    """
    excess_s = float(AudioClip.open(path).duration_s - AudioClip.open(sound).duration_s)
    return -0.001 < excess_s <= (0.001 if FFMPEG_TRIMS else 1024 / min(rate_hz, 96_000))


@pytest.mark.parametrize("fps", [FPS, Fraction(30000, 1001), Fraction(12), Fraction(60)])
def test_every_frame_comes_back_in_its_place(tmp_path: Path, fps: Fraction) -> None:
    path = write(tmp_path / "a.mp4", counting_frames(40), fps=fps)
    info = probe_video(path)
    assert (info.width, info.height, info.fps) == (96, 64, fps)
    assert info.duration_s == pytest.approx(40 / fps, abs=0.011)
    assert not info.has_audio
    assert [number_of(frame) for frame in read_frames(path)] == list(range(40))


def test_colours_come_back_as_they_were_written(tmp_path: Path) -> None:
    blocks = np.zeros((1, 128, 192, 3), np.uint8)
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (180, 120, 90)]
    for k, colour in enumerate(colours):
        blocks[:, :, 32 * k : 32 * (k + 1)] = colour
    (frame,) = read_frames(write(tmp_path / "a.mp4", blocks))
    for k, colour in enumerate(colours):
        np.testing.assert_allclose(frame[64, 32 * k + 16].astype(int), colour, atol=4)


@pytest.mark.parametrize("has_sound", [False, True])
def test_a_window_is_a_slice_of_the_whole(tmp_path: Path, wav: Path, *, has_sound: bool) -> None:
    sound = wav if has_sound else None
    for fps in (FPS, Fraction(30000, 1001)):
        path = write(tmp_path / "a.mp4", counting_frames(60), fps=fps, sound=sound)
        for start, count in [(0, 5), (1, 1), (7, 20), (33, 27)]:
            window = read_frames(path, start_s=float(start / fps), duration_s=float(count / fps))
            assert [number_of(frame) for frame in window] == list(range(start, start + count))
        assert number_of(next(read_frames(path, start_s=float(59 / fps)))) == 59


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mjpeg.avi", ("-c:v", "mjpeg", "-q:v", "1")),
        ("png.avi", ("-c:v", "png")),
        ("raw.avi", ("-c:v", "rawvideo", "-pix_fmt", "bgr24")),
    ],
)
@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30), Fraction(30000, 1001)])
def test_a_window_of_an_avi_is_a_slice_of_the_whole(
    encode: Encode, name: str, options: tuple[str, ...], fps: Fraction
) -> None:
    path = encode(counting_frames(40), name, "null", *options, fps=fps)
    assert [number_of(frame) for frame in read_frames(path)] == list(range(40))
    for start in range(1, 40, 3):
        frame = next(read_frames(path, start_s=float(start / fps)))
        assert number_of(frame) == start


def test_another_rate_follows_the_time_stamps(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", counting_frames(60), fps=Fraction(30))
    slower = [number_of(frame) for frame in read_frames(path, fps=FPS)]
    assert len(slower) == 50
    assert all(abs(n / 30 - k / 25) <= 0.501 / 25 for k, n in enumerate(slower))
    faster = [number_of(frame) for frame in read_frames(path, fps=Fraction(60))]
    assert len(faster) == 120
    assert all(abs(n / 30 - k / 60) <= 0.501 / 30 for k, n in enumerate(faster))


def test_frames_are_scaled_on_request(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", counting_frames(3))
    frames = list(read_frames(path, size=(50, 31)))
    assert [frame.shape for frame in frames] == [(31, 50, 3)] * 3


def test_a_rotated_video_is_read_upright(tmp_path: Path, convert: Convert) -> None:
    frames = counting_frames(3)
    frames[:, :32] = 0
    upright = write(tmp_path / "a.mp4", frames)
    turned = tmp_path / "b.mp4"
    args = ["-display_rotation", "90", "-i", str(upright), "-map", "1:v", "-c", "copy"]
    convert(upright, turned, *args)
    info = probe_video(turned)
    assert (info.width, info.height) == (64, 96)
    frame = next(read_frames(turned))
    assert frame.shape == (96, 64, 3)
    assert frame[:, :28].mean() < 20 < frame[:, 36:].mean()


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path, convert: Convert) -> None:
    path = write(tmp_path / "a.mp4", counting_frames(2))
    wide = convert(path, tmp_path / "b.mp4", "-vf", "setsar=3/2")
    assert (probe_video(wide).width, probe_video(wide).height) == (144, 64)
    assert next(read_frames(wide)).shape == (64, 144, 3)


def test_what_stands_still_does_not_jump_at_key_frames(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(60, 190, (64, 96, 1)).repeat(3, 2).astype(np.uint8)
    video = write(tmp_path / "still.mp4", np.repeat(picture[None], 400, 0))  # 16 s
    read = np.stack(list(read_frames(video))).astype(np.int16)
    assert np.abs(np.diff(read[25:], axis=0)).mean((1, 2, 3)).max() < 0.3


def test_odd_sizes_lose_their_last_column_and_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", counting_frames(2, width=97, height=65))
    assert (probe_video(path).width, probe_video(path).height) == (96, 64)
    assert [number_of(frame) for frame in read_frames(path)] == [0, 1]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, wav: Path) -> None:
    frames = counting_frames(50)
    first = write(tmp_path / "a.mp4", frames, sound=wav).read_bytes()
    time.sleep(1.1)  # a date would differ now
    assert write(tmp_path / "b.mp4", frames, sound=wav).read_bytes() == first


def test_the_file_starts_playing_before_it_is_loaded(tmp_path: Path, wav: Path) -> None:
    data = write(tmp_path / "a.mp4", counting_frames(5), sound=wav).read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    _, _, listing = ffmpeg.run_ffmpeg(ffmpeg.list_streams_args(tmp_path / "a.mp4"))
    assert "h264" in listing
    assert "yuv420p(tv, bt709" in listing
    assert "Audio: aac" in listing


def test_notes_are_kept_and_those_of_the_sound_are_not(
    tmp_path: Path, wav: Path, convert: Convert
) -> None:
    song = convert(wav, tmp_path / "a.m4a", "-metadata", "title=private", "-c:a", "aac")
    for key in ("comment", "talkhead_seed"):
        path = tmp_path / f"{key}.mp4"
        notes = {key: "synthetic = yes; seed 7"}
        with VideoWriter(path, size=(96, 64), fps=FPS, sound=song, metadata=notes) as writer:
            writer.write(counting_frames(1)[0])
        _, _, listing = ffmpeg.run_ffmpeg(ffmpeg.list_streams_args(path))
        assert "synthetic = yes; seed 7" in listing
        assert "private" not in listing


@pytest.mark.parametrize(
    ("rate_hz", "num_channels"), [(8_000, 1), (16_000, 1), (22_050, 3), (48_000, 6), (192_000, 2)]
)
def test_sound_of_any_kind_keeps_its_full_length(
    tmp_path: Path, rate_hz: int, num_channels: int
) -> None:
    num = round(1.27 * rate_hz) + 1
    tone = 0.2 * np.sin(2 * np.pi * 300 * np.arange(num) / rate_hz)
    sound = tmp_path / "a.wav"
    soundfile.write(sound, np.repeat(tone[:, None], num_channels, 1), rate_hz)
    duration_s = AudioClip.open(sound).duration_s
    frames = counting_frames(num_frames(duration_s, FPS))
    path = write(tmp_path / "a.mp4", frames, sound=sound)
    assert len(list(read_frames(path))) == len(frames)
    assert is_as_long(path, sound, rate_hz)
    assert 0 <= len(frames) / FPS - duration_s < 1 / FPS


@pytest.mark.parametrize("name", ["a.mp3", "a.opus", "a.flac", "a.ogg"])
def test_sound_is_heard_at_the_same_time_after_it_is_encoded(
    tmp_path: Path, wav: Path, convert: Convert, name: str
) -> None:
    path = write(tmp_path / "a.mp4", counting_frames(50), sound=convert(wav, tmp_path / name))
    before, after = AudioClip.open(tmp_path / name).waveform(), AudioClip.open(path).waveform()
    assert np.corrcoef(before[:31_000], after[:31_000])[0, 1] > 0.98


def test_aac_is_copied_untouched(tmp_path: Path, wav: Path, convert: Convert) -> None:
    song = convert(wav, tmp_path / "a.m4a", "-c:a", "aac")
    path = write(tmp_path / "a.mp4", counting_frames(50), sound=song)
    np.testing.assert_array_equal(AudioClip.open(path).waveform(), AudioClip.open(song).waveform())
    packets = ["-map", "0:a", "-c", "copy", "-f", "streamhash", "pipe:1"]
    hashes = [ffmpeg.run_ffmpeg(["-i", str(file), *packets])[1] for file in (song, path)]
    assert hashes[0] == hashes[1] != b""
    # The audio may also come from another video.
    again = write(tmp_path / "b.mp4", counting_frames(50), sound=path)
    np.testing.assert_array_equal(AudioClip.open(again).waveform(), AudioClip.open(song).waveform())


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.m4a"])
@pytest.mark.parametrize(
    ("rate_hz", "written_hz"),
    [(96_000, 48_000), (88_200, 48_000), (64_000, 48_000), (44_100, 44_100), (22_050, 22_050)],
)
def test_sound_is_written_at_48_khz_at_most(
    tmp_path: Path, wav: Path, convert: Convert, name: str, rate_hz: int, written_hz: int
) -> None:
    sound = convert(wav, tmp_path / f"sound-{name}", "-ar", str(rate_hz))
    path = write(tmp_path / "a.mp4", counting_frames(50), sound=sound)
    listing = ffmpeg.run_ffmpeg(ffmpeg.list_streams_args(path))[2]
    assert (ffmpeg.audio_codec(listing), ffmpeg.audio_rate_hz(listing)) == ("aac", written_hz)
    before, after = AudioClip.open(sound).waveform(), AudioClip.open(path).waveform()
    assert np.corrcoef(before[:31_000], after[:31_000])[0, 1] > 0.98


def test_neither_sound_nor_picture_is_cut_to_the_other(tmp_path: Path, wav: Path) -> None:
    short = write(tmp_path / "short.mp4", counting_frames(10), sound=wav)
    assert len(list(read_frames(short))) == 10
    assert is_as_long(short, wav)
    long = write(tmp_path / "long.mp4", counting_frames(100), sound=wav)
    assert len(list(read_frames(long))) == 100
    assert is_as_long(long, wav)


def test_an_hour_is_streamed(tmp_path: Path) -> None:
    """Frames are read on demand: the tenth frame of a very long video comes at once."""
    path = tmp_path / "long.mp4"
    source = "color=gray:s=64x64:r=1:d=3600"
    ffmpeg.run_ffmpeg(["-f", "lavfi", "-i", source, "-preset", "ultrafast", str(path)])
    frames = read_frames(path, fps=Fraction(120))  # 432,000 frames, 5 GB
    assert len(list(itertools.islice(frames, 10))) == 10
    frames.close()


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

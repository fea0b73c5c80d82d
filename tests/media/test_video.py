import itertools
import re
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from talkhead.media import ffmpeg
from talkhead.media.audio_clip import AudioClip
from talkhead.media.rates import num_frames
from talkhead.media.video import VideoWriter, probe_video, read_frames
from tests.media.conftest import Convert, Encode
from tests.media.numbered_frames import FPS, counting_frames, number_of, write

FFMPEG_TRIMS = (
    int(re.findall(r"version n?(\d+)", ffmpeg.run_ffmpeg(["-version"])[1].decode())[0]) >= 8
)


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

import gc
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from talkhead.errors import TalkheadError
from talkhead.media import audio_clip, ffmpeg
from talkhead.media.audio_clip import AudioClip
from talkhead.media.video import VideoWriter
from tests.media.conftest import Convert
from tests.tiny import voice

Samples = npt.NDArray[np.float32]


def channels(kind: str) -> Samples:
    """Return sound that exercises one rule of the mixdown, (N, C) at 44.1 kHz."""
    left = np.repeat(voice(4.7), 3)[:200_003]
    right = np.roll(left, 4_000)
    columns = {
        "mono": [left],
        "stereo": [left, right],
        "opposite phase": [left, -left],
        "offset": [left + np.float32(0.2)],
        "5.1": [left, right, 0 * left, 0.1 * right, -left, right],
    }[kind]
    return np.asarray(np.stack(columns, 1), np.float32)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.m4a"])
@pytest.mark.parametrize("kind", ["mono", "stereo", "opposite phase", "offset", "5.1"])
def test_a_file_and_its_decoded_samples_are_the_same_clip(
    tmp_path: Path, convert: Convert, name: str, kind: str
) -> None:
    if (name, kind) == ("a.mp3", "5.1"):
        pytest.skip("MP3 has two channels at most")
    path = tmp_path / name
    soundfile.write(tmp_path / "original.wav", channels(kind), 44_100, subtype="PCM_16")
    convert(tmp_path / "original.wav", path)
    decoded = tmp_path / "decoded.wav"
    # As in `read_sound_args`: ffmpeg fills gaps, and float samples are not rounded.
    convert(path, decoded, "-af", "aresample=async=1:first_pts=0", "-c:a", "pcm_f32le")
    samples, rate_hz = soundfile.read(decoded, dtype="float32", always_2d=True)
    clip, expected = AudioClip.open(path), AudioClip.from_samples(samples, rate_hz)
    np.testing.assert_array_equal(clip.waveform(), expected.waveform())
    assert clip.duration_s == expected.duration_s == Fraction(len(samples), rate_hz)
    assert clip.num_samples == len(clip.waveform())


def test_a_clip_knows_its_origin(tmp_path: Path) -> None:
    samples = channels("stereo")
    clip = AudioClip.from_samples(samples, 44_100)
    assert (clip.path, clip.original_rate_hz) == (None, 44_100)
    assert clip.original is not None
    np.testing.assert_array_equal(clip.original, samples)
    soundfile.write(tmp_path / "a.wav", samples, 44_100)
    clip = AudioClip.open(tmp_path / "a.wav")
    assert (clip.path, clip.original, clip.original_rate_hz) == (tmp_path / "a.wav", None, None)


def test_16_khz_mono_is_left_as_it_is() -> None:
    samples = voice(1.3)
    with AudioClip.from_samples(samples, 16_000) as clip:
        np.testing.assert_array_equal(clip.waveform(), samples)


@pytest.mark.parametrize("size", [1, 999, 16_000, 10**6])
def test_blocks_can_be_read_many_times_and_at_once(size: int) -> None:
    samples = voice(0.2)
    clip = AudioClip.from_samples(samples, 16_000)
    pairs = list(zip(clip.blocks(size), clip.blocks(size), strict=True))
    for blocks in zip(*pairs, strict=True):
        assert all(len(block) == size for block in blocks[:-1])
        np.testing.assert_array_equal(np.concatenate(blocks), samples)
    np.testing.assert_array_equal(clip.waveform(), samples)


def test_blocks_have_a_size() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        AudioClip.from_samples(voice(0.1), 16_000).blocks(0)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a count


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files as Linux does")
def test_a_long_clip_is_in_a_file_without_a_name(
    tmp_path: Path, convert: Convert, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "a.wav", channels("stereo"), 44_100)
    path = convert(tmp_path / "a.wav", tmp_path / "a.m4a")
    expected = AudioClip.open(path).waveform()
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setattr(audio_clip, "_MAX_MEMORY_BYTES", 20_000)
    gc.collect()
    before = open_files()
    clip = AudioClip.open(path)
    assert open_files() == before + 1
    assert not list(folder.iterdir())
    np.testing.assert_array_equal(clip.waveform(), expected)
    np.testing.assert_array_equal(np.concatenate(list(clip.blocks(777))), expected)
    clip.close()
    assert open_files() == before
    clip = AudioClip.open(path)
    del clip
    gc.collect()
    assert open_files() == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_clip, "_MAX_MEMORY_BYTES", 20_000)
    full = Path("/dev/full")
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full.open("r+b", buffering=0))
    with pytest.raises(TalkheadError, match=r"cannot be stored in .*No space left.*TMPDIR"):
        AudioClip.from_samples(voice(1), 16_000)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
def test_sound_in_memory_is_written_to_a_video(tmp_path: Path, rate_hz: int) -> None:
    clip = AudioClip.from_samples(np.stack([voice(1), voice(1, seed=1)]), rate_hz)
    path = tmp_path / "a.mp4"
    with VideoWriter(path, size=(64, 64), fps=Fraction(25), sound=clip) as writer:
        writer.write(np.zeros((25, 64, 64, 3), np.uint8))
    _, _, listing = ffmpeg.run_ffmpeg(ffmpeg.list_streams_args(path))
    assert ffmpeg.audio_rate_hz(listing) == rate_hz
    assert "stereo" in listing
    written = AudioClip.open(path).waveform()[: clip.num_samples]
    assert np.corrcoef(written, clip.waveform())[0, 1] > 0.98

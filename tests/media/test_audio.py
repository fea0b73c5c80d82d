from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from talkhead.media import ffmpeg
from talkhead.media.audio import write_waveform
from talkhead.media.audio_clip import AudioClip
from tests.media.conftest import Convert, Refusal

Samples = npt.NDArray[np.float32]


def likeness(a: Samples, b: Samples) -> float:
    size = min(len(a), len(b))
    return float(np.corrcoef(a[:size], b[:size])[0, 1])


def test_a_waveform_survives_the_file_it_is_written_to(tmp_path: Path) -> None:
    waveform = np.random.default_rng(0).uniform(-0.9, 0.9, 20_001).astype(np.float32)
    write_waveform(tmp_path / "a.wav", waveform)
    clip = AudioClip.open(tmp_path / "a.wav")
    np.testing.assert_allclose(clip.waveform(), waveform, atol=1 / 32_768)
    assert clip.duration_s == Fraction(20_001, 16_000)
    assert clip.num_samples == 20_001


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_any_rate_gives_the_same_tone_at_16_khz(tmp_path: Path, rate_hz: int) -> None:
    num = rate_hz + 7
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(num) / rate_hz)
    soundfile.write(tmp_path / "tone.wav", tone, rate_hz, subtype="FLOAT")
    waveform = AudioClip.open(tmp_path / "tone.wav").waveform()
    assert abs(len(waveform) - num * 16_000 / rate_hz) <= 1
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(waveform)) / 16_000)
    np.testing.assert_allclose(waveform[500:-500], expected[500:-500], atol=2e-4)
    assert AudioClip.open(tmp_path / "tone.wav").duration_s == Fraction(num, rate_hz)


@pytest.mark.parametrize("name", ["a.wav", "a.aiff"])  # read by soundfile, and by ffmpeg
@pytest.mark.parametrize(("rate_hz", "said"), [(1, "1"), (10_000_000, "10,000,000")])
def test_rates_of_no_recording_are_refused(
    tmp_path: Path, refused: Refusal, name: str, rate_hz: int, said: str
) -> None:
    soundfile.write(tmp_path / name, np.zeros(9), rate_hz, subtype="PCM_16")
    reason = f"has a sample rate of {said} Hz, outside the supported 2,000 to 384,000 Hz"
    with refused(tmp_path / name, reason):
        AudioClip.open(tmp_path / name)


def test_a_hundred_channels_are_refused(tmp_path: Path, refused: Refusal) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((9, 100)), 16_000, subtype="PCM_16")
    with refused(tmp_path / "a.wav", "100 channels, more than the supported 64"):
        AudioClip.open(tmp_path / "a.wav")


def test_many_channels_are_averaged_over_their_whole_length(tmp_path: Path) -> None:
    seconds = np.arange(200_000) / 16_000
    shared, other = (0.4 * np.sin(2 * np.pi * hz * seconds) for hz in (200, 331))
    channels = np.stack([shared + other * (-1) ** k for k in range(64)], axis=1)
    soundfile.write(tmp_path / "many.wav", channels, 16_000, subtype="FLOAT")
    waveform = AudioClip.open(tmp_path / "many.wav").waveform()  # 51 MB: more than one block
    np.testing.assert_allclose(waveform, shared, atol=1e-6)


@pytest.mark.parametrize(
    "depth", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM"]
)
def test_wav_of_any_depth_is_read(tmp_path: Path, chirp: Samples, depth: str) -> None:
    soundfile.write(tmp_path / "a.wav", chirp, 48_000, subtype=depth)
    soundfile.write(tmp_path / "b.wav", chirp, 48_000, subtype="FLOAT")
    a, b = (AudioClip.open(tmp_path / name).waveform() for name in ("a.wav", "b.wav"))
    assert likeness(a, b) > 0.999
    assert np.abs(a[: len(b)]).max() == pytest.approx(np.abs(b).max(), rel=0.05)


@pytest.mark.parametrize(
    "name", ["a.mp3", "a.m4a", "a.ogg", "a.opus", "a.flac", "a.webm", "a.aiff"]
)
def test_compressed_sound_has_the_length_and_timing_of_its_original(
    wav: Path, tmp_path: Path, convert: Convert, name: str
) -> None:
    path = convert(wav, tmp_path / name)
    info = AudioClip.open(path)
    # ffmpeg before version 8 also decodes the last packet's padding, at most 1024 samples.
    assert -0.001 < float(info.duration_s) - 2.0 <= 1024 / 48_000
    # It also starts webm 7 ms late, so take the best of all lags up to 8 ms.
    found, expected = AudioClip.open(path).waveform(), AudioClip.open(wav).waveform()
    assert max(likeness(found[lag:], expected) for lag in range(129)) > 0.99


@pytest.mark.parametrize(
    ("suffix", "num_channels"),
    [(".wav", 2), (".wav", 3), (".wav", 6), (".flac", 6), (".ogg", 2), (".aiff", 6)],
)
def test_channels_are_averaged(tmp_path: Path, suffix: str, num_channels: int) -> None:
    # Each channel is a different tone; the mean contains each at 1 / channels of its amplitude.
    seconds = np.arange(48_000) / 48_000
    hz = 300 * (1 + np.arange(num_channels))
    tones = 0.5 * np.sin(2 * np.pi * seconds[:, None] * hz)
    path = tmp_path / f"many{suffix}"
    soundfile.write(path, tones, 48_000)
    spectrum = np.abs(np.fft.rfft(AudioClip.open(path).waveform()[:16_000])) / 8_000
    for k in range(num_channels):
        assert spectrum[hz[k]] == pytest.approx(0.5 / num_channels, rel=0.1)


def voice_at(rate_hz: int, seconds: float = 3.0) -> Samples:
    """Return noise in syllables, with a pitch between 100 and 200 Hz, shape = (N,)."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    syllables = np.clip(np.sin(2 * np.pi * 3 * time_s), 0, 1)
    pitch = np.sin(2 * np.pi * (150 * time_s + 5 * np.sin(7 * time_s)))
    return np.asarray(0.3 * syllables * pitch, np.float32)


def every_way(path: Path) -> Samples:
    """Return a file's waveform, after checking that all ways of reading it agree."""
    clip = AudioClip.open(path)
    whole = clip.waveform()
    np.testing.assert_array_equal(np.concatenate(list(clip.blocks(777))), whole)
    assert clip.num_samples == len(whole)
    return whole


@pytest.mark.parametrize(
    ("suffix", "gains"),
    [
        (".wav", (1, -1)),
        (".mp3", (1, -1)),
        (".wav", (1, -0.8)),
        (".mp3", (-0.8, 1)),
        (".wav", (-1, 1, 0)),
        (".wav", (0, 0, 1, 0, 0, -1)),
    ],
)
def test_channels_that_cancel_out_leave_the_loudest(
    tmp_path: Path, convert: Convert, suffix: str, gains: tuple[float, ...]
) -> None:
    voice = voice_at(16_000)
    soundfile.write(tmp_path / "a.wav", voice[:, None] * np.array(gains), 16_000)
    path = tmp_path / f"a{suffix}"
    if suffix != ".wav":
        convert(tmp_path / "a.wav", path)
    waveform = every_way(path)
    assert abs(likeness(waveform, voice)) > 0.99
    assert np.abs(waveform).max() == pytest.approx(0.3, abs=0.03)


def test_channels_that_cancel_out_later_are_not_mixed_before(tmp_path: Path) -> None:
    left = voice_at(16_000, 12.0)
    right = np.where(np.arange(len(left)) < 6 * 16_000, left, -left)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), 16_000)
    np.testing.assert_allclose(every_way(tmp_path / "a.wav"), left, atol=1e-4)


def test_noise_that_the_channels_share_does_not_hide_that_they_cancel_out(tmp_path: Path) -> None:
    voice = voice_at(16_000)
    noise = 3e-4 * np.random.default_rng(0).normal(size=len(voice))
    soundfile.write(tmp_path / "a.wav", np.stack([voice + noise, noise - voice], 1), 16_000)
    assert likeness(every_way(tmp_path / "a.wav"), voice) > 0.999


@pytest.mark.parametrize(("num_channels", "speaking"), [(2, 0), (2, 1), (6, 2), (8, 7), (64, 9)])
def test_silent_channels_take_nothing_from_the_one_that_speaks(
    tmp_path: Path, num_channels: int, speaking: int
) -> None:
    channels = 1e-5 * np.random.default_rng(0).normal(size=(48_000, num_channels))
    channels[:, speaking] = 0.01 * voice_at(16_000)
    soundfile.write(tmp_path / "a.wav", channels, 16_000, subtype="FLOAT")
    np.testing.assert_allclose(every_way(tmp_path / "a.wav"), channels[:, speaking], atol=1e-6)


def test_two_speakers_with_a_channel_each_are_both_heard(tmp_path: Path) -> None:
    voice = voice_at(16_000)
    pair = np.stack([np.r_[voice, 0 * voice], np.r_[0 * voice, voice]], 1)
    soundfile.write(tmp_path / "a.wav", pair, 16_000)
    np.testing.assert_allclose(every_way(tmp_path / "a.wav"), np.r_[voice, voice] / 2, atol=1e-4)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("offset", [-0.1, 0.2, 0.5])
def test_a_constant_offset_is_removed(tmp_path: Path, rate_hz: int, offset: float) -> None:
    voice = voice_at(rate_hz)
    soundfile.write(tmp_path / "plain.wav", voice, rate_hz)
    soundfile.write(tmp_path / "a.wav", voice + offset, rate_hz)
    waveform = every_way(tmp_path / "a.wav")
    plain = AudioClip.open(tmp_path / "plain.wav").waveform()
    assert likeness(waveform, plain) > 0.99
    # Also in the pauses and at both ends.
    pauses = np.abs(plain) < 1e-4
    assert np.abs(waveform[pauses]).max() < 0.02
    assert abs(waveform.mean()) < 1e-4


def test_an_offset_that_comes_and_goes_is_removed(tmp_path: Path) -> None:
    voice = np.pad(voice_at(16_000) + 0.2, 32_000)
    soundfile.write(tmp_path / "a.wav", voice, 16_000)
    waveform = every_way(tmp_path / "a.wav")
    assert np.abs(waveform[:31_000]).max() < 1e-4
    assert abs(waveform[40_000:72_000].mean()) < 1e-3
    assert np.abs(waveform[-28_000:]).max() < 1e-4


def test_an_offset_of_one_channel_is_not_taken_for_its_sound(tmp_path: Path) -> None:
    voice = voice_at(16_000)
    pair = np.stack([np.full(len(voice), 0.5), voice], 1)
    soundfile.write(tmp_path / "a.wav", pair, 16_000)
    np.testing.assert_allclose(every_way(tmp_path / "a.wav"), voice, atol=1e-4)


def test_sound_of_a_video_is_read_and_starts_where_it_is_heard(
    wav: Path, tmp_path: Path, convert: Convert
) -> None:
    grey = ["-f", "lavfi", "-i", "color=gray:s=64x64:r=25:d=3", "-map", "0:a", "-map", "1:v"]
    whole = convert(wav, tmp_path / "video.mp4", *grey)
    assert likeness(AudioClip.open(whole).waveform(), AudioClip.open(wav).waveform()) > 0.99
    # Time stamps delay the audio by half a second, so it starts with that much silence.
    delayed = tmp_path / "late.mkv"
    convert(whole, delayed, "-itsoffset", "0.5", "-i", str(wav), "-map", "0:v", "-map", "1:a")
    late = AudioClip.open(delayed).waveform()
    assert np.abs(late[:7_900]).max() < 1e-3
    assert likeness(late[8_000:], AudioClip.open(wav).waveform()) > 0.99


@pytest.mark.parametrize("name", ["a.mka", "a.webm", "a.mp4", "a.ogg"])
def test_a_sound_whose_time_stamps_begin_late_is_read(
    wav: Path, tmp_path: Path, convert: Convert, name: str
) -> None:
    path = convert(wav, tmp_path / name, "-c:a", "libopus", "-output_ts_offset", "1.5")
    # Containers store the start time in different ways; none loses any audio.
    assert float(AudioClip.open(path).duration_s) % 1.5 == pytest.approx(0.5, abs=0.1)


def test_blocks_together_are_the_whole_whatever_their_size(wav: Path) -> None:
    clip = AudioClip.open(wav)
    whole = clip.waveform()
    for size in (999, 16_000, 10**6):
        blocks = list(clip.blocks(size))
        assert all(len(block) == size for block in blocks[:-1])
        np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_silence_is_sound(tmp_path: Path) -> None:
    write_waveform(tmp_path / "quiet.wav", np.zeros(16_000, np.float32))
    clip = AudioClip.open(tmp_path / "quiet.wav")
    assert clip.duration_s == 1
    assert not clip.waveform().any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("suffix", [".wav", ".aiff"])
def test_samples_that_are_not_numbers_are_refused(
    tmp_path: Path, chirp: Samples, refused: Refusal, value: float, suffix: str
) -> None:
    chirp[70_000] = value
    path = tmp_path / f"bad{suffix}"
    soundfile.write(path, chirp, 48_000, subtype="FLOAT")
    with refused(path, "NaN or infinite"):
        AudioClip.open(path)


@pytest.mark.parametrize("name", ["a.wav", "a.rf64", "a.aiff", "a.caf", "a.ogg"])
def test_a_sound_without_samples_is_refused(tmp_path: Path, refused: Refusal, name: str) -> None:
    soundfile.write(tmp_path / name, np.zeros(0), 48_000)
    with refused(tmp_path / name, "contains no sound (its length is zero)"):
        AudioClip.open(tmp_path / name)


@pytest.mark.parametrize("name", ["a.wav", "a.rf64", "a.w64", "a.aiff", "a.au", "a.caf"])
def test_a_header_whose_samples_are_missing_is_refused(
    tmp_path: Path, chirp: Samples, refused: Refusal, name: str
) -> None:
    path = tmp_path / name
    soundfile.write(path, np.zeros(0), 48_000, subtype="PCM_16")
    header_bytes = path.stat().st_size
    soundfile.write(path, chirp, 48_000, subtype="PCM_16")
    path.write_bytes(path.read_bytes()[:header_bytes])
    with refused(path, "again"):
        AudioClip.open(path)


@pytest.mark.parametrize("name", ["a.mp4", "a.m4a", "a.mov", "a.mkv", "a.webm", "a.ogg", "a.opus"])
def test_a_container_without_packets_is_refused(
    wav: Path, tmp_path: Path, refused: Refusal, name: str
) -> None:
    args = ["-i", str(wav), "-frames:a", "0", str(tmp_path / name)]
    ffmpeg.run_ffmpeg(args)
    with refused(tmp_path / name, ""):
        AudioClip.open(tmp_path / name)


def test_an_mp3_of_tags_alone_is_refused(tmp_path: Path, refused: Refusal) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(b"ID3\x03\0\0\0\0\0\x10TIT2\0\0\0\6\0\0\0hello" + bytes(2_000))
    with refused(path, "cannot be read as audio"):
        AudioClip.open(path)


@pytest.mark.parametrize("field", ["channels", "rate"])
@pytest.mark.parametrize("samples", [b"", bytes(800)], ids=["empty", "silent"])
def test_a_wav_without_channels_or_rate_is_refused(
    tmp_path: Path, refused: Refusal, field: str, samples: bytes
) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(400), 16_000, subtype="PCM_16")
    header = bytearray((tmp_path / "a.wav").read_bytes()[:44])
    start, size = {"channels": (22, 2), "rate": (24, 4)}[field]
    header[start : start + size] = bytes(size)
    (tmp_path / "a.wav").write_bytes(bytes(header) + samples)
    with refused(tmp_path / "a.wav", "again"):
        AudioClip.open(tmp_path / "a.wav")


def test_what_is_no_sound_is_refused(tmp_path: Path, refused: Refusal) -> None:
    with refused(tmp_path / "absent.wav", "does not exist"):
        AudioClip.open(tmp_path / "absent.wav")
    with refused(tmp_path, "is a directory"):
        AudioClip.open(tmp_path)
    for name in ("text.wav", "text.mp3", "text.raw"):
        (tmp_path / name).write_text("this is no sound\n" * 50)
        with refused(tmp_path / name, ""):
            AudioClip.open(tmp_path / name)
    video = tmp_path / "mute.mp4"
    ffmpeg.run_ffmpeg(["-f", "lavfi", "-i", "color=gray:s=64x64:d=1", str(video)])
    with refused(video, "has no audio stream"):
        AudioClip.open(video)


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.m4a", "a.flac", "a.webm", "a.aiff"])
def test_a_file_cut_in_half_is_refused(
    wav: Path, tmp_path: Path, convert: Convert, refused: Refusal, name: str
) -> None:
    data = convert(wav, tmp_path / name, "-map_metadata", "-1").read_bytes()
    half = tmp_path / f"half-{name}"
    half.write_bytes(data[: len(data) // 2])
    with refused(half, "again" if name != "a.m4a" else "moov atom not found"):
        AudioClip.open(half)


@pytest.mark.parametrize("name", ["a.mp3", "a.m4a", "a.ogg", "a.opus", "a.flac"])
def test_a_file_overwritten_with_noise_is_refused(
    wav: Path, tmp_path: Path, convert: Convert, refused: Refusal, name: str
) -> None:
    data = bytearray(convert(wav, tmp_path / name).read_bytes())
    third = len(data) // 3
    data[third : 2 * third] = np.random.default_rng(0).bytes(third)
    noisy = tmp_path / f"noisy-{name}"
    noisy.write_bytes(data)
    with refused(noisy, "again"):
        AudioClip.open(noisy)
    (tmp_path / f"random-{name}").write_bytes(np.random.default_rng(1).bytes(50_000))
    with refused(tmp_path / f"random-{name}", ""):
        AudioClip.open(tmp_path / f"random-{name}")


def test_a_wav_from_a_pipe_does_not_know_its_length_and_is_read(wav: Path, tmp_path: Path) -> None:
    data = bytearray(wav.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    data[4:8] = b"\xff\xff\xff\xff"
    (tmp_path / "pipe.wav").write_bytes(data)
    assert AudioClip.open(tmp_path / "pipe.wav").duration_s == 2

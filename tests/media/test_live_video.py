from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from talkhead.media.audio_clip import AudioClip
from talkhead.media.live_resampler import LiveMixer, LiveResampler
from talkhead.media.live_video import EncodedWriter, RgbWriter
from talkhead.media.metadata import read_notes
from talkhead.media.video import probe_video, read_frames

Samples = npt.NDArray[np.float32]
SIDE = 64


def clicks(rate_hz: int, channels: int, times_s: tuple[float, ...]) -> Samples:
    sound = np.zeros((2 * rate_hz, channels), np.float32)
    burst = 0.8 * np.sin(np.arange(rate_hz // 200) * 0.5)
    for time_s in times_s:
        start = round(time_s * rate_hz)
        sound[start : start + len(burst)] = burst[:, None]
    return sound


@pytest.mark.parametrize(("rate_hz", "channels"), [(48_000, 2), (8000, 1)])
@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30_000, 1001)])
def test_frames_and_sound_keep_time(
    rate_hz: int, channels: int, fps: Fraction, tmp_path: Path
) -> None:
    times_s = (0.5, 1.0, 1.8)
    sound = clicks(rate_hz, channels, times_s)
    count = -(-2 * fps.numerator // fps.denominator)
    path = tmp_path / "out.mp4"
    with path.open("wb") as file:
        writer = EncodedWriter(
            file,
            output_format="mp4",
            size=(SIDE, SIDE),
            fps=fps,
            rate_hz=rate_hz,
            num_channels=channels,
            metadata={"comment": "Synthetic: a test"},
        )
        with writer:
            start = 0
            for number in range(count):
                end = min(round((number + 1) * rate_hz / fps), len(sound))
                writer.write(np.full((SIDE, SIDE, 3), 4 * number, np.uint8), sound[start:end])
                start = end
    assert read_notes(path)["comment"] == "Synthetic: a test"
    assert probe_video(path).fps == fps
    brightness = [frame.mean() for frame in read_frames(path)]
    np.testing.assert_allclose(brightness, 4 * np.arange(count), atol=3)
    with AudioClip.open(path) as clip:
        loud_s = np.flatnonzero(np.abs(clip.waveform()) > 0.2) / 16_000
        assert float(clip.duration_s) == pytest.approx(2, abs=0.03)
    for time_s in times_s:
        assert np.abs(loud_s - time_s).min() < 0.003


def test_raw_frames_are_written_as_they_are(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 4, 6, 3), np.uint8)
    with (tmp_path / "out").open("wb") as file, RgbWriter(file) as writer:
        for frame in frames:
            writer.write(frame, np.zeros((0, 1), np.float32))
    assert (tmp_path / "out").read_bytes() == frames.tobytes()


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 44_100, 48_000])
def test_a_stream_is_resampled_without_clicks(rate_hz: int) -> None:
    time_s = np.arange(rate_hz) / rate_hz
    tone = np.asarray(0.5 * np.sin(2 * np.pi * 440 * time_s), np.float32)

    def resampled(size: int) -> Samples:
        resampler = LiveResampler(rate_hz)
        parts = [resampler.push(tone[at : at + size]) for at in range(0, rate_hz, size)]
        return np.concatenate([*parts, resampler.push(tone[:0], is_last=True)])

    whole, parts = resampled(rate_hz), resampled(333)
    np.testing.assert_array_equal(parts, whole)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(whole)) / 16_000)
    assert len(whole) == 16_000
    # The high-pass filter shifts the tone by a thirtieth of a radian.
    assert np.abs(whole - expected)[3000:-200].max() < 0.03


def test_channels_are_averaged_and_those_that_cancel_are_not() -> None:
    rng = np.random.default_rng(0)
    voice = np.asarray(0.1 * rng.normal(size=16_000), np.float32)
    same = LiveMixer(8000, 2).mix(np.stack([voice, voice], 1))
    np.testing.assert_allclose(same, voice, atol=1e-6)
    against = LiveMixer(8000, 2).mix(np.stack([voice, -voice], 1))
    assert np.corrcoef(against[8000:], voice[8000:])[0, 1] > 0.99
    one = LiveMixer(8000, 2).mix(np.stack([voice, 0 * voice], 1))
    np.testing.assert_allclose(one[8000:].std(), voice.std(), rtol=0.05)


def test_a_mix_does_not_depend_on_how_the_sound_is_cut() -> None:
    sound = np.asarray(np.random.default_rng(0).normal(size=(5000, 2)), np.float32)
    whole = LiveMixer(8000, 2).mix(sound)
    mixer = LiveMixer(8000, 2)
    parts = [mixer.mix(part) for part in np.split(sound, np.arange(77, 5000, 77))]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)

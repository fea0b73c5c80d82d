from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from talkhead.audio2landmarks import audio2motion
from talkhead.audio2landmarks.audio2motion import Speech, predict_motion
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.audio2landmarks.loudness import frame_levels
from talkhead.media.audio import write_waveform
from talkhead.media.audio_clip import AudioClip
from talkhead.media.rates import SAMPLE_RATE_HZ
from talkhead.pipelines.loading import load_landmark_generator
from tests.tiny import voice, write_silence, write_voice

Floats = npt.NDArray[np.float32]
SHAPE = np.full(4, 0.3, np.float32)


@pytest.fixture(scope="module")
def generator(tiny_weights: Path) -> LandmarkGenerator:
    return load_landmark_generator(tiny_weights, torch.device("cpu"))


@pytest.mark.parametrize(
    ("num_samples", "fps", "expected"),
    [
        (16_000, Fraction(25), 25),
        (16_001, Fraction(25), 26),
        (15_999, Fraction(25), 25),
        (6_400, Fraction(30_000, 1001), 12),  # 11.99
        (6_400, Fraction(10), 4),
        (1, Fraction(25), 1),
        (640, Fraction(60), 3),
    ],
)
def test_there_are_as_many_frames_as_cover_the_sound(
    generator: LandmarkGenerator, tmp_path: Path, num_samples: int, fps: Fraction, expected: int
) -> None:
    audio = tmp_path / "voice.wav"
    write_waveform(audio, voice(1.1)[:num_samples])
    speech = predict_motion(generator, AudioClip.open(audio), SHAPE, fps)
    assert speech.coefficients.shape == (expected, 4)
    assert speech.activity.shape == (expected,)
    assert speech.duration_s == Fraction(num_samples, 16_000)


def test_speech_keeps_its_exact_length(generator: LandmarkGenerator, tmp_path: Path) -> None:
    audio = tmp_path / "voice.wav"
    write_waveform(audio, voice(0.4001))
    speech = predict_motion(generator, AudioClip.open(audio), SHAPE, Fraction(24_000, 1001))
    assert isinstance(speech, Speech)
    assert speech.fps == Fraction(24_000, 1001)
    assert speech.duration_s * 16_000 == round(0.4001 * 16_000)


def test_windows_of_sound_are_slices_of_the_whole(tmp_path: Path) -> None:
    audio = write_voice(tmp_path / "long.wav", 18.3)
    whole = AudioClip.open(audio).waveform()
    lead, per_frame = round(audio2motion.LEAD_S * 16_000), 640
    padded = np.pad(whole, (lead, 20 * 16_000))
    total = -(-len(whole) // per_frame)
    starts = []
    for start, part in audio2motion._windows(AudioClip.open(audio), total, 25.0):
        first = max(start - audio2motion.CONTEXT_FRAMES, 0)
        last = min(start + audio2motion.WINDOW_FRAMES + audio2motion.CONTEXT_FRAMES, total)
        expected = padded[first * per_frame : last * per_frame + 2 * lead]
        np.testing.assert_array_equal(part, expected)
        starts.append(start)
    assert starts == list(range(0, total, audio2motion.WINDOW_FRAMES))


def test_levels_read_in_windows_are_those_of_the_whole(tmp_path: Path) -> None:
    waveform = voice(17.01)
    audio = tmp_path / "long.wav"
    write_waveform(audio, waveform)
    total = -(-len(waveform) // 640)
    expected = frame_levels(waveform, total, 25.0)
    loud = expected > -60  # below that, 16-bit quantisation shows
    levels = audio2motion._levels(AudioClip.open(audio), total, 25.0)
    assert levels.shape == (total,)
    np.testing.assert_allclose(levels[loud], expected[loud], atol=0.1)


def test_fades_of_neighbouring_windows_add_up_to_one() -> None:
    total = 730
    weights = np.zeros((total, 1), np.float32)
    for start in range(0, total, audio2motion.WINDOW_FRAMES):
        first = max(start - audio2motion.CONTEXT_FRAMES, 0)
        last = min(start + audio2motion.WINDOW_FRAMES + audio2motion.CONTEXT_FRAMES, total)
        weights[first:last] += audio2motion._fade(first, last, start, total)
    np.testing.assert_allclose(weights, 1, atol=1e-6)


def test_windows_give_what_the_whole_gives(
    generator: LandmarkGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = write_voice(tmp_path / "long.wav", 18.5)
    parts = predict_motion(generator, AudioClip.open(audio), SHAPE)
    monkeypatch.setattr(audio2motion, "WINDOW_FRAMES", 10_000)
    whole = predict_motion(generator, AudioClip.open(audio), SHAPE)
    np.testing.assert_array_equal(parts.activity, whole.activity)
    spread = whole.coefficients.std()
    assert spread > 0.1
    difference = np.abs(parts.coefficients - whole.coefficients)
    # An untrained encoder attends to the whole window evenly, so the window length matters a bit.
    assert difference.mean() < 0.1 * spread
    assert np.corrcoef(parts.coefficients.ravel(), whole.coefficients.ravel())[0, 1] > 0.98
    # No jump where windows meet: the motion is as smooth there as elsewhere.
    jumps = np.abs(np.diff(parts.coefficients, axis=0)).max(1)
    meeting = jumps[[199, 200, 399, 400]]
    assert meeting.max() <= jumps.max()


def test_a_recording_at_any_loudness_gives_the_same_lips(
    generator: LandmarkGenerator, tmp_path: Path
) -> None:
    waveform = voice(1.0)
    quiet, loud = tmp_path / "quiet.wav", tmp_path / "loud.wav"
    write_waveform(quiet, 0.05 * waveform)
    write_waveform(loud, waveform)
    one = predict_motion(generator, AudioClip.open(quiet), SHAPE)
    other = predict_motion(generator, AudioClip.open(loud), SHAPE)
    np.testing.assert_allclose(one.coefficients, other.coefficients, atol=0.1)
    np.testing.assert_allclose(one.activity, other.activity, atol=0.05)


def test_lips_move_in_speech_and_rest_in_pauses(
    generator: LandmarkGenerator, tmp_path: Path
) -> None:
    waveform = np.concatenate([voice(1.0), np.zeros(24_000, np.float32), voice(1.0, 1)])
    audio = tmp_path / "pause.wav"
    write_waveform(audio, waveform)
    speech = predict_motion(generator, AudioClip.open(audio), SHAPE)
    assert np.abs(speech.coefficients[5:20]).mean() > 0.1
    assert np.abs(speech.coefficients[36:44]).max() < 1e-3
    assert speech.activity[36:44].max() == 0
    assert 0.5 < speech.activity.max() <= 1


def test_silence_gives_a_resting_face(generator: LandmarkGenerator, tmp_path: Path) -> None:
    audio = write_silence(tmp_path / "silence.wav", 0.6)
    speech = predict_motion(generator, AudioClip.open(audio), SHAPE)
    assert not speech.coefficients.any()
    assert not speech.activity.any()
    assert (speech.has_speech, speech.is_silent) == (False, True)


def steady(kind: str, count: int) -> Floats:
    rng = np.random.default_rng(0)
    time = np.arange(count) / SAMPLE_RATE_HZ
    sounds = {
        "hum": 0.05 * np.sin(2 * np.pi * 50 * time) + 0.02 * np.sin(2 * np.pi * 150 * time),
        "white noise": 0.1 * rng.normal(size=count),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * time),
    }
    return np.asarray(sounds[kind], np.float32)


@pytest.mark.parametrize("kind", ["hum", "white noise", "tone"])
def test_steady_sound_moves_no_lips(
    generator: LandmarkGenerator, tmp_path: Path, kind: str
) -> None:
    audio = tmp_path / "steady.wav"
    write_waveform(audio, steady(kind, 5 * SAMPLE_RATE_HZ))
    speech = predict_motion(generator, AudioClip.open(audio), SHAPE)
    assert len(speech.coefficients) == 125
    assert np.abs(speech.coefficients).max() < 1e-3
    assert speech.activity.max() < 1e-3
    assert (speech.has_speech, speech.is_silent) == (False, False)


@pytest.mark.parametrize("kind", ["hum", "white noise", "tone"])
def test_lips_rest_where_only_the_room_sounds(
    generator: LandmarkGenerator, tmp_path: Path, kind: str
) -> None:
    audio = tmp_path / "room.wav"
    spoken = np.concatenate([np.zeros(32_000), 4 * voice(2.0), np.zeros(32_000)])
    room = 0.1 * steady(kind, len(spoken))
    write_waveform(audio, (spoken + room).astype(np.float32).clip(-1, 1))
    speech = predict_motion(generator, AudioClip.open(audio), SHAPE)
    quiet = np.r_[0:32, 110:150]
    assert np.abs(speech.coefficients[quiet]).max() < 1e-3
    assert np.abs(speech.coefficients[50:100]).max() > 0.1
    assert speech.activity[50:100].max() > 0.5


@pytest.mark.parametrize("room_db", [None, -75, -60, -45])
def test_a_sentence_in_a_minute_of_quiet_moves_lips(
    generator: LandmarkGenerator, tmp_path: Path, room_db: float | None
) -> None:
    count, start = 60 * SAMPLE_RATE_HZ, 40 * SAMPLE_RATE_HZ
    scale = 0 if room_db is None else 10 ** (room_db / 20)
    waveform = scale * np.random.default_rng(0).normal(size=count)
    waveform[start : start + 2 * SAMPLE_RATE_HZ] += voice(2.0)
    audio = tmp_path / "rare.wav"
    write_waveform(audio, waveform.astype(np.float32))
    speech = predict_motion(generator, AudioClip.open(audio), SHAPE)
    assert speech.has_speech
    assert np.abs(speech.coefficients[1000:1050]).max() > 0.1
    assert speech.activity[1000:1050].max() > 0.5
    quiet = np.r_[0:975, 1070:1500]
    assert np.abs(speech.coefficients[quiet]).max() < 1e-3


def test_two_sentences_of_different_loudness_both_move_lips(
    generator: LandmarkGenerator, tmp_path: Path
) -> None:
    loud, pause = voice(2.0), np.zeros(2 * SAMPLE_RATE_HZ, np.float32)
    audio = tmp_path / "two.wav"
    write_waveform(audio, np.concatenate([loud, pause, loud * 10 ** (-25 / 20), pause]))
    speech = predict_motion(generator, AudioClip.open(audio), SHAPE)
    strength = [np.abs(speech.coefficients[start : start + 50]).mean() for start in (0, 100)]
    assert strength[1] > 0.7 * strength[0]
    assert speech.activity[100:150].max() > 0.3
    assert np.abs(speech.coefficients[60:80]).max() < 1e-3


@pytest.mark.parametrize("offset", [0.1, 0.2, -0.4])
def test_an_offset_takes_nothing_from_the_lips(
    generator: LandmarkGenerator, tmp_path: Path, offset: float
) -> None:
    pause = np.zeros(SAMPLE_RATE_HZ, np.float32)
    waveform = np.concatenate([voice(2.0), pause, voice(1.0)]) / 2
    for name, added in (("plain.wav", 0.0), ("offset.wav", offset)):
        write_waveform(tmp_path / name, waveform + np.float32(added))
    plain = predict_motion(generator, AudioClip.open(tmp_path / "plain.wav"), SHAPE)
    speech = predict_motion(generator, AudioClip.open(tmp_path / "offset.wav"), SHAPE)
    difference = np.abs(speech.coefficients - plain.coefficients)
    assert difference.mean() < 0.05 * np.abs(plain.coefficients).mean()

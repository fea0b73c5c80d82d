"""Tests of the shipped landmark generator."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch

from talkhead.audio2landmarks.animation import MotionOptions, animate, predict_speech
from talkhead.audio2landmarks.animation_stream import AnimationStream
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.evaluation.landmark_metrics import inner_opening, lip_motion
from talkhead.media.audio import write_waveform
from talkhead.media.audio_clip import AudioClip
from talkhead.media.rates import SAMPLE_RATE_HZ
from talkhead.pipelines.loading import load_landmark_generator
from talkhead.weights import resolve_weights
from tests.meshes import mean_mesh

Floats = npt.NDArray[np.float32]
SPEECH = Path(__file__).resolve().parents[1] / "examples" / "speech.wav"
SECONDS = 5


@pytest.fixture(scope="module")
def generator() -> LandmarkGenerator:
    return load_landmark_generator(resolve_weights("default"), torch.device("cpu"))


def lips(generator: LandmarkGenerator, audio: Path) -> Floats:
    """Return landmarks with a still head and no blinks."""
    face = mean_mesh(100, 256, 256)
    speech = predict_speech(generator, AudioClip.open(audio), face)
    options = MotionOptions(pose="still", blink_per_minute=0)
    return np.concatenate(list(animate(generator, face, speech, options)))


def sound(kind: str) -> Floats:
    time = np.arange(SECONDS * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    rng = np.random.default_rng(0)
    if kind == "melody":
        note = np.array([0, 4, 7, 12, 7, 5, 4, 2])[(time / 0.4).astype(int) % 8]
        phase = np.cumsum(220 * 2 ** (note / 12)) / SAMPLE_RATE_HZ
        tones = [0.5**k * np.sin(2 * np.pi * (k + 1) * phase) for k in range(5)]
        return np.asarray(0.1 * np.sum(tones, 0) * np.exp(-2 * (time % 0.4)), np.float32)
    if kind == "breath":
        breathing = np.clip(np.sin(2 * np.pi * 0.4 * time), 0, 1) ** 2
        return np.asarray(0.05 * rng.normal(size=len(time)) * breathing, np.float32)
    if kind == "hum":
        return np.asarray(0.1 * np.sin(2 * np.pi * 50 * time), np.float32)
    return np.asarray(0.05 * rng.normal(size=len(time)), np.float32)


def live_lips(generator: LandmarkGenerator, waveform: Floats) -> Floats:
    """Return the same of a voice that is heard in blocks of 20 ms."""
    face = mean_mesh(100, 256, 256)
    options = MotionOptions(pose="still", blink_per_minute=0)
    stream = AnimationStream(generator, face, options=options)
    blocks = np.split(waveform, np.arange(320, len(waveform), 320))
    windows = [window for block in blocks for window in stream.push(block)]
    return np.concatenate([*windows, *stream.finish()])


def test_live_lips_follow_those_of_the_whole_recording(generator: LandmarkGenerator) -> None:
    live = inner_opening(live_lips(generator, AudioClip.open(SPEECH).waveform()))
    whole = inner_opening(lips(generator, SPEECH))
    assert len(live) == len(whole)
    # 0.91 and 0.94 when this was written: the generator sees 0.24 s ahead, and 2 s back.
    assert np.corrcoef(live, whole)[0, 1] > 0.88
    assert np.corrcoef(live[50:], whole[50:])[0, 1] > 0.91
    assert live.mean() == pytest.approx(whole.mean(), rel=0.1)


@pytest.mark.parametrize("kind", ["silence", "melody", "breath", "hum", "noise"])
def test_what_is_no_speech_moves_no_live_lips(kind: str, generator: LandmarkGenerator) -> None:
    waveform = np.zeros(48_000, np.float32) if kind == "silence" else sound(kind)
    points = live_lips(generator, waveform)
    assert lip_motion(points).mean() < 0.001
    assert inner_opening(points).max() < 0.025


def test_speech_opens_and_closes_the_mouth(generator: LandmarkGenerator) -> None:
    points = lips(generator, SPEECH)
    opening = inner_opening(points)
    assert lip_motion(points).mean() > 0.005
    assert opening.max() > 0.08
    closings = (opening[1:] < 0.03) & (opening[:-1] >= 0.03)
    assert closings.sum() > 8


def opening_of(
    generator: LandmarkGenerator,
    folder: Path,
    samples: npt.NDArray[np.float32] | npt.NDArray[np.float64],
) -> Floats:
    soundfile.write(folder / "sound.wav", samples, SAMPLE_RATE_HZ, subtype="PCM_24")
    return inner_opening(lips(generator, folder / "sound.wav"))


@pytest.mark.parametrize("room_db", [None, -75, -60, -45])
def test_a_sentence_in_long_quiet_is_spoken(
    generator: LandmarkGenerator, tmp_path: Path, room_db: float | None
) -> None:
    sentence = AudioClip.open(SPEECH).waveform()[: 3 * SAMPLE_RATE_HZ]
    scale = 0 if room_db is None else 10 ** (room_db / 20)
    samples = scale * np.random.default_rng(0).normal(size=75 * SAMPLE_RATE_HZ)
    alone = opening_of(generator, tmp_path, sentence)
    samples[30 * SAMPLE_RATE_HZ :][: len(sentence)] += sentence
    opening = opening_of(generator, tmp_path, samples)
    assert opening[750:825].mean() > 0.8 * alone.mean()
    assert opening[:700].max() < 0.02


@pytest.mark.parametrize(
    ("gains", "offset"), [((1, -1), 0), ((1, 0), 0), ((0.5,), 0.2), ((0.5, -0.5), 0.1)]
)
def test_channels_and_offsets_do_not_silence_a_voice(
    generator: LandmarkGenerator, tmp_path: Path, gains: tuple[float, ...], offset: float
) -> None:
    sentence = AudioClip.open(SPEECH).waveform()[: 3 * SAMPLE_RATE_HZ]
    plain = opening_of(generator, tmp_path, sentence)
    opening = opening_of(generator, tmp_path, sentence[:, None] * np.array(gains) + offset)
    assert np.corrcoef(opening, plain)[0, 1] > 0.98
    assert opening.mean() == pytest.approx(plain.mean(), rel=0.05)


@pytest.mark.parametrize("quiet_s", [0, 40])
@pytest.mark.parametrize("kind", ["melody", "breath", "hum", "noise"])
def test_what_is_no_speech_moves_no_lips(
    kind: str, quiet_s: int, generator: LandmarkGenerator, tmp_path: Path
) -> None:
    write_waveform(tmp_path / "sound.wav", np.pad(sound(kind), quiet_s * SAMPLE_RATE_HZ))
    points = lips(generator, tmp_path / "sound.wav")
    assert lip_motion(points).mean() < 0.001
    assert inner_opening(points).max() < (0.02 if quiet_s == 0 else 0.025)

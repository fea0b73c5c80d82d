from collections.abc import Iterable
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
import torch

from talkhead.audio2landmarks.audio2motion import generate_coefficients, predict_motion
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.audio2landmarks.speech_encoder import SpeechEncoder
from talkhead.audio2landmarks.streaming import (
    FRAME_SAMPLES,
    HISTORY_FRAMES,
    LOOK_AHEAD_FRAMES,
    STEP_FRAMES,
    SpeechStream,
    SpokenFrames,
)
from talkhead.media.audio_clip import AudioClip
from talkhead.media.rates import DEFAULT_FPS, SAMPLE_RATE_HZ
from tests.tiny import TINY_DUAL, TINY_GENERATOR, TINY_LOG_MEL, tiny_generator, voice

Floats = npt.NDArray[np.float32]
SHAPE = np.full(4, 0.3, np.float32)


@pytest.fixture(scope="module")
def generator() -> LandmarkGenerator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return tiny_generator().eval()


def spoken(stream: SpeechStream, parts: Iterable[Floats]) -> SpokenFrames:
    """Push a sound in parts, and return all frames."""
    found = [frames for part in parts for frames in stream.push(part)]
    found += stream.finish()
    return SpokenFrames(
        np.concatenate([frames.coefficients for frames in found]),
        np.concatenate([frames.activity for frames in found]),
    )


def noise(seconds: float, level_db: float) -> Floats:
    count = round(seconds * SAMPLE_RATE_HZ)
    scale = 10 ** (level_db / 20)
    return np.asarray(scale * np.random.default_rng(1).normal(size=count), np.float32)


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30_000, 1001), Fraction(10)])
def test_frames_do_not_depend_on_how_the_sound_is_cut(
    generator: LandmarkGenerator, fps: Fraction
) -> None:
    sound = voice(3.013)
    whole = spoken(SpeechStream(generator, SHAPE, fps), [sound])
    cuts = np.sort(np.random.default_rng(0).integers(0, len(sound), 40))
    for parts in (np.split(sound, cuts), np.split(sound, np.arange(320, len(sound), 320))):
        cut = spoken(SpeechStream(generator, SHAPE, fps), parts)
        np.testing.assert_array_equal(cut.coefficients, whole.coefficients)
        np.testing.assert_array_equal(cut.activity, whole.activity)
    assert len(whole) == -(-len(sound) * fps.numerator // (fps.denominator * SAMPLE_RATE_HZ))
    assert whole.coefficients.std() > 0.1


def test_frames_come_as_soon_as_their_look_ahead_was_heard(generator: LandmarkGenerator) -> None:
    stream = SpeechStream(generator, SHAPE)
    sound = voice(1.0)
    needed = (STEP_FRAMES + LOOK_AHEAD_FRAMES) * FRAME_SAMPLES
    assert list(stream.push(sound[: needed - 1])) == []
    (first,) = stream.push(sound[needed - 1 : needed])
    assert len(first) == STEP_FRAMES
    assert stream.look_ahead_s == LOOK_AHEAD_FRAMES / 25


@pytest.mark.parametrize("num_samples", [0, 1, 639, 641, 6400])
def test_a_short_sound_has_as_many_frames_as_cover_it(
    generator: LandmarkGenerator, num_samples: int
) -> None:
    stream = SpeechStream(generator, SHAPE, Fraction(50))
    frames = spoken(stream, [voice(1.0)[:num_samples]])
    assert len(frames) == -(-num_samples // 320)


def test_other_rates_interpolate_between_the_same_frames(generator: LandmarkGenerator) -> None:
    from talkhead.geometry.time_series import resample

    sound = voice(2.0)
    base = spoken(SpeechStream(generator, SHAPE), [sound])
    fps = Fraction(24_000, 1001)
    other = spoken(SpeechStream(generator, SHAPE, fps), [sound])
    expected = resample(base.coefficients, DEFAULT_FPS, fps, len(other))
    np.testing.assert_allclose(other.coefficients, expected, atol=1e-5)


def test_motion_is_that_of_the_whole_recording(generator: LandmarkGenerator) -> None:
    sound = voice(6.0)
    live = spoken(SpeechStream(generator, SHAPE), [sound])
    clip = AudioClip.from_samples(sound, SAMPLE_RATE_HZ)
    whole = predict_motion(generator, clip, SHAPE)
    settled = slice(75, 140)
    pair = live.coefficients[settled].ravel(), whole.coefficients[settled].ravel()
    assert np.corrcoef(*pair)[0, 1] > 0.9
    assert np.corrcoef(live.activity[settled], whole.activity[settled])[0, 1] > 0.9


@pytest.mark.parametrize("level_db", [None, -70, -50, -30])
def test_silence_and_steady_noise_stay_at_rest(
    generator: LandmarkGenerator, level_db: float | None
) -> None:
    sound = np.zeros(64_000, np.float32) if level_db is None else noise(4, level_db)
    frames = spoken(SpeechStream(generator, SHAPE), [sound])
    assert len(frames) == 100
    assert np.abs(frames.coefficients).max() < 0.01
    assert frames.activity.max() < 0.01


def test_a_voice_in_noise_is_spoken_and_its_pauses_rest(generator: LandmarkGenerator) -> None:
    sentence = voice(2.0)
    sound = noise(8, -55)
    sound[3 * SAMPLE_RATE_HZ :][: len(sentence)] += sentence
    frames = spoken(SpeechStream(generator, SHAPE), [sound])
    assert frames.activity[80:120].mean() > 0.3
    assert not frames.activity[:65].any()
    assert not frames.activity[140:].any()


def test_in_a_hurry_the_frames_are_those_that_were_expected(generator: LandmarkGenerator) -> None:
    sound = voice(4.0)
    whole = spoken(SpeechStream(generator, SHAPE), [sound])
    stream = SpeechStream(generator, SHAPE)
    found: list[SpokenFrames] = []
    for number, part in enumerate(np.split(sound, np.arange(1920, len(sound), 1920))):
        found += stream.push(part, hurry=number % 3 == 2)
    found += stream.finish()
    hurried = np.concatenate([frames.coefficients for frames in found])
    assert hurried.shape == whole.coefficients.shape
    assert not np.array_equal(hurried, whole.coefficients)
    assert np.corrcoef(hurried.ravel(), whole.coefficients.ravel())[0, 1] > 0.8
    activity = np.concatenate([frames.activity for frames in found])
    np.testing.assert_array_equal(activity, whole.activity)


def test_a_long_hurry_holds_the_lips(generator: LandmarkGenerator) -> None:
    stream = SpeechStream(generator, SHAPE)
    assert len(list(stream.push(voice(1.0)))) > 0
    held = list(stream.push(voice(4.0), hurry=True))
    assert sum(map(len, held)) > 90
    assert np.isfinite(np.concatenate([frames.coefficients for frames in held])).all()


def test_memory_does_not_grow(generator: LandmarkGenerator) -> None:
    stream = SpeechStream(generator, SHAPE)
    held = []
    for _ in range(20):
        for _ in stream.push(voice(1.0)):
            pass
        held.append((stream.num_samples_held, stream.num_frames_held))
    most = (HISTORY_FRAMES + LOOK_AHEAD_FRAMES + STEP_FRAMES + 10) * FRAME_SAMPLES
    assert max(samples for samples, _ in held[5:]) <= most
    assert max(frames for _, frames in held[5:]) <= most // FRAME_SAMPLES


def test_a_loud_and_a_quiet_voice_come_to_move_alike_without_a_jump(
    generator: LandmarkGenerator,
) -> None:
    sound = voice(8.0)
    loud = spoken(SpeechStream(generator, SHAPE), [sound])
    quiet = spoken(SpeechStream(generator, SHAPE), [sound / 8])
    ratio = quiet.coefficients[125:].std() / loud.coefficients[125:].std()
    assert ratio == pytest.approx(1, abs=0.05)
    step = np.abs(np.diff(quiet.coefficients, axis=0)).max()
    assert step < 1.5 * np.abs(np.diff(loud.coefficients, axis=0)).max()


@pytest.mark.parametrize("kind", ["lstm", "dual", "both", "log-mel"])
def test_frames_after_context_are_those_of_the_whole_window(kind: str) -> None:
    settings = dict(TINY_GENERATOR)
    if kind in ("dual", "both"):
        settings["dual_domain"] = TINY_DUAL
    if kind == "both":
        settings["dual_share"] = 0.5
    if kind == "log-mel":
        settings["speech_encoder"] = TINY_LOG_MEL
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LandmarkGenerator(**settings).eval()
    torch.nn.init.normal_(model.components)
    waveform = voice(1.6)
    whole = generate_coefficients(model, waveform, 25, 25.0, SHAPE)
    assert whole.std() > 1e-3
    for first in (1, 7, 24):
        part = generate_coefficients(model, waveform, 25, 25.0, SHAPE, first)
        np.testing.assert_allclose(part, whole[first:], atol=1e-5)


def test_convolutions_over_pieces_are_those_over_the_whole(generator: LandmarkGenerator) -> None:
    waveform = torch.from_numpy(voice(1.0))[None]
    encoder = generator.speech
    assert isinstance(encoder, SpeechEncoder)
    with torch.no_grad():
        whole = encoder(waveform)
        pieces = torch.cat(
            [encoder.convolve(waveform[:, :8080]), encoder.convolve(waveform[:, 8000:])], 1
        )
        joined = encoder(waveform, pieces)
    torch.testing.assert_close(joined[0], whole[0])
    torch.testing.assert_close(joined[1], whole[1])

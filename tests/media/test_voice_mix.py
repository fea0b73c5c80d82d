"""Sounds of several people in one file: at their own levels, without clipping."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from talkhead.media.audio import open_source
from talkhead.media.dub_tracks import choose_tracks, mix_voices
from talkhead.media.encoding import PEAK
from talkhead.media.video import VideoWriter

Samples = npt.NDArray[np.float32]
RATE_HZ = 48_000


def tone(seconds: float, hz: float, level: float, channels: int = 1) -> Samples:
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    mono = level * np.sin(2 * np.pi * hz * time_s)
    return np.asarray(np.stack([mono] * channels, 1), np.float32)


def write(path: Path, samples: Samples) -> Path:
    soundfile.write(path, samples, RATE_HZ)
    return path


def mixed(folder: Path, *sounds: Path) -> Samples:
    """Return the sound of a video with several voices, (N, channels)."""
    voices, _ = mix_voices([(path, 0) for path in sounds], None)
    writer = VideoWriter(
        folder / "v.mp4", size=(64, 64), fps=Fraction(25), sound=sounds[0], voices=voices
    )
    with writer:
        writer.write(np.zeros((50, 64, 64, 3), np.uint8))
    with open_source(folder / "v.mp4") as source:
        return np.concatenate(list(source.blocks()))


def level(samples: Samples, hz: float, start_s: float, end_s: float) -> float:
    """Return the level of a tone within a part of the first channel."""
    part = samples[round(start_s * RATE_HZ) : round(end_s * RATE_HZ), 0]
    wave = np.exp(-2j * np.pi * hz * np.arange(len(part)) / RATE_HZ)
    return 2 * abs(float(np.abs(np.mean(part * wave))))


def test_each_voice_keeps_its_level_and_the_longest_decides(tmp_path: Path) -> None:
    short = write(tmp_path / "a.wav", tone(1.0, 400, 0.3))
    long = write(tmp_path / "b.wav", tone(2.0, 1000, 0.2))
    sound = mixed(tmp_path, short, long)
    assert sound.shape[1] == 1
    assert len(sound) / RATE_HZ == pytest.approx(2.0, abs=0.05)
    assert level(sound, 400, 0.2, 0.9) == pytest.approx(0.3, rel=0.03)
    assert level(sound, 1000, 0.2, 0.9) == pytest.approx(0.2, rel=0.03)
    assert level(sound, 1000, 1.2, 1.9) == pytest.approx(0.2, rel=0.03)
    assert level(sound, 400, 1.2, 1.9) < 0.01


def test_loud_voices_do_not_clip(tmp_path: Path) -> None:
    sounds = [write(tmp_path / f"{hz}.wav", tone(1.0, hz, 0.9)) for hz in (300, 700, 1100)]
    sound = mixed(tmp_path, *sounds)
    assert np.abs(sound).max() < PEAK + 0.03  # AAC changes peaks a little


def test_mono_beside_stereo_keeps_its_level(tmp_path: Path) -> None:
    mono = write(tmp_path / "a.wav", tone(1.0, 400, 0.3))
    stereo = write(tmp_path / "b.wav", tone(1.0, 1000, 0.2, channels=2))
    sound = mixed(tmp_path, mono, stereo)
    assert sound.shape[1] == 2
    for channel in (0, 1):
        assert level(sound[:, [channel]], 400, 0.2, 0.9) == pytest.approx(0.3, rel=0.03)
        assert level(sound[:, [channel]], 1000, 0.2, 0.9) == pytest.approx(0.2, rel=0.03)


def test_voices_go_over_the_sound_of_a_video(tmp_path: Path) -> None:
    old = write(tmp_path / "old.wav", tone(1.0, 2000, 0.4))
    video = tmp_path / "old.mp4"
    with VideoWriter(video, size=(64, 64), fps=Fraction(25), sound=old) as writer:
        writer.write(np.zeros((25, 64, 64, 3), np.uint8))
    sounds = [write(tmp_path / f"{hz}.wav", tone(1.0, hz, 0.2)) for hz in (400, 1000)]
    tracks = choose_tracks(video, sounds[0], None, 20.0)
    voices, background = mix_voices([(path, None) for path in sounds], tracks.background)
    target = tmp_path / "v.mp4"
    with VideoWriter(
        target,
        size=(64, 64),
        fps=Fraction(25),
        sound=sounds[0],
        voices=voices,
        background=background,
    ) as writer:
        writer.write(np.zeros((25, 64, 64, 3), np.uint8))
    with open_source(target) as source:
        sound = np.concatenate(list(source.blocks()))
    assert level(sound, 400, 0.2, 0.8) == pytest.approx(0.2, rel=0.03)
    assert level(sound, 1000, 0.2, 0.8) == pytest.approx(0.2, rel=0.03)
    assert level(sound, 2000, 0.2, 0.8) == pytest.approx(0.04, rel=0.1)


def test_the_same_sounds_give_the_same_bytes(tmp_path: Path) -> None:
    sounds = [write(tmp_path / f"{hz}.wav", tone(0.5, hz, 0.2)) for hz in (400, 1000)]
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        mixed(tmp_path / name, *sounds)
        made.append((tmp_path / name / "v.mp4").read_bytes())
    assert made[0] == made[1]


def test_one_voice_is_copied_as_before(tmp_path: Path) -> None:
    assert mix_voices([(tmp_path / "a.wav", 0)], None) == ((), None)

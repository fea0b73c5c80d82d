"""Sounds named like RAVDESS's and EmoDB's; each emotion has its own tremolo rate."""

from pathlib import Path

import numpy as np

from talkhead.media.audio import write_waveform
from talkhead.media.rates import SAMPLE_RATE_HZ

PACE_HZ = {"angry": 12.0, "sad": 2.0, "neutral": 0.0}
NAMES = {
    "ravdess": (
        "ravdess/Actor_{0:02d}/03-01-{1}-01-01-01-{0:02d}.wav",
        {"angry": "05", "sad": "04"},
    ),
    "emodb": ("emodb/{0:02d}a01{1}a.wav", {"angry": "W", "sad": "T", "neutral": "N"}),
}


def write_recordings(folder: Path, num_people: int = 5) -> Path:
    """Write two or three sounds of 1 s per person, each person with their own voice."""
    rng = np.random.default_rng(0)
    time_s = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    for pattern, emotions in NAMES.values():
        for person in range(1, num_people + 1):
            pitch_hz = rng.uniform(90, 220)
            for emotion, letter in emotions.items():
                tremor = 1 + 0.8 * np.sin(2 * np.pi * PACE_HZ[emotion] * time_s + rng.uniform(0, 6))
                voice = sum(
                    np.sin(2 * np.pi * pitch_hz * k * time_s + rng.uniform(0, 6)) / k
                    for k in range(1, 30)
                )
                noise = rng.normal(0, 0.02, len(time_s))
                path = folder / pattern.format(person, letter)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_waveform(path, (0.1 * (voice * tremor + noise)).astype(np.float32))
    return folder

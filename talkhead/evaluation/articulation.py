"""Find p, b and m in a recording by aligning it with the same text spoken by espeak-ng.

The alignment is dynamic time warping of cepstra. No network takes part, so none scores itself.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

from talkhead.data.espeak import Voice, speak
from talkhead.data.phonemes import CLASSES, classes_of
from talkhead.extras import missing_modules
from talkhead.media.rates import SAMPLE_RATE_HZ

Floats = npt.NDArray[np.float32]

CLOSING = frozenset(CLASSES.index(symbol) for symbol in "pbm")
HOP_S = 0.01
MARGIN_S = 0.2
"""Silence around the synthetic voice, to match silence in the recording."""


def has_espeak() -> bool:
    """Return whether espeak-ng is installed; it comes with talkhead[train]."""
    return "espeakng_loader" not in missing_modules("train")


def closing_moments(waveform: Floats, text: str) -> list[tuple[float, float]]:
    """Return start and end, in seconds, of every sound for which the lips close.

    Args:
        waveform: (N,), 16 kHz; contains exactly the text.
        text: the English text.

    Raises:
        talkhead.errors.TalkheadError: espeak-ng is not installed.
    """
    import librosa

    spoken = speak(text, Voice("en"))
    voice = resample_poly(spoken.waveform, SAMPLE_RATE_HZ, spoken.rate_hz).astype(np.float32)
    voice = np.pad(voice, round(MARGIN_S * SAMPLE_RATE_HZ))
    _, path = librosa.sequence.dtw(_cepstra(voice), _cepstra(waveform))
    in_voice, in_recording = path[::-1].T * HOP_S
    moments = []
    ends = [*spoken.starts_s[1:], len(spoken.waveform) / spoken.rate_hz]
    for phoneme, begin, end in zip(spoken.phonemes, spoken.starts_s, ends, strict=True):
        if CLOSING.intersection(classes_of(phoneme)):
            there = (in_voice >= begin + MARGIN_S) & (in_voice <= end + MARGIN_S)
            if there.any():
                times = in_recording[there]
                moments.append((float(times.min()), float(times.max())))
    return moments


def _cepstra(waveform: Floats) -> Floats:
    """Return cepstra and their slopes every 10 ms, with mean 0 and deviation 1, shape = (26, T)."""
    import librosa

    cepstra = librosa.feature.mfcc(
        y=np.pad(waveform, 400),
        sr=SAMPLE_RATE_HZ,
        n_mfcc=13,
        n_fft=512,
        n_mels=40,
        hop_length=round(HOP_S * SAMPLE_RATE_HZ),
    )
    rows = np.concatenate([cepstra, 2 * librosa.feature.delta(cepstra)])
    spread = rows.std(1, keepdims=True) + 1e-6
    return np.asarray((rows - rows.mean(1, keepdims=True)) / spread, np.float32)

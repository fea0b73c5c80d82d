"""Emotion of a recording: classified from the voice, or named by the user."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from talkhead.audio2landmarks.emotion_classifier import (
    MIN_SAMPLES,
    EmotionClassifier,
    mead_probabilities,
)
from talkhead.audio2landmarks.loudness import normalise_speech
from talkhead.device import one_thread
from talkhead.emotions import AUTO, EMOTIONS, NEUTRAL, VOICE_LABELS, check_emotion, one_hot
from talkhead.media.audio_clip import AudioClip
from talkhead.media.rates import SAMPLE_RATE_HZ

Floats = npt.NDArray[np.float32]

CLASSIFIED_S = 60
"""Length of the recording's beginning that is classified, in seconds."""
NEUTRAL_SHARE = 0.85
"""Share of neutral speech in everyday life."""
_WINDOW_S = 3
_QUIET = 0.02
"""Windows quieter than this are ignored; speech has a level of 0.1."""


def emotion_of(classifier: EmotionClassifier, audio: AudioClip, name: str = AUTO) -> Floats:
    """Return the probabilities of MEAD's emotions, shape = (8,).

    Args:
        classifier: the emotion classifier for voices.
        audio: the recording, of which the first `CLASSIFIED_S` count.
        name: an emotion, which gets probability 1; auto classifies the voice.

    Raises:
        TalkheadError: the emotion is unknown.
    """
    check_emotion(name)
    if name != AUTO:
        return one_hot(name)
    beginning = next(audio.blocks(CLASSIFIED_S * SAMPLE_RATE_HZ), np.zeros(0, np.float32))
    return classify_emotion(classifier, beginning)


@one_thread()
@torch.inference_mode()
def classify_emotion(classifier: EmotionClassifier, waveform: Floats) -> Floats:
    """Return the mean probabilities over a waveform's windows, shape = (8,); they sum to 1.

    The waveform is (N,) at 16 kHz. Silence is neutral. The classifier was trained on actors, who
    show all emotions equally often. For everyone else, a prior of `NEUTRAL_SHARE` for neutral
    corrects the classifier's probabilities.
    """
    waveform = normalise_speech(waveform)
    size = _WINDOW_S * SAMPLE_RATE_HZ
    parts = [waveform[start : start + size] for start in range(0, len(waveform), size)]
    loud = [
        part
        for part in parts
        if len(part) >= MIN_SAMPLES and float(np.sqrt(np.square(part).mean())) > _QUIET
    ]
    if not loud:
        return one_hot(NEUTRAL)
    device = classifier.temperature.device
    found = [
        mead_probabilities(classifier.probabilities(torch.from_numpy(part)[None].to(device)))[0]
        for part in loud
    ]
    weights = torch.tensor([float(len(part)) for part in loud], device=device)
    mean = (torch.stack(found) * weights[:, None]).sum(0) / weights.sum()
    usual = torch.full((len(EMOTIONS),), (1 - NEUTRAL_SHARE) / (len(EMOTIONS) - 1))
    usual[EMOTIONS.index(NEUTRAL)] = NEUTRAL_SHARE
    acted = mead_probabilities(torch.full((len(VOICE_LABELS),), 1 / len(VOICE_LABELS)))
    weighed = mean.cpu() * usual / acted.clamp(min=1 / len(VOICE_LABELS))
    return np.asarray((weighed / weighed.sum()).numpy(), np.float32)

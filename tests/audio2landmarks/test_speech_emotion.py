from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from talkhead.audio2landmarks.emotion_classifier import EmotionClassifier
from talkhead.audio2landmarks.speech_emotion import classify_emotion, emotion_of
from talkhead.emotions import EMOTIONS, VOICE_LABELS, one_hot
from talkhead.errors import TalkheadError
from talkhead.media.audio_clip import AudioClip
from tests.tiny import TINY_EMOTION_CLASSIFIER, voice, write_silence, write_voice

Floats = npt.NDArray[np.float32]


def tiny_classifier() -> EmotionClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return EmotionClassifier(**TINY_EMOTION_CLASSIFIER).eval()


def test_a_voice_is_felt_and_a_name_is_one_hot(tmp_path: Path) -> None:
    classifier = tiny_classifier()
    audio = write_voice(tmp_path / "voice.wav", 7.3)
    found = emotion_of(classifier, AudioClip.open(audio))
    assert found.shape == (8,)
    assert float(found.sum()) == pytest.approx(1)
    assert 0 < float(found.max()) < 1
    assert np.allclose(found, classify_emotion(classifier, voice(7.3)), atol=1e-3)
    assert np.array_equal(emotion_of(classifier, AudioClip.open(audio), "sad"), one_hot("sad"))
    silence = write_silence(tmp_path / "silence.wav", 2)
    assert np.array_equal(emotion_of(classifier, AudioClip.open(silence)), one_hot("neutral"))
    with pytest.raises(
        TalkheadError, match=r"the emotion must be one of auto, angry, .*, not 'bored'"
    ):
        emotion_of(classifier, AudioClip.open(audio), "bored")


def test_everyday_speech_is_taken_for_neutral_unless_the_voice_is_sure() -> None:
    classifier = tiny_classifier()

    def classified(label: str, logit: float) -> Floats:
        with torch.no_grad():
            classifier.head.weight.zero_()
            classifier.head.bias.zero_()
            classifier.head.bias[VOICE_LABELS.index(label)] = logit
        return classify_emotion(classifier, voice(3))

    undecided = classified("angry", 0)
    assert undecided[EMOTIONS.index("neutral")] == pytest.approx(0.85, abs=0.03)
    assert classified("bored", 9)[EMOTIONS.index("neutral")] > 0.99
    assert classified("angry", 2)[EMOTIONS.index("neutral")] > 0.5
    assert classified("angry", 7)[EMOTIONS.index("angry")] > 0.9


def test_a_sound_that_is_over_at_once_is_neutral() -> None:
    classifier = tiny_classifier()
    for count in (0, 1, 500):
        found = classify_emotion(classifier, np.full(count, 0.1, np.float32))
        assert np.array_equal(found, one_hot("neutral"))

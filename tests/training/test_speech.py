# ruff: noqa: RUF001 - this file is about letters that look alike
import sys
from pathlib import Path

import numpy as np
import pytest

from talkhead.data import espeak
from talkhead.data.espeak import Utterance, Voice, speak
from talkhead.data.phonemes import CLASSES, PAUSE, classes_of
from talkhead.errors import TalkheadError
from talkhead.training.speech import SpeechTask, edit_distance
from talkhead.training.speech_samples import (
    NO_LABEL,
    SpeechSamples,
    SpeechTaskConfig,
    frame_labels,
    text_classes,
)
from talkhead.training.texts import (
    HELD_OUT_LANGUAGES,
    HELD_OUT_VARIANTS,
    LANGUAGES,
    VARIANTS,
    draw_text,
)
from tests.tiny import TINY_SPEECH


def named(classes: object) -> str:
    return " ".join(CLASSES[int(index)] for index in classes)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("phoneme", "expected"),
    [
        ("p", "p"),
        ("aɪ", "a ɪ"),
        ("tʃ", "t ʃ"),
        ("ɜː", "ɜ"),
        ("ã", "a"),
        ("ç", "ç"),
        ("ɾ", "r"),
        ("ʔ", " "),
        ("", " "),
        ("(en)", " "),
    ],
)
def test_phonemes_are_folded_to_classes(phoneme: str, expected: str) -> None:
    assert named(classes_of(phoneme)) == expected


def test_every_class_is_itself() -> None:
    assert len(set(CLASSES)) == len(CLASSES)
    assert [classes_of(symbol) for symbol in CLASSES] == [(k,) for k in range(len(CLASSES))]


def test_labels_follow_the_times_of_the_phonemes() -> None:
    spoken = Utterance(
        np.zeros(1000, np.float32), 1000, ("b", "aɪ", "", "m"), np.array([0.1, 0.2, 0.6, 0.8])
    )
    times = np.array([-0.5, 0.05, 0.15, 0.3, 0.5, 0.7, 0.9, 1.2])
    b, a, i, m = (CLASSES.index(symbol) for symbol in "baɪm")
    assert frame_labels(spoken, times).tolist() == [PAUSE, PAUSE, b, a, i, PAUSE, m, PAUSE]


def test_edit_distance_counts_changes() -> None:
    assert edit_distance([1, 2, 3], [1, 2, 3]) == 0
    assert edit_distance([1, 2, 3], [1, 3]) == 1
    assert edit_distance([1, 2, 3], [4, 1, 2, 5]) == 2
    assert edit_distance([], [7, 7]) == 2


def test_texts_are_drawn_anew_and_alike() -> None:
    one, other = (draw_text("de", np.random.default_rng(3)) for _ in range(2))
    assert one == other
    assert one != draw_text("de", np.random.default_rng(4))
    assert one[-1] in ".?!"


def test_every_voice_speaks() -> None:
    rng = np.random.default_rng(0)
    for language in (*LANGUAGES, *HELD_OUT_LANGUAGES):
        for variant in (VARIANTS[-1], HELD_OUT_VARIANTS[0]):
            spoken = speak(draw_text(language, rng), Voice(language + variant))
            assert len(spoken.waveform) > 0.5 * spoken.rate_hz
            sounds = [part for p in spoken.phonemes for part in classes_of(p) if part != PAUSE]
            assert len(sounds) > 5


def test_sound_and_phonemes_belong_together() -> None:
    spoken = speak("see sauce. pass", Voice("en"))
    assert np.all(np.diff(spoken.starts_s) >= 0)
    classes = frame_labels(spoken, np.arange(len(spoken.waveform)) / spoken.rate_hz)
    # Hiss has most of its energy at high frequencies; vowels do not.
    high = np.abs(np.diff(spoken.waveform, append=0)) / (np.abs(spoken.waveform) + 0.01)
    hiss, vowel = (np.isin(classes, [CLASSES.index(s) for s in group]) for group in ("s", "ɔiɑ"))
    assert hiss.sum() > 2000
    assert vowel.sum() > 2000
    assert high[hiss].mean() > 3 * high[vowel].mean()
    assert np.abs(spoken.waveform[classes == PAUSE]).mean() < 0.02


def test_a_sentence_sounds_the_same_whatever_was_said_before() -> None:
    voice = Voice("de+f3", 160, 60, 40)
    one = speak("guten morgen sauerkraut", voice)
    speak("hola amigos", Voice("es+m2"))
    other = speak("guten morgen sauerkraut", voice)
    np.testing.assert_array_equal(one.waveform, other.waveform)
    assert one.phonemes == other.phonemes


def test_a_text_becomes_its_phonemes() -> None:
    assert named(text_classes("maybe five")) == "m e ɪ b i f a ɪ v"


def test_an_unknown_voice_is_refused() -> None:
    with pytest.raises(TalkheadError, match="xx-nowhere"):
        speak("a", Voice("xx-nowhere"))


def test_without_the_library_one_line_tells_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)  # its import fails
    espeak._server.cache_clear()
    with pytest.raises(TalkheadError, match="install `talkhead"):
        speak("a", Voice("en"))


def test_samples_are_the_same_again_and_labelled_in_time() -> None:
    tone = np.sin(np.arange(30_000) * 0.2).astype(np.float32) * 0.1
    recorded = [(tone, np.array([1, 2, 3], np.int64))]
    samples = SpeechSamples(recorded, SpeechTaskConfig(recorded_share=0.5), seed=1)
    kinds = set()
    for index in range(12):
        sample, again = samples.sample(index), samples.sample(index)
        assert all(np.array_equal(sample[key], again[key]) for key in sample)
        assert sample["waveform"].shape == (48_000,)
        assert np.isfinite(sample["waveform"]).all()
        length = int(sample["text_length"])
        kinds.add(length)
        if length:
            assert sample["text"][:length].tolist() == [1, 2, 3]
            assert set(sample["labels"].tolist()) == {NO_LABEL}
        else:
            assert (sample["labels"] != PAUSE).mean() > 0.1
    assert kinds == {0, 3}


def test_clean_samples_are_silent_where_nothing_is_said() -> None:
    samples = SpeechSamples([], SpeechTaskConfig(window_s=4.0), seed=0)
    sample = samples.synthetic("en", np.random.default_rng(2), clean=True)
    waveform, labels = sample["waveform"], sample["labels"]
    assert len(labels) == (64_000 - 400) // 320 + 1
    frames = np.lib.stride_tricks.sliding_window_view(waveform, 400)[::320]
    level = np.sqrt(np.square(frames).mean(1))
    assert level[labels != PAUSE].mean() > 10 * level[labels == PAUSE].mean()


@pytest.mark.parametrize("window_s", [0.5])
def test_a_window_has_to_hold_some_words(prepared: Path, window_s: float) -> None:
    with pytest.raises(TalkheadError, match="window_s"):
        SpeechTask(prepared, TINY_SPEECH, SpeechTaskConfig(window_s=window_s), seed=0)

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from talkhead.audio2landmarks.emotion_classifier import (
    MIN_SAMPLES,
    EmotionClassifier,
    mead_probabilities,
)
from talkhead.data.emotional_speech import (
    find_recordings,
    held_out_people,
    labels_of,
    read_recording,
    trim,
)
from talkhead.emotions import EMOTIONS, VOICE_LABELS
from talkhead.errors import TalkheadError
from talkhead.training.config import LoopConfig
from talkhead.training.emotion import (
    EmotionTask,
    EmotionTaskConfig,
    calibration_error,
    fit_temperature,
    mask_spectrum,
)
from talkhead.training.loop import train
from tests.tiny import TINY_EMOTION_CLASSIFIER

RATE_HZ = 16000


def test_labels_and_people_are_read_from_names_of_either_corpus(tmp_path: Path) -> None:
    names = (
        "Actor_12/03-01-06-01-02-01-12.wav",
        "deep/er/03-01-08-02-02-02-01.OGG",
        "wav/03a01Fa.wav",
        "16b10Lb.wav",
        "16b10Tb.txt",
        "03-01-09-01-02-01-12.wav",
        "song.wav",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {(one.person, one.label) for one in find_recordings(tmp_path)}
    assert found == {
        ("ravdess-12", "fear"),
        ("ravdess-01", "surprised"),
        ("emodb-03", "happy"),
        ("emodb-16", "bored"),
    }
    assert len(labels_of("ravdess")) == 8
    assert len(labels_of("emodb")) == 7
    assert labels_of("ravdess") | labels_of("emodb") == set(VOICE_LABELS)
    with pytest.raises(TalkheadError, match="no recordings named like"):
        find_recordings(tmp_path / "wav" / "none")


def test_everybody_is_held_out_in_one_fold_and_of_both_corpora(recordings: Path) -> None:
    found = find_recordings(recordings)
    folds = [held_out_people(found, fold, 5) for fold in range(5)]
    assert all(len(fold) == 2 for fold in folds)
    assert frozenset.union(*folds) == {one.person for one in found}
    task = EmotionTask(recordings, TINY_EMOTION_CLASSIFIER, EmotionTaskConfig(fold=3), seed=0)
    assert {one.person for one, _ in task._test} == folds[3]
    with pytest.raises(TalkheadError, match="fold is 5"):
        EmotionTask(recordings, TINY_EMOTION_CLASSIFIER, EmotionTaskConfig(fold=5), seed=0)
    with pytest.raises(TalkheadError, match="too few"):
        EmotionTask(recordings, TINY_EMOTION_CLASSIFIER, EmotionTaskConfig(num_folds=1), seed=0)


def test_silence_at_both_ends_is_cut_and_the_loudness_is_the_same(tmp_path: Path) -> None:
    sound = np.zeros(3 * RATE_HZ, np.float32)
    sound[RATE_HZ : 2 * RATE_HZ] = np.random.default_rng(0).normal(0, 0.01, RATE_HZ)
    assert len(trim(sound)) == pytest.approx(1.2 * RATE_HZ, abs=700)
    silent = np.zeros(RATE_HZ, np.float32)
    assert np.array_equal(trim(silent), silent)
    assert len(trim(silent[:100])) == 100


def test_a_classifier_tells_the_emotions_of_unseen_people(recordings: Path, tmp_path: Path) -> None:
    config = EmotionTaskConfig(fold=1, window_s=1.0, disturb_share=0.2, mixed_share=0.2)
    task = EmotionTask(recordings, TINY_EMOTION_CLASSIFIER, config, seed=0)
    loop = LoopConfig(
        data="",
        run="",
        steps=120,
        batch_size=8,
        learning_rate=1e-2,
        precision="float32",
        num_workers=0,
        ema_decay=0.9,
        validate_every=120,
    )
    *_, last = train(task, loop, tmp_path, "cpu")
    assert last.values["ravdess_accuracy"] == 1
    assert last.values["emodb_accuracy"] == 1
    assert last.values["calibration_error"] < last.values["calibration_error_raw"] + 1e-6

    with (tmp_path / "checkpoint/confusions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(VOICE_LABELS)
    counts = {(row["corpus"], row["is"]): int(row[row["is"]]) for row in rows}
    assert counts["emodb", "angry"] == counts["ravdess", "sad"] == 1
    assert sum(counts.values()) == 5

    model = EmotionClassifier.from_pretrained(tmp_path / "checkpoint")
    assert float(model.temperature) != 1
    path = recordings / "emodb/02a01Wa.wav"
    one = next(one for one in find_recordings(recordings) if one.path == path)
    waveform = torch.from_numpy(read_recording(one).astype(np.float32) / 32768)[None]
    with torch.no_grad():
        found = model.probabilities(waveform)[0]
    assert float(found.sum()) == pytest.approx(1)
    assert VOICE_LABELS[int(found.argmax())] == "angry"


def test_what_follows_the_end_of_a_sound_changes_nothing() -> None:
    torch.manual_seed(0)
    model = EmotionClassifier(**TINY_EMOTION_CLASSIFIER).eval()
    waveform = torch.randn(2, RATE_HZ) * 0.1
    lengths = torch.tensor([RATE_HZ, 9000])
    with torch.no_grad():
        together = model(waveform, lengths)
        noisy = waveform.clone()
        noisy[1, 9000 + 400 :] = 5.0
        assert torch.allclose(model(noisy, lengths), together, atol=1e-4)
        alone = model(waveform[1:, :9000])
        assert torch.allclose(alone[0], together[1], atol=2e-2)
        assert model(waveform[:, :MIN_SAMPLES]).isfinite().all()
        assert model(torch.zeros(1, RATE_HZ)).isfinite().all()
    with pytest.raises(ValueError, match="multiple"):
        EmotionClassifier(width=10, num_heads=4)


def test_labels_that_mead_lacks_count_as_neutral() -> None:
    one = torch.tensor([0.1, 0.2, 0.05, 0.1, 0.1, 0.1, 0.15, 0.1, 0.1])
    found = dict(zip(EMOTIONS, mead_probabilities(one).tolist(), strict=True))
    assert found["neutral"] == pytest.approx(0.4)
    assert found["contempt"] == 0
    assert sum(found.values()) == pytest.approx(1)


def test_masks_leave_most_of_a_spectrum_and_are_drawn_from_the_generator() -> None:
    mel = torch.ones(4, 100, 80)
    masked = [mask_spectrum(mel, 2, torch.Generator().manual_seed(k)) for k in (0, 0, 1)]
    assert torch.equal(masked[0], masked[1])
    assert not torch.equal(masked[0], masked[2])
    for one in masked[0]:
        assert 0.3 < float(one.mean()) <= 1
    assert torch.equal(mask_spectrum(mel, 0, torch.Generator()), mel)


def test_the_temperature_makes_boasting_logits_as_sure_as_they_are_right() -> None:
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (3000,))
    honest = functional.one_hot(labels, 3) * 1.0 + torch.randn(3000, 3)
    temperature = fit_temperature(honest * 2, labels)
    assert temperature == pytest.approx(2 * fit_temperature(honest, labels), rel=0.05)
    raw = calibration_error((honest * 2).softmax(-1), labels)
    assert calibration_error((honest * 2 / temperature).softmax(-1), labels) < 0.5 * raw
    sure = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert calibration_error(sure, torch.tensor([0, 1])) == pytest.approx(0.5)
    assert calibration_error(sure, torch.tensor([0, 0])) == pytest.approx(0)

"""A generator on a tiny Whisper, written by transformers, teaches one on a tiny wav2vec 2.0."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import WhisperConfig, WhisperForConditionalGeneration

from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.audio2landmarks.whisper_encoder import WhisperEncoder
from talkhead.errors import TalkheadError, WeightsError
from talkhead.training.encoders import load_encoder, published_config
from talkhead.training.recordings import draw_window, read_recordings
from talkhead.training.tasks import build_task
from tests.training.settings import TENSORS, WriteSettings, batch_of, run_steps


def write_whisper(folder: Path, **changes: Any) -> Path:
    """Write a tiny Whisper with its decoder, in the hub's layout."""
    sizes: dict[str, Any] = {
        **{"d_model": 24, "encoder_layers": 2, "encoder_attention_heads": 2},
        **{"encoder_ffn_dim": 32, "decoder_layers": 1, "decoder_attention_heads": 2},
        **{"decoder_ffn_dim": 8, "vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1},
        **{"eos_token_id": 2, "decoder_start_token_id": 1, "suppress_tokens": None},
        **{"begin_suppress_tokens": None},
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = WhisperForConditionalGeneration(WhisperConfig(**(sizes | changes)))
    model.save_pretrained(folder)
    return folder


def settings_with(path: Path, task: str, name: str, *, own_encoder: bool = True) -> Path:
    """Write settings with more lines in [task] to another file."""
    text = path.read_text().replace("[task]", f"[task]\n{task}").replace('"run"', f'"{name}"')
    if not own_encoder:
        before, after = text.split("[model.speech_encoder]")
        text = before + after[after.index("[task]") :]
    other = path.with_name(f"{name}.toml")
    other.write_text(text)
    return other


@pytest.fixture
def teacher(write_settings: WriteSettings, tmp_path: Path) -> Path:
    """Return settings whose generator ``first`` gave its basis to the generator ``teacher``."""
    path = write_settings("landmarks", steps=1)
    run_steps("landmarks", settings_with(path, "", "first"))
    write_whisper(tmp_path / "whisper")
    task = 'speech = "whisper"\nbasis = "first/checkpoint"'
    run_steps("landmarks", settings_with(path, task, "teacher", own_encoder=False))
    return path


def test_whisper_is_read_without_its_decoder(tmp_path: Path) -> None:
    folder = write_whisper(tmp_path)
    encoder = WhisperEncoder(**published_config(folder))
    load_encoder(folder, encoder)
    stored = load_file(folder / "model.safetensors")
    assert any(name.startswith("model.decoder.") for name in stored)
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, stored[f"model.encoder.{name}"]), name
    other = WhisperEncoder(**(published_config(folder) | {"num_layers": 3}))
    with pytest.raises(WeightsError, match="num_layers 2, but 3 is needed"):
        load_encoder(folder, other)


def test_another_kind_of_whisper_is_refused(tmp_path: Path) -> None:
    folder = write_whisper(tmp_path, activation_function="relu")
    with pytest.raises(WeightsError, match="another activation or scale"):
        published_config(folder)


def test_a_basis_comes_with_the_statistics_of_its_generator(teacher: Path, tmp_path: Path) -> None:
    assert teacher.is_file()
    first, later = (
        load_file(tmp_path / name / "checkpoint" / Path(TENSORS).name)
        for name in ("first", "teacher")
    )
    for name in ("components", "blink", "head", "head_pace", "style", "shape_mean", "shape_spread"):
        assert torch.equal(first[name], later[name]), name
    assert isinstance(
        LandmarkGenerator.from_pretrained(tmp_path / "teacher/checkpoint").speech, WhisperEncoder
    )


def test_a_small_encoder_learns_from_films_and_from_sound_alone(
    teacher: Path, recordings: Path, tmp_path: Path
) -> None:
    shutil.copytree(recordings, tmp_path / "voices")
    lines = (
        'initial = "first/checkpoint"\nteacher = "teacher/checkpoint"\nrecordings = "voices"\n'
        "silent_share = 0.2\nnum_units = 12"
    )
    path = settings_with(teacher, lines, "pupil")
    task, _ = build_task("landmarks", path)
    batch = batch_of(task, 24)
    is_filmed, is_speech = batch["is_filmed"].bool(), batch["is_speech"].bool()
    assert 0 < int(is_speech.sum()) < 24
    assert 0 < int(is_filmed[is_speech].sum()) < int(is_speech.sum())
    assert not batch["coefficients"][~is_filmed].any()
    assert bool(batch["coefficients"][is_filmed & is_speech].abs().amax((1, 2)).gt(0).all())
    values = task.loss(task.model, batch, torch.Generator().manual_seed(0))
    assert float(values["units"].detach()) > 0.1
    values["loss"].backward()  # type: ignore[no-untyped-call]
    learnt: Any = task.model
    assert learnt.unit_head.out.weight.grad.abs().max() > 0
    assert learnt.generator.speech.wav2vec.encoder.layer_norm.weight.grad.abs().max() > 0
    reports = run_steps("landmarks", path)
    assert "units" in reports[0].values
    before, after = (load_file(tmp_path / name / TENSORS) for name in ("first", "pupil"))
    assert before.keys() == after.keys()  # nothing of the teacher is stored
    name = "speech.wav2vec.encoder.layers.0.attention.k_proj.weight"
    assert not torch.equal(before[name], after[name])


def test_without_a_film_the_motion_is_the_teachers(
    teacher: Path, recordings: Path, tmp_path: Path
) -> None:
    lines = (
        'initial = "first/checkpoint"\nteacher = "teacher/checkpoint"\nsilent_share = 0.0\n'
        f'recordings = "{recordings}"\nrecordings_share = 1.0\nunit_weight = 0.0\nnum_units = 12'
    )
    task, _ = build_task("landmarks", settings_with(teacher, lines, "pupil"))
    batch = batch_of(task, 2)
    own: Any = task.model.eval()
    stored = LandmarkGenerator.from_pretrained(tmp_path / "teacher/checkpoint")
    positions = stored.frame_positions(batch["mouth"].shape[1], 25.0, 0.3).expand(2, -1)
    with torch.no_grad():
        motion, _ = stored(batch["undisturbed"], positions, batch["style"], batch["shape"])
    copied = batch | {"coefficients": motion, "is_filmed": torch.ones(2)}
    losses = [task.loss(own, each, torch.Generator()) for each in (batch, copied)]
    torch.testing.assert_close(losses[0]["position"], losses[1]["position"])
    assert float(losses[0]["position"].detach()) > 0


def test_teachers_that_do_not_fit_are_refused(teacher: Path, tmp_path: Path) -> None:
    write = 'initial = "first/checkpoint"\n'
    for lines, message in (
        (f'{write}recordings = "voices"', "recordings need a teacher"),
        (f'{write}basis = "first/checkpoint"', "initial has a basis of its own"),
        ('teacher = "teacher/checkpoint"\nnum = 1', "num"),
        (f'{write}teacher = "teacher/checkpoint"\nrecordings = "run"', "has no recordings"),
    ):
        (tmp_path / "run").mkdir(exist_ok=True)
        with pytest.raises(TalkheadError, match=message):
            build_task("landmarks", settings_with(teacher, lines, "wrong"))
    path = tmp_path / "first" / TENSORS
    generator = LandmarkGenerator.from_pretrained(path.parent)
    generator.components += 1
    generator.save_pretrained(path.parent)
    lines = f'{write}teacher = "teacher/checkpoint"'
    with pytest.raises(TalkheadError, match="another motion basis"):
        build_task("landmarks", settings_with(teacher, lines, "wrong"))


def test_recordings_are_read_at_one_loudness(recordings: Path, tmp_path: Path) -> None:
    found = read_recordings(recordings)
    assert len(found) > 1
    for one in found:
        assert one.dtype == np.int16
        assert 500 < np.abs(one.astype(np.float64)).mean() < 8000
    with pytest.raises(TalkheadError, match="has no recordings"):
        read_recordings(tmp_path)


def test_a_window_keeps_the_order_of_the_sound() -> None:
    ramp = np.arange(20_000, dtype=np.int16)
    window = draw_window(ramp, 4000, 1.5, np.random.default_rng(0))
    assert window.shape == (4000,)
    np.testing.assert_allclose(np.diff(window) * 32767, 1.5, atol=0.01)
    short = draw_window(ramp[:1000] + 1, 4000, 1.0, np.random.default_rng(1))
    heard = np.flatnonzero(short)
    assert len(heard) == pytest.approx(1000, abs=2)  # silence around it

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from talkhead.audio2landmarks.expressions import Expressions
from talkhead.emotions import EMOTIONS, NEUTRAL
from talkhead.errors import TalkheadError, WeightsError
from talkhead.networks import public_config
from talkhead.training.tasks import TASKS, build_task, read_settings
from talkhead.training.video_denoiser import VideoDenoiserTask
from tests.training.settings import (
    EXAMPLES,
    NETWORKS,
    TENSORS,
    TINY,
    WriteSettings,
    run_steps,
)


def assert_same_tensors(one: Path, other: Path) -> None:
    ours, theirs = load_file(one), load_file(other)
    assert ours.keys() == theirs.keys()
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


@pytest.mark.parametrize("name", TASKS)
def test_a_run_that_was_stopped_ends_bit_for_bit_like_one_that_was_not(
    name: str, write_settings: WriteSettings, tmp_path: Path
) -> None:
    reports = run_steps(name, write_settings(name, run="whole"))
    assert [report.step for report in reports if report.kind == "train"] == [1, 2, 3, 4]
    assert all(report.values["loss"] > 0 for report in reports if report.kind == "train")
    assert reports[-1].kind == "validate"
    assert reports[-1].values

    cut = write_settings(name, run="cut")
    run_steps(name, cut, stop_after=3)  # one step after the state was saved
    rest = run_steps(name, cut)
    assert [report.step for report in rest] == [3, 4, 4]
    whole, cut_run = tmp_path / "whole", tmp_path / "cut"
    states = [f"state/{part}.safetensors" for part in ("model", "average", "optimizer")]
    for file in (*states, TENSORS):
        assert_same_tensors(whole / file, cut_run / file)
    logs = [
        [(line["kind"], line["step"]) for line in map(json.loads, log.read_text().splitlines())]
        for log in (whole / "log.jsonl", cut_run / "log.jsonl")
    ]
    assert logs[0] == logs[1]
    assert (cut_run / "preview-000004.png").is_file()

    network = NETWORKS[name].from_pretrained(whole / "checkpoint")
    assert public_config(network) == public_config(NETWORKS[name](**TINY[name][0]))
    assert all(bool(value.isfinite().all()) for value in network.state_dict().values())


@pytest.mark.parametrize("name", ["denoiser", "landmarks", "speech", "video-denoiser"])
def test_a_run_starts_from_a_checkpoint(
    name: str, write_settings: WriteSettings, tmp_path: Path
) -> None:
    run_steps(name, write_settings(name, run="first", steps=1))
    first = tmp_path / "first/checkpoint"
    settings = write_settings(name, run="second", seed=1)
    text = settings.read_text().replace("[task]", '[task]\ninitial = "first/checkpoint"')
    settings.write_text(text)
    task, _ = build_task(name, settings)
    model: Any = task.model
    parts = {"landmarks": "generator", "speech": "encoder", "denoiser": "denoiser"}
    model = getattr(model, parts[name]) if name in parts else model
    stored = load_file(tmp_path / "first" / TENSORS)
    for key, value in model.state_dict().items():
        assert torch.equal(value, stored[key].to(value.dtype)), key

    settings.write_text(text.replace("first/checkpoint", "elsewhere"))
    with pytest.raises(WeightsError, match="elsewhere"):
        build_task(name, settings)
    config = json.loads((first / "config.json").read_text())
    key = {"denoiser": "num_heads", "video-denoiser": "embedding_size"}.get(name, "num_layers")
    (first / "config.json").write_text(json.dumps(config | {key: 2 * config[key]}))
    settings.write_text(text)
    with pytest.raises(WeightsError, match=key):
        build_task(name, settings)


def test_a_video_denoisers_run_holds_the_expressions_of_its_people(
    write_settings: WriteSettings, tmp_path: Path
) -> None:
    path = write_settings("video-denoiser", steps=1)
    run_steps("video-denoiser", path)
    found = Expressions.from_pretrained(tmp_path / "run/expressions")
    assert found.known.tolist() == [float(name == NEUTRAL) for name in EMOTIONS]

    known = Expressions()
    known.offsets.fill_(0.25)
    known.known[EMOTIONS.index("happy")] = 1
    known.save_pretrained(tmp_path / "known")
    path.write_text(path.read_text().replace("[task]", '[task]\nexpressions = "known"'))
    task, _ = build_task("video-denoiser", path)
    assert isinstance(task, VideoDenoiserTask)
    assert torch.equal(task.expressions.offsets, known.offsets)
    expected = [float(name in ("happy", NEUTRAL)) for name in EMOTIONS]
    assert task.expressions.known.tolist() == expected


def test_a_run_that_is_complete_does_nothing_more(write_settings: WriteSettings) -> None:
    path = write_settings("autoencoder", steps=1)
    assert len(run_steps("autoencoder", path)) == 2
    assert run_steps("autoencoder", path) == []


@pytest.mark.parametrize("file", [*TASKS, "denoiser-sharp"])
def test_the_shipped_settings_are_the_shipped_sizes(file: str) -> None:
    name = file if file in TASKS else file.partition("-")[0]
    settings = read_settings(name, EXAMPLES / f"train-{file}.toml")
    shipped = public_config(NETWORKS[name].sketch({}))
    assert public_config(NETWORKS[name].sketch(settings.model)) == shipped
    assert settings.data == EXAMPLES / settings.loop.data


def test_the_denoisers_of_the_ablation_differ_in_their_maps_only() -> None:
    with_maps, without = (
        read_settings("denoiser", EXAMPLES / f"ablation-{name}.toml")
        for name in ("landmarks", "warp")
    )
    assert with_maps.model == without.model | {"map_channels": 9}
    assert without.model["map_channels"] == 0
    assert with_maps.task == without.task
    assert with_maps.loop == dataclasses.replace(without.loop, run=with_maps.loop.run)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch_size = 2", "batchsize = 2", "[train]: 1 key missing (batch_size); 1 key unknown"),
        ("steps = 4", 'steps = "4"', "[train]: steps is '4', but must be int"),
        ("steps = 4", "steps = 0", "[train]: steps must be at least 1"),
        ("float32", "float8", "[train]: precision is 'float8', but must be one of"),
        ("learning_rate = 0.001", "learning_rate = -1", "learning_rate must be greater than 0"),
        ("width = 16", "width = 16\ndepth = 3", "[model]: 1 key unknown (depth)"),
        ("width = 16", "width = -1", "[model]: width is -1, but must be from 0 to 65536"),
        ("[task]", "[tasks]", "has tasks besides the tables [train], [model] and [task]"),
        ("[train]", "[train", "cannot read the settings"),
        ("crop_px = 128", "crop_px = 33", "crop_px is 33: it must be a multiple of 8"),
        ('data = "', 'data = "/nowhere', "has no manifest.jsonl: run talkhead prepare"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(
    old: str, new: str, message: str, write_settings: WriteSettings
) -> None:
    path = write_settings("autoencoder")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(TalkheadError) as caught:
        build_task("autoencoder", path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("denoiser", "num_heads = 2", "num_heads = 3", "32 channels cannot be split"),
        ("denoiser", "widths = [16, 32]", "widths = []", "[model] is not a valid network"),
        ("emotion", "kernel_size = 5", "kernel_size = 4", "kernel_size must be odd"),
        ("landmarks", "num_heads = 2", "heads = 2", "speech_encoder: 1 key unknown (heads)"),
        ("video-denoiser", "size_px = 32", "size_px = 33", "size_px 33 must be"),
    ],
)
def test_a_model_that_is_no_network_is_refused_before_the_data_is_read(
    name: str, old: str, new: str, message: str, write_settings: WriteSettings
) -> None:
    path = write_settings(name)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(TalkheadError) as caught:
        read_settings(name, path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)

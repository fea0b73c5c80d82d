import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

import pytest
import safetensors.torch
import torch
from torch import nn

from talkhead.audio2landmarks import speech_encoder as speech
from talkhead.config import MAX_COUNT, MAX_SIZE, build_config
from talkhead.errors import TalkheadError, WeightsError
from talkhead.networks import (
    CONFIG_NAME,
    TENSORS_NAME,
    load_model,
    load_state,
    read_config,
    save_checkpoint,
)


@dataclasses.dataclass(frozen=True)
class Norm:
    eps: float
    affine: bool


@dataclasses.dataclass(frozen=True)
class TinyConfig:
    width: int
    strides: tuple[int, ...]
    size: tuple[int, int]
    activation: Literal["relu", "silu"]
    norm: Norm
    dropout: float | None


TINY = TinyConfig(
    width=4,
    strides=(1, 2, 2),
    size=(8, 6),
    activation="relu",
    norm=Norm(eps=1e-5, affine=True),
    dropout=None,
)


class Tiny(nn.Module):
    """A model with parameters, a float buffer and an integer buffer."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3)
        self.norm = nn.BatchNorm2d(width)


def saved(folder: Path, **changes: Any) -> Path:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {
        "architecture": "tiny",
        "config": TINY,
        "state": Tiny().state_dict(),
    }
    save_checkpoint(folder, **(arguments | changes))
    return folder


def edited(folder: Path, **changes: Any) -> Path:
    """Change keys of a saved config.json; the value ... removes a key."""
    path = folder / "config.json"
    settings = json.loads(path.read_text()) | changes
    kept = {name: value for name, value in settings.items() if value is not ...}
    path.write_text(json.dumps(kept))
    return folder


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = Tiny()
    model.norm.running_mean = torch.arange(4.0)
    save_checkpoint(
        tmp_path / "a" / "b", architecture="tiny", config=TINY, state=model.state_dict()
    )
    again = Tiny()
    load_state(tmp_path / "a" / "b", again)
    assert read_config(tmp_path / "a" / "b", TinyConfig, architecture="tiny") == TINY
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_the_folder_is_two_files_that_others_can_read(tmp_path: Path) -> None:
    saved(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in tmp_path.iterdir())
    settings = json.loads((tmp_path / "config.json").read_text())
    assert list(settings)[:2] == ["architecture", "schema"]
    assert settings["strides"] == [1, 2, 2]


def test_floats_are_stored_as_asked_and_integers_as_they_are(tmp_path: Path) -> None:
    saved(tmp_path, dtype=torch.float16)
    stored = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert stored["stem.weight"].dtype == torch.float16
    assert stored["norm.num_batches_tracked"].dtype == torch.int64


def test_floats_are_cast_to_the_dtype_of_the_module(tmp_path: Path) -> None:
    model = Tiny()
    saved(tmp_path, state=model.state_dict(), dtype=torch.bfloat16)
    again = Tiny()
    load_state(tmp_path, again)
    assert again.stem.weight.dtype == torch.float32
    assert torch.equal(again.stem.weight, model.stem.weight.bfloat16().float())


def test_a_value_too_large_for_the_stored_dtype_is_not_saved(tmp_path: Path) -> None:
    state = Tiny().state_dict() | {"stem.bias": torch.full((4,), 1e6)}
    with pytest.raises(ValueError, match=r"stem\.bias is not finite as torch\.float16"):
        saved(tmp_path, state=state, dtype=torch.float16)
    assert not (tmp_path / "model.safetensors").exists()


def test_the_same_tensors_give_the_same_bytes(tmp_path: Path) -> None:
    state = Tiny().state_dict()
    turned = {name: state[name] for name in reversed(state)}
    turned["stem.weight"] = turned["stem.weight"].to(memory_format=torch.channels_last)
    one, other = saved(tmp_path / "1", state=state), saved(tmp_path / "2", state=turned)
    for name in ("config.json", "model.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_tensors_that_share_memory_are_saved(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    saved(tmp_path, state={"whole": whole, "half": whole[:3]})
    stored = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert stored["half"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": ...}, r"1 key missing \(width\)"),
        ({"depth": 3}, r"1 key unknown \(depth\)"),
        ({"width": "4"}, "width is '4', but must be int"),
        ({"width": True}, "width is True, but must be int"),
        ({"width": 4.0}, "width is 4.0, but must be int"),
        ({"strides": [1, "2"]}, r"strides\[1\] is '2'"),
        ({"strides": 2}, "strides is 2, but must be a list"),
        ({"size": [8]}, "size is .*, but must be a list of 2"),
        ({"activation": "gelu"}, "activation is 'gelu', but must be one of 'relu', 'silu'"),
        ({"norm": {"eps": 1e-5}}, r"1 key missing \(norm\.affine\)"),
        ({"norm": None}, "norm is None, but must be a table"),
        ({"dropout": "none"}, "dropout is 'none', but must be float or NoneType"),
        ({"schema": 2}, "has schema 2, this version of talkhead reads 1"),
        ({"schema": ...}, "has schema None"),
        ({"architecture": ...}, "does not name its architecture"),
        ({"architecture": "other"}, "has architecture 'other', but 'tiny' is needed"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    edited(saved(tmp_path), **changes)
    with pytest.raises(WeightsError, match=message) as caught:
        read_config(tmp_path, TinyConfig, architecture="tiny")
    assert str(tmp_path) in str(caught.value)


def test_a_whole_number_serves_as_a_float(tmp_path: Path) -> None:
    edited(saved(tmp_path), dropout=0)
    dropout = read_config(tmp_path, TinyConfig, architecture="tiny").dropout
    assert dropout == 0.0
    assert isinstance(dropout, float)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1, "schema": 1}', "\xff"])
def test_a_config_that_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(WeightsError, match=r"config\.json"):
        read_config(tmp_path, TinyConfig, architecture="tiny")


def test_a_missing_folder_and_a_folder_of_another_format_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"the weights folder .*nowhere does not exist"):
        read_config(tmp_path / "nowhere", TinyConfig, architecture="tiny")
    torch.save(Tiny().state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"has no model\.safetensors.*no other format"):
        load_state(tmp_path, Tiny())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stem.bias": None}, r"1 tensor missing \(stem\.bias\)"),
        ({"head.weight": torch.ones(1)}, r"1 tensor unexpected \(head\.weight\)"),
        (
            {"stem.bias": torch.ones(5)},
            r"of another shape \(stem\.bias \(5,\) instead of \(4,\)\)",
        ),
        (
            {"stem.bias": torch.ones(4, dtype=torch.int64)},
            r"of another kind \(stem\.bias torch\.int64 instead of torch\.float32\)",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_refused_and_change_nothing(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    state = {
        name: tensor
        for name, tensor in (Tiny().state_dict() | changes).items()
        if tensor is not None
    }
    saved(tmp_path, state=state)
    model = Tiny()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(WeightsError, match=message):
        load_state(tmp_path, model)
    assert all(torch.equal(before[name], model.state_dict()[name]) for name in before)


def test_only_the_first_few_of_many_tensors_are_named(tmp_path: Path) -> None:
    saved(tmp_path, state={})
    with pytest.raises(
        WeightsError, match=r"7 tensors missing \(norm\.bias, .*, norm\.running_mean, \.\.\.\)"
    ):
        load_state(tmp_path, Tiny())


@pytest.mark.parametrize("keep", [0, 4, 40, -1])
def test_a_truncated_file_is_called_corrupt(tmp_path: Path, keep: int) -> None:
    path = saved(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="is corrupt: download or train it again") as caught:
        load_state(tmp_path, Tiny())
    assert "\n" not in str(caught.value)


def test_a_pickle_under_the_name_of_a_safetensors_file_is_refused(tmp_path: Path) -> None:
    torch.save(Tiny().state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="is corrupt"):
        load_state(tmp_path, Tiny())


def test_settings_may_leave_out_a_field_that_has_a_default() -> None:
    @dataclasses.dataclass(frozen=True)
    class Settings:
        rate: float
        steps: int = 10

    assert build_config(Settings, {"rate": 1}, source="x.toml") == Settings(1.0, 10)
    with pytest.raises(TalkheadError, match=r"^x\.toml: 1 key unknown \(step\)$"):
        build_config(Settings, {"rate": 1, "step": 2}, source="x.toml")


@dataclasses.dataclass(frozen=True)
class Cat:
    name: str
    lives: int


@dataclasses.dataclass(frozen=True)
class Dog:
    name: str
    tricks: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Owner:
    pet: Cat | Dog


def test_one_of_several_tables_is_told_by_its_keys() -> None:
    def owner(**pet: object) -> Owner:
        return build_config(Owner, {"pet": pet}, source="x.toml")

    assert owner(name="Tom", lives=9) == Owner(Cat("Tom", 9))
    assert owner(name="Rex", tricks=["sit"]) == Owner(Dog("Rex", ("sit",)))
    with pytest.raises(TalkheadError, match=r"x\.toml: pet\.tricks is 'sit', but must be a list"):
        owner(name="Rex", tricks="sit")
    with pytest.raises(TalkheadError, match=r"1 key unknown \(pet\.wings\)"):
        owner(name="Tom", lives=9, wings=2)


@dataclasses.dataclass(frozen=True)
class StackConfig:
    width: int
    num_layers: int
    heads: tuple[int, ...]


STACK = StackConfig(width=6, num_layers=2, heads=(2, 3))


class Stack(nn.Module):
    """Layers whose width must be divisible by the number of heads."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        size = config.width // config.heads[0] * config.heads[0]
        self.layers = nn.ModuleList(nn.Linear(size, size) for _ in range(config.num_layers))


def saved_stack(folder: Path, **changes: Any) -> Path:
    """A model whose saved configuration tests then edit."""
    state = Stack(STACK).state_dict()
    save_checkpoint(folder, architecture="stack", config=STACK, state=state)
    path = folder / CONFIG_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def load_stack(folder: Path) -> Stack:
    return load_model(folder, StackConfig, Stack, architecture="stack")


def test_a_model_is_built_and_filled(tmp_path: Path) -> None:
    loaded = load_stack(saved_stack(tmp_path))
    stored = safetensors.torch.load_file(tmp_path / TENSORS_NAME)
    assert loaded.state_dict().keys() == stored.keys()
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, stored[name])
        assert tensor.device.type == "cpu"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 60_000}, r"weight \(6, 6\) instead of \(60000, 60000\)"),  # of 14 GB
        ({"width": MAX_SIZE + 1}, "width is 65537, but must be from 0 to 65536"),
        ({"width": 10**30}, "but must be a number of 64 bits"),
        ({"width": -1}, "width is -1"),
        ({"num_layers": MAX_COUNT + 1}, "num_layers is 513, but must be from 0 to 512"),
        ({"heads": [2] * 600}, "heads has 600 parts, more than 512"),
        ({"heads": []}, "does not describe a valid network"),
        ({"heads": [0]}, "does not describe a valid network"),
    ],
)
def test_sizes_that_the_tensors_do_not_have_are_refused_before_memory_is_taken(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(WeightsError, match=message):
        load_stack(saved_stack(tmp_path, **changes))


def test_what_transformers_refuses_is_told_in_one_line(tmp_path: Path) -> None:
    config = dataclasses.replace(speech.TINY, conv_channels=(16,) * 6)
    save_checkpoint(tmp_path, architecture="speech", config=config, state={})
    with pytest.raises(WeightsError, match="does not describe a valid network") as caught:
        load_model(tmp_path, speech.SpeechConfig, speech.build_encoder, architecture="speech")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "recursion|nest"),
        ('{"a": ' + "9" * 5000 + "}", "5000 digits"),
        (" " * 1_000_001, "larger than 1,000,000 bytes"),
        ('{"' + "a" * 500 + '": 1, "' + "a" * 500 + '": 1}', "a{80}... appears twice"),
    ],
)
def test_json_that_nobody_writes_is_refused_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    (saved_stack(tmp_path) / CONFIG_NAME).write_text(text)
    with pytest.raises(WeightsError, match=message) as caught:
        load_stack(tmp_path)
    assert len(str(caught.value)) < 400


def test_tensors_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = saved_stack(tmp_path) / TENSORS_NAME
    for value, dtype in ((torch.nan, torch.float32), (-torch.inf, torch.float32), (1e300, None)):
        tensors = Stack(STACK).state_dict()
        tensors["layers.1.bias"] = torch.full((6,), value, dtype=dtype or torch.float64)
        safetensors.torch.save_file(tensors, path)
        with pytest.raises(WeightsError, match=r"not finite \(layers.1.bias\)"):
            load_stack(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, -(2**63) - 1])
def test_numbers_that_no_float_holds_are_refused(value: float) -> None:
    with pytest.raises(TalkheadError, match=r"eps is .{1,90}, but must be a") as caught:
        build_config(Norm, {"eps": value, "affine": True}, source="a.toml")
    assert len(str(caught.value)) < 200

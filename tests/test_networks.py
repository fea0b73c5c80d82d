import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from talkhead.audio2landmarks.speech_encoder import SpeechEncoder
from talkhead.config import MAX_COUNT, MAX_SIZE
from talkhead.errors import TalkheadError, WeightsError
from talkhead.networks import Network, class_name_of, public_config, register_to_config
from talkhead.weights.systems import CONFIG_NAME, TENSORS_NAME
from tests.tiny import TINY_SPEECH


@dataclasses.dataclass(frozen=True)
class Norm:
    eps: float = 1e-5
    affine: bool = True


class Tiny(Network):
    """A network with parameters, a float buffer, an integer buffer, and all kinds of arguments."""

    nested_configs: ClassVar[Mapping[str, Any]] = {"norm": Norm}

    @register_to_config
    def __init__(
        self,
        width: int,
        norm: dict[str, Any],
        strides: tuple[int, ...] = (1, 2, 2),
        size: tuple[int, int] = (8, 6),
        activation: Literal["relu", "silu"] = "relu",
        dropout: float | None = None,
        num_layers: int = 2,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width // strides[0] * strides[0], 3)
        self.batch_norm = nn.BatchNorm2d(width, **norm)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(num_layers))


class Other(Network):
    """Another class."""

    @register_to_config
    def __init__(self) -> None:
        super().__init__()


class Shared(Network):
    """A network whose buffers share memory."""

    whole: Tensor
    part: Tensor

    @register_to_config
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("whole", torch.arange(6.0))
        self.register_buffer("part", self.whole[:3])


SIZES: dict[str, Any] = {"width": 4, "norm": {"eps": 1e-5, "affine": True}}


def tiny(**changes: Any) -> Tiny:
    torch.manual_seed(0)
    return Tiny(**(SIZES | changes))


def saved(folder: Path, **changes: Any) -> Path:
    """A saved network, whose config.json is then changed; the value ... removes a key."""
    tiny().save_pretrained(folder)
    path = folder / CONFIG_NAME
    settings = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in settings.items() if value is not ...}))
    return folder


def with_tensors(folder: Path, changes: Mapping[str, Tensor | None]) -> Path:
    """A saved network with other tensors; the value None removes one."""
    tensors = {**tiny().state_dict(), **changes}.items()
    kept = {name: tensor for name, tensor in tensors if tensor is not None}
    safetensors.torch.save_file(kept, saved(folder) / TENSORS_NAME)
    return folder


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    network = tiny(dropout=0.5)
    network.batch_norm.running_mean = torch.arange(4.0)
    network.save_pretrained(tmp_path / "a" / "b")
    again = Tiny.from_pretrained(tmp_path / "a", subfolder="b")
    assert public_config(again) == public_config(network)
    assert class_name_of(tmp_path / "a" / "b") == "Tiny"
    assert not again.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_the_folder_is_two_files_that_others_can_read(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CONFIG_NAME, TENSORS_NAME]
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in tmp_path.iterdir())
    settings = json.loads((tmp_path / CONFIG_NAME).read_text())
    assert settings["_class_name"] == "Tiny"
    assert settings["strides"] == [1, 2, 2]


def test_floats_are_stored_as_asked_and_integers_as_they_are(tmp_path: Path) -> None:
    network = tiny()
    network.save_pretrained(tmp_path, dtype=torch.float16)
    stored = safetensors.torch.load_file(tmp_path / TENSORS_NAME)
    assert stored["stem.weight"].dtype == torch.float16
    assert stored["batch_norm.num_batches_tracked"].dtype == torch.int64
    again = Tiny.from_pretrained(tmp_path)
    assert again.stem.weight.dtype == torch.float32
    assert torch.equal(again.stem.weight, network.stem.weight.half().float())
    low = Tiny.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    assert low.stem.weight.dtype == torch.bfloat16


def test_values_too_large_for_the_stored_dtype_are_not_saved(tmp_path: Path) -> None:
    saved(tmp_path)
    before = (tmp_path / TENSORS_NAME).read_bytes()
    network = tiny()
    nn.init.constant_(network.stem.weight, 1e6)
    with pytest.raises(ValueError, match=r"stem\.weight is not finite as torch\.float16"):
        network.save_pretrained(tmp_path, dtype=torch.float16)
    assert (tmp_path / TENSORS_NAME).read_bytes() == before


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / CONFIG_NAME).mkdir()
    with pytest.raises(TalkheadError, match=r"config\.json is a directory"):
        tiny().save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CONFIG_NAME, TENSORS_NAME]


def test_other_formats_are_not_written(tmp_path: Path) -> None:
    for options in ({"safe_serialization": False}, {"variant": "fp16"}):
        with pytest.raises(ValueError, match="safetensors only"):
            tiny().save_pretrained(tmp_path, **options)
    assert not any(tmp_path.iterdir())


def test_the_same_tensors_give_the_same_bytes(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path / "1")
    turned = tiny()
    turned.stem.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    turned.save_pretrained(tmp_path / "2")
    for name in (CONFIG_NAME, TENSORS_NAME):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_tensors_that_share_memory_are_saved(tmp_path: Path) -> None:
    Shared().save_pretrained(tmp_path)
    stored = safetensors.torch.load_file(tmp_path / TENSORS_NAME)
    assert stored["part"].tolist() == [0, 1, 2]


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
        ({"norm": {"epsilon": 1e-5}}, r"1 key unknown \(norm\.epsilon\)"),
        ({"norm": None}, "norm is None, but must be a table"),
        ({"dropout": "none"}, "dropout is 'none', but must be float or NoneType"),
        ({"_class_name": ...}, "does not name its class"),
        ({"_class_name": "Other"}, "describes a Other, but a Tiny is needed"),
        ({"_class_name": 7}, "does not name its class"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    saved(tmp_path, **changes)
    for read in (Tiny.read_config, Tiny.from_pretrained):
        with pytest.raises(WeightsError, match=message) as caught:
            read(tmp_path)
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_keys_with_a_default_may_be_missing_and_a_whole_number_serves_as_a_float(
    tmp_path: Path,
) -> None:
    saved(tmp_path, strides=..., dropout=0)
    config = Tiny.from_pretrained(tmp_path).config
    assert config.strides == (1, 2, 2)
    assert config.dropout == 0.0
    assert isinstance(config.dropout, float)


def test_folders_of_older_versions_are_to_be_converted(tmp_path: Path) -> None:
    old = {"architecture": "tiny", "schema": 1, "width": 4}
    (tmp_path / CONFIG_NAME).write_text(json.dumps(old))
    safetensors.torch.save_file(tiny().state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="older: run `talkhead weights convert`"):
        Tiny.from_pretrained(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"width": 1, "width": 1}', "\xff"])
def test_a_config_that_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / CONFIG_NAME).write_text(text, encoding="latin-1")
    with pytest.raises(WeightsError, match=r"config\.json"):
        Tiny.from_pretrained(tmp_path)


def test_a_missing_folder_and_a_folder_of_another_format_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"the weights folder .*nowhere does not exist"):
        Tiny.from_pretrained(tmp_path / "nowhere")
    (saved(tmp_path) / TENSORS_NAME).unlink()
    torch.save(tiny().state_dict(), tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"has no diffusion_.*\.safetensors: no other"):
        Tiny.from_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="has no variant 'fp16'"):
        Tiny.from_pretrained(tmp_path, variant="fp16")


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
        ({"layers.1.bias": torch.full((4,), torch.nan)}, r"not finite \(layers\.1\.bias\)"),
        ({"layers.1.bias": torch.full((4,), -torch.inf)}, r"not finite \(layers\.1\.bias\)"),
        (
            {"layers.1.bias": torch.full((4,), 1e300, dtype=torch.float64)},
            r"not finite \(layers\.1\.bias\)",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_refused_and_change_nothing(
    tmp_path: Path, changes: dict[str, Tensor | None], message: str
) -> None:
    with_tensors(tmp_path, changes)
    network = tiny()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(WeightsError, match=message):
        network.load_tensors(tmp_path)
    assert all(torch.equal(before[name], network.state_dict()[name]) for name in before)
    with pytest.raises(WeightsError, match=message):
        Tiny.from_pretrained(tmp_path)


def test_only_the_first_few_of_many_tensors_are_named(tmp_path: Path) -> None:
    with_tensors(tmp_path, dict.fromkeys(tiny().state_dict()))
    with pytest.raises(
        WeightsError,
        match=r"11 tensors missing \(batch_norm\.bias, .*, .*, \.\.\.\)",
    ):
        Tiny.from_pretrained(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 40, -1])
def test_a_truncated_file_is_called_corrupt(tmp_path: Path, keep: int) -> None:
    path = saved(tmp_path) / TENSORS_NAME
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="is corrupt: download or train it again") as caught:
        Tiny.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_pickle_under_the_name_of_a_safetensors_file_is_refused(tmp_path: Path) -> None:
    torch.save(tiny().state_dict(), saved(tmp_path) / TENSORS_NAME)
    with pytest.raises(WeightsError, match="is corrupt"):
        Tiny.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 60_000}, r"\(4,\) instead of \(60000,\)"),  # of 14 GB
        ({"width": MAX_SIZE + 1}, "width is 65537, but must be from 0 to 65536"),
        ({"width": 10**30}, "but must be a number of 64 bits"),
        ({"width": -1}, "width is -1"),
        ({"num_layers": MAX_COUNT + 1}, "num_layers is 513, but must be from 0 to 512"),
        ({"strides": [2] * 600}, "strides has 600 parts, more than 512"),
        ({"strides": []}, "does not describe a valid network"),
        ({"strides": [0]}, "does not describe a valid network"),
    ],
)
def test_sizes_that_the_tensors_do_not_have_are_refused_before_memory_is_taken(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(WeightsError, match=message):
        Tiny.from_pretrained(saved(tmp_path, **changes))


def test_a_sketch_takes_no_memory_and_explains_in_one_line() -> None:
    sketch = Tiny.sketch(SIZES | {"width": 60_000})
    assert sketch.layers[0].weight.is_meta
    with pytest.raises(ValueError, match=r"^.+$"):  # without a line break
        Tiny.sketch(SIZES | {"strides": (0,)})


def test_what_transformers_refuses_is_told_in_one_line(tmp_path: Path) -> None:
    SpeechEncoder(**TINY_SPEECH).save_pretrained(tmp_path)
    path = tmp_path / CONFIG_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"conv_channels": [16] * 6}))
    with pytest.raises(WeightsError, match="does not describe a valid network") as caught:
        SpeechEncoder.from_pretrained(tmp_path)
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
    (saved(tmp_path) / CONFIG_NAME).write_text(text)
    with pytest.raises(WeightsError, match=message) as caught:
        Tiny.from_pretrained(tmp_path)
    assert len(str(caught.value)) < 400


def test_weights_load_into_a_network_of_the_same_configuration_only(tmp_path: Path) -> None:
    network = tiny()
    saved(tmp_path, dropout=...)  # the default
    torch.manual_seed(1)
    other = Tiny(**SIZES)
    other.load_alike(tmp_path)
    assert torch.equal(other.stem.weight, network.stem.weight)
    with pytest.raises(WeightsError, match=r"has dropout None, but 0\.5 is needed"):
        tiny(dropout=0.5).load_alike(tmp_path)
    with pytest.raises(WeightsError, match=r"has norm\.eps 1e-05, but 0\.1 is needed"):
        tiny(norm={"eps": 0.1, "affine": True}).load_alike(tmp_path)
    Other().save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="describes a Other"):
        other.load_alike(tmp_path)


def test_a_network_that_is_loaded_draws_no_random_numbers(tmp_path: Path) -> None:
    SpeechEncoder(**TINY_SPEECH).save_pretrained(tmp_path)
    before = torch.random.get_rng_state()
    loaded = SpeechEncoder.from_pretrained(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
    again = SpeechEncoder.from_pretrained(tmp_path).state_dict()
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, again[name])

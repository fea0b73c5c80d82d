"""A model is a folder: config.json (its architecture) beside model.safetensors (its tensors).

Reading is strict in both directions, for the keys of the one and the tensors of the other, so a
folder that does not fit the code is refused before anything is computed with it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from talkhead.errors import TalkheadError, WeightsError

if TYPE_CHECKING:
    import torch
    from _typeshed import DataclassInstance

CONFIG_NAME = "config.json"
TENSORS_NAME = "model.safetensors"
SCHEMA = 1

ConfigT = TypeVar("ConfigT")

_NAMES_SHOWN = 3


def save_checkpoint(
    folder: Path,
    *,
    architecture: str,
    config: Any,
    state: Mapping[str, torch.Tensor],
    dtype: torch.dtype | None = None,
) -> None:
    """Save a model as a folder; a folder that exists is updated file by file.

    The same tensors give the same bytes, wherever they lived in memory. Each file is written beside
    its target and renamed, so nobody ever reads half of one.

    Args:
        folder: created with its parents where it does not exist.
        architecture: the name that a reader must ask for.
        config: an instance of the architecture's dataclass.
        state: the tensors, as `torch.nn.Module.state_dict` gives them.
        dtype: what floating-point tensors are stored as; None keeps theirs.

    Raises:
        ValueError: a tensor holds NaN or an infinity once it is stored as `dtype`.
    """
    from safetensors.torch import save

    tensors = {}
    for name, tensor in state.items():
        stored = tensor.detach().cpu()
        if stored.is_floating_point():
            stored = stored.to(dtype or stored.dtype)
            if not bool(stored.isfinite().all()):
                raise ValueError(f"tensor {name} is not finite as {stored.dtype}")
        tensors[name] = stored.contiguous().clone()  # shared memory would be refused
    settings = {"architecture": architecture, "schema": SCHEMA, **dataclasses.asdict(config)}
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / TENSORS_NAME, save(tensors, metadata={"format": "pt"}))
    _write(folder / CONFIG_NAME, (json.dumps(settings, indent=2) + "\n").encode())


def read_config(folder: Path, config_type: type[ConfigT], *, architecture: str) -> ConfigT:
    """Read the architecture of a saved model.

    Args:
        folder: a checkpoint.
        config_type: the dataclass to fill.
        architecture: the name that the checkpoint has to carry.

    Raises:
        WeightsError: no such folder or file, not JSON, another architecture or schema, a key that
            is missing or unknown, a value of the wrong type.
    """
    path = folder / CONFIG_NAME
    settings = _read_json(path)
    schema = settings.pop("schema", None)
    if schema != SCHEMA:
        raise WeightsError(f"{path} has schema {schema!r}, this version of talkhead reads {SCHEMA}")
    found = settings.pop("architecture", None)
    if not isinstance(found, str):
        raise WeightsError(f"{path} does not name its architecture")
    if found != architecture:
        raise WeightsError(f"{path} is of the architecture {found!r}, {architecture!r} is needed")
    return build_config(config_type, settings, source=str(path), error=WeightsError)


def load_alike(
    folder: Path, module: torch.nn.Module, config: DataclassInstance, *, architecture: str
) -> None:
    """Fill a module with the tensors of a saved model that has to have the same sizes.

    Args:
        folder: a checkpoint.
        module: as `config` says.
        config: the sizes.
        architecture: the name that the checkpoint has to carry.

    Raises:
        WeightsError: as for `read_config` and `load_state`, or the sizes differ.
    """
    found = read_config(folder, type(config), architecture=architecture)
    for field in dataclasses.fields(config):
        stored, wanted = getattr(found, field.name), getattr(config, field.name)
        if stored != wanted:
            raise WeightsError(f"{folder} has {field.name} {stored}, {wanted} is wanted")
    load_state(folder, module)


def load_state(folder: Path, module: torch.nn.Module) -> None:
    """Fill a module with the tensors of a saved model; floats are cast to the module's dtype.

    Nothing is changed in the module unless everything fits.

    Raises:
        WeightsError: no such file, not a whole safetensors file, or a tensor that is missing,
            unexpected, of another shape, or of another kind (floats for integers).
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / TENSORS_NAME
    _check_file(path)
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is corrupt: fetch or train it again ({_one_line(error)})"
        ) from error
    wanted = module.state_dict()
    faults = [
        *_named("missing", wanted.keys() - stored.keys()),
        *_named("unexpected", stored.keys() - wanted.keys()),
        *_named(
            "of another shape",
            [
                f"{name} {tuple(stored[name].shape)} instead of {tuple(wanted[name].shape)}"
                for name in wanted.keys() & stored.keys()
                if stored[name].shape != wanted[name].shape
            ],
        ),
        *_named(
            "of another kind",
            [
                f"{name} {stored[name].dtype} instead of {wanted[name].dtype}"
                for name in wanted.keys() & stored.keys()
                if not _is_same_kind(stored[name].dtype, wanted[name].dtype)
            ],
        ),
    ]
    if faults:
        raise WeightsError(f"{path} does not fit {type(module).__name__}: {'; '.join(faults)}")
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(stored[name])


def build_config(
    config_type: type[ConfigT],
    values: Mapping[str, Any],
    *,
    source: str,
    error: type[TalkheadError] = TalkheadError,
) -> ConfigT:
    """Fill a dataclass from parsed JSON or TOML, strictly.

    Fields are bool, int, float, str, `Literal`, `X | None`, tuples, dictionaries with string keys,
    and dataclasses of these. An array becomes a tuple, a whole number serves as a float, and a
    field with a default may be left out.

    Args:
        config_type: the dataclass.
        values: its fields by name.
        source: the file, for the message.
        error: the kind of error to raise.

    Raises:
        TalkheadError: (or `error`) a key is missing or unknown, or a value has the wrong type.
    """
    try:
        return typing.cast("ConfigT", _filled(config_type, values, ""))
    except _MisfitError as misfit:
        raise error(f"{source}: {misfit}") from None


class _MisfitError(Exception):
    """A value that does not fit its field; the message says which."""


def _filled(config_type: Any, values: Mapping[str, Any], prefix: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(config_type) if field.init}
    unknown = [f"{prefix}{name}" for name in values.keys() - fields.keys()]
    missing = [
        f"{prefix}{name}"
        for name, field in fields.items()
        if name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    faults = [*_named("missing", missing, "key"), *_named("unknown", unknown, "key")]
    if faults:
        raise _MisfitError("; ".join(faults))
    hints = typing.get_type_hints(config_type)
    return config_type(
        **{name: _value(hints[name], value, f"{prefix}{name}") for name, value in values.items()}
    )


def _value(hint: Any, value: Any, name: str) -> Any:
    """Check one value against its type hint; arrays become tuples, whole numbers floats."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _either(arguments, value, name)
    if origin is typing.Literal:
        # `in` alone would take 1 for True
        if any(value == choice and type(value) is type(choice) for choice in arguments):
            return value
        raise _misfit(name, value, "one of " + ", ".join(repr(choice) for choice in arguments))
    if origin is tuple:
        return _tuple(arguments, value, name)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _misfit(name, value, "a table")
        return {key: _value(arguments[1], item, f"{name}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise _misfit(name, value, "a table")
        return _filled(hint, value, f"{name}.")
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:  # not isinstance: a bool is no int here
        raise _misfit(name, value, "null" if hint is type(None) else hint.__name__)
    return value


def _either(hints: Sequence[Any], value: Any, name: str) -> Any:
    for hint in hints:
        try:
            return _value(hint, value, name)
        except _MisfitError:
            continue
    tables = [hint for hint in hints if dataclasses.is_dataclass(hint)]
    if tables and isinstance(value, Mapping):  # say what is wrong with the one that was meant
        return _value(max(tables, key=lambda hint: _num_shared(hint, value)), value, name)
    raise _misfit(name, value, " or ".join(getattr(hint, "__name__", str(hint)) for hint in hints))


def _num_shared(config_type: Any, values: Mapping[str, Any]) -> int:
    return len({field.name for field in dataclasses.fields(config_type)} & values.keys())


def _tuple(hints: Sequence[Any], value: Any, name: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise _misfit(name, value, "a list")
    if len(hints) == 2 and hints[1] is Ellipsis:
        hints = [hints[0]] * len(value)
    if len(value) != len(hints):
        raise _misfit(name, value, f"a list of {len(hints)}")
    return tuple(
        _value(hint, item, f"{name}[{index}]")
        for index, (hint, item) in enumerate(zip(hints, value, strict=True))
    )


def _misfit(name: str, value: Any, wanted: str) -> _MisfitError:
    return _MisfitError(f"{name} is {value!r}, it has to be {wanted}")


def _named(fault: str, names: typing.Iterable[str], noun: str = "tensor") -> list[str]:
    """Say how many there are and name the first few; nothing when there are none."""
    ordered = sorted(names)
    if not ordered:
        return []
    shown = ", ".join(ordered[:_NAMES_SHOWN]) + (", ..." if len(ordered) > _NAMES_SHOWN else "")
    return [f"{len(ordered)} {noun}{'s' * (len(ordered) > 1)} {fault} ({shown})"]


def _is_same_kind(one: torch.dtype, other: torch.dtype) -> bool:
    return one.is_floating_point == other.is_floating_point and one.is_complex == other.is_complex


def _read_json(path: Path) -> dict[str, Any]:
    _check_file(path)

    def refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twins = {name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1}
        if twins:
            raise ValueError(f"{min(twins)} is there twice")
        return dict(pairs)

    try:
        settings = json.loads(path.read_bytes(), object_pairs_hook=refuse_twins)
    except (ValueError, OSError) as error:
        raise WeightsError(f"{path} cannot be read: {_one_line(error)}") from error
    if not isinstance(settings, dict):
        raise WeightsError(f"{path} holds no JSON object")
    return settings


def _check_file(path: Path) -> None:
    if path.is_file():
        return
    if not path.parent.is_dir():
        raise WeightsError(f"there is no folder of weights {path.parent}: check the path")
    raise WeightsError(
        f"{path.parent} holds no {path.name}: a folder of weights is {CONFIG_NAME} and"
        f" {TENSORS_NAME}, and no other format is read"
    )


def _write(path: Path, content: bytes) -> None:
    """Write beside the target and rename."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(0o644)  # mkstemp's 0600 would keep other users out
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())

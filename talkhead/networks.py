"""Checkpoint folders: config.json (the architecture) and model.safetensors (the tensors).

Loading is strict both ways, for keys as well as tensors: a folder that does not fit the code is
refused before it is used.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from talkhead.config import build_config as build_config  # re-exported
from talkhead.config import check_sizes as check_sizes
from talkhead.config import in_short, named_faults
from talkhead.errors import WeightsError

if TYPE_CHECKING:
    import torch
    from _typeshed import DataclassInstance

CONFIG_NAME = "config.json"
TENSORS_NAME = "model.safetensors"
SCHEMA = 1

ConfigT = TypeVar("ConfigT")
ModuleT = TypeVar("ModuleT", bound="torch.nn.Module")

MAX_CONFIG_BYTES = 1_000_000
"""Far more than any architecture needs; parsing takes up to fifty times this size in memory."""


def save_checkpoint(
    folder: Path,
    *,
    architecture: str,
    config: Any,
    state: Mapping[str, torch.Tensor],
    dtype: torch.dtype | None = None,
) -> None:
    """Save a model to a folder, replacing existing files one by one.

    The same tensors give the same bytes, whatever their memory layout. Each file is written under a
    temporary name and then renamed, so readers never see half of one.

    Args:
        folder: created with its parents if missing.
        architecture: the name that a reader must ask for.
        config: an instance of the architecture's dataclass.
        state: the tensors, as `torch.nn.Module.state_dict` returns them.
        dtype: the stored type of floating-point tensors; None keeps their own.

    Raises:
        ValueError: a tensor has NaN or infinite values once stored as `dtype`.
    """
    from safetensors.torch import save

    tensors = {}
    for name, tensor in state.items():
        stored = tensor.detach().cpu()
        if stored.is_floating_point():
            stored = stored.to(dtype or stored.dtype)
            if not bool(stored.isfinite().all()):
                raise ValueError(f"tensor {name} is not finite as {stored.dtype}")
        tensors[name] = stored.contiguous().clone()  # safetensors refuses shared memory
    settings = {"architecture": architecture, "schema": SCHEMA, **_settings(config)}
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / TENSORS_NAME, save(tensors, metadata={"format": "pt"}))
    _write(folder / CONFIG_NAME, (json.dumps(settings, indent=2) + "\n").encode())


def _settings(config: Any) -> dict[str, Any]:
    """Return the contents of config.json, without the parts that are None by default.

    A part added in a later version thus leaves the files of models without it unchanged.
    """
    absent = {
        field.name
        for field in dataclasses.fields(config)
        if field.default is None and getattr(config, field.name) is None
    }
    parts = dataclasses.asdict(config)
    return {name: part for name, part in parts.items() if name not in absent}


def read_config(folder: Path, config_type: type[ConfigT], *, architecture: str) -> ConfigT:
    """Read the architecture of a saved model.

    Args:
        folder: a checkpoint.
        config_type: the dataclass to fill.
        architecture: the name that the checkpoint must have.

    Raises:
        WeightsError: the folder or file does not exist, is not JSON, has another architecture or
            schema, a missing or unknown key, or a value of the wrong type.
    """
    path = folder / CONFIG_NAME
    settings = _read_json(path)
    schema = settings.pop("schema", None)
    if schema != SCHEMA:
        raise WeightsError(f"{path} has schema {schema!r}, this version of talkhead reads {SCHEMA}")
    found = _named(settings.pop("architecture", None), path)
    if found != architecture:
        raise WeightsError(f"{path} has architecture {found!r}, but {architecture!r} is needed")
    config = build_config(config_type, settings, source=str(path), error=WeightsError)
    check_sizes(config, source=str(path), error=WeightsError)
    return config


def architecture_of(folder: Path) -> str:
    """Return the name of a saved model's architecture.

    Raises:
        WeightsError: the folder or file does not exist, is not JSON, or has no architecture.
    """
    path = folder / CONFIG_NAME
    return _named(_read_json(path).get("architecture"), path)


def _named(found: object, path: Path) -> str:
    if not isinstance(found, str):
        raise WeightsError(f"{path} does not name its architecture")
    return found


def load_model(
    folder: Path,
    config_type: type[ConfigT],
    build: Callable[[ConfigT], ModuleT],
    *,
    architecture: str,
) -> ModuleT:
    """Build the network of a saved model and load its tensors.

    The network is first built without memory: the real one is allocated only if the file's tensors
    have the shapes that its configuration asks for.

    Args:
        folder: a checkpoint.
        config_type: the dataclass of its sizes.
        build: builds the network from a configuration.
        architecture: the name that the checkpoint must have.

    Raises:
        WeightsError: as for `read_config` and `load_state`, or the sizes do not make a network.
    """
    import torch
    from huggingface_hub import errors

    config = read_config(folder, config_type, architecture=architecture)
    # Raised by transformers' configurations, in versions that have it.
    strict: type[Exception] = getattr(errors, "StrictDataclassError", ValueError)
    try:
        with torch.device("meta"):
            sketch = build(config)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError, strict) as error:
        raise WeightsError(
            f"{folder / CONFIG_NAME} does not describe a valid network ({_one_line(error)}):"
            " download or train it again"
        ) from error
    with _opened_tensors(folder / TENSORS_NAME) as stored:
        shapes = {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
    _check_shapes(folder / TENSORS_NAME, sketch, shapes)
    module = build(config)
    load_state(folder, module)
    return module


def load_alike(
    folder: Path, module: torch.nn.Module, config: DataclassInstance, *, architecture: str
) -> None:
    """Load the tensors of a saved model that must have the same sizes as a module.

    Args:
        folder: a checkpoint.
        module: a network built from `config`.
        config: the sizes.
        architecture: the name that the checkpoint must have.

    Raises:
        WeightsError: as for `read_config` and `load_state`, or the sizes differ.
    """
    found = read_config(folder, type(config), architecture=architecture)
    for field in dataclasses.fields(config):
        stored, wanted = getattr(found, field.name), getattr(config, field.name)
        if stored != wanted:
            raise WeightsError(f"{folder} has {field.name} {stored}, but {wanted} is needed")
    load_state(folder, module)


def load_state(folder: Path, module: torch.nn.Module) -> None:
    """Load the tensors of a saved model into a module; floats are cast to the module's dtype.

    The module stays unchanged unless everything fits.

    Raises:
        WeightsError: the file does not exist or is not a complete safetensors file, or a tensor is
            missing, unexpected, not finite, or has another shape or kind (floats for integers).
    """
    import torch

    path = folder / TENSORS_NAME
    with _opened_tensors(path) as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    _check_shapes(path, module, {name: tuple(tensor.shape) for name, tensor in stored.items()})
    wanted = module.state_dict()
    faults = [
        *named_faults(
            "of another kind",
            [
                f"{name} {stored[name].dtype} instead of {wanted[name].dtype}"
                for name in wanted
                if not _is_same_kind(stored[name].dtype, wanted[name].dtype)
            ],
        ),
        *named_faults(
            "with values that are not finite",
            [
                name
                for name, tensor in stored.items()
                if tensor.is_floating_point() and not bool(tensor.to(wanted[name]).isfinite().all())
            ],
        ),
    ]
    if faults:
        raise WeightsError(f"{path} does not fit {type(module).__name__}: {'; '.join(faults)}")
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(stored[name])


@contextmanager
def text_name(path: Path) -> Iterator[Path]:
    """Yield a name of an existing file that is UTF-8: safetensors reads no other."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with path.open("rb") as file:
            yield Path(f"/dev/fd/{file.fileno()}")
    else:
        yield path


@contextmanager
def _opened_tensors(path: Path) -> Iterator[Any]:
    """Open a safetensors file; only its header is read at this point."""
    from safetensors import SafetensorError, safe_open

    _check_file(path)
    try:
        with text_name(path) as name, safe_open(name, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is corrupt: download or train it again ({_one_line(error)})"
        ) from error


def _check_shapes(
    path: Path, module: torch.nn.Module, stored: Mapping[str, tuple[int, ...]]
) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    faults = [
        *named_faults("missing", wanted.keys() - stored.keys()),
        *named_faults("unexpected", stored.keys() - wanted.keys()),
        *named_faults(
            "of another shape",
            [
                f"{name} {stored[name]} instead of {wanted[name]}"
                for name in wanted.keys() & stored.keys()
                if stored[name] != wanted[name]
            ],
        ),
    ]
    if faults:
        raise WeightsError(f"{path} does not fit {type(module).__name__}: {'; '.join(faults)}")


def _is_same_kind(one: torch.dtype, other: torch.dtype) -> bool:
    return one.is_floating_point == other.is_floating_point and one.is_complex == other.is_complex


def _read_json(path: Path) -> dict[str, Any]:
    _check_file(path)

    def refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twins = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        if twins:
            raise ValueError(f"{in_short(min(twins))} appears twice")
        return dict(pairs)

    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ValueError(f"it is larger than {MAX_CONFIG_BYTES:,} bytes")
        settings = json.loads(path.read_bytes(), object_pairs_hook=refuse_twins)
    except (ValueError, OSError, RecursionError) as error:
        raise WeightsError(f"{path} cannot be read: {_one_line(error)}") from error
    if not isinstance(settings, dict):
        raise WeightsError(f"{path} is not a JSON object")
    return settings


def _check_file(path: Path) -> None:
    if path.is_file():
        return
    if not path.parent.is_dir():
        raise WeightsError(f"the weights folder {path.parent} does not exist: check the path")
    raise WeightsError(
        f"{path.parent} has no {path.name}: a weights folder holds {CONFIG_NAME} and"
        f" {TENSORS_NAME}, and no other format is supported"
    )


def _write(path: Path, content: bytes) -> None:
    """Write to a temporary file in the same folder, then rename it."""
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

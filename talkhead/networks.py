"""The base class of all networks: diffusers models that load strictly and save atomically.

A network is a folder with config.json and diffusion_pytorch_model.safetensors, as diffusers writes
it. Loading is strict both ways, for keys as well as tensors: a folder that does not fit the code is
refused before it is used, and no other file format is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from diffusers import ConfigMixin, ModelMixin
from huggingface_hub import errors as hub_errors
from safetensors.torch import save
from torch.overrides import TorchFunctionMode

from talkhead.atomic import replacing
from talkhead.config import check_arguments, named_faults
from talkhead.errors import WeightsError
from talkhead.weights.strict_files import one_line, opened_tensors, read_json
from talkhead.weights.systems import CONFIG_NAME, TENSORS_NAME

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

if TYPE_CHECKING:  # diffusers ships no types
    Base = torch.nn.Module

    def register_to_config(init: FunctionT) -> FunctionT:
        """Keep the arguments of ``__init__`` as `config`."""

    def apply_forward_hook(method: FunctionT) -> FunctionT:
        """Let offloading move the network for this method, too, as for `forward`."""

else:
    from diffusers.configuration_utils import register_to_config
    from diffusers.utils.accelerate_utils import apply_forward_hook

    Base = ModelMixin

__all__ = [
    "Network",
    "apply_forward_hook",
    "check_alike",
    "class_name_of",
    "copy_tensors",
    "public_config",
    "register_to_config",
    "to_channels_last",
]

NetworkT = TypeVar("NetworkT", bound="Network")

# Raised by transformers' configurations, in versions that have it.
_StrictError: type[Exception] = getattr(hub_errors, "StrictDataclassError", ValueError)


class Network(Base, ConfigMixin):  # type: ignore[misc]
    """A `diffusers.ModelMixin` whose folders are read strictly and written atomically.

    Subclasses decorate ``__init__`` with `register_to_config`. Its type hints are the schema of
    config.json.
    """

    config_name = CONFIG_NAME
    nested_configs: ClassVar[Mapping[str, Any]] = {}
    """Type hints of the dataclasses behind arguments that are plain dictionaries."""

    if TYPE_CHECKING:
        config: Any

        def register_to_config(self, **values: Any) -> None:
            """Set entries of `config`."""

        def to_json_string(self) -> str:
            """Return `config` as JSON."""

    @classmethod
    def from_pretrained(
        cls: type[NetworkT],
        folder: str | Path,
        *,
        subfolder: str | None = None,
        torch_dtype: torch.dtype | None = None,
        dtype: torch.dtype | None = None,
        variant: str | None = None,
        **_: Any,
    ) -> NetworkT:
        """Build the network of a folder and load its tensors, in evaluation mode.

        The network is first built without memory. The real one is allocated only if the file's
        tensors have the shapes that the configuration asks for.

        Args:
            folder: holds config.json and diffusion_pytorch_model.safetensors.
            subfolder: part of `folder` to read instead.
            torch_dtype: type of the floating-point tensors; None is float32.
            dtype: the name that newer versions of diffusers have for `torch_dtype`.
            variant: not supported.

        Raises:
            WeightsError: a file is missing or corrupt, a key or tensor is missing, unexpected or
                does not fit, or the sizes do not make a network.
        """
        where = Path(folder, subfolder or "")
        if variant is not None:
            raise WeightsError(f"{where} has no variant {variant!r}: talkhead reads none")
        config = cls.read_config(where)
        sketch = cls._sketch_of(where, config)
        with opened_tensors(where / TENSORS_NAME) as stored:
            shapes = {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
        _check_shapes(where / TENSORS_NAME, sketch, shapes)
        with torch.random.fork_rng(devices=[]), _Uninitialised():
            network = cls(**config)
        network.load_tensors(where)
        kind = torch_dtype or dtype or torch.float32
        if kind != torch.float32:
            network.to(kind)
        return network.eval()

    @classmethod
    def sketch(cls: type[NetworkT], config: Mapping[str, Any]) -> NetworkT:
        """Build a network without memory for its tensors, to check its configuration.

        Raises:
            ValueError: the arguments do not describe a valid network; the message is one line.
        """
        try:
            with torch.device("meta"):
                return cls(**config)
        except (
            ArithmeticError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
            _StrictError,
        ) as error:
            raise ValueError(one_line(error)) from error

    @classmethod
    def _sketch_of(cls: type[NetworkT], folder: Path, config: Mapping[str, Any]) -> NetworkT:
        try:
            return cls.sketch(config)
        except ValueError as error:
            raise WeightsError(
                f"{folder / CONFIG_NAME} does not describe a valid network ({error}):"
                " download or train it again"
            ) from error

    @classmethod
    def read_config(cls, folder: Path) -> dict[str, Any]:
        """Read the arguments of a saved network, strictly.

        Raises:
            WeightsError: the file does not exist, is not JSON, describes another class, or has a
                missing or unknown key, or a value of the wrong type or size.
        """
        path = folder / CONFIG_NAME
        settings = read_json(path)
        found = _class_name(settings, path)
        if found != cls.__name__:
            raise WeightsError(f"{path} describes a {found}, but a {cls.__name__} is needed")
        del settings["_class_name"]
        settings.pop("_diffusers_version", None)
        return check_arguments(
            cls.__init__,
            settings,
            source=str(path),
            error=WeightsError,
            nested=cls.nested_configs,
        )

    def load_tensors(self, folder: Path) -> None:
        """Load the tensors of a saved network; floats are cast to the network's own type.

        The network stays unchanged unless everything fits.

        Raises:
            WeightsError: the file does not exist or is not a complete safetensors file, or a tensor
                is missing, unexpected, not finite, or has another shape or kind.
        """
        path = folder / TENSORS_NAME
        with opened_tensors(path) as file:
            names = {name: name for name in file.keys()}  # noqa: SIM118
        copy_tensors(path, self, names)

    def load_alike(self, folder: Path) -> None:
        """Load the tensors of a saved network that must have the same configuration as this one.

        Raises:
            WeightsError: as for `read_config` and `load_tensors`, or the configurations differ.
        """
        stored = self._sketch_of(folder, self.read_config(folder))  # it fills in the defaults
        check_alike(folder, public_config(stored), public_config(self))
        self.load_tensors(folder)

    def save_pretrained(
        self, folder: str | Path, *, dtype: torch.dtype | None = None, **options: Any
    ) -> None:
        """Save the network to a folder, replacing existing files one by one.

        The same tensors give the same bytes, whatever their memory layout. Readers never see half a
        file.

        Args:
            folder: created with its parents if missing.
            dtype: the stored type of floating-point tensors; None keeps their own.
            options: those that diffusers' pipelines pass; only safetensors are written.

        Raises:
            ValueError: a tensor has NaN or infinite values once stored as `dtype`.
        """
        if options.get("safe_serialization", True) is not True or options.get("variant"):
            raise ValueError("talkhead writes safetensors only, without variants")
        tensors = {}
        for name, tensor in self.state_dict().items():
            stored = tensor.detach().cpu()
            if stored.is_floating_point():
                stored = stored.to(dtype or stored.dtype)
                if not bool(stored.isfinite().all()):
                    raise ValueError(f"tensor {name} is not finite as {stored.dtype}")
            tensors[name] = stored.contiguous().clone()  # safetensors refuses shared memory
        where = Path(folder)
        where.mkdir(parents=True, exist_ok=True)
        _write(where / TENSORS_NAME, save(tensors, metadata={"format": "pt"}))
        _write(where / CONFIG_NAME, self.to_json_string().encode())


class _Uninitialised(TorchFunctionMode):
    """Leaves out the random initialisation of networks, whose tensors are then all loaded."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Return the tensor of an initialisation as it is; run any other function."""
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return function(*args, **kwargs)


def copy_tensors(path: Path, network: torch.nn.Module, names: Mapping[str, str]) -> None:
    """Copy tensors of a safetensors file into a network; floats are cast to its own type.

    The network stays unchanged unless everything fits, and nothing is read unless all shapes do.

    Args:
        path: the file.
        network: gets the tensors.
        names: the network's name of each tensor, by its name in the file; others are left out.

    Raises:
        WeightsError: the file does not exist or is not a complete safetensors file, or a tensor is
            missing, unexpected, not finite, or has another shape or kind.
    """
    with opened_tensors(path) as file:
        shapes = {ours: tuple(file.get_slice(name).get_shape()) for name, ours in names.items()}
        _check_shapes(path, network, shapes)
        stored = {ours: file.get_tensor(name) for name, ours in names.items()}
    wanted = network.state_dict()
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
        raise WeightsError(f"{path} does not fit {type(network).__name__}: {'; '.join(faults)}")
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(stored[name])


def to_channels_last(network: torch.nn.Module) -> None:
    """Store the kernels of convolutions in the order that is fastest."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def public_config(network: Any) -> dict[str, Any]:
    """Return the arguments that a network was built from."""
    return {name: value for name, value in network.config.items() if not name.startswith("_")}


def check_alike(
    folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = ""
) -> None:
    """Check that a saved configuration is the one that is needed.

    Raises:
        WeightsError: they differ; the message names the first difference.
    """
    for name, value in found.items():
        other = wanted[name]
        are_tables = isinstance(value, Mapping) and isinstance(other, Mapping)
        if are_tables and value.keys() == other.keys():
            check_alike(folder, value, other, f"{prefix}{name}.")
        elif value != other:
            raise WeightsError(f"{folder} has {prefix}{name} {value}, but {other} is needed")


def class_name_of(folder: Path) -> str:
    """Return the name of a saved network's class.

    Raises:
        WeightsError: the folder or file does not exist, is not JSON, or names no class.
    """
    path = folder / CONFIG_NAME
    return _class_name(read_json(path), path)


def _class_name(settings: Mapping[str, Any], path: Path) -> str:
    found = settings.get("_class_name")
    if isinstance(found, str):
        return found
    if "architecture" in settings:
        raise WeightsError(
            f"{path} was written by talkhead 0.2 or older: run `talkhead weights convert`"
        )
    raise WeightsError(f"{path} does not name its class")


def _check_shapes(
    path: Path, network: torch.nn.Module, stored: Mapping[str, tuple[int, ...]]
) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
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
        raise WeightsError(f"{path} does not fit {type(network).__name__}: {'; '.join(faults)}")


def _is_same_kind(one: torch.dtype, other: torch.dtype) -> bool:
    return one.is_floating_point == other.is_floating_point and one.is_complex == other.is_complex


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as partial:
        partial.write_bytes(content)

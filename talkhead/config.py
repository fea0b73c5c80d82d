"""Check parsed JSON and TOML strictly against dataclasses and function signatures."""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from talkhead.errors import TalkheadError

ConfigT = TypeVar("ConfigT")

MAX_SIZE = 65_536
"""No layer is wider; a larger number in an architecture means a damaged file."""
MAX_COUNT = 512
"""Limit for counts, such as the number of layers: fields named ``num_``, and lengths of lists."""
_NAMES_SHOWN = 3
_CHARACTERS_SHOWN = 80


def build_config(
    config_type: type[ConfigT],
    values: Mapping[str, Any],
    *,
    source: str,
    error: type[TalkheadError] = TalkheadError,
) -> ConfigT:
    """Fill a dataclass from parsed JSON or TOML, strictly.

    Fields may be bool, int, float, str, `Literal`, `X | None`, tuples, dictionaries with string
    keys, and dataclasses of these. An array becomes a tuple, a float field accepts a whole number,
    and a field with a default may be left out. Numbers are finite, and integers fit in 64 bits.

    Args:
        config_type: the dataclass.
        values: the fields by name.
        source: the file, for the message.
        error: the exception type to raise.

    Raises:
        TalkheadError: (or `error`) a key is missing or unknown, or a value has the wrong type.
    """
    try:
        return typing.cast("ConfigT", _filled(config_type, values, ""))
    except _MisfitError as misfit:
        raise error(f"{source}: {misfit}") from None


def check_arguments(
    function: Callable[..., Any],
    values: Mapping[str, Any],
    *,
    source: str,
    error: type[TalkheadError] = TalkheadError,
    nested: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Check parsed JSON or TOML against the parameters of a function, as `build_config` does.

    Args:
        function: its parameters are the keys; those with a default may be left out.
        values: the arguments by name.
        source: the file, for the message.
        error: the exception type to raise.
        nested: type hints of the dataclasses behind parameters that are plain dictionaries.

    Returns:
        The arguments, with arrays as tuples.

    Raises:
        TalkheadError: (or `error`) as for `build_config`, or a size that no network has.
    """
    parameters = list(inspect.signature(function).parameters.values())
    hints = typing.get_type_hints(inspect.unwrap(function)) | dict(nested or {})
    fields = {
        parameter.name: (hints[parameter.name], parameter.default is inspect.Parameter.empty)
        for parameter in parameters
        if parameter.name != "self"
    }
    try:
        filled = _fill(fields, values, "")
    except _MisfitError as misfit:
        raise error(f"{source}: {misfit}") from None
    for name, value in filled.items():
        _check_size(value, name, source=source, error=error)
    return {
        name: dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]
        for name, value in filled.items()
    }


def _check_size(value: Any, name: str, *, source: str, error: type[TalkheadError]) -> None:
    """Refuse sizes that no network has, before memory is allocated for them.

    Raises:
        TalkheadError: (or `error`) a number is negative, or above `MAX_SIZE` or `MAX_COUNT`.
    """
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            part = getattr(value, field.name)
            _check_size(part, f"{name}.{field.name}", source=source, error=error)
        return
    numbers = value if isinstance(value, tuple) else (value,)
    if len(numbers) > MAX_COUNT:
        raise error(f"{source}: {name} has {len(numbers)} parts, more than {MAX_COUNT}")
    most = MAX_COUNT if name.rpartition(".")[2].startswith("num_") else MAX_SIZE
    for number in numbers:
        if type(number) in (int, float) and not 0 <= number <= most:
            raise error(f"{source}: {name} is {number}, but must be from 0 to {most}")


class _MisfitError(Exception):
    """A value does not fit its field; the message names the field."""


def _filled(config_type: Any, values: Mapping[str, Any], prefix: str) -> Any:
    hints = typing.get_type_hints(config_type)
    nothing = dataclasses.MISSING
    fields = {
        field.name: (
            hints[field.name],
            field.default is nothing and field.default_factory is nothing,
        )
        for field in dataclasses.fields(config_type)
        if field.init
    }
    return config_type(**_fill(fields, values, prefix))


def _fill(
    fields: Mapping[str, tuple[Any, bool]], values: Mapping[str, Any], prefix: str
) -> dict[str, Any]:
    """Check values against fields: name to type hint, and whether the field is required."""
    unknown = [f"{prefix}{name}" for name in values.keys() - fields.keys()]
    missing = [
        f"{prefix}{name}"
        for name, (_, is_required) in fields.items()
        if is_required and name not in values
    ]
    faults = [*named_faults("missing", missing, "key"), *named_faults("unknown", unknown, "key")]
    if faults:
        raise _MisfitError("; ".join(faults))
    return {
        name: _value(fields[name][0], value, f"{prefix}{name}") for name, value in values.items()
    }


def _value(hint: Any, value: Any, name: str) -> Any:
    """Check one value against its type hint; convert arrays to tuples, and integers for floats."""
    if hint is Any:  # the function checks it
        return value
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
        return float(_number(value, name))
    if type(value) is not hint:  # not isinstance, which accepts a bool as an int
        raise _misfit(name, value, "null" if hint is type(None) else hint.__name__)
    return _number(value, name) if hint in (int, float) else value


def _number(value: float, name: str) -> float:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise _misfit(name, value, "a number of 64 bits")
    if not math.isfinite(value):
        raise _misfit(name, value, "a finite number")
    return value


def _either(hints: Sequence[Any], value: Any, name: str) -> Any:
    for hint in hints:
        try:
            return _value(hint, value, name)
        except _MisfitError:
            continue
    tables = [hint for hint in hints if dataclasses.is_dataclass(hint)]
    if tables and isinstance(value, Mapping):  # report the fault of the closest match
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
    return _MisfitError(f"{in_short(name)} is {in_short(repr(value))}, but must be {wanted}")


def in_short(text: str) -> str:
    """Shorten a text quoted in a message."""
    return text if len(text) <= _CHARACTERS_SHOWN else f"{text[:_CHARACTERS_SHOWN]}..."


def named_faults(fault: str, names: Iterable[str], noun: str = "tensor") -> list[str]:
    """Return a message with the number of names and the first few; empty if there are none."""
    ordered = [in_short(name) for name in sorted(names)]
    if not ordered:
        return []
    shown = ", ".join(ordered[:_NAMES_SHOWN]) + (", ..." if len(ordered) > _NAMES_SHOWN else "")
    return [f"{len(ordered)} {noun}{'s' * (len(ordered) > 1)} {fault} ({shown})"]

"""Texts that stay JSON, TOML or CSV while what they say becomes hostile."""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import hypothesis
from hypothesis import strategies

_BATCH = 20
_MANY_BYTES = 3_000_000
HOSTILE_TEXTS = (
    *("", " ", "\x00", "a\nb", "\r\n", "\u202e", "\ud83d\ude00", "\U0001d54f" * 300, "%s%n%d"),
    *("/dev/zero", "/dev/stdin", "../../escape", "/proc/self/mem", "pipe:0", "-", "concat:a|b"),
    *("file:///etc/passwd", "http://127.0.0.1:9/x", "con", "a" * 300, "{}", "[]", "nan", "1e999"),
    *("1/0", "0/0", "-1/25", "1" * 5000, "'; --", "=1+1", "..", "/", "~"),
)
HOSTILE_NUMBERS = (
    *(0, -1, 1, 2, 255, 2**15, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, 10**9, -(10**9)),
    *(10**30, 10**400, -(10**400), 1e308, -1e308, 5e-324, 0.1, math.nan, math.inf, -math.inf),
)

Edit = tuple[str, int, Any]
"""What is done, where (counted from the first value, and around), and the value it is done with."""


@cache
def edits(seed: int, batch: int) -> list[list[Edit]]:
    """Return lists of edits: the same for the same numbers."""
    scalars = (
        strategies.sampled_from(HOSTILE_NUMBERS)
        | strategies.sampled_from(HOSTILE_TEXTS)
        | strategies.integers()
        | strategies.floats()
        | strategies.text(max_size=20)
        | strategies.none()
        | strategies.booleans()
    )
    values = strategies.recursive(
        scalars,
        lambda inner: (
            strategies.lists(inner, max_size=4)
            | strategies.dictionaries(strategies.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=6,
    )
    actions = strategies.sampled_from(
        ("replace", "replace", "replace", "remove", "twice", "rename", "nest", "add", "many")
    )
    edit = strategies.tuples(actions, strategies.integers(0, 10_000), values)
    found: list[list[Edit]] = []

    @hypothesis.seed(seed * 1000 + batch)
    @hypothesis.settings(
        max_examples=_BATCH,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategies.lists(edit, min_size=1, max_size=3))
    def collect(drawn: list[Edit]) -> None:
        found.append(drawn)

    collect()
    return found


def edits_of(seed: int, number: int) -> list[Edit]:
    """Return the edits of a case."""
    drawn = edits(seed, number // _BATCH)
    return drawn[number % _BATCH % len(drawn)]


class Twice(list[Any]):
    """A value that is written twice under its key, as no parsed document has it."""


def edited(document: Any, drawn: list[Edit]) -> Any:
    """Return a copy of a parsed document with edits done to it."""
    document = json.loads(json.dumps({"": document}))
    is_long = False
    for action, at, value in drawn:
        places = list(_places(document))
        if not places:
            continue
        holder, key = places[at % len(places)]
        old = holder[key]
        if action == "remove":
            del holder[key]
        elif action == "rename" and isinstance(holder, dict):
            holder[str(value)[:400]] = holder.pop(key)
        elif action == "twice" and isinstance(holder, dict):
            holder[key] = Twice([old, value])
        elif action == "nest":
            for _ in range(1 + at % 60):
                old = [old]
            holder[key] = old
        elif action == "many" and not is_long:  # twice, it would be their product
            is_long = True
            holder[key] = [old] * min(at * 10, _MANY_BYTES // len(json.dumps(old)))
        elif action == "add" and isinstance(holder, dict):
            holder[f"{key}x"] = value
        else:
            holder[key] = value
    return document.get("")


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every holder and key, the outermost first; of a long list only the first few."""
    if isinstance(document, dict):
        keys: list[Any] = list(document)
    elif isinstance(document, list) and not isinstance(document, Twice):
        keys = list(range(min(len(document), 4)))
    else:
        return
    for key in keys:
        yield document, key
    for key in keys:
        yield from _places(document[key])


def as_json(value: Any) -> str:
    """Write JSON as it is found in the wild: NaN, and keys that are there twice."""
    if isinstance(value, dict):
        pairs = []
        for key, item in value.items():
            for one in item if isinstance(item, Twice) else [item]:
                pairs.append(f"{json.dumps(str(key))}: {as_json(one)}")
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_json, value)) + "]"
    return _digits(value) if type(value) is int else json.dumps(value)


def as_toml(document: Any) -> str:
    """Write TOML: tables first level, everything below in line."""
    if not isinstance(document, dict):
        return f"value = {_toml_value(document)}\n"
    return "".join(_toml_lines(document))


def _toml_lines(document: dict[str, Any]) -> Iterator[str]:
    for key, value in document.items():
        if not isinstance(value, dict):
            yield from _toml_pairs(key, value)
    for key, value in document.items():
        if isinstance(value, dict):
            yield f"\n[{_toml_key(key)}]\n"
            for inner, item in value.items():
                yield from _toml_pairs(inner, item)


def _toml_pairs(key: str, value: Any) -> Iterator[str]:
    for one in value if isinstance(value, Twice) else [value]:
        yield f"{_toml_key(key)} = {_toml_value(one)}\n"


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f"{_toml_key(key)} = {_toml_value(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    if isinstance(value, float):
        return {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}.get(
            json.dumps(value), json.dumps(value)
        )
    if value is None:
        return "''"
    return _digits(value) if type(value) is int else json.dumps(value, ensure_ascii=False)


def _digits(value: int) -> str:
    """Write a whole number of any length, which Python refuses above some thousand digits."""
    return str(value) if abs(value) < 10**4000 else "9" * 5000


def as_csv(rows: list[list[Any]]) -> str:
    """Write rows as CSV."""
    text = io.StringIO()
    csv.writer(text).writerows(
        [str(cell)[:100_000] for cell in row] if isinstance(row, list) else [str(row)]
        for row in rows
    )
    return text.getvalue()


FORMATS: dict[str, Callable[[Any], str]] = {"json": as_json, "toml": as_toml, "csv": as_csv}

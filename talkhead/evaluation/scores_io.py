"""Read scores.json, and check the presence and type of everything that is compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talkhead.config import build_config
from talkhead.errors import TalkheadError
from talkhead.evaluation.scores import SCHEMA, ClipRow, Measure
from talkhead.media.files import check_input

MAX_BYTES = 50_000_000
"""About ten thousand clips; parsing a damaged file takes up to fifty times its size in memory."""
_MAX_DIGITS = 12
_KEYS = ("stage", "protocol", "measures", "groups", "clips")


@dataclass(frozen=True)
class _Mean:
    mean: float
    clips: int
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class _System:
    frames: int
    frames_without_face: int
    values: dict[str, _Mean]


@dataclass(frozen=True)
class _Group:
    clips: int
    people: int
    frames: int
    systems: dict[str, _System]


@dataclass(frozen=True)
class _Compared:
    """The parts of scores.json that a comparison uses."""

    stage: str
    measures: dict[str, Measure]
    groups: dict[str, _Group]
    clips: tuple[ClipRow, ...]


def read_scores(path: Path) -> dict[str, Any]:
    """Read a scores.json.

    Raises:
        TalkheadError: the file is missing, damaged, too large, or from another version.
    """
    check_input(path)
    if path.stat().st_size > MAX_BYTES:
        raise TalkheadError(
            f"{path} is over {MAX_BYTES // 1_000_000} MB, too large for a scores.json"
        )
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise TalkheadError(f"{path} is not JSON ({error}); score again") from error
    check_scores(scores, str(path))
    return dict(scores)


def check_scores(scores: Any, name: str) -> None:
    """Refuse anything but a scores.json of this version.

    Raises:
        TalkheadError: the content is not valid; the message says why.
    """
    if not isinstance(scores, Mapping) or "groups" not in scores:
        raise TalkheadError(f"{name} is not a scores.json of talkhead eval")
    schema = scores.get("schema", 1)
    if schema != SCHEMA:
        raise TalkheadError(
            f"{name} has scores of schema {schema}, not {SCHEMA}; score again with one"
            " version of talkhead"
        )
    missing = [key for key in _KEYS if key not in scores]
    if missing:
        raise TalkheadError(f"{name} lacks {', '.join(missing)}; score again")
    parts = {key: scores[key] for key in _KEYS if key != "protocol"}
    compared = build_config(_Compared, parts, source=name)
    for key, measure in compared.measures.items():
        if not 0 <= measure.digits <= _MAX_DIGITS:
            raise TalkheadError(
                f"{name}: measures.{key}.digits is {measure.digits}, but must be from 0 to"
                f" {_MAX_DIGITS}"
            )
    protocol = scores["protocol"]
    if not isinstance(protocol, Mapping) or not isinstance(protocol.get("networks") or {}, Mapping):
        raise TalkheadError(f"{name}: protocol and its networks must be tables; score again")

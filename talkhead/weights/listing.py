"""The format of weights.toml: its entries and their files, how to read and to write it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from talkhead.errors import WeightsError
from talkhead.weights.names import is_commit, repo_fault

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Kind = Literal["model", "pipeline", "asset"]
Where = Literal["package", "hub", "url"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_BLOCK_BYTES = 1 << 20
_HEADER = """\
# All weights that talkhead knows: description, licence, location, and each file's size and digest.
# After replacing shipped weights, run `talkhead weights pin` to update sizes and digests.
"""


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """One file of an entry; `path` is relative to the entry's folder."""

    path: str
    num_bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class WeightsEntry:
    """One entry of weights.toml.

    A shipped pipeline lists its components; one from elsewhere has files of its own.
    """

    name: str
    kind: Kind
    about: str
    licence: str
    origin: str
    where: Where
    files: tuple[WeightsFile, ...] = ()
    components: tuple[str, ...] = ()
    repo: str | None = None
    revision: str | None = None
    url: str | None = None

    @property
    def num_bytes(self) -> int:
        """Total size of the files."""
        return sum(file.num_bytes for file in self.files)


def read_list(path: Path) -> dict[str, WeightsEntry]:
    """Read a weights.toml.

    Raises:
        WeightsError: the file is missing or not TOML, or an entry has a missing, unknown or
            contradictory key.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: install talkhead again") from error
    except ValueError as error:
        raise WeightsError(f"{path} is not valid TOML: {error}") from error
    entries = {}
    for name, table in tables.items():
        try:
            entries[name] = _entry(name, table)
        except (TypeError, ValueError, KeyError) as error:
            raise WeightsError(f"{path}: entry {name!r} is invalid: {error}") from error
    for entry in entries.values():
        for component in entry.components:
            if component not in entries or entries[component].where != "package":
                raise WeightsError(
                    f"{path}: entry {entry.name!r} needs {component!r}, which is not shipped"
                )
    return entries


def format_list(entries: Mapping[str, WeightsEntry]) -> str:
    """Format a list as TOML; `read_list` restores the same entries."""
    tables = [_HEADER]
    for entry in entries.values():
        lines = [f"[{entry.name}]"]
        for field in dataclasses.fields(entry):
            value = getattr(entry, field.name)
            if field.name in ("name", "files") or value is None or value == ():
                continue
            lines.append(f"{field.name} = {_text(value)}")
        if entry.kind != "pipeline" or entry.files:
            rows = [
                f"  {{ path = {json.dumps(file.path)}, bytes = {file.num_bytes},"
                f' sha256 = "{file.sha256}" }},\n'
                for file in entry.files
            ]
            lines.append(f"files = [\n{''.join(rows)}]")
        tables.append("\n".join(lines) + "\n")
    return "\n".join(tables)


def measure_file(folder: Path, path: str) -> WeightsFile:
    """Return a file's size and digest; raises WeightsError if it cannot be read."""
    digest = hashlib.sha256()
    num_bytes = 0
    try:
        for block in _blocks(folder / path):
            digest.update(block)
            num_bytes += len(block)
    except OSError as error:
        raise WeightsError(f"{folder / path} cannot be read: {error.strerror}") from error
    return WeightsFile(path=path, num_bytes=num_bytes, sha256=digest.hexdigest())


def _text(value: str | tuple[str, ...]) -> str:
    """Format a text or a list of texts as TOML, which differs from JSON in one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _entry(name: str, table: Any) -> WeightsEntry:
    """Turn a TOML table into an entry; raises ValueError, TypeError or KeyError if invalid."""
    known = {field.name for field in dataclasses.fields(WeightsEntry)} - {"name"}
    if not isinstance(table, dict):
        raise TypeError("not a table")
    if unknown := sorted(table.keys() - known):
        raise ValueError(f"unknown key {unknown[0]!r}")
    values = dict(table)
    files = tuple(_file(row) for row in values.pop("files", []))
    components = tuple(values.pop("components", []))
    for key in ("kind", "about", "licence", "origin", "where"):
        if not isinstance(values.get(key), str):
            raise ValueError(f"{key!r} is missing or not a text")
    for key in ("repo", "revision", "url"):
        if not isinstance(values.get(key, ""), str):
            raise TypeError(f"{key!r} is not a text")
    entry = WeightsEntry(name=name, files=files, components=components, **values)
    if entry.kind not in get_args(Kind) or entry.where not in get_args(Where):
        raise ValueError(f"kind {entry.kind!r} or where {entry.where!r} is unknown")
    for fault in _contradictions(entry):
        raise ValueError(fault)
    return entry


def _contradictions(entry: WeightsEntry) -> Iterator[str]:
    if not _NAME.fullmatch(entry.name):
        yield "a name consists of letters, digits, - and _"
    is_shipped_pipeline = entry.kind == "pipeline" and entry.where == "package"
    if is_shipped_pipeline != bool(entry.components):
        yield "components are required in a shipped pipeline, and invalid elsewhere"
    yield from _misplaced(entry)
    if entry.where != "package" and not entry.files:
        yield "files are missing"


def _misplaced(entry: WeightsEntry) -> Iterator[str]:
    """Yield what is wrong with the keys that locate an entry."""
    if {entry.repo is None, entry.revision is None} != {entry.where != "hub"}:
        yield "repo and revision are required with where = 'hub', and invalid otherwise"
    if entry.repo is not None and (fault := repo_fault(entry.repo)):
        yield fault
    if entry.revision is not None and not is_commit(entry.revision):
        yield "revision must be a commit of 40 hexadecimal digits"
    if (entry.where == "url") != (entry.url is not None):
        yield "url is required with where = 'url', and invalid otherwise"
    if entry.url is not None and not entry.url.startswith("https://"):
        yield "url must start with https://"
    if entry.where == "url" and len(entry.files) != 1:
        yield "a url has exactly one file"


def _file(row: Mapping[str, Any]) -> WeightsFile:
    if row.keys() != {"path", "bytes", "sha256"}:
        raise ValueError("a file needs path, bytes and sha256, and nothing else")
    path, num_bytes, sha256 = row["path"], row["bytes"], row["sha256"]
    if type(num_bytes) is not int or num_bytes < 0:
        raise ValueError(f"bytes of {path} is not a size")
    if not re.fullmatch("[0-9a-f]{64}", str(sha256)):
        raise ValueError(f"sha256 of {path} is not a digest")
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise ValueError(f"path {path!r} is not a relative path of letters, digits, '.', '-', '_'")
    return WeightsFile(path=path, num_bytes=num_bytes, sha256=sha256)

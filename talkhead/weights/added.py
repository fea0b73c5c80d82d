"""The user's own list: names for folders, repositories and URLs, with file digests."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from talkhead.errors import WeightsError
from talkhead.weights import hub
from talkhead.weights.fetch import MissingFileError, Watch, download_unlisted, is_offline
from talkhead.weights.folders import ADDED_NAME, WeightsList, kind_of, read_added
from talkhead.weights.listing import (
    CARD_NAME,
    MODEL_FILES,
    PIPELINE_FILES,
    WeightsEntry,
    WeightsFile,
    files_of,
    format_list,
    measure_file,
    parts_of,
)
from talkhead.weights.names import file_name_of, name_fault, parse_hub_address, url_fault

Kind = Literal["model", "pipeline"]

_ABOUT = {"model": "a model of your own", "pipeline": "a pipeline of your own"}
_HEADER = """\
# Weights added by `talkhead weights add`; `talkhead weights remove` deletes an entry.
"""
_UNKNOWN_LICENCE = "not stated; see the card"


def add_weights(
    weights: WeightsList,
    name: str,
    source: str,
    *,
    about: str | None = None,
    licence: str | None = None,
    check: Callable[[Path, Kind], None],
    watch: Watch | None = None,
) -> WeightsEntry:
    """Give weights a name and record the current digests of their files.

    Args:
        weights: the list; the name must be new in it.
        name: letters, digits, - and _.
        source: a folder (which is not copied), ``owner/name@revision`` on the hub, or an https
            URL: of a file or, if it ends in /, of a folder that holds a pipeline.
        about: a description for `list`.
        licence: the licence of the weights.
        check: raises `WeightsError` if a folder does not hold weights of the given kind.
        watch: progress callback for https downloads.

    Returns:
        The new entry.

    Raises:
        WeightsError: the name is invalid or taken, the source is invalid, cannot be downloaded or
            fails `check`; the list is left unchanged.
    """
    if fault := name_fault(name):
        raise WeightsError(f"weights cannot be named {name!r}: {fault}")
    _check_new(weights, name)
    address = parse_hub_address(source)
    if "://" in source:
        entry = _from_url(weights, name, source, check, watch)
    elif address is not None and not Path(source).is_dir():
        _refuse_offline(source)
        folder = hub.fetch_pipeline(address, offline=False)
        check(folder, "pipeline")
        entry = WeightsEntry(
            name=name,
            kind="pipeline",
            about=_ABOUT["pipeline"],
            origin=str(address),
            where="hub",
            files=_measured(folder, "pipeline"),
            repo=address.repo,
            revision=address.revision,
            licence="",
        )
    else:
        entry = _from_folder(weights, name, source, check)
    entry = dataclasses.replace(
        entry, about=about or entry.about, licence=licence or _UNKNOWN_LICENCE
    )
    with _changed_list(weights.cache) as entries:
        _check_new(weights, name, *entries)
        entries[name] = entry
    return entry


def remove_weights(weights: WeightsList, name: str) -> WeightsEntry:
    """Remove a name from the user's list, and delete what was downloaded for it over https.

    The user's own folders and the hub's cache are left alone.

    Returns:
        The removed entry.

    Raises:
        WeightsError: no added entry has that name, or the name belongs to talkhead.
    """
    if name in weights.published:
        raise WeightsError(f"{name} belongs to talkhead: only added weights can be removed")
    with _changed_list(weights.cache) as entries:
        if name not in entries:
            known = f"choose {', '.join(entries)}" if entries else "none have been added"
            raise WeightsError(f"no added weights named {name!r}: {known}")
        entry = entries.pop(name)
    if entry.where == "url":
        shutil.rmtree(weights.cache / name, ignore_errors=True)
    return entry


def _check_new(weights: WeightsList, name: str, *others: str) -> None:
    taken = {known.casefold(): known for known in (*weights.entries, *others)}
    known = taken.get(name.casefold())  # a case-insensitive file system has one folder for both
    if known in weights.published:
        raise WeightsError(f"the name {known} belongs to talkhead: choose another")
    if known is not None:
        raise WeightsError(
            f"the name {known} is already taken: choose another, or run"
            f" `talkhead weights remove {known}` first"
        )


def _from_folder(
    weights: WeightsList, name: str, source: str, check: Callable[[Path, Kind], None]
) -> WeightsEntry:
    folder = weights.own_folder(Path(source)).absolute()
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise WeightsError(f"the name {source!r} is not valid text: rename the folder") from error
    kind = kind_of(folder)
    check(folder, kind)
    return WeightsEntry(
        name=name,
        kind=kind,
        about=_ABOUT[kind],
        licence="",
        origin="a folder on this machine",
        where="folder",
        files=_measured(folder, kind),
        folder=str(folder),
    )


def _from_url(
    weights: WeightsList,
    name: str,
    url: str,
    check: Callable[[Path, Kind], None],
    watch: Watch | None,
) -> WeightsEntry:
    if fault := url_fault(url):
        raise WeightsError(f"{url!r} cannot be added: {fault}")
    _refuse_offline(url)
    is_folder = url.endswith("/")
    file_name = file_name_of(url)
    if not is_folder and not file_name:
        raise WeightsError(f"{url!r} cannot be added: its last part is not a valid file name")
    folder = weights.cache / name
    if folder.exists():
        # A killed `add` left this folder; no list refers to it.
        shutil.rmtree(folder, ignore_errors=True)
    try:
        if is_folder:
            files = _fetched_pipeline(url, folder, watch)
            check(folder, "pipeline")
        else:
            limit = hub.MAX_BYTES["model.safetensors"]
            files = (download_unlisted(url, folder / file_name, max_bytes=limit, watch=watch),)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return WeightsEntry(
        name=name,
        kind="pipeline" if is_folder else "asset",
        about=_ABOUT["pipeline"] if is_folder else "a file of your own",
        licence="",
        origin=url,
        where="url",
        files=files,
        url=url,
    )


def _fetched_pipeline(url: str, folder: Path, watch: Watch | None) -> tuple[WeightsFile, ...]:
    files = []
    for path in PIPELINE_FILES:
        file_name = path.rsplit("/", 1)[-1]
        try:
            found = download_unlisted(
                url + path, folder / path, max_bytes=hub.MAX_BYTES[file_name], watch=watch
            )
        except MissingFileError:
            if file_name == CARD_NAME:
                continue
            raise
        files.append(WeightsFile(path, found.num_bytes, found.sha256))
    return tuple(files)


def _measured(folder: Path, kind: Kind) -> tuple[WeightsFile, ...]:
    paths = files_of(parts_of(folder)) if kind == "pipeline" else (*MODEL_FILES, CARD_NAME)
    return tuple(
        measure_file(folder, path)
        for path in paths
        if not path.endswith(CARD_NAME) or (folder / path).is_file()
    )


def _refuse_offline(source: str) -> None:
    if is_offline():
        raise WeightsError(f"{source} cannot be added: HF_HUB_OFFLINE forbids the network")


@contextlib.contextmanager
def _changed_list(cache: Path) -> Iterator[dict[str, WeightsEntry]]:
    """Yield the user's list for changes, then rewrite it as a whole, under a lock."""
    from filelock import FileLock

    path = cache / ADDED_NAME
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock")):
            entries = read_added(cache)
            yield entries
            handle, part = tempfile.mkstemp(dir=cache, prefix=f".{path.name}.")
            try:
                with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                    file.write(format_list(entries, header=_HEADER))
                Path(part).replace(path)
            finally:
                Path(part).unlink(missing_ok=True)
    except OSError as error:
        raise WeightsError(f"cannot write {path}: {error.strerror}") from error

"""Files of a hub repository, kept in the huggingface-hub cache."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection
from pathlib import Path

from talkhead.errors import WeightsError
from talkhead.weights.listing import WeightsFile, measure_file
from talkhead.weights.names import HubAddress, is_commit
from talkhead.weights.systems import PUBLISHED_FILES, paths_in, pipeline_files

FilesOf = Callable[[Collection[str]], tuple[str, ...]]
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"

_MAX_TENSOR_BYTES = 4_000_000_000
_MAX_TEXT_BYTES = 1_000_000
"""Size limits for files whose size is not listed."""


class MissingFileError(WeightsError):
    """A file is not in the cache, or not in the repository."""


def fetch_pipeline(address: HubAddress, *, offline: bool) -> Path:
    """Find a pipeline in the cache, or download its files, and nothing else: see `_fetch`.

    Returns:
        The pipeline's folder, which is named after the commit.
    """
    return _fetch(address, "a pipeline", pipeline_files, offline=offline)


def fetch_network(address: HubAddress, *, offline: bool) -> Path:
    """Find a published network in the cache, or download its two files: see `_fetch`.

    Returns:
        The network's folder, which is named after the commit.
    """
    return _fetch(address, "a network", lambda _: PUBLISHED_FILES, offline=offline)


def _fetch(address: HubAddress, what: str, files: FilesOf, *, offline: bool) -> Path:
    """Find the files of a repository in the cache, or download them.

    A branch or a tag means the commit that the hub now names, or, offline, the one that it named
    last. A commit in the cache is used without asking the hub.

    Args:
        address: the repository.
        what: what it must hold, for the message.
        files: returns the files to fetch, given those that are present.
        offline: use the cache only.

    Returns:
        The folder, which is named after the commit.

    Raises:
        WeightsError: the hub fails or refuses, the repository lacks a file, a file is not in the
            cache although `offline` is set, or a file is corrupt.
    """
    folder = _cached(address, files) if offline or address.is_pinned else None
    if folder is None and offline:
        raise WeightsError(
            f"{address} is neither a folder nor in the hub's cache: run"
            f" `talkhead weights path {address}` once while online"
        )
    if folder is None:
        folder = _download_files(address, what, files)
    for path in files(paths_in(folder)):
        check_by_name(folder / path)
    return folder


def _download_files(address: HubAddress, what: str, files: FilesOf) -> Path:
    commit, present = _look_up(address)
    paths = files(present)
    if absent := [path for path in paths if path not in present]:
        raise WeightsError(f"{address} does not hold {what}: it lacks {', '.join(absent[:3])}")
    pinned = HubAddress(address.repo, commit)
    folder = Path()
    for path in paths:
        limit = _MAX_TENSOR_BYTES if path.endswith(".safetensors") else _MAX_TEXT_BYTES
        folder = fetch_file(pinned, path, max_bytes=limit, offline=False).parents[path.count("/")]
    if not address.is_pinned:
        # The cache only remembers a branch's commit for a file that was requested by branch.
        _download(address, paths[0])
    return folder


def _look_up(address: HubAddress) -> tuple[str, frozenset[str]]:
    """Ask the hub for an address's commit and its files."""
    from huggingface_hub import HfApi

    what = f"{address} is not a folder, and cannot be found on the hub"
    try:
        info = HfApi().model_info(address.repo, revision=address.revision)
    except (OSError, ValueError, http_error()) as error:
        raise hub_error(what, error) from error
    if info.sha is None or not is_commit(info.sha):
        raise WeightsError(f"{what}: the repository is empty")
    return info.sha, frozenset(file.rfilename for file in info.siblings or ())


def _cached(address: HubAddress, files: FilesOf) -> Path | None:
    """Return the folder of files in the cache, or None if they are not there as a whole."""
    from huggingface_hub import try_to_load_from_cache

    for path in files(()):
        found = try_to_load_from_cache(address.repo, path, revision=address.revision)
        if isinstance(found, str):
            folder = Path(found).parents[path.count("/")]
            present = paths_in(folder)
            return folder if present.issuperset(files(present)) else None
    return None


def fetch_files(address: HubAddress, files: tuple[WeightsFile, ...], *, offline: bool) -> Path:
    """Download listed files and return their folder; the caller verifies the digests.

    Raises:
        MissingFileError, WeightsError: as for `fetch_file`.
    """
    folder = Path()
    for file in files:
        found = fetch_file(address, file.path, max_bytes=file.num_bytes, offline=offline)
        folder = found.parents[file.path.count("/")]
    return folder


def fetch_file(address: HubAddress, path: str, *, max_bytes: int, offline: bool) -> Path:
    """Find a file of a repository in the cache, or download it there.

    A cached file is used without asking the hub, because a commit never changes.

    Args:
        address: the repository and the commit.
        path: the file's path in the repository.
        max_bytes: a larger file is refused before the download.
        offline: use the cache only.

    Raises:
        MissingFileError: the file is not cached and `offline` is set, or not in the repository.
        WeightsError: the hub fails or refuses, or the file cannot be written.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    repo, commit = address
    found = try_to_load_from_cache(repo, path, revision=commit)
    if isinstance(found, str):
        return Path(found)
    if offline:
        raise MissingFileError(f"{path} of {address} is not on this machine")
    try:
        size = get_hf_file_metadata(hf_hub_url(repo, path, revision=commit), token=None).size
    except (OSError, ValueError, http_error()) as error:
        raise hub_error(f"cannot fetch {path} of {address}", error) from error
    if size is not None and size > max_bytes:
        raise WeightsError(
            f"{path} of {address} has {size} bytes, more than the allowed {max_bytes}"
        )
    return _download(address, path)


def _download(address: HubAddress, path: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(address.repo, path, revision=address.revision))
    except (OSError, ValueError, http_error()) as error:
        raise hub_error(f"cannot fetch {path} of {address}", error) from error


def check_by_name(path: Path) -> None:
    """Verify a cached file against the digest in its file name.

    The cache names large files after their sha256 and small ones after git's SHA-1. On systems
    without symbolic links, files keep their own names, and nothing is compared.

    Raises:
        WeightsError: the digests differ.
    """
    name = path.resolve().name
    if re.fullmatch("[0-9a-f]{64}", name):
        found = measure_file(path.parent, path.name).sha256
    elif re.fullmatch("[0-9a-f]{40}", name):
        content = path.read_bytes()
        blob = b"blob %d\0" % len(content) + content
        found = hashlib.sha1(blob, usedforsecurity=False).hexdigest()
    else:
        return
    if found != name:
        raise WeightsError(f"{path} is corrupt: remove {path.resolve()} to download it again")


def hub_error(what: str, error: Exception) -> WeightsError:
    """Describe a failure of the hub or the network in one line, with the next step."""
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        return hub_error(what, error.__cause__)
    code = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return WeightsError(f"{what}: accept the conditions on its page, and {LOG_IN}")
    if isinstance(error, errors.RevisionNotFoundError):
        return WeightsError(f"{what}: the hub has no such revision")
    if isinstance(error, errors.EntryNotFoundError):
        return MissingFileError(f"{what}: the repository has no such file")
    if isinstance(error, errors.RepositoryNotFoundError):
        return WeightsError(f"{what}: the hub has no such repository, or it is private: {LOG_IN}")
    if code in (401, 403):
        return WeightsError(f"{what}: the hub returned {code}; {LOG_IN}")
    if code is not None:
        return WeightsError(f"{what}: the hub returned {code}; try again later")
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    first = " ".join(str(words).split())[:200].rstrip(". ")
    return WeightsError(f"{what}: {first}; try again to resume")


def http_error() -> type[Exception]:
    """Return what the hub's HTTP library raises when a connection breaks."""
    from huggingface_hub import errors

    return getattr(errors, "HTTPError", OSError)  # requests raises OSErrors

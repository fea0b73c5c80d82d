"""Files of a hub repository at a fixed commit, kept in the huggingface-hub cache."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from talkhead.errors import WeightsError
from talkhead.weights.fetch import MissingFileError
from talkhead.weights.listing import WeightsFile, measure_file
from talkhead.weights.systems import CARD_NAME, TALKHEAD, pipeline_files

PIPELINE_FILES = pipeline_files(TALKHEAD)
from talkhead.weights.names import HubAddress

MAX_BYTES = {"config.json": 1_000_000, CARD_NAME: 1_000_000, "model.safetensors": 4_000_000_000}
"""Size limit for a file whose size is not listed."""

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


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
    from huggingface_hub import (
        errors,
        get_hf_file_metadata,
        hf_hub_download,
        hf_hub_url,
        try_to_load_from_cache,
    )

    repo, revision = address
    # What its HTTP library raises when a connection breaks; requests raises OSErrors.
    broken: type[Exception] = getattr(errors, "HTTPError", OSError)
    try:
        found = try_to_load_from_cache(repo, path, revision=revision)
        if isinstance(found, str):
            return Path(found)
        if offline:
            raise MissingFileError(f"{path} of {address} is not on this machine")
        size = get_hf_file_metadata(hf_hub_url(repo, path, revision=revision), token=None).size
        if size is not None and size > max_bytes:
            raise WeightsError(
                f"{path} of {address} has {size} bytes, more than the allowed {max_bytes}"
            )
        return Path(hf_hub_download(repo, path, revision=revision))
    except (OSError, ValueError, broken) as error:
        raise hub_error(f"cannot fetch {path} of {address}", error) from error


def fetch_pipeline(address: HubAddress, *, offline: bool) -> Path:
    """Download the three models of a pipeline and any cards, and nothing else.

    Raises:
        WeightsError: as for `fetch_file`, or a file is corrupt.
    """
    folder, cards = Path(), []
    for path in PIPELINE_FILES:
        name = path.rsplit("/", 1)[-1]
        if name == CARD_NAME:
            cards.append(path)
            continue
        try:
            found = fetch_file(address, path, max_bytes=MAX_BYTES[name], offline=offline)
        except MissingFileError as error:
            cure = (
                f"run `talkhead weights path {address}` once while online"
                if offline
                else "it does not hold a pipeline"
            )
            raise WeightsError(f"{error}: {cure}") from error
        folder = found.parents[1]
        check_by_name(found)
    for path in cards:
        try:
            fetch_file(address, path, max_bytes=MAX_BYTES[CARD_NAME], offline=offline)
        except MissingFileError:
            continue
    return folder


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
    if code in (401, 403):
        return WeightsError(f"{what}: the hub returned {code}; {LOG_IN}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return WeightsError(f"{what}: the hub has no such repository, or it is private: {LOG_IN}")
    if code is not None:
        return WeightsError(f"{what}: the hub returned {code}; try again later")
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    first = " ".join(str(words).split())[:200].rstrip(". ")
    return WeightsError(f"{what}: {first}; try again to resume")

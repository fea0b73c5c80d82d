"""Bring files that are not shipped to this machine: resumable, checked, never half there."""

from __future__ import annotations

import contextlib
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import cast

from talkhead.errors import WeightsError
from talkhead.weights.listing import WeightsEntry, WeightsFile, measure_file

_BLOCK_BYTES = 1 << 20
_TIMEOUT_S = 60


def cache_folder() -> Path:
    """Where fetched files are kept: TALKHEAD_CACHE, or the user's cache folder."""
    own = os.environ.get("TALKHEAD_CACHE")
    if own:
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(shared) if shared else Path.home() / ".cache") / "talkhead"


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids the network, read as huggingface-hub reads it."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def download(url: str, target: Path, file: WeightsFile) -> None:
    """Fetch a file, going on where an earlier attempt stopped.

    The target appears only when it is whole and matches its digest; until then the bytes are in
    `<target>.part`. Two processes that want the same file wait for each other.

    Raises:
        WeightsError: the network or the server fails (the part is kept), or what came is not the
            listed file (the part is removed).
    """
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with FileLock(target.with_name(f"{target.name}.lock")):
        if target.is_file():
            return
        try:
            _append(url, part, file.num_bytes)
        except (OSError, urllib.error.URLError) as error:
            raise WeightsError(
                f"cannot fetch {url}: {error}; try again, it goes on where it stopped"
            ) from error
        found = measure_file(part.parent, part.name)
        if found.num_bytes < file.num_bytes:
            raise WeightsError(
                f"{url} stopped after {found.num_bytes} of {file.num_bytes} bytes:"
                " try again, it goes on from there"
            )
        if (found.num_bytes, found.sha256) != (file.num_bytes, file.sha256):
            part.unlink()
            raise WeightsError(
                f"{url} sent {found.num_bytes} bytes with sha256 {found.sha256[:12]}...,"
                f" not the listed {file.num_bytes} with {file.sha256[:12]}...: try again later"
            )
        part.replace(target)


def _append(url: str, part: Path, num_bytes: int) -> None:
    """Read a URL into a part file; a part that has everything asks for nothing."""
    start = part.stat().st_size if part.is_file() else 0
    if start == num_bytes:
        return
    if start > num_bytes:
        start = 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    with contextlib.ExitStack() as stack:
        answer = stack.enter_context(urllib.request.urlopen(request, timeout=_TIMEOUT_S))
        # 206: the server sends the rest; anything else is the whole file again.
        mode = "ab" if getattr(answer, "status", None) == 206 else "wb"
        out = stack.enter_context(part.open(mode))
        while out.tell() <= num_bytes and (block := answer.read(_BLOCK_BYTES)):
            out.write(block)


def fetch_from_hub(entry: WeightsEntry, *, offline: bool) -> Path:
    """Fetch the files of an entry into the cache of huggingface-hub; the folder they are in.

    Raises:
        WeightsError: a file is not in the cache and `offline` is set, or the hub fails.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    folder = None
    for file in entry.files:
        try:
            found = Path(
                hf_hub_download(
                    cast("str", entry.repo),
                    file.path,
                    revision=entry.revision,
                    local_files_only=offline,
                )
            )
        except LocalEntryNotFoundError as error:
            raise WeightsError(
                f"{entry.name} is not on this machine: run `talkhead weights download {entry.name}`"
                " once with the network"
            ) from error
        except (HfHubHTTPError, OSError) as error:
            raise WeightsError(f"cannot fetch {entry.name}: {error}") from error
        folder = found.parents[len(Path(file.path).parts) - 1]
    return cast("Path", folder)

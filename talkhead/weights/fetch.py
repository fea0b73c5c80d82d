"""Download files over https: resumable, bounded in size, and complete or not at all.

`huggingface_hub` and `pooch` also download files, but do not bound their size, follow redirects
from https to http, and lose some (or all) of the bytes that came before a connection broke.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from talkhead.errors import WeightsError
from talkhead.weights.listing import WeightsFile, measure_file

_BLOCK_BYTES = 1 << 18
_TIMEOUT_S = 30.0
_ATTEMPTS = 4
"""Consecutive connections that may break without delivering a single byte."""

_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)


def cache_folder() -> Path:
    """Return the folder for downloads: TALKHEAD_CACHE, or talkhead's folder in the user's cache."""
    own = os.environ.get("TALKHEAD_CACHE")
    if own:
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(shared) if shared else Path.home() / ".cache") / "talkhead"


def is_offline() -> bool:
    """Return whether HF_HUB_OFFLINE forbids the network, parsed as huggingface-hub parses it."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def download(url: str, target: Path, file: WeightsFile) -> None:
    """Download a file, resuming an earlier attempt.

    The target appears only once it is complete and matches its digest; until then the bytes are in
    `<target>.part`. Processes that download the same file wait for each other. Whatever the server
    sends, no more than the listed number of bytes is read. If stderr is a terminal, a bar shows the
    progress, unless huggingface-hub's bars are disabled.

    Args:
        url: the source.
        target: the destination; missing parent folders are created.
        file: the expected size and digest.

    Raises:
        WeightsError: the network or the server fails (the part is kept), the content is not the
            listed file (the part is removed), or the file cannot be written.
    """
    part = target.with_name(f"{target.name}.part")
    with _locked(target):
        if target.is_file():
            return
        _check_space(target.parent, file.num_bytes - _size_of(part))
        _append(url, part, file.num_bytes)
        found = measure_file(part.parent, part.name)
        if (found.num_bytes, found.sha256) != (file.num_bytes, file.sha256):
            part.unlink()
            raise WeightsError(
                f"{url} sent {found.num_bytes} bytes with sha256 {found.sha256[:12]}...,"
                f" not the listed {file.num_bytes} with {file.sha256[:12]}...: try again later"
            )
        try:
            part.replace(target)
        except OSError as error:
            raise WeightsError(f"cannot write {target}: {error.strerror}") from error


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    from filelock import FileLock

    lock = FileLock(target.with_name(f"{target.name}.lock"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise WeightsError(
            f"cannot write to {target.parent} ({error.strerror}): choose another folder with"
            " TALKHEAD_CACHE"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _check_space(folder: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise WeightsError(
            f"{folder} has {free / 1e6:.0f} MB free but needs {num_bytes / 1e6:.0f} MB: free some"
            " space, or choose another folder with TALKHEAD_CACHE"
        )


def _append(url: str, part: Path, num_bytes: int) -> None:
    """Complete a part file over as many connections as needed, or none if it is complete."""
    attempts = _ATTEMPTS
    while (start := _size_of(part)) < num_bytes:
        try:
            with _opened(url, start) as response:
                _copy(url, response, part, start, num_bytes)
        except (OSError, ValueError, http.client.HTTPException) as error:
            received = _size_of(part)
            attempts = _ATTEMPTS if received > start else attempts - 1
            if attempts == 0:
                resume = " to resume" if received else ""
                raise WeightsError(
                    f"cannot fetch {url}: {_in_words(error)}; try again{resume}"
                ) from error


def _opened(url: str, start: int) -> Any:
    """Request a URL from a byte offset on; the caller must close the response.

    Raises:
        OSError, http.client.HTTPException: the connection broke; a new one may succeed.
        WeightsError: the server refuses.
    """
    headers = {"Accept-Encoding": "identity", "User-Agent": "talkhead"}
    if start:
        headers["Range"] = f"bytes={start}-"
    opener = urllib.request.build_opener(_Redirects(urlsplit(url).scheme))
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=_timeout_s())
    except urllib.error.HTTPError as error:
        error.close()
        words = f"the server returned {error.code} {error.reason}"
        if error.code in _TEMPORARY:
            raise ConnectionError(words) from error
        raise WeightsError(f"cannot fetch {url}: {words}") from error


def _copy(url: str, response: Any, part: Path, start: int, num_bytes: int) -> None:
    """Append the response to the part file, or start over if the server sends the whole file."""
    from huggingface_hub.utils.tqdm import tqdm

    received = start if response.status == 206 else 0
    if response.length is not None and received + response.length != num_bytes:
        part.unlink(missing_ok=True)
        raise WeightsError(
            f"{url} has {received + response.length} bytes, not the listed {num_bytes}: try again"
            " later"
        )
    with contextlib.ExitStack() as stack:
        try:
            out = stack.enter_context(part.open("ab" if received else "wb"))
        except OSError as error:
            raise WeightsError(f"cannot write {part}: {error.strerror}") from error
        bar = stack.enter_context(
            tqdm(  # type: ignore[no-untyped-call]
                desc=part.stem,
                initial=received,
                total=num_bytes,
                unit="B",
                unit_scale=True,
                disable=None,  # unless stderr is a terminal
                leave=False,
            )
        )
        # read1 returns what has arrived, so that a slow server does not look like a hanging one.
        while block := response.read1(min(num_bytes - received, _BLOCK_BYTES)):
            try:
                out.write(block)
                out.flush()
            except OSError as error:
                raise WeightsError(
                    f"cannot write {part}: {error.strerror}; free some space and try again"
                ) from error
            received += len(block)
            bar.update(len(block))
    if received < num_bytes:
        raise ConnectionError(f"the connection broke after {received} of {num_bytes} bytes")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to another scheme."""

    def __init__(self, scheme: str) -> None:
        self._allowed = {scheme, "https"}

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in self._allowed:
            raise WeightsError(f"cannot fetch {req.full_url}: it redirects to {newurl[:200]!r}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _size_of(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _in_words(error: BaseException) -> str:
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return _in_words(error.reason)
    if isinstance(error, TimeoutError):
        return f"no data for {_timeout_s():g} s"
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(words).split())


def _timeout_s() -> float:
    """Return the read timeout in seconds: HF_HUB_DOWNLOAD_TIMEOUT, as for the hub, or 30 s."""
    try:
        asked = float(os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT", ""))
    except ValueError:
        return _TIMEOUT_S
    return asked if 0 < asked < 86_400 else _TIMEOUT_S

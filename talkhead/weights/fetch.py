"""Download files over https: resumable, bounded in size, and complete or not at all."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from talkhead.errors import WeightsError
from talkhead.weights.listing import WeightsFile, measure_file

Watch = Callable[[str, int, "int | None"], None]
"""Called with a file's name, the bytes received so far, and the total if it is known."""

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


def download(url: str, target: Path, file: WeightsFile, *, watch: Watch | None = None) -> None:
    """Download a file, resuming an earlier attempt.

    The target appears only once it is complete and matches its digest; until then the bytes are in
    `<target>.part`. Processes that download the same file wait for each other. Whatever the server
    sends, no more than the listed number of bytes is read.

    Args:
        url: the source.
        target: the destination; missing parent folders are created.
        file: the expected size and digest.
        watch: progress callback, called for every block.

    Raises:
        WeightsError: the network or the server fails (the part is kept), the content is not the
            listed file (the part is removed), or the file cannot be written.
    """
    part = target.with_name(f"{target.name}.part")
    with _locked(target):
        if target.is_file():
            return
        start = part.stat().st_size if part.is_file() else 0
        if start < file.num_bytes:
            _check_space(target.parent, file.num_bytes - start)
        _append(url, part, file.num_bytes, is_exact=True, watch=watch)
        found = measure_file(part.parent, part.name)
        if (found.num_bytes, found.sha256) != (file.num_bytes, file.sha256):
            part.unlink()
            raise WeightsError(
                f"{url} sent {found.num_bytes} bytes with sha256 {found.sha256[:12]}...,"
                f" not the listed {file.num_bytes} with {file.sha256[:12]}...: try again later"
            )
        _put(part, target)


def download_unlisted(
    url: str, target: Path, *, max_bytes: int, watch: Watch | None = None
) -> WeightsFile:
    """Download a file of unknown size and digest, always from the start.

    Returns:
        Its size and digest as received; the path is the target's name.

    Raises:
        WeightsError: as for `download`, or it exceeds `max_bytes`; nothing is left behind.
    """
    part = target.with_name(f"{target.name}.part")
    with _locked(target):
        # The leftovers of an earlier attempt may belong to another file.
        part.unlink(missing_ok=True)
        try:
            _append(url, part, max_bytes, is_exact=False, watch=watch)
            found = measure_file(part.parent, part.name)
            _put(part, target)
        finally:
            part.unlink(missing_ok=True)
    return WeightsFile(target.name, found.num_bytes, found.sha256)


class MissingFileError(WeightsError):
    """The server or repository does not have a file."""


class _Broken(Exception):  # noqa: N818
    """A connection broke; a new one may resume the download."""


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


def _put(part: Path, target: Path) -> None:
    try:
        part.replace(target)
    except OSError as error:
        raise WeightsError(f"cannot write {target}: {error.strerror}") from error


def _append(url: str, part: Path, num_bytes: int, *, is_exact: bool, watch: Watch | None) -> None:
    """Read a URL into a part file, over as many connections as needed.

    Sends no request if the part is already complete.
    """
    attempts, tag = _ATTEMPTS, None
    before = part.stat().st_size if part.is_file() else 0
    while not (is_exact and before == num_bytes):
        if before > num_bytes or (before and not is_exact and tag is None):
            before = 0
        try:
            with _opened(url, before, tag) as answer:
                tag = _strong_tag(answer)
                _copy(url, answer, part, before, num_bytes, is_exact=is_exact, watch=watch)
            return
        except _Broken as error:
            after = part.stat().st_size if part.is_file() else 0
            attempts = _ATTEMPTS if after > before else attempts - 1
            before = after
            if attempts == 0:
                raise WeightsError(
                    f"cannot fetch {url}: {error}; try again"
                    + (" to resume" if is_exact and after else "")
                ) from error


def _opened(url: str, start: int, tag: str | None) -> Any:
    """Request a URL from a byte offset on; the caller must close the response."""
    headers = {"Accept-Encoding": "identity", "User-Agent": "talkhead"}
    if start:
        headers["Range"] = f"bytes={start}-"
    if start and tag:
        headers["If-Range"] = tag
    opener = urllib.request.build_opener(_Redirects(urlsplit(url).scheme))
    request = urllib.request.Request(url, headers=headers)
    try:
        return opener.open(request, timeout=_timeout_s())
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 or error.code in _TEMPORARY:
            raise _Broken(f"the server returned {error.code} {error.reason}") from error
        raise _refusal(url, error) from error
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_in_words(error)) from error
    except ValueError as error:
        raise WeightsError(f"cannot fetch {url}: {error}") from error


def _copy(
    url: str,
    answer: Any,
    part: Path,
    start: int,
    num_bytes: int,
    *,
    is_exact: bool,
    watch: Watch | None,
) -> None:
    """Append the response to the part file, or start over if the server sends the whole file."""
    here = start if answer.status == 206 else 0
    sent = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if answer.status == 206 and (sent is None or int(sent[1]) != start):
        part.unlink(missing_ok=True)
        raise _Broken("the server sent a different range than requested")
    length = answer.headers.get("Content-Length", "")
    total = here + int(length) if re.fullmatch("[0-9]{1,18}", length) else None
    if total is not None and (total > num_bytes or (is_exact and total < num_bytes)):
        part.unlink(missing_ok=True)
        raise WeightsError(
            f"{url} has {total} bytes, not the listed {num_bytes}: try again later"
            if is_exact
            else f"{url} has {total} bytes, more than the allowed {num_bytes}"
        )
    with contextlib.ExitStack() as stack:
        try:
            out: IO[bytes] = stack.enter_context(part.open("ab" if here else "wb"))
        except OSError as error:
            raise WeightsError(f"cannot write {part}: {error.strerror}") from error
        while here < num_bytes and (block := _next_block(answer, num_bytes - here)):
            try:
                out.write(block)
                out.flush()
            except OSError as error:
                raise WeightsError(
                    f"cannot write {part}: {error.strerror}; free some space and try again"
                ) from error
            here += len(block)
            if watch is not None:
                watch(part.stem, here, num_bytes if is_exact else total)
    if here < (num_bytes if is_exact else total or 0):
        raise _Broken(
            f"the connection broke after {here} of {num_bytes if is_exact else total} bytes"
        )
    if not is_exact and total is None and _next_block(answer, 1):
        raise WeightsError(f"{url} has more than the allowed {num_bytes} bytes")


def _next_block(answer: Any, num_bytes: int) -> bytes:
    """Read whatever has arrived, so that a slow server does not look like a hanging one."""
    try:
        return bytes(answer.read1(min(num_bytes, _BLOCK_BYTES)))
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _Broken(_in_words(error)) from error


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


def _refusal(url: str, error: urllib.error.HTTPError) -> WeightsError:
    if error.code in (401, 403):
        return WeightsError(
            f"cannot fetch {url}: the server returned {error.code} because it requires a login,"
            " which talkhead does not support: download it by hand, and add the folder"
        )
    if error.code in (404, 410):
        return MissingFileError(
            f"cannot fetch {url}: the server returned {error.code}, the file does not exist"
        )
    return WeightsError(f"cannot fetch {url}: the server returned {error.code} {error.reason}")


def _strong_tag(answer: Any) -> str | None:
    tag = answer.headers.get("ETag", "")
    return tag if re.fullmatch(r'"[!#-~]*"', tag) else None


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

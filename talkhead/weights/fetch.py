"""Bring files that are not shipped to this machine, over https: resumed, bounded, as a whole."""

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
"""Called with a file's name, its bytes that are here, and all of them where that is known."""

_BLOCK_BYTES = 1 << 18
_TIMEOUT_S = 30.0
_ATTEMPTS = 4
"""Times in a row that a connection may break without having brought a byte."""

_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)


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


def download(url: str, target: Path, file: WeightsFile, *, watch: Watch | None = None) -> None:
    """Fetch a file, going on where an earlier attempt stopped.

    The target appears only when it is whole and matches its digest; until then the bytes are in
    `<target>.part`. Two processes that want the same file wait for each other. No more than the
    listed bytes are read, whatever the server sends.

    Args:
        url: where it is.
        target: where it is wanted; parents are made.
        file: its size and digest.
        watch: told of every block that arrives.

    Raises:
        WeightsError: the network or the server fails (the part is kept), what came is not the
            listed file (the part is removed), or it cannot be written.
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
    """Fetch a file of which nothing is known yet, from its beginning.

    Returns:
        Its size and digest as it arrived; the path is the target's name.

    Raises:
        WeightsError: as for `download`, or there are more than `max_bytes`; nothing is left.
    """
    part = target.with_name(f"{target.name}.part")
    with _locked(target):
        # What an earlier attempt left may be of another file.
        part.unlink(missing_ok=True)
        try:
            _append(url, part, max_bytes, is_exact=False, watch=watch)
            found = measure_file(part.parent, part.name)
            _put(part, target)
        finally:
            part.unlink(missing_ok=True)
    return WeightsFile(target.name, found.num_bytes, found.sha256)


class MissingFileError(WeightsError):
    """The server does not have a file."""


class _Broken(Exception):  # noqa: N818
    """A connection broke; another one may go on."""


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
            f"{folder} has {free / 1e6:.0f} MB left, {num_bytes / 1e6:.0f} MB are needed: make"
            " room, or choose another folder with TALKHEAD_CACHE"
        )


def _put(part: Path, target: Path) -> None:
    try:
        part.replace(target)
    except OSError as error:
        raise WeightsError(f"cannot write {target}: {error.strerror}") from error


def _append(url: str, part: Path, num_bytes: int, *, is_exact: bool, watch: Watch | None) -> None:
    """Read a URL into a part file, over as many connections as it takes.

    A part that has everything asks for nothing.
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
                    + (", it goes on where it stopped" if is_exact and after else "")
                ) from error


def _opened(url: str, start: int, tag: str | None) -> Any:
    """Ask for a URL from a byte on; what is returned has to be closed."""
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
            raise _Broken(f"the server answers {error.code} {error.reason}") from error
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
    """Write what a server sends behind what is there, or from the beginning if it sends that."""
    here = start if answer.status == 206 else 0
    sent = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if answer.status == 206 and (sent is None or int(sent[1]) != start):
        part.unlink(missing_ok=True)
        raise _Broken("the server sends another part than was asked for")
    length = answer.headers.get("Content-Length", "")
    total = here + int(length) if re.fullmatch("[0-9]{1,18}", length) else None
    if total is not None and (total > num_bytes or (is_exact and total < num_bytes)):
        part.unlink(missing_ok=True)
        raise WeightsError(
            f"{url} has {total} bytes, not the listed {num_bytes}: try again later"
            if is_exact
            else f"{url} has {total} bytes, more than the {num_bytes} that are allowed"
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
                    f"cannot write {part}: {error.strerror}; make room and try again"
                ) from error
            here += len(block)
            if watch is not None:
                watch(part.stem, here, num_bytes if is_exact else total)
    if here < (num_bytes if is_exact else total or 0):
        raise _Broken(f"it stopped after {here} of {num_bytes if is_exact else total} bytes")
    if not is_exact and total is None and _next_block(answer, 1):
        raise WeightsError(f"{url} has more than the {num_bytes} bytes that are allowed")


def _next_block(answer: Any, num_bytes: int) -> bytes:
    """Read what has arrived, so that a slow server is not taken for one that hangs."""
    try:
        return bytes(answer.read1(min(num_bytes, _BLOCK_BYTES)))
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _Broken(_in_words(error)) from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow a server elsewhere, but never from https to something else."""

    def __init__(self, scheme: str) -> None:
        self._allowed = {scheme, "https"}

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in self._allowed:
            raise WeightsError(f"cannot fetch {req.full_url}: it leads to {newurl[:200]!r}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _refusal(url: str, error: urllib.error.HTTPError) -> WeightsError:
    if error.code in (401, 403):
        return WeightsError(
            f"cannot fetch {url}: the server answers {error.code}, it wants a login, and talkhead"
            " has none for it: fetch it by hand, and add the folder"
        )
    if error.code in (404, 410):
        return MissingFileError(
            f"cannot fetch {url}: the server answers {error.code}, it is not there (any more)"
        )
    return WeightsError(f"cannot fetch {url}: the server answers {error.code} {error.reason}")


def _strong_tag(answer: Any) -> str | None:
    tag = answer.headers.get("ETag", "")
    return tag if re.fullmatch(r'"[!#-~]*"', tag) else None


def _in_words(error: BaseException) -> str:
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return _in_words(error.reason)
    if isinstance(error, TimeoutError):
        return f"nothing arrived for {_timeout_s():g} s"
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(words).split())


def _timeout_s() -> float:
    """How long a server may be silent: HF_HUB_DOWNLOAD_TIMEOUT, as for the hub, or 30 s."""
    try:
        asked = float(os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT", ""))
    except ValueError:
        return _TIMEOUT_S
    return asked if 0 < asked < 86_400 else _TIMEOUT_S

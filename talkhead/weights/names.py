"""Checks for untrusted names: of weights, files, hub repositories and URLs."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

MAX_NAME_BYTES = 100
MAX_PATH_PARTS = 8

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""Names that Windows reserves for devices, with any extension."""

_REPO_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_REPO = re.compile(f"{_REPO_PART}/{_REPO_PART}")
REVISION = re.compile("[0-9a-f]{40}")


class HubAddress(NamedTuple):
    """A hub repository at a commit."""

    repo: str
    revision: str

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}"


def name_fault(name: str) -> str | None:
    """Return why a name for weights is invalid; None if it is valid."""
    if not _NAME.fullmatch(name):
        return "a name consists of letters, digits, - and _"
    if len(name) > MAX_NAME_BYTES or _RESERVED.fullmatch(name):
        return f"a name has at most {MAX_NAME_BYTES} letters and is not a Windows device"
    return None


def path_fault(path: object) -> str | None:
    """Return why a text is not a portable path below a folder; None if it is one."""
    parts = path.split("/") if isinstance(path, str) else []
    if not parts or len(parts) > MAX_PATH_PARTS:
        return f"path {path!r} is not a relative path"
    if ".." in parts or parts[0] == "":
        return f"path {path!r} leads out of the folder"
    for part in parts:
        if not _PART.fullmatch(part) or part.endswith(".") or len(part) > MAX_NAME_BYTES:
            return f"path {path!r} may only have letters, digits, '.', '-', '_' and '/'"
        if _RESERVED.fullmatch(part):
            return f"path {path!r} names a Windows device"
    return None


def repo_fault(repo: object) -> str | None:
    """Return why a text does not name a hub repository; None if it does."""
    if not isinstance(repo, str) or not _REPO.fullmatch(repo) or "--" in repo or ".." in repo:
        return f"repo {repo!r} is not of the form owner/name"
    return None


def url_fault(url: object) -> str | None:
    """Return why weights cannot be downloaded from a URL; None if it is valid."""
    if not isinstance(url, str) or not url.startswith("https://"):
        return "url must start with https://"
    if not re.fullmatch(r"[!-~]+", url):
        return "url must consist of ASCII characters without spaces"
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        return f"url is invalid: {error}"
    if not has_host or not parts.path:
        return "url lacks a host or a path"
    if "@" in parts.netloc or parts.fragment:
        return "url must not contain a user, a password or a fragment"
    if parts.path.endswith("/") and parts.query:
        return "url of a folder must not contain a query"
    return None


def file_name_of(url: str) -> str:
    """Return the last part of a URL's path if it is a safe file name, or an empty text."""
    name = unquote(urlsplit(url).path).rsplit("/", 1)[-1]
    return name if path_fault(name) is None else ""


def parse_hub_address(text: str) -> HubAddress | None:
    """Parse ``owner/name@revision``; None if the text is not of that form."""
    repo, at, revision = text.rpartition("@")
    if not at or repo_fault(repo) or not REVISION.fullmatch(revision):
        return None
    return HubAddress(repo, revision)

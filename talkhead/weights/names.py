"""Names that a stranger may have chosen: of weights, files, hub repositories and URLs."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

MAX_NAME_BYTES = 100
MAX_PATH_PARTS = 8

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""What Windows takes for a device, with any extension."""

_REPO_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_REPO = re.compile(f"{_REPO_PART}/{_REPO_PART}")
REVISION = re.compile("[0-9a-f]{40}")


class HubAddress(NamedTuple):
    """A repository of the hub at a commit."""

    repo: str
    revision: str

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}"


def name_fault(name: str) -> str | None:
    """Say why weights cannot have a name; None where they can."""
    if not _NAME.fullmatch(name):
        return "a name is letters, digits, - and _"
    if len(name) > MAX_NAME_BYTES or _RESERVED.fullmatch(name):
        return f"a name has at most {MAX_NAME_BYTES} letters and is no device of Windows"
    return None


def path_fault(path: object) -> str | None:
    """Say why a text is no path of a file below a folder, on any system; None where it is one."""
    parts = path.split("/") if isinstance(path, str) else []
    if not parts or len(parts) > MAX_PATH_PARTS:
        return f"path {path!r} is no relative path"
    if ".." in parts or parts[0] == "":
        return f"path {path!r} leads out of the folder"
    for part in parts:
        if not _PART.fullmatch(part) or part.endswith(".") or len(part) > MAX_NAME_BYTES:
            return f"path {path!r} is not of letters, digits, '.', '-', '_' and '/'"
        if _RESERVED.fullmatch(part):
            return f"path {path!r} is a device of Windows"
    return None


def repo_fault(repo: object) -> str | None:
    """Say why a text names no repository of the hub; None where it does."""
    if not isinstance(repo, str) or not _REPO.fullmatch(repo) or "--" in repo or ".." in repo:
        return f"repo {repo!r} is not of the form owner/name"
    return None


def url_fault(url: object) -> str | None:
    """Say why a text is no address to fetch weights from; None where it is one."""
    if not isinstance(url, str) or not url.startswith("https://"):
        return "url has to start with https://"
    if not re.fullmatch(r"[!-~]+", url):
        return "url has to be of ASCII letters without blanks"
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        return f"url is none: {error}"
    if not has_host or not parts.path:
        return "url lacks a host or a path"
    if "@" in parts.netloc or parts.fragment:
        return "url must not hold a user, a password or a fragment"
    if parts.path.endswith("/") and parts.query:
        return "url of a folder must not hold a query"
    return None


def file_name_of(url: str) -> str:
    """Return the last part of a URL's path as it may be written in a folder, or an empty text."""
    name = unquote(urlsplit(url).path).rsplit("/", 1)[-1]
    return name if path_fault(name) is None else ""


def parse_hub_address(text: str) -> HubAddress | None:
    """Read ``owner/name@revision``; None where a text is none."""
    repo, at, revision = text.rpartition("@")
    if not at or repo_fault(repo) or not REVISION.fullmatch(revision):
        return None
    return HubAddress(repo, revision)

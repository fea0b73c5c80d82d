"""Names of weights, and addresses of repositories on the hub."""

from __future__ import annotations

import re
from typing import NamedTuple

_REPO_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_REPO = re.compile(f"{_REPO_PART}/{_REPO_PART}")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,99}")
_COMMIT = re.compile("[0-9a-f]{40}")


class HubAddress(NamedTuple):
    """A hub repository at a branch, a tag or a commit."""

    repo: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}"

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return is_commit(self.revision)


def is_commit(revision: str) -> bool:
    """Return whether a revision is a full commit: 40 hexadecimal digits."""
    return _COMMIT.fullmatch(revision) is not None


def repo_fault(repo: object) -> str | None:
    """Return why a text does not name a hub repository; None if it does."""
    if not isinstance(repo, str) or not _REPO.fullmatch(repo) or "--" in repo or ".." in repo:
        return f"repo {repo!r} is not of the form owner/name"
    return None


def parse_hub_address(text: str) -> HubAddress | None:
    """Parse ``owner/name`` or ``owner/name@revision``; None if the text is not of that form."""
    repo, at, revision = text.partition("@")
    if repo_fault(repo):
        return None
    if not at:
        return HubAddress(repo)
    is_safe = _REVISION.fullmatch(revision) and not re.search(r"\.\.|//|/$", revision)
    return HubAddress(repo, revision) if is_safe else None

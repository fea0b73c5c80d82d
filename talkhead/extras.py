"""Optional packages: the modules of each extra, and whether they are installed."""

from __future__ import annotations

from importlib.util import find_spec

from talkhead.errors import TalkheadError

EXTRAS = {
    "app": ("gradio",),
    "c2pa": ("c2pa", "cryptography"),
    "identity": ("dlib", "face_recognition_models"),
    "ray": ("ray",),
    "train": ("accelerate", "espeakng_loader", "tensorboard"),
}
"""The modules that each extra of pyproject.toml adds to a plain installation."""


def missing_modules(extra: str) -> list[str]:
    """Return the modules of an extra that are not installed."""
    return [name for name in EXTRAS[extra] if find_spec(name) is None]


def install_command(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"`pip install 'talkhead[{extra}]'` (from a checkout: `pip install '.[{extra}]'`)"


def require_extra(extra: str, purpose: str) -> None:
    """Raise an error if an extra is not installed.

    Args:
        extra: a key of `EXTRAS`.
        purpose: what needs it, as the singular subject of a sentence.

    Raises:
        TalkheadError: one of its modules is not installed.
    """
    missing = missing_modules(extra)
    if missing:
        raise TalkheadError(
            f"{purpose} needs {' and '.join(missing)}: install with {install_command(extra)}"
        )

"""Load c2pa-python on demand, or explain why content credentials are not available."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from talkhead.errors import TalkheadError
from talkhead.extras import install_command, require_extra

SETTINGS = {
    # Reading a file must not make requests to a server that the file names.
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}
_CHOICE = "C2PA_LIBRARY_NAME"
_LIBRARIES = {"win32": "c2pa_c.dll", "darwin": "libc2pa_c.dylib"}


def c2pa_library() -> Any:
    """Import c2pa-python.

    Raises:
        TalkheadError: it is not installed, or does not work on this platform.
    """
    require_extra("c2pa", "reading or writing content credentials")
    spec = find_spec("c2pa")
    if spec is None or not spec.submodule_search_locations:
        raise TalkheadError(f"the module c2pa is not c2pa-python: {install_command('c2pa')}")
    package = Path(next(iter(spec.submodule_search_locations)))
    try:
        with _own_library(package):
            return import_module("c2pa")
    except (ImportError, OSError, RuntimeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise TalkheadError(
            f"c2pa-python does not work on {sys.platform} with Python"
            f" {sys.version_info.major}.{sys.version_info.minor} ({reason}); do without content"
            " credentials, or install another release"
        ) from error


@contextmanager
def _own_library(package: Path) -> Iterator[None]:
    """Make c2pa-python load its native library from its own folder only.

    By default it looks in the current folder first, where anyone may have placed a file of that
    name.
    """
    if _CHOICE in os.environ:
        yield
        return
    library = package / "libs" / _LIBRARIES.get(sys.platform, "libc2pa_c.so")
    if not library.is_file():
        raise ImportError(f"{library.name} is missing from its package")
    os.environ[_CHOICE] = str(library)
    try:
        yield
    finally:
        del os.environ[_CHOICE]

"""The folder of uploads and results."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def private_folder() -> Iterator[Path]:
    """Yield a new folder for all uploads and results, which is deleted at the end.

    gradio's own is one folder for all users and programs of the machine, and is kept. gradio looks
    for the name when it is imported.
    """
    with tempfile.TemporaryDirectory(prefix="talkhead-app-") as name:
        folder = Path(name).resolve()
        before = os.environ.get("GRADIO_TEMP_DIR")
        os.environ["GRADIO_TEMP_DIR"] = str(folder)
        try:
            yield folder
        finally:
            if before is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = before

from collections.abc import Callable
from pathlib import Path

import pytest

from talkhead.jobs.render_job import RenderJob

MakeJob = Callable[..., RenderJob]


@pytest.fixture
def make_job(tmp_path: Path) -> MakeJob:
    """Jobs of files that are there; nothing decodes them before they are made."""

    def make(name: str = "a", **changes: object) -> RenderJob:
        face, audio = tmp_path / "face.png", tmp_path / f"{name}.wav"
        for path in (face, audio):
            if not path.exists():
                path.write_bytes(b"something")
        values = {"face": face, "audio": audio, "output": tmp_path / "out" / f"{name}.mp4"}
        return RenderJob(**(values | changes))  # type: ignore[arg-type]

    return make

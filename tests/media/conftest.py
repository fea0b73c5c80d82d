"""Small real media, generated on demand."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from talkhead.media import ffmpeg
from tests.conftest import Refusal

__all__ = ["Convert", "Refusal"]

Convert = Callable[..., Path]


@pytest.fixture
def convert() -> Convert:
    """Convert a media file to another format with ffmpeg."""

    def run(source: Path, target: Path, *args: str) -> Path:
        status, _, messages = ffmpeg.run_ffmpeg(
            ["-y", "-loglevel", "error", "-i", str(source), *args, str(target)]
        )
        assert status == 0, messages
        return target

    return run


@pytest.fixture
def chirp() -> npt.NDArray[np.float32]:
    """Two seconds at 48 kHz that correlate with no shifted copy of themselves."""
    seconds = np.arange(96_000) / 48_000
    wave = 0.3 * np.sin(2 * np.pi * (200 + 150 * seconds) * seconds)
    return np.asarray(wave * (0.6 + 0.4 * np.sin(9 * seconds)), np.float32)


@pytest.fixture(autouse=True)
def leaves_nothing_behind(tmp_path: Path) -> Iterator[None]:
    """Check after every test that no temporary file is left next to its targets."""
    yield
    assert not list(tmp_path.rglob(".talkhead-*"))

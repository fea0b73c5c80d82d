"""Small real media, generated on demand."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from talkhead.media import ffmpeg
from tests.conftest import Refusal

__all__ = ["Convert", "Encode", "Refusal"]

Convert = Callable[..., Path]
Encode = Callable[..., Path]


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
def encode(tmp_path: Path) -> Encode:
    """Encode RGB frames with ffmpeg, through filters that the test chooses."""

    def run(
        frames: npt.NDArray[np.uint8],
        name: str,
        filters: str,
        *options: str,
        fps: Fraction = Fraction(25),
    ) -> Path:
        raw, path = tmp_path / "frames.rgb", tmp_path / name
        raw.write_bytes(frames.tobytes())
        size = f"{frames.shape[2]}x{frames.shape[1]}"
        source = ("-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", size)
        rate = ("-framerate", f"{fps.numerator}/{fps.denominator}")
        args = ["-y", "-loglevel", "error", *source, *rate, "-i", str(raw), "-vf", filters]
        status, _, messages = ffmpeg.run_ffmpeg([*args, *options, str(path)])
        assert status == 0, messages
        return path

    return run


@pytest.fixture
def chirp() -> npt.NDArray[np.float32]:
    """Two seconds at 48 kHz that correlate with no shifted copy of themselves."""
    seconds = np.arange(96_000) / 48_000
    wave = 0.3 * np.sin(2 * np.pi * (200 + 150 * seconds) * seconds)
    return np.asarray(wave * (0.6 + 0.4 * np.sin(9 * seconds)), np.float32)


@pytest.fixture
def wav(tmp_path: Path, chirp: npt.NDArray[np.float32]) -> Path:
    soundfile.write(tmp_path / "voice.wav", chirp, 48_000)
    return tmp_path / "voice.wav"


@pytest.fixture(autouse=True)
def leaves_nothing_behind(tmp_path: Path) -> Iterator[None]:
    """Check after every test that no temporary file is left next to its targets."""
    yield
    assert not list(tmp_path.rglob(".talkhead-*"))

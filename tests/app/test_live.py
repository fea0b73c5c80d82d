import base64
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile
from PIL import Image

from talkhead.app.live import MAX_CHUNKS, MAX_SIDE_PX, LiveHandlers, address_of
from talkhead.app.storage import Storage


class Request(NamedTuple):
    """What the handlers read of gradio's request."""

    session_hash: str


class Studio(NamedTuple):
    """What the handlers need of a studio to take sound."""

    storage: Storage


@pytest.fixture
def handlers(tmp_path: Path) -> LiveHandlers:
    return LiveHandlers(Studio(Storage(tmp_path)), None)  # type: ignore[arg-type]


def chunk(folder: Path, number: int) -> str:
    """Store a piece of sound as gradio does, in a folder of its own."""
    path = folder / str(number) / "audio.wav"
    path.parent.mkdir()
    soundfile.write(path, np.full((160, 2), number / 100), 16_000, subtype="FLOAT")
    return str(path)


def test_sound_that_nobody_takes_is_bounded_and_the_newest_is_kept(
    handlers: LiveHandlers, tmp_path: Path
) -> None:
    ann: Any = Request("ann")
    handlers.hear(chunk(tmp_path, 0), ann)  # no face is live
    with handlers._visit(ann) as visit:
        for number in range(1, MAX_CHUNKS + 6):
            handlers.hear(chunk(tmp_path, number), ann)
        handlers.hear(None, ann)
        handlers.hear(str(tmp_path / "read already.wav"), ann)
        assert visit.chunks.qsize() == MAX_CHUNKS
        rate_hz, samples = visit.chunks.get()
        assert (rate_hz, samples.shape, samples[0]) == (16_000, (160,), pytest.approx(0.06))
        handlers.stop(ann)
        assert visit.is_over.is_set()
    assert handlers._visits == {}
    assert list(tmp_path.iterdir()) == []


def test_a_frame_is_a_small_jpeg() -> None:
    address = address_of(np.full((1080, 1920, 3), 90, np.uint8))
    head, data = address.split(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == (MAX_SIDE_PX, MAX_SIDE_PX * 1080 // 1920)

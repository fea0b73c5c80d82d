import base64
import io
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from talkhead.app.live import MAX_CHUNKS, MAX_SIDE_PX, LiveHandlers, _mono, address_of


class Request(NamedTuple):
    """What the handlers read of gradio's request."""

    session_hash: str


def test_sound_that_nobody_takes_is_bounded_and_the_newest_is_kept() -> None:
    handlers: Any = LiveHandlers(None, None)  # type: ignore[arg-type]
    chunks = [(16_000, np.full(160, number, np.int16)) for number in range(MAX_CHUNKS + 5)]
    handlers.hear(chunks[0], Request("ann"))  # no face is live
    with handlers._visit(Request("ann")) as visit:
        for chunk in chunks:
            handlers.hear(chunk, Request("ann"))
            handlers.hear(chunk, Request("bob"))
        assert visit.chunks.qsize() == MAX_CHUNKS
        assert visit.chunks.get()[1][0] == 5
        handlers.stop(Request("ann"))
        assert visit.is_over.is_set()
    assert handlers._visits == {}


def test_sound_is_mixed_and_scaled() -> None:
    stereo = np.array([[2**14, 0], [-(2**15), -(2**15)]], np.int16)
    assert _mono(stereo).tolist() == [0.25, -1.0]
    assert _mono(np.array([0.5], np.float32)).tolist() == [0.5]


def test_a_frame_is_a_small_jpeg() -> None:
    address = address_of(np.full((1080, 1920, 3), 90, np.uint8))
    head, data = address.split(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == (MAX_SIDE_PX, MAX_SIDE_PX * 1080 // 1920)

"""What people stand in front of."""

from collections.abc import Generator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from talkhead.errors import TalkheadError
from talkhead.tracking.background import Backdrop, check_background, laid_on, open_backdrop, place

Pixels = npt.NDArray[np.uint8]


def test_words_colours_and_pictures_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "wall.png"
    Image.new("RGB", (200, 100), "blue").save(path)
    assert check_background("transparent") is None
    assert check_background("white") == (255, 255, 255)
    assert check_background("#00b140") == (0, 177, 64)
    assert check_background(str(path)) == path
    for text, words in (("sky-ish", "is not transparent, a colour"), ("no.png", "no.png")):
        with pytest.raises(TalkheadError, match=words):
            check_background(text)


def test_a_picture_fills_the_frames(tmp_path: Path) -> None:
    path = tmp_path / "wall.png"
    wall = Image.new("RGB", (300, 100), "blue")
    wall.paste("red", (100, 0, 200, 100))
    wall.save(path)
    made = open_backdrop(str(path), (80, 80), None).pixels
    assert made is not None
    assert made.shape == (80, 80, 3)
    assert (made[40, 40] == (255, 0, 0)).all()
    colour = open_backdrop("#102030", (8, 6), None).pixels
    assert colour is not None
    assert (colour == (16, 32, 48)).all()
    assert colour.shape == (6, 8, 3)


def test_a_frame_is_mixed_with_what_is_behind() -> None:
    frame = np.zeros((2, 3, 4), np.uint8)
    frame[..., :3] = 200
    frame[0, :, 3] = 0, 128, 255
    mixed = laid_on(frame, np.full((2, 3, 3), 100, np.uint8))
    assert mixed[0, :, 0].tolist() == [100, 150, 200]
    assert (mixed[1] == 100).all()


def test_frames_with_an_alpha_need_no_search_for_people_and_end_with_their_reader() -> None:
    ended = []

    def frames() -> Generator[Pixels, None, None]:
        try:
            for _ in range(3):
                yield np.full((4, 4, 4), 255, np.uint8)
        finally:
            ended.append(True)

    placed = place(frames(), Backdrop(None))
    assert next(placed).shape == (4, 4, 4)
    placed.close()
    assert ended == [True]
    assert next(place(frames(), Backdrop(np.zeros((4, 4, 3), np.uint8)))).shape == (4, 4, 3)

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from talkhead.app.faces import PREVIEW_SIDE_PX, find_faces
from talkhead.errors import NoFaceError, TalkheadError
from talkhead.media.video import VideoWriter
from tests.drawn_face import draw_face

SIDE = 768


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, detector_is_here: None) -> Path:
    """Two faces; the larger one is on the right."""
    picture = np.full((SIDE, 2 * SIDE, 3), (120, 140, 160), np.uint8)
    picture[100:612, 100:612] = draw_face(512)
    picture[:, SIDE:] = draw_face(SIDE)
    path = tmp_path_factory.mktemp("pair") / "pair.png"
    Image.fromarray(picture).save(path)
    return path


def test_faces_are_counted_from_the_left_and_found_by_a_click(pair: Path) -> None:
    found = find_faces(pair)
    assert found.picture.shape == (PREVIEW_SIDE_PX // 2, PREVIEW_SIDE_PX, 3)
    assert (len(found.boxes), found.largest) == (2, 2)
    assert found.number_at(100, 400) == 1
    assert found.number_at(900, 30) == 2


def test_the_chosen_face_is_drawn_in_another_colour(pair: Path) -> None:
    found = find_faces(pair)
    first, second = found.drawn(1), found.drawn(2)
    changed = np.flatnonzero((first != second).any(axis=(0, 2)))
    assert (first != found.picture).any()
    for left, _, right, _ in found.boxes:
        assert ((changed >= left - 8) & (changed <= right + 8)).any()


def test_the_first_frame_with_a_face_counts(tmp_path: Path, detector_is_here: None) -> None:
    path = tmp_path / "video.mp4"
    blank = np.zeros((256, 256, 3), np.uint8)
    with VideoWriter(path, size=(256, 256), fps=Fraction(25), sound=None) as writer:
        writer.write(np.stack([blank] * 15 + [draw_face(256)] * 10))
    assert len(find_faces(path).boxes) == 1


def test_a_picture_without_a_face_is_an_error(tmp_path: Path, detector_is_here: None) -> None:
    Image.new("RGB", (128, 128)).save(tmp_path / "black.png")
    with pytest.raises(NoFaceError, match="no face found"):
        find_faces(tmp_path / "black.png")
    (tmp_path / "notes.png").write_text("not a picture")
    with pytest.raises(TalkheadError, match=r"notes\.png is not a picture"):
        find_faces(tmp_path / "notes.png")

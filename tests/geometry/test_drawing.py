import numpy as np

from talkhead.geometry.drawing import DOT_COLOUR, FACE_COLOUR, LIPS_COLOUR, draw_mesh
from talkhead.geometry.mesh import MEAN_FACE


def test_lips_eyes_and_dots_are_drawn_where_they_are() -> None:
    points = (MEAN_FACE * 100 + 128).astype(np.float32)
    white = np.full((256, 256, 3), 255, np.uint8)
    drawn = draw_mesh(white, points)
    assert (white == 255).all()
    for colour, index in (
        (LIPS_COLOUR, 61),
        (LIPS_COLOUR, 13),
        (FACE_COLOUR, 33),
        (DOT_COLOUR, 50),
    ):
        x, y = points[index, :2].astype(int)
        near = drawn[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3)
        assert (near == colour).all(1).any(), index
    assert (drawn[:5] == 255).all()


def test_a_mesh_may_reach_beyond_the_picture() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    drawn = draw_mesh(picture, (MEAN_FACE * 100 + 20).astype(np.float32))
    assert drawn.shape == picture.shape
    assert drawn.any()

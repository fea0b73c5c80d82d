"""Several people in one video: each keeps their own track, also where they cross."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from talkhead.errors import TalkheadError
from talkhead.tracking.face_track import FaceTrack
from talkhead.tracking.face_tracker import track_face
from talkhead.tracking.several_people import track_faces
from tests.people import BLUE, film, head, room

Pixels = npt.NDArray[np.uint8]
SIZE = (960, 480)
ANN, BEN = head(150), head(140, BLUE, mirrored=True)
pytestmark = pytest.mark.usefixtures("detector_is_here")


def x_of(track: FaceTrack, frame: int) -> float | None:
    """Return where the middle of a face is; None without one."""
    if track.stretch_at(frame) is None:
        return None
    return float(track.points_at(frame)[:, 0].mean())


def crossing(k: int) -> tuple[int, int]:
    """Return where Ann and Ben are: they change places within 30 frames."""
    share = min(max((k - 5) / 30, 0.0), 1.0)
    return round(250 + 460 * share), round(710 - 460 * share)


def frame_of(ann: int, ben: int) -> Pixels:
    return room(SIZE, (ANN, ann, 250), (BEN, ben, 250))  # Ben is in front


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> list[FaceTrack]:
    path = tmp_path_factory.mktemp("crossed") / "v.mp4"
    film(path, (frame_of(*crossing(k)) for k in range(60)))
    return track_faces(path, None, ["left", "right"])


def test_people_who_cross_keep_their_own_tracks(crossed: list[FaceTrack]) -> None:
    for track, which in zip(crossed, (0, 1), strict=True):
        found = [(k, x) for k in range(60) if (x := x_of(track, k)) is not None]
        for k, x in found:
            assert x == pytest.approx(crossing(k)[which], abs=40), (which, k)
        assert {k for k, _ in found} >= {0, 3, 57, 59}


def test_one_of_several_is_tracked_as_alone(tmp_path: Path) -> None:
    path = film(tmp_path / "v.mp4", [frame_of(250, 710)] * 4)
    together = track_faces(path, None, ["left", "right"])
    for choice, track in zip(("left", "right"), together, strict=True):
        alone = track_face(path, None, choice)
        assert np.array_equal(track.points_at(2), alone.points_at(2))
        assert track.stretches == alone.stretches


def test_two_choices_of_one_face_are_refused(tmp_path: Path) -> None:
    path = film(tmp_path / "v.mp4", [frame_of(250, 710)] * 2)
    with pytest.raises(TalkheadError, match="right and 2 are the same face"):
        track_faces(path, None, ["left", "right", "2"])


def test_alike_people_who_cross_are_left_out_rather_than_swapped(tmp_path: Path) -> None:
    twin = np.ascontiguousarray(ANN)
    frames = [
        room(SIZE, (ANN, ann, 250), (twin, ben, 250)) for ann, ben in map(crossing, range(45))
    ]
    tracks = track_faces(film(tmp_path / "v.mp4", frames), None, ["left", "right"])
    for track, which in zip(tracks, (0, 1), strict=True):
        assert x_of(track, 2) == pytest.approx(crossing(2)[which], abs=40)
        for k in range(45):
            x = x_of(track, k)
            assert x is None or x == pytest.approx(crossing(k)[which], abs=40), (which, k)

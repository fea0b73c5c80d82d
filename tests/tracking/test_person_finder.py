"""Videos with several people: the chosen one is found, followed, and found again."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from talkhead.errors import NoFaceError, TalkheadError
from talkhead.tracking.cuts import FLASH_FRAMES, CutFinder
from talkhead.tracking.face_detector import FULL_SEARCH_EVERY, FaceDetector
from talkhead.tracking.face_follower import FaceFollower, FaceSearch
from talkhead.tracking.face_track import FaceTrack
from talkhead.tracking.face_tracker import track_face, track_video
from tests.people import BLUE, film, head, room

Pixels = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]
WIDE, MIDDLE = (1920, 1080), (1280, 720)
pytestmark = pytest.mark.usefixtures("detector_is_here")


def moved(k: int) -> int:
    return round(3 * float(np.sin(k / 4)))


LARGE, SMALL = head(326), head(110, BLUE, mirrored=True)
ANN, BEN = head(200), head(180, BLUE, mirrored=True)


def wide(k: int) -> Pixels:
    """Return a frame with a large face on the left and a small one on the right."""
    return room(WIDE, (LARGE, 600 + moved(k), 560), (SMALL, 1500 + moved(k + 3), 500))


def both(k: int) -> Pixels:
    return room(MIDDLE, (ANN, 400 + moved(k), 380), (BEN, 950 + moved(k + 3), 360))


def middle(track: FaceTrack, frame: int) -> float:
    return float(track.points_at(frame)[:, 0].mean())


@pytest.fixture(scope="module")
def wide_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("wide") / "v.mp4", map(wide, range(4)))


@pytest.mark.parametrize(
    ("choose", "x"), [("largest", 600), ("right", 1500), ("2", 1500), ("1510,450", 1500)]
)
def test_a_small_face_can_be_chosen_beside_a_large_one(
    choose: str, x: int, wide_video: Path
) -> None:
    track = track_face(wide_video, choose=choose)
    assert track.num_faceless == 0
    assert middle(track, 2) == pytest.approx(x, abs=30)
    points = track_video(wide_video, choose=choose)[0].points
    np.testing.assert_allclose(points[:, :, 0].mean(1), x, atol=30)


@pytest.mark.parametrize("find", [track_face, track_video])
def test_a_pixel_beside_all_faces_is_refused(find: Callable[..., object], wide_video: Path) -> None:
    with pytest.raises(TalkheadError, match=r"no face at 1000,900: the nearest one is at") as error:
        find(wide_video, choose="1000,900")
    assert error.value.exit_code == 2


@pytest.mark.parametrize("find", [track_face, track_video])
def test_what_can_mean_no_face_is_refused_before_the_video_is_searched(
    find: Callable[..., object], tmp_path: Path
) -> None:
    video = film(tmp_path / "v.mp4", [room((64, 64))] * 2)  # has no face, which fails later
    with pytest.raises(TalkheadError, match="cannot choose a face by 'biggest'"):
        find(video, choose="biggest")


@pytest.fixture
def detector() -> Iterator[FaceDetector]:
    with FaceDetector(max_faces=32, video=True) as detector:
        yield detector


def cost_s(work: Callable[[], object]) -> float:
    """Return seconds of processor time."""
    start = time.process_time()
    work()
    return time.process_time() - start


def test_small_faces_are_followed_at_a_small_part_of_a_search(detector: FaceDetector) -> None:
    frames = [
        room(WIDE, (SMALL, 500 + moved(k), 560), (SMALL, 1500 + 2 * k, 500)) for k in range(20)
    ]
    faces: list[object] = []
    search_s = cost_s(lambda: faces.extend(detector.search(frames[0])))
    assert len(faces) == 2
    follower = FaceFollower(detector)
    follower.take(frames[0], max(detector.search(frames[0]), key=lambda face: face[0, 0]))
    found: list[Points | None] = []
    follow_s = cost_s(lambda: found.extend(follower.follow(frame) for frame in frames[1:]))
    xs = [face[:, 0].mean() for face in found if face is not None]
    np.testing.assert_allclose(np.diff(xs), 2, atol=1.5)
    assert len(xs) == 19
    assert follow_s / 19 < 0.05 * search_s


def test_frames_without_a_face_cost_a_small_part_of_a_search(detector: FaceDetector) -> None:
    search = FaceSearch(detector)
    empty = room(WIDE)
    search_s = cost_s(lambda: search.look(empty))
    assert cost_s(lambda: [search.look(empty) for _ in range(20)]) / 20 < 0.1 * search_s
    shown = room(WIDE, (SMALL, 1500, 500))
    found = [k for k in range(45) if search.look(shown)]
    assert found[:1] == [found[0]]
    assert found[0] < 45


def test_a_face_that_comes_back_is_followed_again_and_nobody_else_meanwhile(tmp_path: Path) -> None:
    alone = room(MIDDLE, (ANN, 400, 380))
    frames = [both(k) if k < 5 or k > 15 else alone for k in range(20)]
    video = film(tmp_path / "v.mp4", frames)
    track = track_face(video, choose="right")
    assert [(s.start, s.end) for s in track.stretches] == [(0, 5), (16, 20)]
    points, num_without = track_video(video, choose="right")
    assert num_without == 11
    assert points.points[:, :, 0].mean(1).min() > 900


def test_after_a_loss_a_stranger_is_recorded_but_not_dubbed(tmp_path: Path) -> None:
    ann, ben = room(MIDDLE, (head(110), 400, 380)), room(MIDDLE, (SMALL, 950, 360))
    video = film(tmp_path / "v.mp4", [ann] * 5 + [room(MIDDLE)] * 6 + [ben] * 20)
    track = track_face(video)
    assert (track.num_shots, [(s.start, s.end) for s in track.stretches]) == (1, [(0, 5)])
    points, num_without = track_video(video)
    assert num_without < 6 + 2 * FULL_SEARCH_EVERY // 3
    assert points.points[-1, :, 0].mean() == pytest.approx(950, abs=30)


def test_the_face_beside_a_hidden_one_is_not_taken_for_a_jump(tmp_path: Path) -> None:
    ben = room(MIDDLE, (BEN, 530, 380))
    hidden, shown = room(MIDDLE), room(MIDDLE, (ANN, 400, 380))
    for picture in (hidden, shown):
        picture[:, 465:] = ben[:, 465:]  # cheek to cheek
    video = film(tmp_path / "v.mp4", [shown] * 6 + [hidden] * 3 + [shown] * 5)
    track = track_face(video, choose="left")
    assert (len(track.stretches), track.num_faceless, track.num_undetected) == (1, 0, 3)
    assert middle(track, 13) == pytest.approx(middle(track, 3), abs=5)


def test_a_flash_is_no_cut(tmp_path: Path) -> None:
    frames = [both(k) for k in range(12)]
    for k in (5, 6):
        frames[k] = np.clip(frames[k].astype(int) + 110, 0, 255).astype(np.uint8)
    track = track_face(film(tmp_path / "v.mp4", frames), choose="right")
    assert (track.num_shots, track.num_faceless, track.num_uncertain) == (1, 0, 0)
    assert middle(track, 3) == pytest.approx(950, abs=30)
    assert middle(track, 10) == pytest.approx(950, abs=30)


def test_after_a_long_flash_the_face_at_the_old_place_is_followed(tmp_path: Path) -> None:
    white = np.full((720, 1280, 3), 255, np.uint8)
    same = room(MIDDLE, (BEN, 400, 380), (BEN, 950, 360))  # all of them look alike
    frames = [same] * 4 + [white] * (FLASH_FRAMES + 2) + [same] * 4
    track = track_face(film(tmp_path / "v.mp4", frames), choose="right")
    assert (track.num_shots, track.num_uncertain) == (3, 0)
    assert [s.end - s.start for s in track.stretches] == [4, 4]
    assert middle(track, len(frames) - 2) == pytest.approx(950, abs=30)


def test_few_frames_are_read_ahead_and_all_come_in_their_order() -> None:
    rng = np.random.default_rng(0)
    one, other = (np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((16, 16, 1))) for _ in range(2))
    shown = [one] * 5 + [other] * 2 + [one] * 5 + [other] * 9
    read = 0

    def frames() -> Iterator[Pixels]:
        nonlocal read
        for picture in shown:
            read += 1
            yield picture.astype(np.uint8)

    cuts = []
    for k, (frame, is_cut) in enumerate(CutFinder().find(frames())):
        np.testing.assert_array_equal(frame, shown[k])
        assert read <= k + 1 + FLASH_FRAMES
        cuts.append(is_cut)
    assert np.flatnonzero(cuts).tolist() == [0, 12]
    assert len(cuts) == len(shown)


WALLS = ((60, 40, 30), (20, 60, 30))


def test_the_person_is_known_again_where_the_two_change_places(tmp_path: Path) -> None:
    frames = [both(k) for k in range(5)]
    swapped = (head(180), 950, 360), (head(190, BLUE, mirrored=True), 380, 360)
    frames += [room(MIDDLE, *swapped, wall=WALLS[0])] * 5
    video = film(tmp_path / "v.mp4", frames)
    track = track_face(video, choose="right")
    assert (track.num_shots, track.num_faceless, track.num_uncertain) == (2, 0, 0)
    assert middle(track, 3) == pytest.approx(950, abs=30)
    assert middle(track, 7) == pytest.approx(380, abs=30)
    points = track_video(video, choose="right")[0].points[:, :, 0].mean(1)
    np.testing.assert_allclose(points, [950] * 5 + [380] * 5, atol=30)


def test_a_shot_of_the_other_person_alone_is_left_as_it_is(tmp_path: Path) -> None:
    ann = room(MIDDLE, (head(330), 640, 400), wall=WALLS[0])
    ben = room(MIDDLE, (head(320, BLUE, mirrored=True), 600, 400), wall=WALLS[1])
    video = film(tmp_path / "v.mp4", [both(0)] * 4 + [ann] * 7 + [ben] * 7)
    track = track_face(video, choose="right")
    assert (track.num_shots, track.num_uncertain) == (3, 0)
    assert [(s.start, s.end) for s in track.stretches] == [(0, 4), (11, 18)]


def test_a_shot_in_which_looks_do_not_tell_is_counted(tmp_path: Path) -> None:
    twins = room(MIDDLE, (BEN, 400, 380), (BEN, 950, 360), wall=WALLS[0])
    frames = [room(MIDDLE, (ANN, 600, 380))] * 4 + [twins] * 8
    track = track_face(film(tmp_path / "v.mp4", frames), choose="right")
    assert (track.num_shots, track.num_uncertain) == (2, 1)
    assert middle(track, 8) == pytest.approx(950, abs=30)


@pytest.mark.parametrize("choose", ["right", "2", "950,320"])
def test_while_a_shot_fades_in_nobody_else_is_taken(choose: str, tmp_path: Path) -> None:
    frames = [(both(k) * min(1, k / 15)).astype(np.uint8) for k in range(20)]
    video = film(tmp_path / "v.mp4", frames)
    track = track_face(video, choose=choose)
    first = track.stretches[0].start
    assert 0 < first < 15
    assert {round(middle(track, k) / 50) for k in range(first, 20)} == {19}
    assert track_video(video, choose=choose)[0].points[:, :, 0].mean(1).min() > 900


@pytest.mark.parametrize("find", [track_face, track_video])
def test_a_video_that_lies_on_its_side_is_refused_with_the_way_to_turn_it(
    find: Callable[..., object], tmp_path: Path
) -> None:
    upside_down = np.asarray(room((480, 360), (head(150), 240, 200))[::-1, ::-1])
    with pytest.raises(NoFaceError, match="rotated 180 degrees"):
        find(film(tmp_path / "v.mp4", [upside_down] * 3))

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from talkhead.errors import NoFaceError, TalkheadError, WeightsError
from talkhead.geometry.mesh import MIRROR
from talkhead.tracking.face_detector import FaceDetector, choose_face, choose_in_picture
from talkhead.tracking.landmarkers import TASK_FILE, TASK_WEIGHTS, TasksLandmarker
from talkhead.weights import list_entries
from tests.drawn_face import BACKGROUND, LEFT_EYE, MOUTH, RIGHT_EYE, draw_face
from tests.people import head, room

Points = npt.NDArray[np.float32]
RIGHT_IRIS, LEFT_IRIS, NOSE_TIP, UPPER_LIP, LOWER_LIP = 468, 473, 1, 13, 14
RIGHT_CHEEK, LEFT_CHEEK = 234, 454


@pytest.fixture
def open_detector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FaceDetector]]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    opened: list[FaceDetector] = []

    def open_one(max_faces: int = 1, *, video: bool = False) -> FaceDetector:
        try:
            opened.append(FaceDetector(max_faces, video))
        except WeightsError:
            pytest.skip("mediapipe 1.x needs its networks, and they have not been downloaded")
        return opened[-1]

    yield open_one
    for detector in opened:
        detector.close()


def pasted(
    size: tuple[int, int], *faces: tuple[int, int, int], opening: float = 0.0
) -> npt.NDArray[np.uint8]:
    """Draw faces (left, top, side) on a plain picture of (width, height)."""
    picture = np.full((size[1], size[0], 3), BACKGROUND, np.uint8)
    for left, top, side in faces:
        picture[top : top + side, left : left + side] = draw_face(side, opening)
    return picture


def centre(face: Points) -> Points:
    return np.asarray((face[:, :2].min(0) + face[:, :2].max(0)) / 2, np.float32)


def width(face: Points) -> float:
    return float(np.ptp(face[:, 0]))


def test_a_face_is_found_where_it_was_drawn(open_detector: Callable[..., FaceDetector]) -> None:
    faces = open_detector().detect(draw_face(256))
    assert len(faces) == 1
    face = faces[0]
    assert face.shape == (478, 3)
    assert face.dtype == np.float32
    np.testing.assert_allclose(face[RIGHT_IRIS, :2], np.multiply(RIGHT_EYE, 256), atol=5)
    np.testing.assert_allclose(face[LEFT_IRIS, :2], np.multiply(LEFT_EYE, 256), atol=5)
    lips = (face[UPPER_LIP] + face[LOWER_LIP])[:2] / 2
    np.testing.assert_allclose(lips, np.multiply(MOUTH, 256), atol=5)


def test_depth_is_in_pixels_and_negative_toward_the_camera(
    open_detector: Callable[..., FaceDetector],
) -> None:
    small, large = (open_detector().detect(draw_face(side))[0] for side in (256, 512))
    assert small[NOSE_TIP, 2] < min(small[RIGHT_CHEEK, 2], small[LEFT_CHEEK, 2]) - 0.2 * width(
        small
    )
    assert np.ptp(large[:, 2]) == pytest.approx(2 * np.ptp(small[:, 2]), rel=0.1)


@pytest.mark.parametrize("opening", [0.0, 0.04, 0.1])
def test_an_open_mouth_is_as_open_as_it_was_drawn(
    opening: float, open_detector: Callable[..., FaceDetector]
) -> None:
    (face,) = open_detector().detect(draw_face(256, opening))
    assert face[LOWER_LIP, 1] - face[UPPER_LIP, 1] == pytest.approx(256 * opening, abs=4)


def test_small_faces_in_a_wide_picture_are_found(
    open_detector: Callable[..., FaceDetector],
) -> None:
    # The face is about 40 px wide: 2 % of the picture's width, 3 px in mediapipe's own detector.
    (face,) = open_detector().detect(pasted((1800, 420), (1300, 200, 80)))
    np.testing.assert_allclose(centre(face), (1340, 243), atol=4)


def test_large_pictures_give_the_same_points_at_their_own_scale(
    open_detector: Callable[..., FaceDetector],
) -> None:
    small = draw_face(300)
    large = np.kron(small, np.ones((8, 8, 1), np.uint8))
    (face,), (face_8x) = open_detector().detect(small), open_detector().detect(large)
    np.testing.assert_allclose(face_8x[0] / 8, face, atol=0.02 * width(face))


def test_faces_come_largest_first_and_each_once(open_detector: Callable[..., FaceDetector]) -> None:
    picture = pasted((1000, 500), (20, 200, 160), (250, 50, 400), (700, 100, 240))
    faces = open_detector(max_faces=10).detect(picture)
    assert [round(float(centre(face)[0]), -1) for face in faces] == [450, 820, 100]
    (largest,) = open_detector(max_faces=1).detect(picture)
    np.testing.assert_array_equal(largest, faces[0])


def test_faces_at_the_border_are_found(open_detector: Callable[..., FaceDetector]) -> None:
    face = draw_face(256)[20:, 90:]
    (found,) = open_detector().detect(np.ascontiguousarray(face))
    np.testing.assert_allclose(found[LEFT_IRIS, :2], (0.59 * 256 - 90, 0.44 * 256 - 20), atol=6)


def test_pictures_without_a_face_have_none(open_detector: Callable[..., FaceDetector]) -> None:
    detector = open_detector(max_faces=5)
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    stripes = np.broadcast_to(np.arange(400, dtype=np.uint8)[:, None], (300, 400, 3))
    for picture in (noise, stripes, np.zeros((64, 2000, 3), np.uint8), pasted((300, 300))):
        assert detector.detect(picture) == []


def test_a_result_depends_on_its_picture_alone(open_detector: Callable[..., FaceDetector]) -> None:
    detector = open_detector()
    (first,) = detector.detect(draw_face(256))
    detector.detect(pasted((500, 300), (200, 20, 250), opening=0.08))
    detector.detect(pasted((500, 300)))
    (again,) = detector.detect(draw_face(256))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, open_detector().detect(draw_face(256))[0])


def test_a_mirrored_picture_has_mirrored_points(open_detector: Callable[..., FaceDetector]) -> None:
    picture = draw_face(256, 0.05)
    (face,) = open_detector().detect(picture)
    (mirrored,) = open_detector().detect(np.ascontiguousarray(picture[:, ::-1]))
    back = mirrored[MIRROR] * (-1, 1, 1) + (256, 0, 0)
    np.testing.assert_allclose(back[:, :2], face[:, :2], atol=0.03 * width(face))


@pytest.mark.parametrize("side", [300, 70])
def test_a_video_is_followed_frame_by_frame(
    side: int, open_detector: Callable[..., FaceDetector]
) -> None:
    # At 70 px in 900 the tracker alone finds nothing, so the face is followed in its own window,
    # which has to move with it.
    video = open_detector(video=True)
    lefts = [20 + round(0.05 * side * index) for index in range(16)]
    frames = [pasted((900, 400), (left, 50, side)) for left in lefts]
    for left, frame in zip(lefts, frames, strict=True):
        (face,) = video.detect(frame)
        np.testing.assert_allclose(
            centre(face), (left + 0.5 * side, 50 + 0.535 * side), atol=0.04 * side
        )
    (still,) = open_detector().detect(frames[-1])
    np.testing.assert_allclose(face[:, :2], still[:, :2], atol=0.02 * side)


def test_a_video_may_lose_its_face_for_a_while(open_detector: Callable[..., FaceDetector]) -> None:
    video = open_detector(video=True)
    shown, empty = pasted((640, 360), (100, 30, 250)), pasted((640, 360))
    assert [len(video.detect(frame)) for frame in (empty, shown, shown, empty, empty, shown)] == [
        *(0, 1, 1, 0, 0, 1)
    ]


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((64, 64, 3), np.float32),
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
    ],
)
def test_only_eight_bit_rgb_is_taken(
    picture: npt.NDArray[np.uint8], open_detector: Callable[..., FaceDetector]
) -> None:
    with pytest.raises(ValueError, match="uint8"):
        open_detector().detect(picture)


def test_nothing_is_written_to_stderr_and_mediapipe_is_loaded_late(
    open_detector: Callable[..., FaceDetector],
) -> None:
    open_detector()  # skips the test if the networks are missing
    program = """if True:
        import sys, time
        from talkhead.tracking.face_detector import FaceDetector
        assert "mediapipe" not in sys.modules
        from tests.drawn_face import draw_face
        with FaceDetector() as still, FaceDetector(2, video=True) as video:
            time.sleep(0.2)  # graphs start in threads of their own
            for height in (200, 256):
                assert still.detect(draw_face(256)[:height])
                assert video.detect(draw_face(256)[:height])
        sys.stderr.write("still there")
    """
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "still there")


def test_networks_that_cannot_be_read_are_named_with_the_next_action(tmp_path: Path) -> None:
    wrong = tmp_path / TASK_FILE
    wrong.write_bytes(b"no networks here")
    for path in (wrong, tmp_path / "missing.task"):
        with pytest.raises(WeightsError) as caught:
            TasksLandmarker(1, path)
        assert str(path) in str(caught.value)
        assert f"talkhead weights download {TASK_WEIGHTS}" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_networks_of_mediapipe_1_are_in_the_list_of_weights() -> None:
    (entry,) = (entry for entry in list_entries() if entry.name == TASK_WEIGHTS)
    assert [file.path for file in entry.files] == [TASK_FILE]


def face_at(x: float, y: float, side: float) -> Points:
    """Return points that fill a square around (x, y)."""
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (478, 3))
    points[:2] = [(-0.5, -0.5, 0), (0.5, 0.5, 0)]
    return np.asarray(points * side + (x, y, 0), np.float32)


LARGE, LEFT, RIGHT = face_at(200, 100, 90), face_at(50, 60, 40), face_at(330, 60, 40)


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        ("largest", LARGE),
        ("left", LEFT),
        ("right", RIGHT),
        ("1", LEFT),
        ("2", LARGE),
        ("3", RIGHT),
        ("45,70", LEFT),
        ("330.5, 44", RIGHT),
        ("160,140", LARGE),  # inside, near its corner
    ],
)
def test_a_face_is_chosen_by_size_place_number_or_pixel(choice: str, chosen: Points) -> None:
    assert choose_face([LARGE, LEFT, RIGHT], choice, (400, 200)) is chosen


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("4", "3 faces were found"),
        ("0", "3 faces were found"),
        ("400,10", "outside the picture, which is 400 x 200 px"),
        ("-1,10", "outside the picture, which is 400 x 200 px"),
        ("270,60", "no face at 270,60: the nearest one is at 330,60"),
        ("0,0", "no face at 0,0: the nearest one is at 50,60"),
        ("nan,10", "outside the picture, which is 400 x 200 px"),
        ("biggest", "'biggest'"),
        ("1,2,3", "'1,2,3'"),
        ("1.5", "'1.5'"),
        ("", "''"),
        ("²", "'²'"),
    ],
)
def test_a_choice_that_means_no_face_is_refused(choice: str, message: str) -> None:
    with pytest.raises(TalkheadError, match=message) as caught:
        choose_face([LARGE, LEFT, RIGHT], choice, (400, 200))
    assert caught.value.exit_code == 2


def test_one_face_is_counted_as_one() -> None:
    with pytest.raises(TalkheadError, match="1 face was found"):
        choose_face([LARGE], "2", (400, 200))


@pytest.mark.parametrize("choice", ["largest", "left", "7", "10,10"])
def test_without_faces_there_is_nothing_to_choose(choice: str) -> None:
    with pytest.raises(NoFaceError):
        choose_face([], choice, (400, 200))


@pytest.mark.parametrize("num_turns", [1, 2, 3])
def test_a_face_that_is_not_upright_is_found_or_the_way_to_turn_it_is_said(
    num_turns: int, open_detector: Callable[..., FaceDetector]
) -> None:
    upright = room((480, 360), (head(150), 240, 200))
    picture = np.ascontiguousarray(np.rot90(upright, num_turns))
    detector = open_detector(max_faces=32)
    phrases = {1: "90 degrees clockwise", 2: "180 degrees", 3: "90 degrees counterclockwise"}
    face, message = None, ""
    try:
        face = choose_in_picture(detector, picture, "largest")
    except NoFaceError as error:
        message = str(error)
    if face is None:
        assert f"when it is rotated {phrases[num_turns]}" in message
        assert "\n" not in message
    else:  # a face on its side may be found without rotation
        up = face[10, :2] - face[152, :2]
        assert num_turns != 2
        assert abs(up[0]) > 2 * abs(up[1])
    assert choose_in_picture(detector, upright, "largest")[10, 1] < 150


def test_faces_are_found_where_opencv_cannot_be_loaded(tmp_path: Path) -> None:
    # This is how OpenCV's wheel fails on a machine without libGL.so.1.
    broken = "raise ImportError('libGL.so.1: cannot open shared object file')"
    (tmp_path / "cv2.py").write_text(broken)
    script = """
import sys
from talkhead.errors import WeightsError
from talkhead.tracking.face_detector import FaceDetector
from tests.drawn_face import draw_face
try:
    with FaceDetector() as detector:
        print(len(detector.detect(draw_face(256))), "cv2" in sys.modules)
except WeightsError:  # mediapipe 1.x without its networks: it was imported at least
    print(1, "cv2" in sys.modules)
"""
    top = Path(__file__).resolve().parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=top,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stdout, ended.returncode) == ("1 False\n", 0), ended.stderr


def test_mediapipe_is_imported_without_matplotlib_and_can_still_draw() -> None:
    pytest.importorskip("mediapipe.python.solutions")
    script = """
import sys
from talkhead.tracking.face_detector import FaceDetector
with FaceDetector():
    print(any(name.startswith("matplotlib") for name in sys.modules))
from mediapipe.python.solutions import drawing_utils
print(drawing_utils.plt.figure.__module__, "matplotlib.pyplot" in sys.modules)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout == "False\nmatplotlib.pyplot True\n", ended.stderr

"""The two generations of mediapipe behind one small interface.

0.10 carries its networks in the wheel (``mediapipe.solutions``) and exists up to Python 3.12. 1.x
runs on newer versions of Python, has no ``solutions``, and reads its networks from a file,
``face_landmarker.task``. Both place the same 478 points in the same order, by different networks.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from talkhead.errors import TalkheadError, WeightsError
from talkhead.media.native_logs import stderr_silenced

Image: TypeAlias = npt.NDArray[np.uint8]
Points: TypeAlias = npt.NDArray[np.float32]

SOLUTIONS_NAME = "mediapipe-0.10-face-mesh-attention"
TASKS_NAME = "mediapipe-1-face-landmarker"
TASK_WEIGHTS = "face_landmarker"
TASK_FILE = "face_landmarker.task"

MIN_SCORE = 0.5
MIN_TASK_SCORE = 0.6
"""The task hides its detector's scores, so that what is doubtful has to go here and not later."""

NUM_PASSES = 3
"""How often a still picture is shown to the mesh: each pass starts from the points of the last one,
as in a video, and after the third they move by less than 0.5 % of a face's width."""

FRAME_MS = 40
"""The tasks want rising time stamps; only their order matters to us."""


_BLANK: Image = np.zeros((64, 64, 3), dtype=np.uint8)


class Box(NamedTuple):
    """A square around a face: centre and side in pixels, and how sure the detector is (0 to 1)."""

    x: float
    y: float
    side: float
    score: float


class Landmarker(Protocol):
    """What `FaceDetector` needs: uint8 (H, W, 3) RGB pictures in, pixels of that picture out."""

    name: str

    def find(self, picture: Image) -> list[Box]:
        """Rough places of faces, in any order, false alarms included."""

    def place(self, picture: Image) -> list[Points]:
        """The mesh (478, 3) on each of the few large faces of a still picture."""

    def follow(self, frame: Image) -> list[Points]:
        """The mesh (478, 3) on each face of a video's next frame."""

    def close(self) -> None:
        """Free the native graphs."""


class SolutionsLandmarker:
    """mediapipe 0.10: full-range face detection and the attention mesh."""

    name = SOLUTIONS_NAME

    def __init__(self, num_followed: int) -> None:
        # `mediapipe.python.solutions` is what 0.10 has and 1.x lacks.
        with opencv_may_be_missing():
            from mediapipe.python.solutions import face_detection, face_mesh

        self._graphs: list[Any] = []

        def opened(graph: Any) -> Any:
            self._graphs.append(graph)
            return graph

        try:
            self._finder = opened(face_detection.FaceDetection(MIN_SCORE, model_selection=1))
            # One graph for each use: a graph remembers where the faces of its last picture were.
            self._placer = opened(face_mesh.FaceMesh(max_num_faces=3, refine_landmarks=True))
            if num_followed:
                self._follower = opened(
                    face_mesh.FaceMesh(max_num_faces=num_followed, refine_landmarks=True)
                )
            for graph in self._graphs:  # they start, and say so, in threads of their own: wait here
                graph.process(_BLANK)
        except BaseException:
            self.close()  # waits for those threads, before anybody hears them
            raise

    def find(self, picture: Image) -> list[Box]:
        """Rough places of faces."""
        height, width = picture.shape[:2]
        boxes = []
        for detection in self._finder.process(picture).detections or []:
            box = detection.location_data.relative_bounding_box
            boxes.append(
                Box(
                    x=(box.xmin + box.width / 2) * width,
                    y=(box.ymin + box.height / 2) * height,
                    side=box.width * width,
                    score=float(detection.score[0]),
                )
            )
        return boxes

    def place(self, picture: Image) -> list[Points]:
        """The mesh on the faces of a still picture."""
        for _ in range(NUM_PASSES):
            found = self._placer.process(picture).multi_face_landmarks
        self._placer.process(np.zeros_like(picture))  # a black picture makes it forget the faces
        return [_to_pixels(face.landmark, picture) for face in found or []]

    def follow(self, frame: Image) -> list[Points]:
        """The mesh on the faces of a video's next frame."""
        found = self._follower.process(frame).multi_face_landmarks
        return [_to_pixels(face.landmark, frame) for face in found or []]

    def close(self) -> None:
        """Free the native graphs."""
        for graph in self._graphs:
            graph.close()


class TasksLandmarker:
    """mediapipe 1.x: the Face Landmarker task, which finds and places in one go.

    Raises:
        WeightsError: the networks' file is missing, or mediapipe cannot read it.
    """

    name = TASKS_NAME

    def __init__(self, num_followed: int, networks: Path) -> None:
        with opencv_may_be_missing():
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, vision

        self._mediapipe: Any = mediapipe
        self._clock_ms = 0

        def open_task(mode: Any, num_faces: int) -> Any:
            base = BaseOptions(model_asset_path=str(networks))
            options = vision.FaceLandmarkerOptions(
                base,
                running_mode=mode,
                num_faces=num_faces,
                min_face_detection_confidence=MIN_SCORE,
            )
            return vision.FaceLandmarker.create_from_options(options)

        try:
            self._placer = open_task(vision.RunningMode.IMAGE, 3)
            self._tasks = [self._placer]
            if num_followed:
                # With a single face the task smooths its points over time, and lips come late.
                self._follower = open_task(vision.RunningMode.VIDEO, max(2, num_followed))
                self._tasks.append(self._follower)
            self.place(_BLANK)  # starts the threads, which chatter
        except (OSError, ValueError, RuntimeError) as error:
            raise WeightsError(
                f"mediapipe cannot read {networks} ({error}): fetch it again with "
                f"`talkhead weights download {TASK_WEIGHTS}`"
            ) from error

    def find(self, picture: Image) -> list[Box]:
        """Rough places of faces: the boxes of meshes, as the task hides its detector and scores."""
        boxes = []
        for face in self.place(picture):
            low, high = face[:, :2].min(axis=0), face[:, :2].max(axis=0)
            x, y = (low + high) / 2
            boxes.append(Box(float(x), float(y), side=float(high[0] - low[0]), score=MIN_SCORE))
        return boxes

    def place(self, picture: Image) -> list[Points]:
        """The mesh on the faces of a still picture."""
        found = self._placer.detect(self._wrap(picture)).face_landmarks
        return [_to_pixels(face, picture) for face in found]

    def follow(self, frame: Image) -> list[Points]:
        """The mesh on the faces of a video's next frame."""
        self._clock_ms += FRAME_MS
        found = self._follower.detect_for_video(self._wrap(frame), self._clock_ms).face_landmarks
        return [_to_pixels(face, frame) for face in found]

    def close(self) -> None:
        """Free the native graphs."""
        for task in self._tasks:
            task.close()

    def _wrap(self, picture: Image) -> Any:
        return self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture)
        )


def open_landmarker(num_followed: int, networks: Callable[[], Path]) -> Landmarker:
    """Open whichever generation of mediapipe is installed.

    Args:
        num_followed: most faces to follow in a video; 0 for still pictures only.
        networks: gives the path of ``face_landmarker.task``; only called for mediapipe 1.x.

    Raises:
        TalkheadError: mediapipe is not installed.
        WeightsError: the networks' file is missing or unreadable.
    """
    try:
        return SolutionsLandmarker(num_followed)
    except ModuleNotFoundError as error:
        if error.name == "mediapipe":
            raise TalkheadError(
                "mediapipe is not installed: install it with `pip install mediapipe`"
            ) from error
        if not (error.name or "").startswith("mediapipe."):
            raise
    return TasksLandmarker(num_followed, networks())


@contextlib.contextmanager
def opencv_may_be_missing() -> Iterator[None]:
    """Let mediapipe be imported where OpenCV cannot be loaded.

    mediapipe imports `cv2` for its drawing functions, which we do not use; OpenCV's wheel needs the
    system's libGL.so.1, which a machine without a screen does not have. An empty module stands in
    while mediapipe is imported, and only where the real one fails.
    """
    try:
        importlib.import_module("cv2")
    except ImportError:
        sys.modules["cv2"] = types.ModuleType("cv2")
        try:
            yield
        finally:
            del sys.modules["cv2"]
    else:
        yield


def _to_pixels(landmarks: Sequence[Any], picture: Image) -> Points:
    """Landmarks in fractions of the picture, z in the scale of x, as float32 (478, 3) in pixels."""
    height, width = picture.shape[:2]
    points = np.array([(point.x, point.y, point.z) for point in landmarks], dtype=np.float64)
    return np.asarray(points * (width, height, width), dtype=np.float32)


@contextlib.contextmanager
def native_logs_silenced() -> Iterator[None]:
    """Keep the start-up chatter of TF-lite and absl from the terminal."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with stderr_silenced():
        yield

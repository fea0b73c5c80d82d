"""A small common interface to both generations of mediapipe.

0.10 bundles its networks in the wheel (``mediapipe.solutions``) and supports Python up to 3.12. 1.x
supports newer versions, has no ``solutions``, and reads its networks from a file,
``face_landmarker.task``. Both fit the same 478 points in the same order, with different networks.
"""

from __future__ import annotations

import contextlib
import importlib
import mmap
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

NUM_PASSES = 3
"""Mesh passes over a still picture. Each pass starts from the points of the last, as in a video;
after the third they move by less than 0.5 % of the face's width."""

FRAME_MS = 40
"""The tasks require increasing time stamps; only the order matters here."""

NEEDED_BYTES = 600 * 2**20
"""Addresses that mediapipe and its graphs take, most of them for code and threads."""

_BLANK: Image = np.zeros((64, 64, 3), dtype=np.uint8)


class Box(NamedTuple):
    """A square around a face: centre and side in pixels, and the detector's score (0 to 1)."""

    x: float
    y: float
    side: float
    score: float


class Landmarker(Protocol):
    """The backend of `FaceDetector`: takes uint8 (H, W, 3) RGB pictures, returns pixels."""

    name: str

    def find(self, picture: Image) -> list[Box]:
        """Return rough face boxes, in any order, including false positives."""

    def place(self, picture: Image) -> list[Points]:
        """Return the mesh (478, 3) of each large face in a still picture, a few at most."""

    def follow(self, frame: Image) -> list[Points]:
        """Return the mesh (478, 3) of each face in a video's next frame."""

    def close(self) -> None:
        """Free the native graphs."""


class SolutionsLandmarker:
    """mediapipe 0.10: full-range face detection and the attention mesh."""

    name = SOLUTIONS_NAME

    def __init__(self, num_followed: int) -> None:
        check_memory()
        # Only 0.10 has `mediapipe.python.solutions`.
        with opencv_may_be_missing(), pyplot_later():
            from mediapipe.python.solutions import face_detection, face_mesh

        self._graphs: list[Any] = []

        def opened(graph: Any) -> Any:
            self._graphs.append(graph)
            return graph

        try:
            self._finder = opened(face_detection.FaceDetection(MIN_SCORE, model_selection=1))
            # Each use needs its own graph, as a graph remembers the faces of its last picture.
            self._placer = opened(face_mesh.FaceMesh(max_num_faces=3, refine_landmarks=True))
            if num_followed:
                self._follower = opened(
                    face_mesh.FaceMesh(max_num_faces=num_followed, refine_landmarks=True)
                )
            for graph in self._graphs:  # wait for their threads, which log while starting
                graph.process(_BLANK)
        except BaseException:
            self.close()  # waits for those threads while logs are still silenced
            raise

    def find(self, picture: Image) -> list[Box]:
        """Return rough face boxes."""
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
        """Return the meshes of the faces in a still picture."""
        for _ in range(NUM_PASSES):
            found = self._placer.process(picture).multi_face_landmarks
        self._placer.process(np.zeros_like(picture))  # a black picture resets the graph
        return [_to_pixels(face.landmark, picture) for face in found or []]

    def follow(self, frame: Image) -> list[Points]:
        """Return the meshes of the faces in a video's next frame."""
        found = self._follower.process(frame).multi_face_landmarks
        return [_to_pixels(face.landmark, frame) for face in found or []]

    def close(self) -> None:
        """Free the native graphs."""
        for graph in self._graphs:
            graph.close()


class TasksLandmarker:
    """mediapipe 1.x: the Face Landmarker task, which detects faces and fits meshes in one step.

    Raises:
        WeightsError: the network file is missing, or mediapipe cannot read it.
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
                # With a single face the task smooths points over time, which delays the lips.
                self._follower = open_task(vision.RunningMode.VIDEO, max(2, num_followed))
                self._tasks.append(self._follower)
            self.place(_BLANK)  # starts the threads here, as they log while starting
        except (OSError, ValueError, RuntimeError) as error:
            raise WeightsError(
                f"mediapipe cannot read {networks} ({error}): fetch it again with "
                f"`talkhead weights download {TASK_WEIGHTS}`"
            ) from error

    def find(self, picture: Image) -> list[Box]:
        """Return the boxes around fitted meshes, as the task hides its detector and scores."""
        boxes = []
        for face in self.place(picture):
            low, high = face[:, :2].min(axis=0), face[:, :2].max(axis=0)
            x, y = (low + high) / 2
            boxes.append(Box(float(x), float(y), side=float(high[0] - low[0]), score=MIN_SCORE))
        return boxes

    def place(self, picture: Image) -> list[Points]:
        """Return the meshes of the faces in a still picture."""
        found = self._placer.detect(self._wrap(picture)).face_landmarks
        return [_to_pixels(face, picture) for face in found]

    def follow(self, frame: Image) -> list[Points]:
        """Return the meshes of the faces in a video's next frame."""
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
        networks: returns the path of ``face_landmarker.task``; called for mediapipe 1.x only.

    Raises:
        TalkheadError: mediapipe is not installed.
        WeightsError: the network file is missing or unreadable.
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
    """Allow importing mediapipe where OpenCV cannot be loaded.

    mediapipe imports `cv2` for its drawing functions, which we do not use. OpenCV's wheel needs the
    system's libGL.so.1, which headless machines often lack. If `cv2` fails to import, an empty
    module replaces it while mediapipe is imported.
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


def check_memory() -> None:
    """Ask for the memory that mediapipe needs, and give it back.

    Without it, mediapipe aborts the process in the middle of its start.

    Raises:
        MemoryError: there is too little.
    """
    if sys.platform == "win32":  # which would take it from the page file
        return
    try:
        mmap.mmap(-1, NEEDED_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON).close()
    except OSError as error:
        raise MemoryError(f"mediapipe needs {NEEDED_BYTES >> 20} MB") from error


class _Later(types.ModuleType):
    """A module that is imported when something of it is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def pyplot_later() -> Iterator[None]:
    """Import mediapipe without matplotlib, which takes longer than all the rest of it.

    mediapipe imports it for its drawing functions, which we do not use; they still work.
    """
    names = [name for name in ("matplotlib", "matplotlib.pyplot") if name not in sys.modules]
    later = {name: _Later(name) for name in names}
    if len(later) == 2:
        vars(later["matplotlib"])["pyplot"] = later["matplotlib.pyplot"]
    sys.modules.update(later)
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def _to_pixels(landmarks: Sequence[Any], picture: Image) -> Points:
    """Convert landmarks from fractions of the picture to float32 (478, 3) in pixels.

    z is on the same scale as x.
    """
    height, width = picture.shape[:2]
    points = np.array([(point.x, point.y, point.z) for point in landmarks], dtype=np.float64)
    return np.asarray(points * (width, height, width), dtype=np.float32)


@contextlib.contextmanager
def native_logs_silenced() -> Iterator[None]:
    """Keep the start-up logs of TF-lite and absl off the terminal."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with stderr_silenced():
        yield

"""Find faces in a picture and place the 478-point mesh on each of them."""

import contextlib
import os
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from talkhead.errors import NoFaceError, TalkheadError

NUM_POINTS = 478
DETECTOR_NAME = "mediapipe-face-mesh-attention"


class FaceDetector:
    """Places mediapipe's 478-point mesh on the faces of a picture, or of a video frame by frame.

    Args:
        max_faces: most faces to return.
        video: the pictures are consecutive frames, so each search starts where the last one ended.
    """

    def __init__(self, max_faces: int = 1, video: bool = False) -> None:
        self.max_faces = max_faces
        with _native_logs_silenced():
            from mediapipe.python.solutions.face_mesh import FaceMesh

            self._mesh: Any = FaceMesh(
                static_image_mode=not video, max_num_faces=max_faces, refine_landmarks=True
            )
        self._is_warm = False

    def __enter__(self) -> "FaceDetector":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the native graphs."""
        self._mesh.close()

    def detect(self, image: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        """Find the faces of a picture.

        Args:
            image: uint8 (H, W, 3), RGB.

        Returns:
            One float32 (478, 3) per face, the largest first, in pixels: x right, y down, z in the
            scale of x and negative toward the camera.
        """
        height, width = image.shape[:2]
        with contextlib.nullcontext() if self._is_warm else _native_logs_silenced():
            found = self._mesh.process(np.ascontiguousarray(image)).multi_face_landmarks or []
        self._is_warm = True
        scale = np.array([width, height, width], dtype=np.float32)
        faces = [
            np.array([(p.x, p.y, p.z) for p in face.landmark], dtype=np.float32) * scale
            for face in found
        ]
        return sorted(faces, key=_area, reverse=True)


def choose_face(
    faces: list[npt.NDArray[np.float32]], choice: str, size: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Pick one of the faces that were found.

    Args:
        faces: float32 (478, 3) each, pixels.
        choice: ``largest``, ``left``, ``right``, a number (1 is the leftmost face) or ``X,Y``
            (a pixel: the face around it, or else the nearest one).
        size: (W, H) of the picture.

    Raises:
        NoFaceError: there are no faces.
        TalkheadError: the choice is none of these, or names a face or a pixel that is not there.
    """
    if not faces:
        raise NoFaceError("no face found in the picture: use one in which a face is clearly visible")
    ordered = sorted(faces, key=lambda face: float(_centre(face)[0]))
    if choice == "largest":
        return max(faces, key=_area)
    if choice == "left":
        return ordered[0]
    if choice == "right":
        return ordered[-1]
    if choice.isdecimal():
        number = int(choice)
        if not 1 <= number <= len(ordered):
            raise TalkheadError(
                f"there is no face number {number}: found {len(ordered)}, counted from the left"
            )
        return ordered[number - 1]
    try:
        x, y = (float(part) for part in choice.split(","))
    except ValueError:
        raise TalkheadError(
            f"cannot choose a face by {choice!r}: say largest, left, right, a number or X,Y"
        ) from None
    width, height = size
    if not (0 <= x < width and 0 <= y < height):
        raise TalkheadError(f"pixel {x:g},{y:g} is outside the picture of {width}x{height}")
    around = [face for face in faces if _contains(face, x, y)]
    return min(around or faces, key=lambda face: float(np.hypot(*(_centre(face) - (x, y)))))


def _centre(face: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    low, high = face[:, :2].min(axis=0), face[:, :2].max(axis=0)
    return np.asarray((low + high) / 2, dtype=np.float32)


def _area(face: npt.NDArray[np.float32]) -> float:
    return float(np.prod(np.ptp(face[:, :2], axis=0)))


def _contains(face: npt.NDArray[np.float32], x: float, y: float) -> bool:
    low, high = face[:, :2].min(axis=0), face[:, :2].max(axis=0)
    return bool(low[0] <= x <= high[0] and low[1] <= y <= high[1])


@contextlib.contextmanager
def _native_logs_silenced() -> Iterator[None]:
    """Send what native code writes to file descriptor 2 to nowhere.

    TF-lite and absl write start-up chatter past `sys.stderr` and without a switch of their own;
    the CLI promises a single line on stderr.
    """
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # no stderr at all: nothing to silence
        yield
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)

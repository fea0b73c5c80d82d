"""The faces in a picture or video, drawn for a visitor to choose one."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from talkhead.jobs.pose_source import is_video
from talkhead.media.picture import read_picture
from talkhead.media.video import read_frames
from talkhead.tracking.face_detector import MAX_FACES, NO_FACE, FaceDetector, no_face_error
from talkhead.tracking.views import area_of, box_of

Pixels = npt.NDArray[np.uint8]
Corners = tuple[float, float, float, float]

PREVIEW_SIDE_PX = 960
SEARCH_S = 4.0
SEARCH_FPS = Fraction(5)
CHOSEN_COLOUR, OTHER_COLOUR = (79, 70, 229), (255, 255, 255)
_PAD = 0.08


@dataclass(frozen=True)
class FoundFaces:
    """The faces of a picture, reduced for a preview."""

    picture: Pixels
    """uint8 (h, w, 3)."""
    boxes: tuple[Corners, ...]
    """Left, top, right, bottom in pixels of the preview, from the left as `choose_face` counts."""
    largest: int
    """Number of the largest face; 1 is the leftmost."""

    def number_at(self, x: float, y: float) -> int:
        """Return the number of the face whose middle is nearest to a pixel of the preview."""
        middles = [((left + right) / 2, (top + low) / 2) for left, top, right, low in self.boxes]
        distances = [np.hypot(x - middle[0], y - middle[1]) for middle in middles]
        return int(np.argmin(distances)) + 1

    def drawn(self, chosen: int) -> Pixels:
        """Return the preview with a numbered box around each face, the chosen one in colour."""
        image = Image.fromarray(self.picture)
        draw = ImageDraw.Draw(image)
        unit = max(image.size) / PREVIEW_SIDE_PX
        letters_px = max(14, round(26 * unit))
        font = ImageFont.load_default(size=letters_px)
        for number, box in enumerate(self.boxes, 1):
            colour = CHOSEN_COLOUR if number == chosen else OTHER_COLOUR
            width = max(2, round((7 if number == chosen else 4) * unit))
            draw.rounded_rectangle(box, radius=12 * unit, outline=colour, width=width)
            text = str(number)
            wide = draw.textlength(text, font=font) + 18 * unit
            high = letters_px + 10 * unit
            label = (box[0], box[1], box[0] + wide, box[1] + high)
            draw.rounded_rectangle(label, radius=8 * unit, fill=colour)
            ink = (255, 255, 255) if number == chosen else (17, 24, 39)
            middle = ((label[0] + label[2]) / 2, (label[1] + label[3]) / 2)
            draw.text(middle, text, fill=ink, font=font, anchor="mm")
        return np.asarray(image)


def find_faces(face: Path) -> FoundFaces:
    """Find the faces of a picture, or of the first frame of a video that shows any.

    Raises:
        TalkheadError: the file cannot be read.
        NoFaceError: it shows no face.
    """
    with FaceDetector(max_faces=MAX_FACES) as detector:
        if is_video(face):
            picture, meshes = _search_video(detector, face)
        else:
            picture = read_picture(face).pixels
            meshes = detector.detect(picture)
        if not meshes:
            raise no_face_error(NO_FACE, [picture], detector)
    meshes.sort(key=lambda mesh: box_of(mesh).x)
    image = Image.fromarray(picture)
    image.thumbnail((PREVIEW_SIDE_PX, PREVIEW_SIDE_PX))
    scale = image.width / picture.shape[1]
    areas = [area_of(mesh) for mesh in meshes]
    boxes = tuple(_corners(mesh * scale, image.size) for mesh in meshes)
    return FoundFaces(np.asarray(image), boxes, int(np.argmax(areas)) + 1)


def _search_video(
    detector: FaceDetector, video: Path
) -> tuple[Pixels, list[npt.NDArray[np.float32]]]:
    """Return the first frame with faces, and their meshes; or the last frame looked at."""
    frame, faces = np.zeros((64, 64, 3), np.uint8), []
    with closing(read_frames(video, fps=SEARCH_FPS, duration_s=SEARCH_S)) as frames:
        for frame in frames:
            faces = detector.detect(frame)
            if faces:
                break
    return frame, faces


def _corners(mesh: npt.NDArray[np.float32], size: tuple[int, int]) -> Corners:
    """Return a rectangle a little larger than a mesh, within the picture."""
    low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
    margin = _PAD * (high - low)
    left, top = np.maximum(low - margin, 0)
    right, bottom = np.minimum(high + margin, np.array(size) - 1)
    return float(left), float(top), float(right), float(bottom)

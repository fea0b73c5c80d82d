"""The landmark track that a video shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from talkhead.errors import NoFaceError
from talkhead.face.detection import FaceDetector, choose_face
from talkhead.face.track import LandmarkTrack
from talkhead.media.video import probe_video, read_frames

Floats = npt.NDArray[np.float32]
Frames = npt.NDArray[np.uint8]


def track_video(
    video: Path,
    fps: Fraction | None = None,
    choose: str = "largest",
    follow: Callable[[Iterable[Frames], int | None], Iterable[Frames]] = lambda frames, _: frames,
) -> tuple[LandmarkTrack, int]:
    """Find a face in every frame of a video.

    The face is chosen in the first frame that has one, and followed to the nearest from there on.
    Where it is lost for a while, its mesh goes evenly from where it was to where it comes back.

    Args:
        video: the file.
        fps: frames a second; the video's own if None.
        choose: which face, as `talkhead.face.detection.choose_face` takes it.
        follow: passes frames on, of which there are about as many as it is told, and tells people
            how far it is.

    Returns:
        The track, and how many of its frames show no face.

    Raises:
        NoFaceError: no frame shows a face, or not the one that was asked for.
        TalkheadError: the video cannot be read.
    """
    info = probe_video(video)
    rate, size = fps or info.fps, (info.width, info.height)
    total = round(float(info.duration_s) * float(rate)) or None
    found: dict[int, Floats] = {}
    count = 0
    last: Floats | None = None
    with FaceDetector(max_faces=8, video=True) as detector:
        for frame in follow(read_frames(video, fps=rate), total):
            faces = detector.detect(frame)
            if faces:
                last = choose_face(faces, choose, size) if last is None else _nearest(faces, last)
                found[count] = last
            count += 1
        name = detector.name
    if not found:
        raise NoFaceError(f"{video} shows no face")
    points = np.stack(list(_without_gaps(found, count)))
    return LandmarkTrack(points, rate, size, name), count - len(found)


def _nearest(faces: list[Floats], last: Floats) -> Floats:
    before = last[:, :2].mean(0)
    return min(faces, key=lambda face: float(np.linalg.norm(face[:, :2].mean(0) - before)))


def _without_gaps(found: dict[int, Floats], count: int) -> Iterator[Floats]:
    keys = np.array(sorted(found))
    for index in range(count):
        after = int(np.searchsorted(keys, index))
        high = int(keys[min(after, len(keys) - 1)])
        low = high if high <= index else int(keys[max(after - 1, 0)])
        share = np.float32((index - low) / (high - low)) if high > low else np.float32(0)
        yield found[low] * (1 - share) + found[high] * share

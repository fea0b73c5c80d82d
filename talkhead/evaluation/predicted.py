"""Videos that another tool made, cut to the crops that are scored.

A video is paired with a clip by its name: the clip's, or that of the clip's whole video, which may
hold other clips too. Crops of 256 px are taken as they are; a video of the size of the original is
cut where the clip was cut; of any other size, the face is tracked and cut in it as `talkhead
prepare` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from talkhead.data.prepare import track_crops
from talkhead.errors import NoFaceError, TalkheadError
from talkhead.evaluation.frames import BATCH_FRAMES, MAX_LENGTH_DIFFERENCE, detect_points
from talkhead.evaluation.systems import Case
from talkhead.face.crop import CROP_SIDE_PX, Crop
from talkhead.media.files import VIDEO_SUFFIXES
from talkhead.media.video import probe_video, read_frames

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def find_predicted(folder: Path) -> dict[str, Path]:
    """Return the videos of a folder by their names without suffix.

    Raises:
        TalkheadError: no folder, no videos, or two of one name.
    """
    if not folder.is_dir():
        raise TalkheadError(f"{folder} is no folder of videos")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith("."):
            other = found.setdefault(path.stem, path)
            if other is not path:
                raise TalkheadError(f"{other} and {path} have the same name: keep one of them")
    if not found:
        raise TalkheadError(f"{folder} holds no videos ({', '.join(sorted(VIDEO_SUFFIXES))})")
    return found


def video_of(case: Case, videos: dict[str, Path]) -> tuple[Path, float | None]:
    """Return the video of a clip, and when the clip begins in it, seconds; None: it is all of it.

    Where clip and whole video have one name, what is longer than the clip is the whole video.

    Raises:
        TalkheadError: there is none, or it cannot be read.
    """
    own, whole = videos.get(case.info.clip), videos.get(Path(case.info.video).stem)
    if own is not None and (own != whole or not _is_longer(own, case)):
        return own, None
    if whole is not None:
        return whole, case.info.start_s
    raise TalkheadError(f"there is no video named {case.info.clip}")


def _is_longer(path: Path, case: Case) -> bool:
    return probe_video(path).duration_s * case.fps > len(case.clip) + MAX_LENGTH_DIFFERENCE + 0.5


def predicted_frames(case: Case, path: Path, start_s: float | None = None) -> Iterator[Pixels]:
    """Yield a video's crops at the clip's rate, in the batches that are scored.

    Args:
        case: the clip.
        path: the video.
        start_s: when the clip begins in it; what comes after the clip's end is another one's. None
            where the video is of this clip alone.

    Raises:
        TalkheadError: it cannot be read.
        NoFaceError: its size is another one, and no face is found in it.
    """
    info = probe_video(path)
    # A little more than is needed: a video that is too long has to be seen to be.
    count = len(case.clip) + (MAX_LENGTH_DIFFERENCE + 1 if start_s is None else 0)
    duration_s = float(count / case.fps)

    def frames() -> Iterator[Pixels]:
        return read_frames(path, fps=case.fps, start_s=start_s or 0.0, duration_s=duration_s)

    size = (info.width, info.height)
    if size == (CROP_SIDE_PX, CROP_SIDE_PX):
        yield from _batches(frames())
        return
    if size == (case.info.width, case.info.height):
        crops = [Crop(*map(float, row)) for row in case.clip.crops]
    else:
        crops = _own_crops(frames(), float(case.fps), path)
    # Frames beyond the last crop are cut like it: their number alone counts.
    pairs = ((crops[min(k, len(crops) - 1)], frame) for k, frame in enumerate(frames()))
    yield from _batches(crop.extract(frame) for crop, frame in pairs)


def _own_crops(frames: Iterable[Pixels], fps: float, path: Path) -> list[Crop]:
    points = np.stack(list(detect_points(frame[None] for frame in frames)))
    seen = np.flatnonzero(~np.isnan(points[:, 0, 0]))
    if not len(seen):
        raise NoFaceError(f"no face was found in {path}")
    nearest = np.abs(np.arange(len(points))[:, None] - seen).argmin(1)
    return track_crops(points[seen[nearest]], fps)


def _batches(frames: Iterable[Pixels]) -> Iterator[Pixels]:
    waiting: list[Pixels] = []
    for frame in frames:
        waiting.append(frame)
        if len(waiting) == BATCH_FRAMES:
            yield np.stack(waiting)
            waiting = []
    if waiting:
        yield np.stack(waiting)

"""Crop videos from other tools for scoring.

A video belongs to a clip if it has the name of the clip, or of the clip's source video, which may
contain other clips as well. Crops of 256 px are used unchanged, or enlarged for a clip that is
stored at 512 px. A video with the source's size is cropped where the clip was. Other crops of the
stored size are used unchanged. In a video of any other size, the face is tracked and cropped as in
`talkhead prepare`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from talkhead.errors import NoFaceError, TalkheadError
from talkhead.evaluation.frames import MAX_LENGTH_DIFFERENCE, detect_points, in_batches
from talkhead.evaluation.systems import EvalClip
from talkhead.geometry.crop import CROP_SIDE_PX, Crop, face_crops
from talkhead.media.files import VIDEO_SUFFIXES
from talkhead.media.video import probe_video, read_frames

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def find_predicted(folder: Path) -> dict[str, Path]:
    """Return the videos of a folder, by name without suffix.

    Raises:
        TalkheadError: the folder does not exist, has no videos, or two of the same name.
    """
    if not folder.is_dir():
        raise TalkheadError(f"{folder} is not a folder of videos")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith("."):
            other = found.setdefault(path.stem, path)
            if other is not path:
                raise TalkheadError(f"{other} and {path} have the same name: keep one of them")
    if not found:
        raise TalkheadError(f"{folder} has no videos ({', '.join(sorted(VIDEO_SUFFIXES))})")
    return found


def video_of(eval_clip: EvalClip, videos: dict[str, Path]) -> tuple[Path, float | None]:
    """Return a clip's video, and where the clip starts in it, in seconds; None: it is all of it.

    If the clip and its source video share a name, a file longer than the clip is the source video.

    Raises:
        TalkheadError: the video does not exist or cannot be read.
    """
    own, whole = videos.get(eval_clip.info.clip), videos.get(Path(eval_clip.info.video).stem)
    if own is not None and (own != whole or not _is_longer(own, eval_clip)):
        return own, None
    if whole is not None:
        return whole, eval_clip.info.start_s
    raise TalkheadError(f"no video named {eval_clip.info.clip}")


def _is_longer(path: Path, eval_clip: EvalClip) -> bool:
    return (
        probe_video(path).duration_s * eval_clip.fps
        > len(eval_clip.clip) + MAX_LENGTH_DIFFERENCE + 0.5
    )


def predicted_frames(
    eval_clip: EvalClip, path: Path, start_s: float | None = None, *, has_crops: bool = False
) -> Iterator[Pixels]:
    """Yield a video's crops, (T, S, S, 3), at the clip's frame rate, in batches for scoring.

    Args:
        eval_clip: the clip.
        path: the video.
        start_s: where the clip starts in it; anything after the clip's end is ignored. None if the
            video holds only this clip.
        has_crops: whether the video is known to hold crops of the stored size.

    Raises:
        TalkheadError: the video cannot be read.
        NoFaceError: the video has another size, and no face was found in it.
    """
    info = probe_video(path)
    # Read a few frames more than needed, to detect a video that is too long.
    count = len(eval_clip.clip) + (MAX_LENGTH_DIFFERENCE + 1 if start_s is None else 0)
    duration_s = float(count / eval_clip.fps)

    def frames() -> Iterator[Pixels]:
        return read_frames(path, fps=eval_clip.fps, start_s=start_s or 0.0, duration_s=duration_s)

    size = (info.width, info.height)
    side = eval_clip.side_px
    source_size = (eval_clip.info.width, eval_clip.info.height)
    if has_crops or size == (CROP_SIDE_PX, CROP_SIDE_PX) or size == (side, side) != source_size:
        crops = [Crop(size[0] / 2, size[1] / 2, float(size[0]))]
    elif size == source_size:
        crops = [Crop(*map(float, row)) for row in eval_clip.clip.crops]
    else:
        crops = _own_crops(frames(), float(eval_clip.fps), path)
    # Crop frames beyond the last crop like it: only their number matters.
    pairs = ((crops[min(k, len(crops) - 1)], frame) for k, frame in enumerate(frames()))
    yield from in_batches(crop.extract(frame, side) for crop, frame in pairs)


def _own_crops(frames: Iterable[Pixels], rate_hz: float, path: Path) -> list[Crop]:
    points = np.stack(list(detect_points(frame[None] for frame in frames)))
    seen = np.flatnonzero(~np.isnan(points[:, 0, 0]))
    if not len(seen):
        raise NoFaceError(f"no face was found in {path}")
    nearest = np.abs(np.arange(len(points))[:, None] - seen).argmin(1)
    return face_crops(points[seen[nearest]], rate_hz)

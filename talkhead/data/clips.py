"""Prepared clips: crops, landmarks and sound of one video segment, readable without ffmpeg."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from talkhead.atomic import replacing
from talkhead.config import build_config
from talkhead.errors import TalkheadError
from talkhead.geometry.crop import CROP_SIDE_PX
from talkhead.geometry.mesh import NUM_POINTS
from talkhead.media.arrays import READ_ERRORS, ArrayArchive
from talkhead.media.picture import DECODE_ERRORS
from talkhead.media.rates import SAMPLE_RATE_HZ, parse_fps

SCHEMA = 1
CROP_SIDES_PX = (CROP_SIDE_PX, 2 * CROP_SIDE_PX)
"""Sides that stored crops may have. Landmarks are in pixels of the smaller one."""
JPEG_QUALITY = 95
MANIFEST = "manifest.jsonl"
MAX_CLIP_BYTES = 1_000_000_000
"""Limit on the size of a clip's arrays, a hundred times that of 500 frames, a clip's maximum."""
MAX_MANIFEST_BYTES = 100_000_000
"""About 200,000 clips."""
MAX_NAME_BYTES = 220
"""Limit on the length of a clip's name; with a suffix, file names may have 255 bytes."""
_SHAPES: dict[str, tuple[str, tuple[int | None, ...]]] = {
    "landmarks": ("f4", (None, NUM_POINTS, 3)),
    "crops": ("f4", (None, 3)),
    "waveform": ("i2", (None,)),
    "jpeg": ("u1", (None,)),
    "jpeg_offsets": ("i8", (None,)),
}


@dataclass(frozen=True)
class ClipInfo:
    """One manifest line."""

    clip: str
    """Name of the clip; its arrays are in clips/NAME.npz."""
    video: str
    split: str
    person: str
    sound: str
    """Quality of the sound according to the list: good, weak, offset, unrelated, none, or
    unknown."""
    licence: str
    num_frames: int
    fps: str
    start_s: float
    has_sound: bool
    eye_distance_px: float
    """Median distance of the outer eye corners in the video, a measure of the crop's detail."""
    yaw_deg: float
    """Median absolute yaw of the head."""
    offset_frames: int
    """Lag at which lips and sound agree best; positive if the picture is late."""
    agreement: float
    """Correlation of the lips' opening with the one that the sound predicts, at that lag."""
    agreement_method: str
    transcript: str = ""
    """Words spoken, if the list gives them and the clip is the whole video."""
    emotion: str = ""
    """Emotion, by MEAD's name; empty if the list gives none."""
    level: int = 0
    """Intensity of the emotion, from 1; 0 if the list gives none."""
    view: str = ""
    """Camera position, by MEAD's name; empty if the list gives none."""
    width: int = 0
    """Width of the video, pixels; 0 in folders of earlier versions."""
    height: int = 0
    """Height of the video, likewise."""

    @property
    def is_still(self) -> bool:
        """Whether this is a single picture."""
        return self.num_frames == 1


@dataclass(frozen=True)
class Clip:
    """Arrays of one clip; frames stay compressed until they are read.

    Attributes:
        landmarks: float32 (T, 478, 3), crop pixels.
        crops: float32 (T, 3), x, y and side of each frame's crop, pixels of the video.
        waveform: int16 (N,), 16 kHz mono; empty without sound.
        jpeg: uint8, the concatenated JPEG files of all frames.
        jpeg_offsets: int64 (T + 1,), boundaries of the JPEG files.
    """

    landmarks: npt.NDArray[np.float32]
    crops: npt.NDArray[np.float32]
    waveform: npt.NDArray[np.int16]
    jpeg: npt.NDArray[np.uint8]
    jpeg_offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.landmarks)

    def frame(self, index: int, side_px: int | None = CROP_SIDE_PX) -> npt.NDArray[np.uint8]:
        """Decode one crop, uint8 (side_px, side_px, 3), at the stored size if that is None.

        Raises:
            TalkheadError: the frame is damaged.
        """
        start, end = self.jpeg_offsets[index : index + 2]
        try:
            file = io.BytesIO(self.jpeg[start:end].tobytes())
            with Image.open(file, formats=["JPEG"]) as image:
                if image.width not in CROP_SIDES_PX or image.height != image.width:
                    raise ValueError(f"it is {image.width} x {image.height} px")
                size = (side_px or image.width,) * 2
                pixels = image.convert("RGB")
                if image.size != size:
                    pixels = pixels.resize(size, Image.Resampling.BICUBIC)
                return np.asarray(pixels)
        except (*DECODE_ERRORS, Image.DecompressionBombError) as error:
            raise TalkheadError(
                f"frame {index} of a clip is damaged ({error}): run talkhead prepare again"
            ) from error

    def beginning(self, num_frames: int, fps: Fraction) -> Clip:
        """Return the first frames of the clip and their sound; all of a shorter clip."""
        return self if num_frames >= len(self) else self.part(0, num_frames, fps)

    def part(self, start: int, end: int, fps: Fraction) -> Clip:
        """Return the frames from `start` to `end` (exclusive), and their sound."""
        offsets = self.jpeg_offsets[start : end + 1]  # none if it was read without frames
        first, last = (int(offsets[0]), int(offsets[-1])) if len(offsets) else (0, 0)
        sound = (round(frame / fps * SAMPLE_RATE_HZ) for frame in (start, end))
        return replace(
            self,
            landmarks=self.landmarks[start:end],
            crops=self.crops[start:end],
            waveform=self.waveform[slice(*sound)],
            jpeg=self.jpeg[first:last],
            jpeg_offsets=offsets - first,
        )

    def waveform_float(self) -> npt.NDArray[np.float32]:
        """Return the sound as float32 in [-1, 1]."""
        return self.waveform.astype(np.float32) / 32768


def encode_frames(
    frames: Iterator[npt.NDArray[np.uint8]] | Sequence[npt.NDArray[np.uint8]],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Compress frames to concatenated JPEG files; return them and their offsets."""
    parts, offsets = [], [0]
    for frame in frames:
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        parts.append(np.frombuffer(buffer.getvalue(), np.uint8))
        offsets.append(offsets[-1] + len(parts[-1]))
    jpeg = np.concatenate(parts) if parts else np.zeros(0, np.uint8)
    return jpeg, np.array(offsets, np.int64)


def write_clip(folder: Path, info: ClipInfo, clip: Clip) -> None:
    """Write clips/NAME.npz, then clips/NAME.json; a clip is complete when both exist."""
    target = folder / "clips" / f"{info.clip}.npz"
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as partial, partial.open("wb") as file:
        np.savez(
            file,
            schema=np.int64(SCHEMA),
            landmarks=clip.landmarks,
            crops=clip.crops,
            waveform=clip.waveform,
            jpeg=clip.jpeg,
            jpeg_offsets=clip.jpeg_offsets,
        )
    with replacing(target.with_name(f"{info.clip}.json")) as partial:
        partial.write_text(json.dumps(asdict(info)), encoding="utf-8")


def read_clip(folder: Path, name: str, *, frames: bool = True) -> Clip:
    """Read one clip of a prepared folder, with its images only if `frames` is set.

    Raises:
        TalkheadError: the file is missing, damaged or from another version.
    """
    path = folder / "clips" / f"{name}.npz"
    try:
        with ArrayArchive(path, max_bytes=MAX_CLIP_BYTES) as arrays:
            if int(arrays["schema"]) != SCHEMA:
                raise TalkheadError(f"{path} is from another version: run talkhead prepare again")
            skipped = () if frames else ("jpeg", "jpeg_offsets")
            values: dict[str, Any] = {
                field.name: np.zeros(0) if field.name in skipped else arrays[field.name]
                for field in fields(Clip)
            }
        _check_arrays({key: value for key, value in values.items() if key not in skipped})
        return Clip(**values)
    except (*READ_ERRORS, TypeError) as error:
        raise TalkheadError(
            f"cannot read the clip {path} ({' '.join(str(error).split())}): run talkhead prepare"
            " again"
        ) from error


def _check_arrays(values: dict[str, npt.NDArray[Any]]) -> None:
    """Raise ValueError unless the arrays fit together."""
    for name, array in values.items():
        kind, shape = _SHAPES[name]
        fits = len(shape) == array.ndim and all(
            wanted in (None, length) for wanted, length in zip(shape, array.shape, strict=True)
        )
        if array.dtype != np.dtype(kind) or not fits:
            raise ValueError(f"{name} is {array.dtype} {array.shape}")
    count = len(values["landmarks"])
    if count == 0 or len(values["crops"]) != count:
        raise ValueError(f"{count} meshes with {len(values['crops'])} crops")
    for name in ("landmarks", "crops"):
        if not np.isfinite(values[name]).all():
            raise ValueError(f"{name} are not finite")
    if "jpeg" in values:
        offsets = values["jpeg_offsets"]
        if len(offsets) != count + 1 or offsets[0] != 0 or offsets[-1] != len(values["jpeg"]):
            raise ValueError(f"jpeg_offsets do not fit {count} frames")
        if (np.diff(offsets) < 0).any():
            raise ValueError("jpeg_offsets are not in order")


def read_manifest(folder: Path) -> list[ClipInfo]:
    """Read the manifest of a prepared folder, sorted by clip.

    Raises:
        TalkheadError: the folder was not prepared, or a line is invalid.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise TalkheadError(f"{folder} has no {MANIFEST}: run talkhead prepare VIDEOS -o {folder}")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise TalkheadError(
            f"{path} is larger than {MAX_MANIFEST_BYTES / 1e6:.0f} MB: prepare fewer videos"
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TalkheadError(f"{path} cannot be read: {error}") from error
    rows: dict[str, ClipInfo] = {}
    for number, line in enumerate(lines, 1):
        try:
            row = _parse_row(line)
            if row.clip in rows:
                raise ValueError(f"{row.clip} appears twice")
        except (TalkheadError, ValueError, RecursionError) as error:
            raise TalkheadError(f"{path}, line {number} is invalid: {error}") from error
        rows[row.clip] = row
    return [rows[clip] for clip in sorted(rows)]


def _parse_row(line: str) -> ClipInfo:
    """Parse a manifest line; raises TalkheadError, ValueError or RecursionError."""
    values = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError("it is not a JSON object")
    row = build_config(ClipInfo, values, source="the clip")
    # The name becomes part of file names.
    if not re.fullmatch(r"[\w-][\w.-]*", row.clip) or len(row.clip.encode()) > MAX_NAME_BYTES:
        raise ValueError(f"{row.clip[:80]!r} cannot be the name of a clip")
    parse_fps(row.fps)
    if row.num_frames < 1:
        raise ValueError(f"num_frames is {row.num_frames}")
    return row


def write_manifest(folder: Path) -> list[ClipInfo]:
    """Collect the clips' side files into the manifest."""
    rows = [
        ClipInfo(**json.loads(path.read_text(encoding="utf-8")))
        for path in sorted((folder / "clips").glob("*.json"))
    ]
    with replacing(folder / MANIFEST) as partial:
        text = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
        partial.write_text(text, encoding="utf-8")
    return rows

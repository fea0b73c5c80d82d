"""The landmark track: one mesh per frame, and the file format that connects the two stages."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from talkhead.atomic import replacing
from talkhead.errors import TalkheadError
from talkhead.geometry.mesh import NUM_POINTS
from talkhead.geometry.time_series import resample
from talkhead.media import rates
from talkhead.media.arrays import READ_ERRORS, ArrayArchive
from talkhead.media.files import check_input

SCHEMA = 1
MAX_FRAMES = 216_000
"""An hour at 60 frames per second, 1.2 GB in memory."""
MAX_JSON_BYTES = 150_000_000
"""About 9,000 frames; parsing needs ten times as much memory."""
MAX_COORDINATE_PX = 1_000_000.0
"""Pictures have sides of at most 20,000 px. Fitting a pose to far larger numbers fails."""
MIN_TRACK_FPS, MAX_TRACK_FPS = Fraction(1, 60), Fraction(1000)
"""One frame a minute is already very slow; fast cameras record a thousand a second."""
_KEYS = ("schema", "detector", "fps", "size", "points")
MIN_FACE_PX = 1.0
"""A pose cannot be fitted to a smaller face."""
_BLOCK_FRAMES = 1000
_MAX_RATIO = 1_000_000  # its product with a frame number fits into 64 bits
_MAX_NAME = 200  # characters in a detector's name


@dataclass(frozen=True, eq=False)
class LandmarkTrack:
    """Landmarks over time. Frame k shows the moment (k + 1/2) / fps, in seconds.

    Raises:
        ValueError: a field does not have the shape, type or range stated here.
    """

    points: npt.NDArray[np.float32]
    """(T, 478, 3), T at least 1, all finite; pixels of the picture (x right, y down, z on the same
    scale as x and negative towards the camera)."""
    fps: Fraction
    """Frames per second, above 0."""
    size: tuple[int, int]
    """(W, H) of the picture."""
    detector: str
    """Name of the detector or generator; tracks from different detectors are not compared."""

    def __post_init__(self) -> None:
        points = self.points
        if points.dtype != np.float32 or points.shape[1:] != (NUM_POINTS, 3):
            raise ValueError(
                f"points must be float32 (T, {NUM_POINTS}, 3), not {points.dtype} {points.shape}"
            )
        if len(points) == 0:
            raise ValueError("points has no frames")
        if not np.isfinite(points).all():
            raise ValueError("points has values that are not finite")
        if self.fps <= 0:
            raise ValueError(f"fps must be above 0, not {self.fps}")
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"size must be a width and a height of at least 1, not {self.size}")
        if not self.detector:
            raise ValueError("detector must be named")

    @property
    def num_frames(self) -> int:
        """Number of frames, T."""
        return len(self.points)

    @property
    def duration_s(self) -> Fraction:
        """Duration of the track, including its last frame."""
        return self.num_frames / self.fps

    @classmethod
    def read(cls, path: Path) -> LandmarkTrack:
        """Read a track that `write` wrote, possibly edited by hand.

        Args:
            path: ``.npz`` or ``.json``.

        Raises:
            TalkheadError: the file is missing, damaged or not a track: a key is missing, unknown or
                duplicated, or a value has the wrong type, shape or range.
        """
        path = Path(path)
        _, read = _format(path)
        check_input(path)
        try:
            return _from_fields(read(path))
        except (*READ_ERRORS, OverflowError) as error:
            reason = str(error) or type(error).__name__
            reason = " ".join(reason.split())
            raise TalkheadError(f"{path} cannot be read as a landmark track: {reason}") from error

    def write(self, path: Path) -> None:
        """Write the track atomically, replacing an existing file.

        Args:
            path: ``.npz``, without pickles; or ``.json``, one line per frame, for editing by hand:
                ``{"schema": 1, "detector": ..., "fps": [25, 1], "size": [W, H], "points": ...}``.

        Raises:
            TalkheadError: the suffix is different, or the folder is missing or not writable.
        """
        self.write_windows(path, [self.points], self.num_frames, self.fps, self.size, self.detector)

    @staticmethod
    def write_windows(
        path: Path,
        windows: Iterable[npt.NDArray[np.float32]],
        num_frames: int,
        fps: Fraction,
        size: tuple[int, int],
        detector: str,
    ) -> None:
        """Write a track without holding all of it in memory.

        Args:
            path: as for `write`.
            windows: points (T, 478, 3) of consecutive ranges of frames.
            num_frames: total number of frames in all windows.
            fps: as the field.
            size: as the field.
            detector: as the field.

        Raises:
            ValueError: a window or a field is invalid, or the number of frames differs.
            TalkheadError: as for `write`.
        """
        path = Path(path)
        write, _ = _format(path)
        head: dict[str, npt.NDArray[Any]] = {
            "schema": np.array(SCHEMA, dtype=np.int64),
            "detector": np.array(detector, dtype=np.str_),
            "fps": np.array(fps.as_integer_ratio(), dtype=np.int64),
            "size": np.array(size, dtype=np.int64),
        }

        def checked() -> Iterator[npt.NDArray[np.float32]]:
            count = 0
            for points in windows:
                LandmarkTrack(points, fps, size, detector)  # validates the window
                count += len(points)
                yield points
            if count != num_frames:
                raise ValueError(f"expected {num_frames} frames, got {count}")

        with replacing(path) as temporary:
            write(temporary, head, checked(), num_frames)

    def resample(self, fps: Fraction, num_frames: int | None = None) -> LandmarkTrack:
        """Return the same motion at another frame rate, interpolated linearly between frames.

        Args:
            fps: the new rate.
            num_frames: the new length; by default, enough to cover this track's duration. Beyond
                the middle of the last frame, the track stands still.
        """
        if num_frames is None:
            num_frames = rates.num_frames(self.duration_s, fps)
        if num_frames < 1:
            raise ValueError(f"num_frames must be at least 1, not {num_frames}")
        points = resample(self.points, self.fps, fps, num_frames)
        return LandmarkTrack(points, fps, self.size, self.detector)


_Head = Mapping[str, npt.NDArray[Any]]
_Windows = Iterator[npt.NDArray[np.float32]]


def _format(
    path: Path,
) -> tuple[Callable[[Path, _Head, _Windows, int], None], Callable[[Path], Mapping[str, Any]]]:
    """Return the writer and the reader for a suffix."""
    formats = {".npz": (_write_npz, _read_npz), ".json": (_write_json, _read_json)}
    if path.suffix.lower() not in formats:
        raise TalkheadError(f"{path} is not a landmark track: the name must end in .npz or .json")
    return formats[path.suffix.lower()]


def _write_npz(path: Path, head: _Head, windows: _Windows, num_frames: int) -> None:
    # Like numpy's savez, which needs whole arrays.
    with zipfile.ZipFile(path, "w") as archive:
        for key, value in head.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, value, allow_pickle=False)  # type: ignore[no-untyped-call]
        with archive.open("points.npy", "w", force_zip64=True) as file:
            shape = (num_frames, NUM_POINTS, 3)
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
            for points in windows:
                file.write(np.ascontiguousarray(points, "<f4").tobytes())


def _read_npz(path: Path) -> Mapping[str, Any]:
    with ArrayArchive(path, max_bytes=MAX_FRAMES * NUM_POINTS * 3 * 4 + 10_000) as archive:
        _check_keys(archive.names)
        fields = {key: archive[key] for key in _KEYS}
    for key, kind, num_dims in (
        ("schema", "i", 0), ("detector", "U", 0), ("fps", "i", 1), ("size", "i", 1),
    ):  # fmt: skip
        value = fields[key]
        if value.dtype.kind != kind or value.ndim != num_dims:
            raise ValueError(f"{key} has the wrong type, {value.dtype} {value.shape}")
        fields[key] = value.tolist()
    return fields


def _write_json(path: Path, head: _Head, windows: _Windows, num_frames: int) -> None:
    del num_frames
    with path.open("w", encoding="utf-8") as file:
        file.write("{\n")
        file.writelines(f"{json.dumps(key)}: {json.dumps(head[key].tolist())},\n" for key in head)
        file.write('"points": [\n')
        for index, frame in enumerate(frame for points in windows for frame in points):
            # Convert through text: the shortest decimals that identify this float32.
            decimals = frame.astype(np.str_).astype(np.float64).tolist()
            file.write(",\n" if index else "")
            file.write(json.dumps(decimals, separators=(",", ":")))
        file.write("\n]\n}\n")


def _read_json(path: Path) -> Mapping[str, Any]:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a number")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _check_keys([key for key, _ in pairs])
        return dict(pairs)

    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"it is larger than {MAX_JSON_BYTES / 1e6:.0f} MB; use .npz")
    text = path.read_text(encoding="utf-8")
    # Empty lists need twenty times the memory of their text.
    if 2 * text.count("[") > text.count(",") + 10:
        raise ValueError("points must be (T, 478, 3), but has more lists than numbers")
    fields = json.loads(text, parse_constant=refuse, object_pairs_hook=unique)
    if not isinstance(fields, dict):
        raise ValueError("it must be an object with the keys " + ", ".join(_KEYS))
    points = np.asarray(fields["points"])
    if points.dtype.kind not in "if":
        raise ValueError("points must contain numbers only")
    with np.errstate(over="ignore"):  # overflow becomes infinite, which is rejected later
        return {**fields, "points": points.astype(np.float32)}


def _check_keys(keys: list[str]) -> None:
    """Check that every key appears exactly once, and no other key."""
    for what, wrong in (
        ("missing", [key for key in _KEYS if key not in keys]),
        ("unknown", [key for key in keys if key not in _KEYS]),
        ("duplicated", [key for key in _KEYS if keys.count(key) > 1]),
    ):
        if wrong:
            raise ValueError(f"{', '.join(map(repr, wrong))} is {what}")


def _from_fields(fields: Mapping[str, Any]) -> LandmarkTrack:
    schema, detector, fps, size = (fields[key] for key in _KEYS[:-1])
    if type(schema) is not int or schema != SCHEMA:
        raise ValueError(f"schema is {schema!r}, but this version of talkhead reads {SCHEMA}")
    if type(detector) is not str:
        raise ValueError("detector must be a string")
    if len(detector) > _MAX_NAME:
        raise ValueError(f"detector must have at most {_MAX_NAME} characters")
    for key, pair in (("fps", fps), ("size", size)):
        if type(pair) is not list or [type(number) for number in pair] != [int, int]:
            raise ValueError(f"{key} must be two whole numbers")
    if fps[1] < 1 or max(fps) > _MAX_RATIO:
        raise ValueError(f"fps must be two whole numbers, the second from 1 to {_MAX_RATIO:,}")
    track = LandmarkTrack(fields["points"], Fraction(*fps), (size[0], size[1]), detector)
    if not MIN_TRACK_FPS <= track.fps <= MAX_TRACK_FPS:
        raise ValueError(f"fps must be from {MIN_TRACK_FPS} to {MAX_TRACK_FPS}, not {track.fps}")
    if max(-track.points.min(), track.points.max()) > MAX_COORDINATE_PX:
        raise ValueError(f"points must lie within {MAX_COORDINATE_PX:,.0f} px")
    for start in range(0, track.num_frames, _BLOCK_FRAMES):
        sides = np.ptp(track.points[start : start + _BLOCK_FRAMES, :, :2], axis=1)
        if sides.min() < MIN_FACE_PX:
            raise ValueError(f"points of a frame span less than {MIN_FACE_PX:g} px")
    return track

"""Turn videos into training clips: tracked crops, landmarks, audio, and a manifest."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from talkhead.atomic import replacing
from talkhead.data.av_sync import best_lag, loudness
from talkhead.data.clips import (
    MANIFEST,
    Clip,
    ClipInfo,
    encode_frames,
    read_manifest,
    write_clip,
    write_manifest,
)
from talkhead.data.layouts import Source
from talkhead.errors import NoFaceError, TalkheadError, WeightsError
from talkhead.geometry.crop import CROP_SIDE_PX, face_crop, face_crops
from talkhead.geometry.mesh import mouth_opening
from talkhead.geometry.pose import fit_head_pose
from talkhead.media.audio_clip import AudioClip
from talkhead.media.kinds import is_video
from talkhead.media.picture import read_picture
from talkhead.media.rates import DEFAULT_FPS, SAMPLE_RATE_HZ
from talkhead.media.video import probe_video, read_frames
from talkhead.media.workers import worker_pool
from talkhead.tracking.face_detector import FaceDetector, choose_in_picture
from talkhead.tracking.face_track import FaceTrack, Stretch
from talkhead.tracking.face_tracker import track_any_face

Floats = npt.NDArray[np.float32]

MIN_CLIP_FRAMES = 20
MAX_CLIP_FRAMES = 500
"""Longer stretches are split, so that clip size and worker memory do not grow with the video."""
MAX_YAW_DEG = 40.0
MIN_EYE_DISTANCE_PX = 28.0


@dataclass(frozen=True)
class Outcome:
    """Result for one video: its clips, or why it has none."""

    source: Source
    clips: tuple[str, ...]
    dropped: str = ""
    broken: bool = False
    """The video could not be read; a later run tries again."""
    num_frames: int | None = None
    num_without_face: int | None = None
    """Number of frames without a face; None if not counted."""


def read_face_counts(folder: Path) -> dict[str, tuple[int, int]]:
    """Return every video's number of frames and its number of frames without a face.

    Args:
        folder: made by `prepare`.

    Returns:
        Counts by video name, which is a clip's name up to the dot. Videos prepared by an older
        talkhead are missing, as it did not count.

    Raises:
        TalkheadError: a record is damaged.
    """
    counts = {}
    for path in sorted((folder / "done").glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if "frames" in record:
                frames, without_face = record["frames"], record["frames_without_face"]
                counts[path.stem] = (int(frames), int(without_face))
        except (KeyError, TypeError, ValueError) as error:
            raise TalkheadError(
                f"{path} is damaged ({error}): remove it and run `talkhead prepare` again"
            ) from error
    return counts


def prepare(
    sources: list[Source],
    output: Path,
    *,
    fps: Fraction = DEFAULT_FPS,
    side_px: int = CROP_SIDE_PX,
    num_workers: int = 2,
) -> Generator[Outcome, None, None]:
    """Prepare videos in several processes; videos that an earlier run finished are not redone.

    A picture becomes a clip of one frame, for the mouth's networks.

    The manifest is written at the end, even if the caller stops early; in that case the worker
    processes are stopped at once and their partial output is removed.

    Yields:
        One outcome per video, in order of completion.

    Raises:
        TalkheadError: the folder was prepared at a different rate, or a worker process was killed.
        WeightsError: the networks of mediapipe 1.x are missing.
    """
    done_folder = output / "done"
    if (output / MANIFEST).is_file():
        rates = {row.fps for row in read_manifest(output)} - {str(fps)}
        if rates:
            raise TalkheadError(
                f"{output} was prepared at {min(rates)} frames per second, not {fps}:"
                " choose another folder"
            )
    done_folder.mkdir(parents=True, exist_ok=True)
    waiting = []
    for source in sources:
        done = done_folder / f"{source.name}.json"
        if done.is_file():
            record = json.loads(done.read_text(encoding="utf-8"))
            yield Outcome(
                source,
                tuple(record["clips"]),
                record["dropped"],
                num_frames=record.get("frames"),  # missing in older records
                num_without_face=record.get("frames_without_face"),
            )
        else:
            waiting.append(source)
    try:
        with worker_pool(num_workers) as pool:
            futures = [
                pool.submit(_prepare_one, source, output, fps, side_px) for source in waiting
            ]
            for future in as_completed(futures):
                outcome = future.result()
                if not outcome.broken:
                    record = {
                        "clips": outcome.clips,
                        "dropped": outcome.dropped,
                        "frames": outcome.num_frames,
                        "frames_without_face": outcome.num_without_face,
                    }
                    done = done_folder / f"{outcome.source.name}.json"
                    with replacing(done) as partial:
                        partial.write_text(json.dumps(record), encoding="utf-8")
                yield outcome
    finally:
        write_manifest(output)


def _prepare_one(source: Source, output: Path, fps: Fraction, side_px: int) -> Outcome:
    try:
        if not is_video(source.path):
            return prepare_picture(source, output, fps, side_px)
        return prepare_video(source, output, fps, side_px)
    except WeightsError:
        raise
    except TalkheadError as error:
        return Outcome(source, (), str(error), broken=True)


def prepare_picture(
    source: Source, output: Path, fps: Fraction = DEFAULT_FPS, side_px: int = CROP_SIDE_PX
) -> Outcome:
    """Write a picture as a clip of one frame.

    Raises:
        TalkheadError: the picture cannot be read.
    """
    picture = read_picture(source.path).pixels
    with FaceDetector() as detector:
        try:
            points = choose_in_picture(detector, picture, "largest")[None]
        except NoFaceError:
            return Outcome(source, (), "no face", num_frames=1, num_without_face=1)
    turn, eyes = _view(points)
    if turn > MAX_YAW_DEG or eyes < MIN_EYE_DISTANCE_PX:
        return Outcome(source, (), "no frontal face", num_frames=1, num_without_face=0)
    crop = face_crop(points[0])
    jpeg, offsets = encode_frames([crop.extract(picture, side_px)])
    info = ClipInfo(
        clip=source.name,
        video=source.path.name,
        split=source.split,
        person=source.person,
        sound="none",
        licence=source.licence,
        num_frames=1,
        fps=str(fps),
        start_s=0.0,
        has_sound=False,
        eye_distance_px=round(eyes, 1),
        yaw_deg=round(turn, 1),
        offset_frames=0,
        agreement=0.0,
        agreement_method="none",
        emotion=source.emotion,
        level=source.level,
        view=source.view,
        width=picture.shape[1],
        height=picture.shape[0],
    )
    clip = Clip(
        landmarks=crop.to_crop(points),
        crops=np.array([(crop.x, crop.y, crop.side)], np.float32),
        waveform=np.zeros(0, np.int16),
        jpeg=jpeg,
        jpeg_offsets=offsets,
    )
    write_clip(output, info, clip)
    return Outcome(source, (source.name,), num_frames=1, num_without_face=0)


def prepare_video(
    source: Source, output: Path, fps: Fraction = DEFAULT_FPS, side_px: int = CROP_SIDE_PX
) -> Outcome:
    """Write the clips of one video, with audio from its separate file if it has one.

    Raises:
        TalkheadError: the video or the audio cannot be read.
    """
    track = track_any_face(source.path, fps)
    sound_path = source.audio or (source.path if probe_video(source.path).has_audio else None)
    waveform = np.zeros(0, np.float32)
    if sound_path is not None:
        with AudioClip.open(sound_path) as audio:
            waveform = audio.waveform()
    names = []
    for number, (start, end) in enumerate(clip_ranges(track.stretches)):
        name = f"{source.name}.{number}" if number else source.name
        clip = _make_clip(source, name, track, start, end, waveform, side_px)
        if clip is not None:
            write_clip(output, *clip)
            names.append(name)
    return Outcome(
        source,
        tuple(names),
        "" if names else "no stretch with a steady, frontal face",
        num_frames=track.num_frames,
        num_without_face=track.num_undetected,
    )


def clip_ranges(stretches: list[Stretch]) -> Iterator[tuple[int, int]]:
    """Yield the first frame and the end (exclusive) of every clip that is long enough."""
    for stretch in stretches:
        for start in range(stretch.start, stretch.end, MAX_CLIP_FRAMES):
            end = min(start + MAX_CLIP_FRAMES, stretch.end)
            if end - start >= MIN_CLIP_FRAMES:
                yield start, end


def _view(points: Floats) -> tuple[float, float]:
    """Return the median absolute yaw, degrees, and the eye distance, pixels, of meshes."""
    pose = fit_head_pose(points)
    turn = np.arctan2(pose.rotation[:, 0, 2], pose.rotation[:, 2, 2])
    return float(np.median(np.abs(np.degrees(turn)))), float(np.median(pose.scale))


def _make_clip(
    source: Source,
    name: str,
    track: FaceTrack,
    start: int,
    end: int,
    waveform: Floats,
    side_px: int,
) -> tuple[ClipInfo, Clip] | None:
    """Return a clip of some frames of a video; None if its face is too small or turned away."""
    fps, points = track.fps, track.detected_points(start, end)
    yaw, eyes = _view(points)
    if yaw > MAX_YAW_DEG or eyes < MIN_EYE_DISTANCE_PX:
        return None
    crops = face_crops(points, float(fps))
    begin = float(start / fps)
    length_s = float(len(points) / fps)
    frames = read_frames(source.path, fps=fps, start_s=begin, duration_s=length_s)
    jpeg, offsets = encode_frames(
        crop.extract(frame, side_px) for crop, frame in zip(crops, frames, strict=False)
    )
    count = len(offsets) - 1
    if count < MIN_CLIP_FRAMES:
        return None
    landmarks = np.stack(
        [crop.to_crop(p) for crop, p in zip(crops[:count], points[:count], strict=True)]
    )
    first = round(begin * SAMPLE_RATE_HZ)
    sound = waveform[first : first + round(float(count / fps) * SAMPLE_RATE_HZ)]
    lag, agreement = 0, 0.0
    if len(sound):
        level = loudness(sound, count, float(fps))
        lag, agreement = best_lag(mouth_opening(landmarks), level)
    row = ClipInfo(
        clip=name,
        video=source.path.name,
        split=source.split,
        person=source.person,
        sound=source.sound,
        licence=source.licence,
        num_frames=count,
        fps=str(fps),
        start_s=begin,
        has_sound=len(sound) > 0,
        eye_distance_px=round(eyes, 1),
        yaw_deg=round(yaw, 1),
        offset_frames=lag,
        agreement=round(agreement, 3),
        agreement_method="loudness",
        transcript=source.transcript if count == track.num_frames else "",
        emotion=source.emotion,
        level=source.level,
        view=source.view,
        width=track.size[0],
        height=track.size[1],
    )
    clip = Clip(
        landmarks=landmarks,
        crops=np.array([(c.x, c.y, c.side) for c in crops[:count]], np.float32),
        waveform=(sound * 32767).round().clip(-32768, 32767).astype(np.int16),
        jpeg=jpeg,
        jpeg_offsets=offsets,
    )
    return row, clip

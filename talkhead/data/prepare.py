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
from scipy.ndimage import gaussian_filter1d

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
from talkhead.errors import TalkheadError, WeightsError
from talkhead.geometry.crop import FACE_CENTRE_DROP, FACE_MARGIN, Crop
from talkhead.geometry.mesh import NUM_SURFACE_POINTS, STABLE_POINTS, mouth_opening
from talkhead.geometry.pose import fit_head_pose
from talkhead.media.audio_clip import AudioClip
from talkhead.media.rates import DEFAULT_FPS, SAMPLE_RATE_HZ
from talkhead.media.video import probe_video, read_frames
from talkhead.media.workers import worker_pool
from talkhead.tracking.face_detector import FaceDetector

Floats = npt.NDArray[np.float32]

MIN_CLIP_FRAMES = 20
MAX_CLIP_FRAMES = 500
"""Longer stretches are split, so that clip size and worker memory do not grow with the video."""
MAX_GAP_FRAMES = 3
MAX_JUMP = 0.35
"""A face that moves by more eye distances than this between two frames marks a cut."""
MAX_YAW_DEG = 40.0
MIN_EYE_DISTANCE_PX = 28.0
CROP_SMOOTHING_S = 0.6


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
    sources: list[Source], output: Path, *, fps: Fraction = DEFAULT_FPS, num_workers: int = 2
) -> Generator[Outcome, None, None]:
    """Prepare videos in several processes; videos that an earlier run finished are not redone.

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
            futures = [pool.submit(_prepare_one, source, output, fps) for source in waiting]
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


def _prepare_one(source: Source, output: Path, fps: Fraction) -> Outcome:
    try:
        return prepare_video(source, output, fps)
    except WeightsError:
        raise
    except TalkheadError as error:
        return Outcome(source, (), str(error), broken=True)


def prepare_video(source: Source, output: Path, fps: Fraction = DEFAULT_FPS) -> Outcome:
    """Write the clips of one video, with audio from its separate file if it has one.

    Raises:
        TalkheadError: the video or the audio cannot be read.
    """
    info = probe_video(source.path)
    with FaceDetector(video=True) as detector:
        found = [detector.detect(frame) for frame in read_frames(source.path, fps=fps)]
    track = [faces[0] if faces else None for faces in found]
    sound_path = source.audio or (source.path if info.has_audio else None)
    waveform = np.zeros(0, np.float32)
    if sound_path is not None:
        with AudioClip.open(sound_path) as audio:
            waveform = audio.waveform()
    names = []
    for number, (start, points) in enumerate(find_stretches(track)):
        name = f"{source.name}.{number}" if number else source.name
        pose = fit_head_pose(points)
        turn = np.arctan2(pose.rotation[:, 0, 2], pose.rotation[:, 2, 2])
        yaw = float(np.median(np.abs(np.degrees(turn))))
        eyes = float(np.median(pose.scale))
        if yaw > MAX_YAW_DEG or eyes < MIN_EYE_DISTANCE_PX:
            continue
        crops = track_crops(points, float(fps))
        begin = float(start / fps)
        length_s = float(len(points) / fps)
        frames = read_frames(source.path, fps=fps, start_s=begin, duration_s=length_s)
        jpeg, offsets = encode_frames(
            crop.extract(frame) for crop, frame in zip(crops, frames, strict=False)
        )
        count = len(offsets) - 1
        if count < MIN_CLIP_FRAMES:
            continue
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
            transcript=source.transcript if count == len(track) else "",
            emotion=source.emotion,
            level=source.level,
            view=source.view,
            width=info.width,
            height=info.height,
        )
        clip = Clip(
            landmarks=landmarks,
            crops=np.array([(c.x, c.y, c.side) for c in crops[:count]], np.float32),
            waveform=(sound * 32767).round().clip(-32768, 32767).astype(np.int16),
            jpeg=jpeg,
            jpeg_offsets=offsets,
        )
        write_clip(output, row, clip)
        names.append(name)
    return Outcome(
        source,
        tuple(names),
        "" if names else "no stretch with a steady, frontal face",
        num_frames=len(track),
        num_without_face=sum(points is None for points in track),
    )


def find_stretches(track: list[Floats | None]) -> Iterator[tuple[int, Floats]]:
    """Split a track where the face is lost or jumps; short gaps are interpolated.

    Args:
        track: mesh (478, 3) of every frame, or None without a face.

    Yields:
        First frame and meshes (T, 478, 3) of every stretch that is long enough.
    """
    start, points, gap = 0, list[Floats](), 0
    for index, mesh in enumerate([*track, *[None] * (MAX_GAP_FRAMES + 1)]):
        jumped = mesh is not None and len(points) > 0 and _is_jump(points[-1], mesh)
        if mesh is not None and not jumped and len(points) < MAX_CLIP_FRAMES:
            if not points:
                start = index
            elif gap:
                last = points[-1]
                for step in range(1, gap + 1):
                    share = np.float32(step / (gap + 1))
                    points.append(last * (1 - share) + mesh * share)
            points.append(mesh)
            gap = 0
            continue
        gap += 1
        if points and (mesh is not None or gap > MAX_GAP_FRAMES):
            if len(points) >= MIN_CLIP_FRAMES:
                yield start, np.stack(points)
            start, points, gap = index, ([] if mesh is None else [mesh]), 0


def _is_jump(before: Floats, after: Floats) -> bool:
    eyes = float(np.linalg.norm(before[33] - before[263]))
    step = np.linalg.norm(after[STABLE_POINTS, :2].mean(0) - before[STABLE_POINTS, :2].mean(0))
    return bool(step > MAX_JUMP * max(eyes, 1.0))


def track_crops(points: Floats, fps: float) -> list[Crop]:
    """Return one crop per frame: all have the same side, and the centres follow the face.

    Args:
        points: shape = (T, 478, 3), pixels.
        fps: frames per second, for smoothing the centres over time.
    """
    surface = points[:, :NUM_SURFACE_POINTS, :2]
    low, high = surface.min(1), surface.max(1)
    side = FACE_MARGIN * float(np.median((high - low).max(1)))
    centre = gaussian_filter1d((low + high) / 2, CROP_SMOOTHING_S * fps, axis=0, mode="nearest")
    return [Crop(float(x), float(y) + FACE_CENTRE_DROP * side, side) for x, y in centre]

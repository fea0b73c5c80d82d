"""A tiny prepared folder: drawn faces whose lips follow the loudness of noise."""

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt

from talkhead.data.av_sync import best_lag, loudness
from talkhead.data.clips import Clip, ClipInfo, encode_frames, write_clip, write_manifest
from talkhead.geometry.mesh import LEFT_MOUTH_CORNER, MEAN_FACE, RIGHT_MOUTH_CORNER, mouth_opening
from talkhead.geometry.motion_basis import speech_region
from talkhead.geometry.pose import HeadPose, rotation_from_angles
from talkhead.media.rates import SAMPLE_RATE_HZ
from tests.drawn_face import LEFT_EYE, MOUTH, RIGHT_EYE, draw_face

FPS = 25
EYE_DISTANCE_PX = 256 * (LEFT_EYE[0] - RIGHT_EYE[0] + 0.08)
"""Between the outer corners; the width of each drawn eye is 0.08 of the side."""
NUM_DRAWINGS = 6


def lip_motion(num_frames: int, seed: int) -> npt.NDArray[np.float32]:
    """Return the mouth opening over time as fractions of the picture's side, 0 to 0.08."""
    rng = np.random.default_rng(seed)
    rate = rng.uniform(2, 4)
    beat = np.sin(2 * np.pi * rate * np.arange(num_frames) / FPS + rng.uniform(0, 6))
    return np.asarray(0.04 * (1 + beat) * rng.uniform(0.7, 1), np.float32)


def moving_mesh(opening: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    """Return landmarks (T, 478, 3) on 256 px drawn faces; lips, jaw and mouth corners move."""
    rng = np.random.default_rng(seed)
    count = len(opening)
    eyes = np.array([*np.mean([RIGHT_EYE, LEFT_EYE], 0), 0]) * 256
    corners = MEAN_FACE[[33, 263]].mean(0)
    points = np.repeat((MEAN_FACE - corners)[None], count, 0) * EYE_DISTANCE_PX + eyes
    weight = speech_region()
    below = weight * (points[0, :, 1] > MOUTH[1] * 256)
    points[:, :, 1] += 256 * opening[:, None] * below
    phase = np.cumsum(rng.normal(0, 0.3, (3, count)), 1)
    spread = 0.05 * np.sin(phase[0])[:, None] * weight
    points[:, :, 0] += spread * (points[:, :, 0] - eyes[0])
    points[:, :, 2] -= 0.1 * 256 * opening[:, None] * below
    lids = np.zeros(len(MEAN_FACE))
    lids[[159, 386]] = 3
    points[:, :, 1] += np.maximum(np.sin(phase[1]), 0)[:, None] * lids
    points += rng.normal(0, 0.05, points.shape)
    return points.astype(np.float32)


def voice(opening: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    """Return noise, (N,) at 16 kHz, whose loudness follows the mouth opening."""
    rng = np.random.default_rng(seed)
    count = round(len(opening) / FPS * SAMPLE_RATE_HZ)
    at = (np.arange(count) / SAMPLE_RATE_HZ) * FPS - 0.5
    level = np.interp(at, np.arange(len(opening)), opening)
    return np.asarray(3 * level * rng.normal(size=count), np.float32)


def make_clip(num_frames: int, seed: int) -> Clip:
    """Return a clip of a drawn face that talks."""
    opening = lip_motion(num_frames, seed)
    landmarks = moving_mesh(opening, seed)
    # Each drawing takes as long as a training step, so draw only a few.
    levels = np.linspace(0, 0.08, NUM_DRAWINGS)
    drawings = [draw_face(256, float(level)) for level in levels]
    nearest = np.abs(opening[:, None] - levels).argmin(1)
    jpeg, offsets = encode_frames([drawings[index] for index in nearest])
    sound = voice(opening, seed)
    return Clip(
        landmarks=landmarks,
        crops=np.tile(np.array([128, 128, 256], np.float32), (num_frames, 1)),
        waveform=(sound * 32767).round().clip(-32768, 32767).astype(np.int16),
        jpeg=jpeg,
        jpeg_offsets=offsets,
    )


def describe_clip(name: str, clip: Clip, *, split: str = "train", person: str = "") -> ClipInfo:
    """Return a clip's manifest row."""
    level = loudness(clip.waveform_float(), len(clip), FPS)
    lag, agreement = best_lag(mouth_opening(clip.landmarks), level)
    width = clip.landmarks[:, LEFT_MOUTH_CORNER] - clip.landmarks[:, RIGHT_MOUTH_CORNER]
    assert width[:, 0].min() > 0
    return ClipInfo(
        clip=name,
        video=f"{name}.mp4",
        split=split,
        person=person or name,
        sound="good",
        licence="Apache-2.0",
        num_frames=len(clip),
        fps=str(FPS),
        start_s=0.0,
        has_sound=len(clip.waveform) > 0,
        eye_distance_px=round(EYE_DISTANCE_PX, 1),
        yaw_deg=0.0,
        offset_frames=lag,
        agreement=round(agreement, 3),
        agreement_method="loudness",
        transcript="place blue by p four now",
    )


def write_prepared(folder: Path, *, num_frames: int = 70) -> Path:
    """Write a folder like `talkhead prepare` does: two people for training, one held out."""
    for seed, (name, split) in enumerate((("anna", "train"), ("bert", "train"), ("cleo", "dev"))):
        clip = make_clip(num_frames, seed)
        write_clip(folder, describe_clip(name, clip, split=split), clip)
    write_manifest(folder)
    return folder


def acted_clip(person: str, emotion: str, smile: float, seed: int) -> tuple[ClipInfo, Clip]:
    """A face that turns, whose mouth corners are `smile` eye distances further apart."""
    face = MEAN_FACE.copy()
    face[RIGHT_MOUTH_CORNER, 0] -= smile / 2
    face[LEFT_MOUTH_CORNER, 0] += smile / 2
    count = 12
    angles = np.random.default_rng(seed).uniform(-0.1, 0.1, (count, 3)).astype(np.float32)
    pose = HeadPose(
        np.full(count, 80, np.float32),
        rotation_from_angles(angles),
        np.full((count, 3), [128, 118, 0], np.float32),
    )
    landmarks = pose.to_picture(np.repeat(face[None], count, 0))
    clip = dataclasses.replace(make_clip(count, seed), landmarks=landmarks)
    row = describe_clip(f"clip-{seed}", clip)
    return dataclasses.replace(row, person=person, emotion=emotion), clip

"""Natural motion that no sound determines: a head that is never quite still, and blinks.

Drawn with a seed, or taken over from somebody else's head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from talkhead.face.pose import fit_head_pose, rotation_from_angles
from talkhead.face.track import LandmarkTrack

Floats = npt.NDArray[np.float32]

DRIFT_S = 0.7
"""Time scale of slow head motion."""
NOD_S = 0.16
"""Time scale of the nods that come with emphasis."""
ANGLES_RAD = np.radians([1.1, 2.3, 1.2]).astype(np.float32)
"""Standard deviation of pitch, yaw and roll."""
SHIFT = np.array([0.020, 0.007], np.float32)
"""Standard deviation of the head's shift to the side and up, in eye distances."""
PIVOT = np.array([0.0, 0.75, 0.4], np.float32)
"""Where the head turns: the top of the neck, in face space."""
FOLLOW_S = 0.05
"""Followed tracks are smoothed over this time: detectors tremble."""
MAX_TURN_RAD = float(np.radians(15))
MAX_SHIFT = 0.15
"""Eye distances."""
BLINK_S = (0.32, 0.06)
"""Mean and spread of a blink's length."""


@dataclass(frozen=True)
class HeadMotion:
    """Motion of the head against its pose in the picture.

    Attributes:
        angles_rad: shape = (T, 3), pitch, yaw and roll.
        shift: shape = (T, 3), eye distances.
    """

    angles_rad: Floats
    shift: Floats

    def apply(self, points: Floats) -> Floats:
        """Turn and shift face-space meshes, shape = (T, N, 3)."""
        rotation = rotation_from_angles(self.angles_rad)
        turned = (points - PIVOT) @ np.swapaxes(rotation, -1, -2)
        return (turned + PIVOT + self.shift[:, None]).astype(np.float32)

    def part(self, start: int, end: int) -> HeadMotion:
        """Return a stretch of frames."""
        return HeadMotion(self.angles_rad[start:end], self.shift[start:end])


def natural_head_motion(
    activity: Floats, fps: float, rng: np.random.Generator, strength: float = 1.0
) -> HeadMotion:
    """Draw head motion.

    Args:
        activity: shape = (T,), loudness of the voice from 0 to 1: a speaking head moves more, and
            nods with emphasis.
        fps: frames a second.
        rng: seeded.
        strength: 0 for none.
    """
    count = len(activity)
    drift = _smooth_noise(count, 5, DRIFT_S * fps, rng)
    lively = 0.45 + 0.55 * gaussian_filter1d(activity, 0.6 * fps, mode="nearest")
    drift *= lively[:, None].astype(np.float32)
    emphasis = activity - gaussian_filter1d(activity, 0.8 * fps, mode="nearest")
    nod = gaussian_filter1d(emphasis, NOD_S * fps, mode="nearest").astype(np.float32)
    angles = drift[:, :3] * ANGLES_RAD
    angles[:, 0] -= nod * np.float32(np.radians(1.3))
    shift = np.zeros((count, 3), np.float32)
    shift[:, :2] = drift[:, 3:] * SHIFT
    # The first frame is the picture itself: motion grows from there.
    grow = np.clip(np.arange(count) / (0.8 * fps), 0, 1)
    grow = (grow * grow * (3 - 2 * grow))[:, None].astype(np.float32) * np.float32(strength)
    return HeadMotion(angles * grow, shift * grow)


def followed_head_motion(
    track: LandmarkTrack, fps: float, count: int, strength: float = 1.0
) -> HeadMotion:
    """Take over the head motion of a track, against its first frame.

    A track that is too short is followed forth and back. Turns of more than `MAX_TURN_RAD` and
    shifts of more than `MAX_SHIFT` bend towards these: a picture shows no more of a head than that.

    Args:
        track: of any face, at any rate.
        fps: frames a second of the result.
        count: frames of the result.
        strength: 0 for none.
    """
    pose = fit_head_pose(track.points)
    first = pose.rotation[0].T
    rotation = first @ pose.rotation
    angles = np.stack(
        [
            np.arctan2(rotation[:, 2, 1], rotation[:, 2, 2]),
            -np.arcsin(rotation[:, 2, 0].clip(-1, 1)),
            np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0]),
        ],
        axis=1,
    )
    moved = (pose.translation - pose.translation[0]) @ first.T / pose.scale[0]
    # The pose turns about the middle of the face, the motion about the neck.
    shift = moved - PIVOT + rotation @ PIVOT
    shift[:, 2] = 0
    values = np.concatenate([angles, shift], axis=1)
    values = gaussian_filter1d(values, FOLLOW_S * float(track.fps), axis=0, mode="nearest")
    values -= values[0]
    limits = np.array([MAX_TURN_RAD] * 3 + [MAX_SHIFT] * 3)
    values = limits * np.tanh(strength * values / limits)
    last = max(len(values) - 1, 1)
    at = np.arange(count) * float(track.fps) / fps
    at = last - np.abs(last - at % (2 * last))  # forth and back
    there = np.arange(len(values))
    read = np.stack([np.interp(at, there, column) for column in values.T], axis=1)
    return HeadMotion(read[:, :3].astype(np.float32), read[:, 3:].astype(np.float32))


def natural_blinks(
    count: int, fps: float, rng: np.random.Generator, per_minute: float = 16.0
) -> Floats:
    """Draw how far the eyes are closed in every frame, shape = (count,), from 0 to 1.

    Pauses between blinks are drawn from a log-normal distribution, as they are in people; lids
    close faster than they open.
    """
    closure = np.zeros(count, np.float32)
    if per_minute <= 0:
        return closure
    mean_s = 60.0 / per_minute
    time_s = 0.4 * mean_s * rng.lognormal(0, 0.4)
    frames_s = (np.arange(count) + 0.5) / fps
    while time_s < count / fps:
        length_s = float(np.clip(rng.normal(*BLINK_S), 0.22, 0.45))
        phase = (frames_s - time_s) / length_s
        closing = np.clip(phase / 0.3, 0, 1)
        opening = np.clip((1 - phase) / 0.5, 0, 1)
        lid = np.minimum(closing, opening)
        closure = np.maximum(closure, (lid * lid * (3 - 2 * lid)).astype(np.float32))
        time_s += max(length_s + 0.3, mean_s * float(rng.lognormal(-0.18, 0.6)))
    return closure


def _smooth_noise(count: int, channels: int, sigma: float, rng: np.random.Generator) -> Floats:
    """Return noise of unit variance with a Gaussian autocorrelation, shape = (count, channels)."""
    margin = int(4 * sigma)
    noise = rng.normal(size=(count + 2 * margin, channels))
    smooth = gaussian_filter1d(noise, sigma, axis=0)[margin : margin + count]
    return np.asarray(smooth * np.sqrt(2 * np.sqrt(np.pi) * sigma), np.float32)

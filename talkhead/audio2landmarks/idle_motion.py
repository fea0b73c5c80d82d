"""Idle motion that the sound does not determine: slight head movement, and blinks.

It is drawn from a seed, or copied from the head motion of a track.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from talkhead.geometry.pose import (
    HeadPose,
    angles_from_rotation,
    fit_head_pose,
    rotation_from_angles,
)
from talkhead.tracking.landmark_track import LandmarkTrack

Floats = npt.NDArray[np.float32]

HEAD_AXES = 5
"""Pitch, yaw, roll, and the shifts to the side and down."""
STILL_SHARE = 0.45
"""Share of real heads' motion to use, because a single picture shows only one side of a head."""
PIVOT = np.array([0.0, 0.75, 0.4], np.float32)
"""Pivot of the head's rotation: the top of the neck, in face space."""
EYEBALL_RADIUS = 0.136
"""In eye distances: 12 of 88 mm."""
BROW_S = 0.2
"""Time scale of eyebrow raises on emphasis."""
MAX_BROW_RAISE = 0.02
"""In eye distances; larger raises bend the rims of glasses."""
BROW_THRESHOLD = 0.1
"""Loudness above the local mean that raises the eyebrows; few words of a sentence reach it."""
FOLLOW_S = 0.05
"""Smoothing time of followed and measured tracks, because detectors jitter."""
MAX_TURN_RAD = float(np.radians(15))
MAX_SHIFT = 0.15
"""In eye distances."""
STIR_S = 0.3
"""Time scale on which a listening head moves and rests again."""
STIR_THRESHOLD = 1.1
"""Noise level, in standard deviations, above which it moves: one seventh of the time."""
MAX_STIR = 0.9
"""Limit on the excess over that level; beyond it, the head would move faster than in speech."""
STIR_PACE = 5 / 6
"""Pace of a moving listener relative to speech, per standard deviation of excess; a twentieth of
the pace in speech on average over long silence."""
SILENCE_S = 0.6
"""Time scale on which a pause becomes a long silence."""
TALK_GAIN = 2.0
"""Gain with which speech, with its usual pauses, counts as talk throughout."""
BLINK_S = (0.36, 0.06)
"""Mean and standard deviation of a blink's duration."""
BLINK_IN_PAUSE = 0.5
"""Share of blinks that move, later or earlier, to a pause of the voice."""
BLINK_WAIT_S = 0.8
BLINK_APART_S = 0.3
SYLLABLE_S = 0.1
"""Smoothing time of the loudness, so that gaps between syllables do not count as pauses."""
PAUSE = 0.12
"""Smoothed loudness, from 0 to 1, below which the voice pauses."""


@dataclass(frozen=True)
class HeadStyle:
    """Statistics of head motion: two Gaussian processes, one slow and one fast.

    Both are over pitch, yaw, roll (radians) and the shifts to the side and down (eye distances).

    Attributes:
        slow: float32 (5, 5), lower triangular factor of the slow process's covariance.
        fast: likewise for the fast process.
        slow_s: width of the Gaussian window that smooths the slow process.
        fast_s: likewise for the fast process.
        pause: motion in silence as a share of that in speech.
    """

    slow: Floats
    fast: Floats
    slow_s: float
    fast_s: float
    pause: float


@dataclass(frozen=True)
class HeadMotion:
    """Motion of the head relative to its pose in the picture.

    Attributes:
        angles_rad: (T, 3), pitch, yaw and roll.
        shift: (T, 3), eye distances.
    """

    angles_rad: Floats
    shift: Floats

    def apply(self, points: Floats) -> Floats:
        """Rotate and shift face-space meshes, (T, N, 3)."""
        rotation = rotation_from_angles(self.angles_rad)
        turned = (points - PIVOT) @ np.swapaxes(rotation, -1, -2)
        return (turned + PIVOT + self.shift[:, None]).astype(np.float32)

    def gaze(self) -> Floats:
        """Return the shift of the irises within the face that keeps the gaze fixed, (T, 3)."""
        ahead = np.array([0, 0, -EYEBALL_RADIUS], np.float32)
        return (ahead @ rotation_from_angles(self.angles_rad) - ahead).astype(np.float32)

    def part(self, start: int, end: int) -> HeadMotion:
        """Return a range of frames."""
        return HeadMotion(self.angles_rad[start:end], self.shift[start:end])


def natural_head_motion(
    style: HeadStyle,
    activity: Floats,
    rate_hz: float,
    rng: np.random.Generator,
    strength: float = 1.0,
) -> HeadMotion:
    """Draw random head motion.

    Args:
        style: statistics of the motion in the training clips.
        activity: (T,), loudness of the voice from 0 to 1; a speaking head moves more.
        rate_hz: frames per second.
        rng: seeded generator.
        strength: 0 for no motion.
    """
    count = len(activity)
    slow = _smooth_noise(count, HEAD_AXES, style.slow_s * rate_hz, rng) @ style.slow.T
    fast = _smooth_noise(count, HEAD_AXES, style.fast_s * rate_hz, rng) @ style.fast.T
    voice = gaussian_filter1d(activity, 0.5 * rate_hz, mode="nearest")
    loudest = max(float(voice.max()), 1e-6)
    lively = style.pause + (1 - style.pause) * np.clip(voice / loudest, 0, 1)
    values = strength * STILL_SHARE * (slow + fast * lively[:, None])
    # A listening head rests and moves briefly: in long silence the same motion runs more slowly.
    talk = gaussian_filter1d(activity, SILENCE_S * rate_hz, mode="nearest") / loudest
    talks = np.clip(TALK_GAIN * talk, 0, 1)
    noise = _smooth_noise(count, 1, STIR_S * rate_hz, rng)[:, 0]
    stirs = STIR_PACE * np.clip(noise - STIR_THRESHOLD, 0, MAX_STIR)
    pace = talks + (1 - talks) * stirs
    at = np.concatenate([[0], np.cumsum(pace)[:-1]])
    values = np.stack([np.interp(at, np.arange(count), column) for column in values.T], axis=1)
    # The first frame is the picture itself, so the motion fades in from there.
    grow = np.clip(np.arange(count) / (0.8 * rate_hz), 0, 1)
    values = limited(values * (grow * grow * (3 - 2 * grow))[:, None])
    return HeadMotion(values[:, :3], np.pad(values[:, 3:], ((0, 0), (0, 1))))


def natural_brows(activity: Floats, rate_hz: float) -> Floats:
    """Return how far the eyebrows are raised by emphasis, (T,), eye distances.

    Args:
        activity: (T,), loudness of the voice from 0 to 1.
        rate_hz: frames per second.
    """
    emphasis = activity - gaussian_filter1d(activity, 0.8 * rate_hz, mode="nearest")
    stress = gaussian_filter1d(emphasis, BROW_S * rate_hz, mode="nearest")
    marked = np.clip(stress - BROW_THRESHOLD, 0, None) / BROW_THRESHOLD
    raised = gaussian_filter1d(np.tanh(marked), BROW_S / 2 * rate_hz, mode="nearest")
    return np.asarray(MAX_BROW_RAISE * raised, np.float32)


def limited(values: Floats) -> Floats:
    """Limit turns and shifts, (T, 5 or 6), softly to what a picture can show."""
    limits = np.array([MAX_TURN_RAD] * 3 + [MAX_SHIFT] * (values.shape[1] - 3))
    return np.asarray(limits * np.tanh(values / limits), np.float32)


def motion_between(reference: HeadPose, pose: HeadPose) -> Floats:
    """Return pitch, yaw, roll (radians) and shifts (eye distances) of poses, (T, 6).

    Args:
        reference: the pose they are relative to.
        pose: poses of T frames.
    """
    back = reference.rotation.T
    rotation = back @ pose.rotation
    moved = (pose.translation - reference.translation) @ back.T / reference.scale
    # The pose rotates about the middle of the face, the motion about the neck.
    shift = moved - PIVOT + rotation @ PIVOT
    return np.concatenate([angles_from_rotation(rotation), shift], axis=1)


def followed_head_motion(
    track: LandmarkTrack, rate_hz: float, count: int, strength: float = 1.0
) -> HeadMotion:
    """Copy the head motion of a track, relative to its first frame.

    A track that is too short is played back and forth. Turns beyond `MAX_TURN_RAD` and shifts
    beyond `MAX_SHIFT` are limited softly: a picture shows no more of a head than that.

    Args:
        track: track of any face, at any rate.
        rate_hz: frames per second of the result.
        count: number of frames of the result.
        strength: 0 for no motion.
    """
    pose = fit_head_pose(track.points)
    first = HeadPose(pose.scale[0], pose.rotation[0], pose.translation[0])
    values = motion_between(first, pose)
    values[:, 5] = 0
    values = gaussian_filter1d(values, FOLLOW_S * float(track.fps), axis=0, mode="nearest")
    values -= values[0]
    values = limited(strength * values)
    last = max(len(values) - 1, 1)
    at = ((np.arange(count) + 0.5) * float(track.fps) / rate_hz - 0.5).clip(0)
    at = last - np.abs(last - at % (2 * last))  # back and forth
    there = np.arange(len(values))
    read = np.stack([np.interp(at, there, column) for column in values.T], axis=1)
    return HeadMotion(read[:, :3].astype(np.float32), read[:, 3:].astype(np.float32))


def natural_blinks(
    activity: Floats, rate_hz: float, rng: np.random.Generator, per_minute: float = 16.0
) -> Floats:
    """Draw random blinks: how far the eyes are closed in every frame, (T,), from 0 to 1.

    The intervals between blinks follow a log-normal distribution, as in people. Half of the blinks
    move to a pause of the voice if one is near, as people's do. Lids close faster than they open.

    Args:
        activity: (T,), loudness of the voice from 0 to 1.
        rate_hz: frames per second.
        rng: seeded generator.
        per_minute: blinks per minute; 0 for none.
    """
    count = len(activity)
    closure = np.zeros(count, np.float32)
    if per_minute <= 0:
        return closure
    mean_s = 60.0 / per_minute
    time_s = 0.4 * mean_s * rng.lognormal(0, 0.4)
    frames_s = (np.arange(count) + 0.5) / rate_hz
    pauses_s = frames_s[gaussian_filter1d(activity, SYLLABLE_S * rate_hz, mode="nearest") < PAUSE]
    last_s = 0.0
    while time_s < count / rate_hz:
        length_s = float(np.clip(rng.normal(*BLINK_S), 0.26, 0.48))
        begin_s = max(time_s, last_s + BLINK_APART_S)
        if rng.random() < BLINK_IN_PAUSE and len(pauses_s):
            nearest_s = float(pauses_s[np.abs(pauses_s - time_s).argmin()])
            if abs(nearest_s - time_s) < BLINK_WAIT_S and nearest_s > last_s + BLINK_APART_S:
                begin_s = nearest_s
        last_s = begin_s + length_s
        phase = (frames_s - begin_s) / length_s
        closure = np.maximum(closure, blink_shape(phase))
        time_s += max(length_s + 0.3, mean_s * float(rng.lognormal(-0.18, 0.6)))
    return closure


def blink_shape(phase: npt.NDArray[np.float64]) -> Floats:
    """Return how far the eyes are closed at a phase of a blink, which lasts from 0 to 1."""
    closing = np.clip(phase / 0.25, 0, 1)
    opening = np.clip((1 - phase) / 0.45, 0, 1)
    lid = np.minimum(closing, opening)
    return np.asarray(lid * lid * (3 - 2 * lid), np.float32)


def _smooth_noise(count: int, channels: int, sigma: float, rng: np.random.Generator) -> Floats:
    """Return noise of unit variance with a Gaussian autocorrelation, (count, channels)."""
    margin = int(4 * sigma)
    noise = rng.normal(size=(count + 2 * margin, channels))
    smooth = gaussian_filter1d(noise, sigma, axis=0)[margin : margin + count]
    return np.asarray(smooth * np.sqrt(2 * np.sqrt(np.pi) * sigma), np.float32)

"""Fit the head motion of the clips: covariance and pace of its slow and fast components."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from talkhead.audio2landmarks.idle_motion import (
    FOLLOW_S,
    HEAD_AXES,
    PAUSE,
    SYLLABLE_S,
    HeadStyle,
    motion_between,
)
from talkhead.audio2landmarks.loudness import frame_levels, loudness_of_voice
from talkhead.data.clips import Clip, ClipInfo
from talkhead.geometry.crop import CROP_SIDE_PX
from talkhead.geometry.motion_basis import rest_of_clip
from talkhead.geometry.pose import HeadPose

Floats = npt.NDArray[np.float32]

MIN_CLIP_S = 6.0
"""Shorter clips say little about how a head moves."""
SLOW_S = 0.5
"""Smoothing time that separates the slow component from the fast one."""
MIN_VARIANCE = 1e-7


def fit_head_style(clips: Sequence[Clip], rows: Sequence[ClipInfo]) -> HeadStyle:
    """Measure covariances, paces and the effect of pauses, giving every clip the same weight.

    Clips that are too short are used only if all clips are.
    """
    long = [
        (clip, row)
        for clip, row in zip(clips, rows, strict=True)
        if len(clip) / float(Fraction(row.fps)) >= MIN_CLIP_S
    ]
    pairs = long or list(zip(clips, rows, strict=True))
    slow, fast = (np.eye(HEAD_AXES) * MIN_VARIANCE for _ in range(2))
    paces: list[list[float]] = [[], []]
    shares = []
    for clip, row in pairs:
        fps = float(Fraction(row.fps))
        motion = head_axes(clip, fps)
        drift = gaussian_filter1d(motion, SLOW_S * fps, axis=0, mode="nearest")
        for total, pace, part in zip((slow, fast), paces, (drift, motion - drift), strict=True):
            part = part - part.mean(0)
            total += part.T @ part / len(part) / len(pairs)
            speed = np.diff(part, axis=0) * fps
            # White noise under a Gaussian window of width s has a speed variance of 1 / (2 s^2).
            pace.append(float(np.sqrt(np.square(part).sum() / (2 * np.square(speed).sum() + 1e-9))))
        voice = loudness_of_voice(frame_levels(clip.waveform_float(), len(clip), fps))
        paused = gaussian_filter1d(voice, SYLLABLE_S * fps)[1:] < PAUSE
        if 0 < paused.sum() < len(paused):
            speed = np.square(np.diff(motion - drift, axis=0)).sum(1)
            shares.append(float(np.sqrt(speed[paused].mean() / speed[~paused].mean())))
    return HeadStyle(
        np.linalg.cholesky(slow).astype(np.float32),
        np.linalg.cholesky(fast).astype(np.float32),
        float(np.median(paces[0])),
        float(np.median(paces[1])),
        float(np.clip(np.median(shares), 0.2, 1.0)) if shares else 1.0,
    )


def head_axes(clip: Clip, rate_hz: float) -> npt.NDArray[np.float64]:
    """Return pitch, yaw, roll and shifts relative to the clip's mean pose, (T, 5)."""
    points = clip.landmarks * (clip.crops[:, 2] / CROP_SIDE_PX)[:, None, None]
    points[..., :2] += (clip.crops[:, :2] - clip.crops[:, 2:] / 2)[:, None]
    _, pose = rest_of_clip(points)
    u, _, vt = np.linalg.svd(pose.rotation.mean(0))
    scale = np.asarray(np.median(pose.scale), np.float32)
    mean = HeadPose(scale, u @ vt, pose.translation.mean(0))
    axes = motion_between(mean, pose)[:, :HEAD_AXES]
    smooth = gaussian_filter1d(axes.astype(np.float64), FOLLOW_S * rate_hz, axis=0, mode="nearest")
    return np.asarray(smooth - smooth.mean(0))

"""Scores of landmarks, pure functions of arrays.

Positions are pixels, (T, P, 2 or 3); only x and y count. Openings and motion are in eye distances:
the distance of the outer eye corners.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from talkhead.face.mesh import (
    LEFT_EYE_CORNER,
    LOWER_INNER_LIP,
    RIGHT_EYE_CORNER,
    UPPER_INNER_LIP,
)

Floats = npt.NDArray[np.float32]

STEADY = np.array([33, 133, 362, 263, 168, 6, 197, 9, 8])
"""Eye corners, nose bridge and between the brows: points that neither speech nor lids move."""
LIPS = np.array([61, 291, 0, 17, 13, 14, 78, 308, 37, 267, 84, 314])
CLOSED = 0.015
"""Inner lips less than this apart are closed; those of real people come to 0.004 in p, b and m."""
CLOSURE_SLACK_S = 0.08
"""How much earlier or later than the sound lips may close."""
BLINK_CLOSED = 0.45
"""Eyes less open than this share of their median are shut."""
QUIET_DB = 35.0
"""Sound this far below the loudest is silence, where it lasts for `QUIET_FRAMES`."""
QUIET_RANGE_DB = 50.0
QUIET_FRAMES = 5


def landmark_distance(made: Floats, truth: Floats) -> float:
    """Return LD, pixels: the mean distance over points, then over frames.

    M-LD is that of the points 48 to 67 of the 68, F-LD that of all.
    """
    return float(np.linalg.norm(made[..., :2] - truth[..., :2], axis=-1).mean(1).mean())


def landmark_velocity_distance(made: Floats, truth: Floats) -> float:
    """Return LVD, pixels per frame: LD of the differences between frames."""
    return landmark_distance(np.diff(made, axis=0), np.diff(truth, axis=0))


def inner_opening(points: Floats) -> Floats:
    """Return the mean distance of upper and lower inner lip in their middle, shape = (T,)."""
    upper, lower = points[:, UPPER_INNER_LIP[2:7], :2], points[:, LOWER_INNER_LIP[2:7], :2]
    return np.asarray(np.linalg.norm(upper - lower, axis=-1).mean(1) / _unit(points), np.float32)


def closures_found(
    opening: Floats, moments_s: Sequence[tuple[float, float]], fps: float
) -> npt.NDArray[np.bool_]:
    """Return for every moment at which lips have to close whether they do, shape = (M,).

    Args:
        opening: shape = (T,), eye distances.
        moments_s: begin and end of the sounds p, b and m, seconds.
        fps: frames a second.
    """
    found = []
    for begin_s, end_s in moments_s:
        first = max(int((begin_s - CLOSURE_SLACK_S) * fps), 0)
        last = int((end_s + CLOSURE_SLACK_S) * fps) + 1
        found.append(bool(opening[first:last].min(initial=np.inf) < CLOSED))
    return np.array(found, np.bool_)


def quiet_frames(levels_db: Floats) -> npt.NDArray[np.bool_]:
    """Return which frames lie in silence, shape = (T,), from their sound levels in decibels."""
    level = np.maximum(levels_db, levels_db.max(initial=-np.inf) - QUIET_RANGE_DB)
    smooth = np.convolve(level, np.ones(3) / 3, "same")
    below = smooth < smooth.max(initial=-np.inf) - QUIET_DB
    return np.asarray(np.convolve(below, np.ones(QUIET_FRAMES), "same") >= QUIET_FRAMES)


def lip_motion(points: Floats) -> Floats:
    """Return how far lips move from frame to frame against the head, shape = (T - 1,)."""
    plane = points[..., :2]
    centred = (plane - plane[:, STEADY].mean(1, keepdims=True)) / _unit(points)
    step = np.diff(centred[:, LIPS], axis=0)
    return np.asarray(np.linalg.norm(step, axis=2).mean(1), np.float32)


def head_motion(points: Floats) -> float:
    """Return the standard deviation of the head's position."""
    centre = points[:, STEADY, :2].mean(1)
    return float(np.linalg.norm(centre.std(0)) / _unit(points))


def num_blinks(points: Floats) -> int:
    """Return how often the eyes close."""
    pairs = np.array([(159, 145), (386, 374)])
    gap = points[:, pairs[:, 0], :2] - points[:, pairs[:, 1], :2]
    opening = np.linalg.norm(gap, axis=-1).sum(1)
    shut = opening < BLINK_CLOSED * np.median(opening)
    return int((shut[1:] & ~shut[:-1]).sum())


def _unit(points: Floats) -> float:
    across = points[:, RIGHT_EYE_CORNER, :2] - points[:, LEFT_EYE_CORNER, :2]
    return max(float(np.median(np.linalg.norm(across, axis=-1))), 1e-6)

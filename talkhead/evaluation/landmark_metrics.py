"""Scores of landmarks, as pure functions of arrays.

Positions are pixels, (T, P, 2 or 3), of which only x and y count. Openings and motion are in eye
distances, the distance between the outer eye corners. Frames without a detected face are nan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from talkhead.data.av_sync import best_lag
from talkhead.geometry.mesh import (
    CLOSED_LIPS,
    LOWER_INNER_LIP,
    UPPER_INNER_LIP,
    eye_distance,
    mouth_opening,
    mouth_width,
    to_ibug68,
)
from talkhead.geometry.pose import fit_head_pose

Floats = npt.NDArray[np.float32]
Align = Literal["none", "centroid"]

STEADY = np.array([33, 133, 362, 263, 168, 6, 197, 9, 8])
"""Eye corners, nose bridge and between the brows: points that speech and lids do not move."""
LIPS = np.array([61, 291, 0, 17, 13, 14, 78, 308, 37, 267, 84, 314])
CLOSURE_SLACK_S = 0.08
"""Tolerance for how much earlier or later than the sound the lips may close."""
BLINK_CLOSED = 0.45
"""Eyes less open than this share of their median are closed."""
QUIET_DB = 35.0
"""Audio this far below the loudest counts as silence if it lasts for `QUIET_FRAMES`."""
QUIET_RANGE_DB = 50.0
QUIET_FRAMES = 5
MOVING_OPENING = 0.02
"""A mouth moves if its opening, in eye distances, changes by more than this within `MOVING_S`: more
than detections of a still face jitter, less than any syllable."""
MOVING_S = 0.2
MOUTH = slice(48, 68)
"""The mouth's points among the 68."""
MIN_COMMON_FRAMES = 10
"""With fewer frames that have a face in both videos, there are no scores."""


def landmark_values(
    points: Floats,
    truth: Floats,
    moments_s: Sequence[tuple[float, float]],
    quiet: npt.NDArray[np.bool_],
    rate_hz: float,
    *,
    is_aligned: bool = True,
) -> dict[str, float]:
    """Return all scores of a clip's landmarks, by the measure's key.

    Args:
        points: (T, 478, 3), pixels.
        truth: (T, 478, 3), pixels.
        moments_s: start and end of the sounds p, b and m, seconds.
        quiet: (T,), frames in silence.
        rate_hz: frames per second.
        is_aligned: whether the head poses match; if not, both point sets are centred first.
    """
    seen = ~(np.isnan(points).any((1, 2)) | np.isnan(truth).any((1, 2)))
    if seen.sum() < MIN_COMMON_FRAMES:
        return {}
    values: dict[str, float] = {}
    # Remove each face's own head pose: turning a head does not open its mouth, and the jitter of a
    # shared pose would correlate even for a face at rest.
    shapes = [fit_head_pose(mesh).to_face(mesh) for mesh in (truth[seen], points[seen])]
    clips = [(shape, eye_distance(shape)) for shape in shapes]
    for name, measure in (("opening", mouth_opening), ("width", mouth_width)):
        real, generated = (measure(*clip) for clip in clips)
        if generated.std() > 1e-6:
            lag, best = best_lag(generated, real, detrend_frames=None)
            values[f"{name}_r"] = best_lag(generated, real, 0, detrend_frames=None)[1]
            values[f"{name}_r_best"] = best
            if name == "opening":
                values["opening_lag"] = float(lag)
    ours, theirs = to_ibug68(points), to_ibug68(truth)
    align: Align = "none" if is_aligned else "centroid"
    together = seen[1:] & seen[:-1]
    for key, part in (("m", MOUTH), ("f", slice(None))):
        values[f"{key}_ld"] = landmark_distance(ours[seen, part], theirs[seen, part], align)
        if together.any():
            values[f"{key}_lvd"] = landmark_velocity_distance(ours[:, part], theirs[:, part])
    if moments_s:
        closed = closures_found(inner_opening(truth), moments_s, rate_hz)
        if closed.any():  # only closures of the real lips count
            kept = closures_found(inner_opening(points), moments_s, rate_hz)
            values["closure_recall"] = float(kept[closed].mean())
    still = quiet[1:] & together
    if still.any():
        values["quiet_motion"] = float(lip_motion(points)[still].mean())
    return values


def idle_motion_values(points: Floats, rate_hz: float) -> dict[str, float]:
    """Return blinks per minute and head motion of a clip's landmarks (T, 478, 3)."""
    seen = points[~np.isnan(points).any((1, 2))]
    if len(seen) < MIN_COMMON_FRAMES:
        return {}
    return {
        "blinks_per_minute": num_blinks(seen) / (len(seen) / rate_hz / 60),
        "head_motion": head_motion(seen),
    }


def landmark_distance(generated: Floats, truth: Floats, align: Align = "none") -> float:
    """Return LD in pixels: the mean distance over points, then over frames.

    M-LD is the LD of points 48 to 67 of the 68, F-LD that of all.

    Args:
        generated: (T, P, 2 or 3).
        truth: as `generated`.
        align: `centroid` centres both first.
    """
    ours, theirs = generated[..., :2], truth[..., :2]
    if align == "centroid":
        ours, theirs = (each - each.mean(-2, keepdims=True) for each in (ours, theirs))
    return float(np.linalg.norm(ours - theirs, axis=-1).mean(1).mean())


def landmark_velocity_distance(generated: Floats, truth: Floats) -> float:
    """Return LVD, pixels per frame: LD of frame differences, where both frames have faces."""
    ours, theirs = np.diff(generated, axis=0), np.diff(truth, axis=0)
    there = ~np.isnan(ours + theirs).any((1, 2))
    return landmark_distance(ours[there], theirs[there])


def inner_opening(points: Floats) -> Floats:
    """Return the mean distance between the middles of the inner lips, shape = (T,)."""
    upper, lower = points[:, UPPER_INNER_LIP[2:7], :2], points[:, LOWER_INNER_LIP[2:7], :2]
    return np.asarray(
        np.linalg.norm(upper - lower, axis=-1).mean(1) / eye_distance(points[..., :2]), np.float32
    )


def moving_frames(opening: Floats, rate_hz: float) -> npt.NDArray[np.bool_]:
    """Return in which frames the mouth moves, shape = (T,).

    It moves if the largest and the smallest opening within `MOVING_S` around the frame differ by
    more than `MOVING_OPENING`.

    Args:
        opening: shape = (T,), eye distances; nan in frames without a face, which do not count.
        rate_hz: frames per second.
    """
    size = 2 * round(MOVING_S * rate_hz / 2) + 1
    seen = ~np.isnan(opening)
    most = maximum_filter1d(np.where(seen, opening, -np.inf), size, mode="nearest")
    least = minimum_filter1d(np.where(seen, opening, np.inf), size, mode="nearest")
    return np.asarray(seen & (most - least > MOVING_OPENING))


def closures_found(
    opening: Floats, moments_s: Sequence[tuple[float, float]], rate_hz: float
) -> npt.NDArray[np.bool_]:
    """Return whether the lips close at each moment where they should, shape = (M,).

    Args:
        opening: shape = (T,), eye distances.
        moments_s: start and end of the sounds p, b and m, seconds.
        rate_hz: frames per second.
    """
    found = []
    for begin_s, end_s in moments_s:
        first = max(int((begin_s - CLOSURE_SLACK_S) * rate_hz), 0)
        last = int((end_s + CLOSURE_SLACK_S) * rate_hz) + 1
        there = opening[first:last]
        found.append(bool((there < CLOSED_LIPS).any()))  # nan, without a face, counts as open
    return np.array(found, np.bool_)


def quiet_frames(levels_db: Floats) -> npt.NDArray[np.bool_]:
    """Return which frames are silent, shape = (T,), from their sound levels in decibels."""
    level = np.maximum(levels_db, levels_db.max(initial=-np.inf) - QUIET_RANGE_DB)
    smooth = np.convolve(level, np.ones(3) / 3, "same")
    below = smooth < smooth.max(initial=-np.inf) - QUIET_DB
    return np.asarray(np.convolve(below, np.ones(QUIET_FRAMES), "same") >= QUIET_FRAMES)


def lip_motion(points: Floats) -> Floats:
    """Return the lips' motion between frames, relative to the head, shape = (T - 1,)."""
    plane = points[..., :2]
    centred = (plane - plane[:, STEADY].mean(1, keepdims=True)) / eye_distance(plane)
    step = np.diff(centred[:, LIPS], axis=0)
    return np.asarray(np.linalg.norm(step, axis=2).mean(1), np.float32)


def head_motion(points: Floats) -> float:
    """Return the standard deviation of the head's position."""
    centre = points[:, STEADY, :2].mean(1)
    return float(np.linalg.norm(centre.std(0)) / eye_distance(points[..., :2]))


def num_blinks(points: Floats) -> int:
    """Return the number of blinks."""
    pairs = np.array([(159, 145), (386, 374)])
    gap = points[:, pairs[:, 0], :2] - points[:, pairs[:, 1], :2]
    opening = np.linalg.norm(gap, axis=-1).sum(1)
    shut = opening < BLINK_CLOSED * np.median(opening)
    return int((shut[1:] & ~shut[:-1]).sum())

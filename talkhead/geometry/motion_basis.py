"""Motion space: a face at rest plus linear deformations, in face space (unit: eye distance).

    points_px = pose(rest + amount * sum_k coefficient_k * component_k + closure * blink)

The basis covers what speech moves: mouth, jaw and cheeks. The eyelids have a separate component.
Each person keeps their own rest shape; the amount scales the motion to the width of their mouth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from talkhead.geometry.mesh import (
    INNER_LIPS,
    LEFT_BROW,
    LEFT_EYE,
    LOWER_INNER_LIP,
    MEAN_FACE,
    NOSE_TIP,
    NUM_POINTS,
    NUM_SURFACE_POINTS,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EYE,
    UPPER_INNER_LIP,
    mouth_opening,
    mouth_width,
)
from talkhead.geometry.pose import HeadPose, fit_head_pose

Floats = npt.NDArray[np.float32]

REST_OPENING_PERCENTILE = 15.0
MAX_REST_OPENING = 0.012
"""Maximum gap between lips at rest, in eye distances."""
ArrayT = TypeVar("ArrayT")
MAX_BLINK_SCALE = 1.6
BROW_REACH = 0.17
"""Distance from an eyebrow over which the skin moves along, in eye distances."""


@dataclass(frozen=True)
class MotionBasis:
    """Linear basis of speech deformations.

    Attributes:
        components: float32 (K, 478, 3), each scaled to one standard deviation.
        blink: float32 (478, 3), change from open to closed eyelids.
    """

    components: Floats
    blink: Floats

    def deform(self, coefficients: Floats, closure: Floats, amount: float = 1.0) -> Floats:
        """Return deformations.

        Args:
            coefficients: (T, K), in standard deviations.
            closure: (T,), 0 for open eyes, 1 for closed ones.
            amount: scale of the speech motion.

        Returns:
            (T, 478, 3).
            shape = (T, 478, 3).
        """
        speech = np.tensordot(coefficients * np.float32(amount), self.components, axes=1)
        return np.asarray(speech + closure[:, None, None] * self.blink, np.float32)

    def project(self, deformations: Floats) -> Floats:
        """Return the least-squares coefficients (T, K) of deformations (T, 478, 3)."""
        flat = self.components.reshape(len(self.components), -1)
        gram = flat @ flat.T
        products = flat @ deformations.reshape(len(deformations), -1).T
        return np.asarray(np.linalg.solve(gram, products).T, np.float32)


def opening_direction(components: ArrayT) -> ArrayT:
    """Return the change of the inner lips' opening per unit of each coefficient, (K,).

    Args:
        components: components of a basis, (K, 478, 3), an array or a tensor.
    """
    lower, upper = LOWER_INNER_LIP[2:7].tolist(), UPPER_INNER_LIP[2:7].tolist()
    gap: ArrayT = (components[:, lower, 1] - components[:, upper, 1]).mean(1)  # type: ignore[index]
    return gap


def speech_region() -> Floats:
    """Return the share of speech in each point's motion, (478,): 1 at the mouth, 0 at the eyes."""
    y = MEAN_FACE[:, 1]
    eyes = y[[33, 133, 362, 263]].mean()
    nose = y[NOSE_TIP]
    weight = np.clip((y - eyes - 0.15) / (nose - eyes - 0.15), 0, 1)
    weight[468:] = 0
    return np.asarray(weight * weight * (3 - 2 * weight), np.float32)


def lid_region() -> Floats:
    """Return the share of the eyelids in each point's motion, (478,).

    The skin between lid and crease unfolds; anything above, including rims of glasses, stays.
    """
    weight = np.zeros(NUM_POINTS, np.float32)
    for ring in (RIGHT_EYE, LEFT_EYE):
        centre = MEAN_FACE[ring].mean(0)
        half_width = np.abs(MEAN_FACE[ring, 0] - centre[0]).max()
        offset = (MEAN_FACE - centre)[:, :2] / half_width
        distance = np.hypot(offset[:, 0], offset[:, 1] * 1.8)
        weight = np.maximum(weight, np.clip((1.5 - distance) / 0.5, 0, 1))
    weight[468:] = 0
    return weight.astype(np.float32)


def spoken_region(basis: MotionBasis) -> Floats:
    """Return the share of speech in each point's position, (478,).

    1 where the basis moves points a lot, as on lips and chin, 0 where it hardly does, as near the
    ears.
    """
    moved = np.sqrt(np.square(basis.components[..., :2]).sum((0, 2)))
    lips = float(moved[np.concatenate([UPPER_INNER_LIP, LOWER_INNER_LIP])].mean())
    share = np.clip((moved / max(lips, 1e-6) - 0.2) / 0.45, 0, 1)
    share[np.concatenate([INNER_LIPS, OUTER_LIPS])] = float(lips > 0)
    return np.asarray(share * speech_region(), np.float32)


def brow_region() -> Floats:
    """Return the share of the eyebrows in each point's motion, (478,); 0 on the eyelids."""
    brows = MEAN_FACE[np.concatenate([RIGHT_BROW, LEFT_BROW]), :2]
    apart = np.linalg.norm(MEAN_FACE[:, None, :2] - brows, axis=-1).min(1)
    near = np.clip(1 - apart / BROW_REACH, 0, 1)
    weight = near * near * (3 - 2 * near) * (1 - lid_region())
    weight[NUM_SURFACE_POINTS:] = 0
    return np.asarray(weight, np.float32)


def rest_of_clip(points: Floats) -> tuple[Floats, HeadPose]:
    """Return a clip's face at rest and its head pose.

    Args:
        points: (T, 478, 3), in any similarity frame.

    Returns:
        The rest shape (478, 3) in face space, which is the mean of the frames with the most closed
        lips; and the pose, fitted to that shape.
    """
    aligned = fit_head_pose(points).to_face(points)
    opening = mouth_opening(aligned)
    closed = opening <= np.percentile(opening, REST_OPENING_PERCENTILE)
    rest = aligned[closed].mean(0)
    return rest.astype(np.float32), fit_head_pose(points, rest)


def identity_at_rest(points: Floats, basis: MotionBasis) -> tuple[Floats, HeadPose]:
    """Return the rest shape of a single picture, with closed lips, and its head pose.

    Args:
        points: (478, 3), picture pixels.
        basis: basis of the speech motion, along which the lips are closed.
    """
    pose = fit_head_pose(points)
    shape = pose.to_face(points)
    return close_lips(shape, basis), pose


def close_lips(shape: Floats, basis: MotionBasis, num_steps: int = 60) -> Floats:
    """Close the lips of a face, (478, 3), by a jaw motion within the basis.

    Finds the coefficients of smallest norm (in standard deviations) that bring every pair of
    inner-lip points within `MAX_REST_OPENING`. Any remaining gap is split between the lips.
    """
    gap = shape[LOWER_INNER_LIP, 1] - shape[UPPER_INNER_LIP, 1]
    excess = np.maximum(gap - MAX_REST_OPENING, 0)
    if excess.max() <= 0:
        return shape
    rows = basis.components[:, LOWER_INNER_LIP, 1] - basis.components[:, UPPER_INNER_LIP, 1]
    ridge = 1e-5 * np.eye(len(basis.components))
    coefficients = -np.linalg.solve(rows @ rows.T + ridge, rows @ excess).astype(np.float32)
    coefficients = np.clip(coefficients, -3, 3)
    closed = shape + np.tensordot(coefficients, basis.components, axes=1)
    return np.asarray(separate_lips(closed[None], limit=MAX_REST_OPENING)[0], np.float32)


def separate_lips(points: Floats, limit: float | None = None) -> Floats:
    """Return meshes (T, 478, 3) whose inner lips neither cross nor gape by more than `limit`.

    Crossing points meet in the middle; the outer lips move half as far.
    """
    points = points.copy()
    gap = points[:, LOWER_INNER_LIP, 1] - points[:, UPPER_INNER_LIP, 1]
    wrong = np.minimum(gap, 0)
    if limit is not None:
        wrong = wrong + np.maximum(gap - limit, 0)
    points[:, UPPER_INNER_LIP, 1] += wrong / 2
    points[:, LOWER_INNER_LIP, 1] -= wrong / 2
    # Neighbouring rings between the inner and the outer lip.
    shift = wrong / 4
    upper, lower = OUTER_LIPS[1:10], OUTER_LIPS[19:10:-1]
    points[:, upper, 1] += shift
    points[:, lower, 1] -= shift
    return points.astype(np.float32)


def mouth_scale(rest: Floats) -> float:
    """Return a person's mouth width relative to the mean face, which scales speech motion."""
    return float(np.clip(mouth_width(rest) / mouth_width(MEAN_FACE), 0.6, 1.5))


def proportions(rest: Floats) -> Floats:
    """Return mouth width, thickness of both lips, and chin height, in eye distances, (4,)."""
    return np.array(
        [
            np.linalg.norm(rest[61] - rest[291]),
            np.linalg.norm(rest[0] - rest[13]),
            np.linalg.norm(rest[17] - rest[14]),
            np.linalg.norm(rest[152] - rest[17]),
        ],
        np.float32,
    )


def eye_closure(points: Floats) -> Floats:
    """Return how far the eyes are closed, (T,): 0 at their usual opening, 1 when shut.

    Args:
        points: (T, 478, 3), face space.
    """
    opening = np.linalg.norm(points[:, 159] - points[:, 145], axis=1)
    opening = opening + np.linalg.norm(points[:, 386] - points[:, 374], axis=1)
    usual = np.percentile(opening, 75)
    return np.asarray(np.clip(1 - opening / max(float(usual), 1e-6), 0, 1), np.float32)


def fit_blink(rest: Floats, basis: MotionBasis) -> MotionBasis:
    """Return the basis with a blink that exactly closes the eyes of one person.

    The blink is scaled to this face's eye opening. Then every point on the edge of the upper lid is
    moved to its partner below, so that no gap stays open at the corners.

    Args:
        rest: (478, 3), face space.
        basis: basis of the motion of all faces.
    """
    travel = basis.blink[159, 1] - basis.blink[145, 1] + basis.blink[386, 1] - basis.blink[374, 1]
    opening = rest[145, 1] - rest[159, 1] + rest[374, 1] - rest[386, 1]
    scale = np.clip(opening / max(float(travel), 1e-6), 0.0, MAX_BLINK_SCALE)
    blink = basis.blink * np.float32(scale)
    for ring in (RIGHT_EYE, LEFT_EYE):
        upper, lower = ring[1:8], ring[:8:-1]
        blink[upper, 1] += (rest + blink)[lower, 1] - (rest + blink)[upper, 1]
    return MotionBasis(basis.components, blink)


def fit_motion_basis(
    deformations: Floats, closures: Floats, lids: Floats, num_components: int
) -> MotionBasis:
    """Fit the basis by principal components.

    Args:
        deformations: (N, 478, 3), relative to each clip's rest, scaled to a mouth of mean width.
        closures: (N,), how far the eyes are closed, 0 to 1.
        lids: (N, 478, 3), deformations used for the eyelids.
        num_components: K.

    Returns:
        Components scaled to one standard deviation of their coefficients.
    """
    weight = speech_region()[:, None]
    # Depth is the detector's least reliable axis: give it little weight in shaping the components.
    axis = np.array([1, 1, 0.3], np.float32)
    flat = (deformations * weight * axis).reshape(len(deformations), -1)
    _, vectors = np.linalg.eigh((flat.T @ flat).astype(np.float64))  # ascending
    coefficients = flat @ vectors[:, ::-1][:, :num_components].astype(np.float32)
    spread = np.sqrt(np.square(coefficients).mean(0)) + 1e-9
    units = coefficients / spread
    # Regress whole points on the coefficients, which restores the full motion in depth.
    target = (deformations * weight).reshape(len(deformations), -1)
    solution = np.linalg.lstsq(units, target, rcond=None)[0]
    components = solution.reshape(num_components, NUM_POINTS, 3)
    # Closed minus open eyelids, by regression on the closure.
    centred = closures - closures.mean()
    slope = (centred[:, None, None] * (lids - lids.mean(0))).mean(0) / np.square(centred).mean()
    blink = slope * lid_region()[:, None]
    return MotionBasis(components.astype(np.float32), blink.astype(np.float32))

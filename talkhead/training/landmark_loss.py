"""Losses of the task `landmarks`: positions, velocities and the mouth."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from talkhead.geometry.mesh import (
    CLOSED_LIPS,
    FACE_OVAL,
    INNER_LIPS,
    LEFT_MOUTH_CORNER,
    OUTER_LIPS,
    RIGHT_MOUTH_CORNER,
    to_ibug68,
)
from talkhead.geometry.motion_basis import opening_direction
from talkhead.training.landmark_samples import LandmarksTaskConfig

POINTS = np.concatenate([INNER_LIPS, OUTER_LIPS, FACE_OVAL[10:27]])
POINT_WEIGHTS = np.repeat(np.array([1.5, 1.0, 0.5], np.float32), [20, 20, 17])
MOUTH_68 = slice(48, 68)
"""Lip points among the 68."""
WORD_FRAMES = 6
"""Lips closed within this many frames of an opening are closed for a sound, such as p or b."""
SILENT_WEIGHT = 0.2
"""Weight of closed lips in silence, relative to lips closed for a sound."""


def motion_losses(
    generated: Tensor,
    truth: Tensor,
    mouth: Tensor,
    components: Tensor,
    config: LandmarksTaskConfig,
) -> dict[str, Tensor]:
    """Return the total error of generated motion as `loss`, and its parts.

    Args:
        generated: coefficients, (B, T, K).
        truth: the true ones, (B, T, K).
        mouth: measured opening and width, (B, T, 2), in eye distances.
        components: components of the motion basis, (K, 478, 3).
        config: weights.
    """
    parts: dict[str, Tensor] = {}
    if config.loss != "motion":
        squares = _squared_distances(generated - truth, components)
    if config.loss == "points":
        return {"loss": squares, "points": squares}
    points = components[:, POINTS, :2]
    of_points = torch.from_numpy(POINT_WEIGHTS).to(truth.device)[:, None]
    error = torch.einsum("btk,kpc->btpc", generated - truth, points)
    if config.loss == "squares":
        parts["position"] = squares
    else:
        parts["position"] = 100 * (error.abs() * of_points).mean()
    step = error[:, 1:] - error[:, :-1]
    parts["velocity"] = 100 * (step.abs() * of_points).mean()
    parts["concordance"] = parts["correlation"] = torch.zeros((), device=truth.device)
    opening, width = mouth_directions(components)
    weights = (opening, 1.0), (width, config.width_weight)
    for (direction, weight), measured in zip(weights, mouth.unbind(-1), strict=True):
        # Not in bfloat16.
        said, meant = ((each * direction).sum(-1) for each in (generated, truth))
        apart = weight * (1 - concordance(said, meant)).mean()
        parts["concordance"] = parts["concordance"] + apart
        apart = weight * (1 - correlation(said, measured)).mean()
        parts["correlation"] = parts["correlation"] + apart
    parts["closure"] = 100 * closure_error(generated @ opening, truth @ opening)
    loss = (
        parts["position"]
        + config.velocity_weight * parts["velocity"]
        + config.concordance_weight * parts["concordance"]
        + config.correlation_weight * parts["correlation"]
        + config.closure_weight * parts["closure"]
    )
    return {"loss": loss, **parts}


def _squared_distances(error: Tensor, components: Tensor) -> Tensor:
    """Return the mean squared distance of the 68 points, most of it of the mouth's, ()."""
    view = torch.from_numpy(to_ibug68(np.eye(components.shape[1], dtype=np.float32)))
    with torch.autocast(components.device.type, enabled=False):
        in_68 = torch.einsum("pn,knc->kpc", view.to(components), components[..., :2])
    distance = torch.einsum("btk,kpc->btpc", error, in_68).square().sum(-1)
    return 1e4 * (0.2 * distance.mean() + 0.8 * distance[..., MOUTH_68].mean())


def mouth_directions(components: Tensor) -> tuple[Tensor, Tensor]:
    """Return the change of the mouth's opening and width per unit of each coefficient, (K,)."""
    opening = opening_direction(components)
    width = components[:, LEFT_MOUTH_CORNER, 0] - components[:, RIGHT_MOUTH_CORNER, 0]
    return opening, width


def closure_error(generated: Tensor, truth: Tensor) -> Tensor:
    """Return how much the lips are open beyond the truth where they must close, ().

    Lips that close between openings, as for p, b and m, weigh more than a mouth at rest. Openings
    below `CLOSED_LIPS` all count the same; otherwise pressing the lips together would pay off, and
    all openings would become too small.

    Args:
        generated: openings (B, T), in eye distances, relative to the face at rest.
        truth: true openings, likewise.
    """
    closed = truth < CLOSED_LIPS
    moving = functional.max_pool1d(truth.detach()[:, None], 2 * WORD_FRAMES + 1, 1, WORD_FRAMES)[
        :, 0
    ]
    weight = closed * (SILENT_WEIGHT + (1 - SILENT_WEIGHT) * (moving > 3 * CLOSED_LIPS))
    excess = functional.relu(generated - truth.clamp(min=CLOSED_LIPS))
    return (weight * excess).sum() / weight.sum().clamp(min=1)


def concordance(a: Tensor, b: Tensor) -> Tensor:
    """Return the concordance correlation over time, (B, T) to (B,).

    Source: Lin, "A concordance correlation coefficient to evaluate reproducibility" (1989).
    """
    a_mean, b_mean = a.mean(1, keepdim=True), b.mean(1, keepdim=True)
    covariance = ((a - a_mean) * (b - b_mean)).mean(1)
    spread = (a - a_mean).square().mean(1) + (b - b_mean).square().mean(1)
    return 2 * covariance / (spread + (a_mean - b_mean).square()[:, 0] + 1e-6)


def correlation(generated: Tensor, measured: Tensor) -> Tensor:
    """Return Pearson's correlation over time, (B, T) to (B,); 1 where `measured` is constant."""
    ours = generated - generated.mean(1, keepdim=True)
    theirs = measured - measured.mean(1, keepdim=True)
    energy = theirs.square().sum(1)
    found = (ours * theirs).sum(1) / (ours.square().sum(1) * energy + 1e-9).sqrt()
    return torch.where(energy > 1e-9, found, torch.ones_like(found))

"""Fit the skin registration: mesh corrections that align warped frames with the true ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import scipy.linalg
import torch
from torch import Tensor
from torch.nn import functional

from talkhead.data.clips import Clip
from talkhead.geometry.crop import CROP_SIDE_PX
from talkhead.geometry.mesh import MEAN_FACE, MIRROR, NUM_POINTS
from talkhead.geometry.pose import fit_head_pose
from talkhead.geometry.skin_registration import NUM_POSE_FEATURES, Registration
from talkhead.landmarks2video.conditioning import MAP_SIDE_PX, draw_maps
from talkhead.landmarks2video.masks import blur
from talkhead.landmarks2video.warp import warp_image
from talkhead.training.samples import ClipBank

Floats = npt.NDArray[np.float32]

MIN_DISTANCE_FRAMES = 5
"""Frames closer than this carry little information: the plain warp is nearly exact there."""
NODES_X = np.linspace(-0.8, 0.8, 7, dtype=np.float32)
NODES_Y = np.linspace(-1.0, 0.95, 12, dtype=np.float32)
"""Shifts are smooth over the face: bilinear between these nodes of the mean face."""
DETAIL_PX = 6
"""Brightness changes over distances longer than this are ignored, in pixels of the maps."""
RIDGE = 0.03
ENERGY_FLOOR = 4e-4
"""Added to a pair's mean squared error, in [-1, 1] squared, so that small ones do not dominate."""
MIN_SPREAD = 1e-3
"""Lower limit of a component's standard deviation, so that rare deformations are not amplified."""
BATCH_PAIRS = 32


def fit_registration(
    bank: ClipBank, num_components: int, num_pairs: int, seed: int
) -> Registration:
    """Fit the linear model to pairs of frames of the same clip.

    The shifts minimise the squared error of the warped frames, linearised about the plain warp, as
    in Lucas and Kanade, "An iterative image registration technique" (1981).

    Args:
        bank: clips with images.
        num_components: number of deformation components.
        num_pairs: number of pairs to draw from the clips.
        seed: random seed.
    """
    rng = np.random.default_rng([seed, 3])
    pairs = [_draw(bank, rng) for _ in range(num_pairs)]
    start = _without_weights(pairs, num_components)
    size = NUM_POSE_FEATURES + num_components
    num_shifts = 2 * len(NODES_X) * len(NODES_Y)
    gram = np.zeros((size * size, num_shifts * num_shifts), np.float32)
    moment = np.zeros((size, num_shifts), np.float64)
    for begin in range(0, num_pairs, BATCH_PAIRS):
        part = pairs[begin : begin + BATCH_PAIRS]
        identity, target = (np.stack([pair.meshes[k] for pair in part]) for k in (0, 1))
        before, _ = start.features(identity)
        after, scale = start.features(target)
        features = (after - before) * scale[:, None] * (MAP_SIDE_PX / CROP_SIDE_PX)
        grams, moments = zip(*(pair.equations() for pair in part), strict=True)
        outer = (features[:, :, None] * features[:, None]).reshape(len(part), -1)
        gram += outer.T @ np.stack(grams).reshape(len(part), -1)
        moment += features.T.astype(np.float64) @ np.stack(moments)
    joined = gram.reshape(size, size, num_shifts, num_shifts).transpose(0, 2, 1, 3)
    matrix = joined.reshape(size * num_shifts, size * num_shifts).astype(np.float64)
    matrix[np.diag_indices_from(matrix)] += RIDGE * matrix.diagonal().mean()
    solved = scipy.linalg.solve(matrix, moment.reshape(-1), assume_a="pos")
    nodes = solved.reshape(size, -1, 2)
    basis = _hats(torch.from_numpy(MEAN_FACE[:, 0]), torch.from_numpy(MEAN_FACE[:, 1])).numpy()
    weights = np.einsum("fnc,np->fpc", nodes, basis)
    return replace(start, weights=weights.astype(np.float32))


class _Pair:
    """Two frames of a clip: the identity and the target."""

    def __init__(self, clip: Clip, first: int, second: int, mirrored: bool) -> None:
        self._clip, self._frames, self._mirrored = clip, (first, second), mirrored
        self.meshes = clip.landmarks[[first, second]]
        if mirrored:
            self.meshes = self.meshes[:, MIRROR]
            self.meshes[..., 0] = CROP_SIDE_PX - self.meshes[..., 0]

    def equations(self) -> tuple[Floats, Floats]:
        """Return the Gram matrix (N, N) and moment (N,) of the node shifts, in map pixels."""
        frames = np.stack([self._clip.frame(index) for index in self._frames])
        images = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
        grey = functional.avg_pool2d(images.mean(1, keepdim=True), CROP_SIDE_PX // MAP_SIDE_PX)
        if self._mirrored:
            grey = grey.flip(-1)
        identity, target = torch.from_numpy(self.meshes)[:, None]
        grid, maps = draw_maps(identity, target)
        warped = warp_image(grey[:1], grid)
        detail = torch.cat([warped, grey[1:]])
        detail = detail - blur(detail, DETAIL_PX)
        error = (detail[0] - detail[1])[0]
        slope_y, slope_x = torch.gradient(detail[0, 0])
        # The mouth's inside is not skin, and the background shows at the mesh's edge: exclude both.
        skin = 1 - functional.max_pool2d(1 - maps[:, 1:2] + maps[:, :1], 3, stride=1, padding=1)
        seen = skin[0, 0] > 0
        basis = _hats(maps[0, 2][seen], maps[0, 3][seen])
        slopes = torch.stack([slope_x[seen], slope_y[seen]])
        design = (basis[:, None] * slopes).reshape(-1, slopes.shape[1])
        wrong = error[seen]
        weight = 1 / (wrong.square().mean() + ENERGY_FLOOR) / max(len(wrong), 1)
        return (design @ design.T * weight).numpy(), (design @ wrong * weight).numpy()


def _draw(bank: ClipBank, rng: np.random.Generator) -> _Pair:
    _, clip = bank.draw(rng)
    first = int(rng.integers(len(clip)))
    second = other_frame(len(clip), first, rng)
    return _Pair(clip, first, second, bool(rng.random() < 0.5))


def other_frame(count: int, frame: int, rng: np.random.Generator) -> int:
    """Draw a frame of a clip that is more than `MIN_DISTANCE_FRAMES` away from the given one."""
    others = np.arange(count)
    return int(rng.choice(others[np.abs(others - frame) > MIN_DISTANCE_FRAMES]))


def _without_weights(pairs: list[_Pair], num_components: int) -> Registration:
    """Return a registration with the principal components of the pairs' deformations."""
    meshes = np.stack([pair.meshes for pair in pairs])
    faces = fit_head_pose(meshes).to_face(meshes)
    differences = (faces[:, 1] - faces[:, 0]).reshape(len(pairs), -1)
    _, spread, vectors = scipy.linalg.svd(differences, full_matrices=False)
    spread = np.maximum(spread[:num_components] / np.sqrt(len(pairs)), MIN_SPREAD)
    scaled = vectors[:num_components] / (2 * spread[:, None])
    size = NUM_POSE_FEATURES + num_components
    return Registration(
        scaled.reshape(-1, NUM_POINTS, 3).astype(np.float32),
        np.zeros((size, NUM_POINTS, 2), np.float32),
    )


def _hats(x: Tensor, y: Tensor) -> Tensor:
    """Return bilinear weights of the nodes, (nodes, P), at points of the mean face (P,)."""

    def line(at: Tensor, nodes: Floats) -> Tensor:
        step = float(nodes[1] - nodes[0])
        at = at.clamp(float(nodes[0]), float(nodes[-1]))
        return (1 - (at - torch.from_numpy(nodes)[:, None]).abs() / step).clamp(min=0)

    across, down = line(x, NODES_X), line(y, NODES_Y)
    return (down[:, None] * across).reshape(-1, x.shape[-1])

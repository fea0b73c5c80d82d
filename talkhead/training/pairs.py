"""Training pairs: an identity frame warped to another frame's landmarks, and the true frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from talkhead.geometry.crop import CROP_SIDE_PX
from talkhead.geometry.mesh import MIRROR, mouth_opening
from talkhead.geometry.skin_registration import Registration
from talkhead.landmarks2video.conditioning import MAP_SIDE_PX, draw_maps, warp_lower_face
from talkhead.landmarks2video.masks import lower_face_mask
from talkhead.landmarks2video.region import (
    LEFT_PX,
    REGION_HEIGHT_PX,
    REGION_WIDTH_PX,
    TOP_PX,
    lower_face,
)
from talkhead.landmarks2video.warp import resize_grid, warp_image
from talkhead.training.samples import ClipBank, Sample, jitter_colours, to_model

MAP_RATIO = MAP_SIDE_PX / CROP_SIDE_PX
PATCH_PX = (64, 96)
"""Height and width of the mouth patch that the discriminator sees."""


@dataclass(frozen=True)
class DenoiserTaskConfig:
    """The table [task] of `talkhead train denoiser`."""

    autoencoder: str
    """Checkpoint folder of the autoencoder that defines the latents, relative to the TOML file."""
    initial: str = ""
    """Checkpoint folder of a new run's initial weights, likewise; "" for random weights."""
    registration_pairs: int = 8000
    """Frame pairs to fit the skin registration to; unused if `initial` is given."""
    end_share: float = 0.7
    """Share of samples at time 1, pure noise: the only time that one-step sampling visits."""
    energy_floor: float = 0.03
    """Added to a pair's residual energy, which divides its loss, so that small ones do not
    dominate; in residual scales."""
    near_share: float = 0.2
    """Share of pairs at most three frames apart, which teach it to leave correct pixels alone."""
    opening_share: float = 0.3
    """Share of pairs from a nearly closed to a wide-open mouth, whose inside must be generated."""
    mouth_weight: float = 2.0
    """Extra weight of the error around the mouth."""
    inside_weight: float = 4.0
    """Extra weight of the error inside the lips."""
    adversarial_weight: float = 0.0
    """Weight of the discriminator's loss on the mouth, which sharpens teeth; 0 trains without a
    discriminator."""
    feature_weight: float = 1.0
    """Weight of the feature-matching loss, if a discriminator is used."""
    pixel_weight: float = 1.0
    """Weight of the L1 error of the decoded mouth, if a discriminator is used."""
    background_weight: float = 0.05
    """Weight of the error outside the face, which rendering leaves unchanged."""
    validation_frames: int = 8
    """Frames to score per held-out clip, each generated from another frame of the clip."""


class DenoiserSamples:
    """Augmented pairs of frames of the same clip."""

    def __init__(
        self,
        bank: ClipBank,
        registration: Registration,
        config: DenoiserTaskConfig,
        seed: int,
    ) -> None:
        self._bank, self._registration = bank, registration
        self._config, self._seed = config, seed

    def sample(self, index: int) -> Sample:
        """Return one pair, as `pair` does."""
        rng = np.random.default_rng([self._seed, index])
        _, clip = self._bank.draw(rng)
        first = int(rng.integers(len(clip)))
        kind = rng.random()
        if kind > 1 - self._config.opening_share:
            order = mouth_opening(clip.landmarks).argsort()
            third = len(clip) // 3
            first, second = int(order[rng.integers(third)]), int(order[-1 - rng.integers(third)])
        elif kind < self._config.near_share:
            second = int(np.clip(first + rng.integers(-3, 4), 0, len(clip) - 1))
        else:
            second = int(rng.integers(len(clip)))
        frames = [clip.frame(first), clip.frame(second)]
        meshes = clip.landmarks[[first, second]]
        frames, meshes = _augment(frames, meshes, rng)
        return pair(frames, meshes, self._registration, self._config)


def _augment(
    frames: list[npt.NDArray[np.uint8]], meshes: npt.NDArray[np.float32], rng: np.random.Generator
) -> tuple[list[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]:
    """Shift, rotate, scale, shear, mirror, relight and recolour both frames identically."""
    centre = CROP_SIDE_PX / 2
    angle = rng.normal(0, np.radians(4))
    cos, sin = np.cos(angle), np.sin(angle)
    scale = np.exp(rng.normal(0, 0.05))
    # Simulate faces that are slightly wider, longer or more slanted than the filmed people.
    shape = np.eye(2) + rng.normal(0, 0.04, (2, 2))
    linear = scale * np.array([[cos, -sin], [sin, cos]]) @ shape
    shift = rng.normal(0, 4, 2)
    if rng.random() < 0.5:
        linear = linear @ np.diag([-1.0, 1.0])
        meshes = meshes[:, MIRROR]
    offset = centre + shift - linear @ [centre, centre]
    moved = meshes.copy()
    moved[..., :2] = meshes[..., :2] @ linear.T + offset
    moved[..., 2] = meshes[..., 2] * scale
    # Sampling uses the inverse map, in coordinates from -1 to 1 around the centre.
    inverse = np.linalg.inv(linear)
    back = (inverse @ ([centre, centre] - offset) - centre) / centre
    theta = torch.from_numpy(np.concatenate([inverse, back[:, None]], 1)).float()[None]
    stacked = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float()
    grid = functional.affine_grid(theta, [1, 3, *stacked.shape[2:]], align_corners=False)
    turned = warp_image(stacked, grid.expand(len(frames), -1, -1, -1))
    lit = (_light(rng) * _mix_colours(turned, rng)).clamp(0, 255)
    warped = [f.permute(1, 2, 0).round().byte().numpy() for f in lit]
    return jitter_colours(warped, rng), moved.astype(np.float32)


def _light(rng: np.random.Generator) -> Tensor:
    """Return light from a random side, (256, 256): a smooth factor across the image."""
    line = torch.linspace(-1, 1, CROP_SIDE_PX)
    across, down = rng.normal(0, 0.15, 2)
    return torch.exp(line * float(across) + line[:, None] * float(down))


def _mix_colours(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Mix the channels of (B, 3, H, W), to simulate other light and skin colours."""
    matrix = np.eye(3) + rng.normal(0, 0.06, (3, 3))
    matrix /= matrix.sum(1, keepdims=True)
    return torch.einsum("dc,bchw->bdhw", torch.from_numpy(matrix).float(), images)


def pair(
    frames: Sequence[npt.NDArray[np.uint8]],
    meshes: npt.NDArray[np.float32],
    registration: Registration,
    config: DenoiserTaskConfig,
    *,
    scored: bool = False,
) -> Sample:
    """Warp an identity to a target and crop everything to the lower face.

    Args:
        frames: identity and target, uint8 (256, 256, 3).
        meshes: (2, 478, 3), crop pixels.
        registration: correction to apply to the target mesh.
        config: weights of the loss.
        scored: also return what scoring needs: `plain`, the warp to the uncorrected mesh without
            the darkened mouth, `mask` and `mouth`.

    Returns:
        `target` and `warped` (3, 160, 192); `maps` (9, 80, 96); `weight` (1, 20, 24); `corner`
        (2,), top and left of the mouth patch.
    """
    image = torch.from_numpy(to_model(frames[0]))[None]
    identity = torch.from_numpy(meshes[:1])
    mesh = torch.from_numpy(registration.apply(meshes[0], meshes[1:]))
    grid, maps = draw_maps(identity, mesh)
    mask, mouth = lower_face_mask(mesh, maps), around_mouth(mesh[0])
    near = functional.max_pool2d(mask, 9, stride=1, padding=4)
    weight = config.background_weight + (1 - config.background_weight) * near
    inside = functional.max_pool2d(maps[:, :1], 3, stride=1, padding=1)
    weight = weight + config.mouth_weight * mouth + config.inside_weight * inside
    sample = {
        "target": lower_face(to_model(frames[1])),
        "warped": warp_lower_face(image, grid, maps)[0].numpy(),
        "maps": lower_face(maps, MAP_RATIO)[0].numpy(),
        "weight": functional.avg_pool2d(lower_face(weight, MAP_RATIO), 4)[0].numpy(),
        "corner": _patch_corner(meshes[1]),
    }
    if scored:
        mesh = torch.from_numpy(meshes[1:])
        grid, maps = draw_maps(identity, mesh)
        plain = warp_image(image, resize_grid(grid, (CROP_SIDE_PX, CROP_SIDE_PX)))
        sample["plain"] = lower_face(plain)[0].numpy()
        sample["mask"] = lower_face(lower_face_mask(mesh, maps), MAP_RATIO)[0].numpy()
        sample["mouth"] = lower_face(around_mouth(mesh[0]), MAP_RATIO)[None].float().numpy()
    return sample


def around_mouth(mesh: Tensor) -> Tensor:
    """Return a mask of the box around the lips of a mesh (478, 3), bool (128, 128)."""
    lips = mesh[[61, 291, 0, 17], :2] * MAP_RATIO
    low, high = lips.amin(0) - 4, lips.amax(0) + 4
    line = torch.arange(MAP_SIDE_PX) + 0.5
    rows = (line > low[1]) & (line < high[1])
    return rows[:, None] & (line > low[0]) & (line < high[0])


def _patch_corner(mesh: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Return top and left of the mouth patch in the lower face, rounded to even pixels."""
    middle = mesh[[61, 291, 0, 17], 1::-1].mean(0) - [TOP_PX, LEFT_PX]
    room = np.array([REGION_HEIGHT_PX, REGION_WIDTH_PX]) - PATCH_PX
    corner = np.clip(np.round((middle - np.array(PATCH_PX) / 2) / 2) * 2, 0, room)
    return np.asarray(corner, np.int64)

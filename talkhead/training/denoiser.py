"""Task `denoiser`: a frame of a person, warped to another frame's landmarks and corrected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.checkpoint import load_alike, load_state, read_config, save_checkpoint
from talkhead.errors import TalkheadError
from talkhead.face.crop import CROP_SIDE_PX
from talkhead.face.maps import MAP_SIDE_PX, NUM_MAPS, draw_maps, warp_identity
from talkhead.face.masks import lower_face_mask
from talkhead.face.mesh import MIRROR, mouth_opening
from talkhead.face.region import (
    LATENT_PX,
    LEFT_PX,
    REGION_HEIGHT_PX,
    REGION_WIDTH_PX,
    TOP_PX,
    lower_face,
)
from talkhead.face.registration import Registration
from talkhead.face.warp import resize_grid, warp_image
from talkhead.models.autoencoder import Autoencoder, AutoencoderConfig
from talkhead.models.denoiser import Denoiser, DenoiserConfig
from talkhead.models.diffusion import diffusion_loss, draw_times
from talkhead.models.discriminator import PatchDiscriminator, judge_loss
from talkhead.synthesis import correct, registration_of
from talkhead.training.clips import Clip
from talkhead.training.loop import Batch, Sample
from talkhead.training.registration import fit_registration, other_frame
from talkhead.training.samples import ClipBank, jitter_colours, split_rows, to_model

MAP_RATIO = MAP_SIDE_PX / CROP_SIDE_PX
PATCH_PX = (64, 96)
"""Height and width of the patch around the mouth that is judged."""
JUDGED_PX = 6
"""So far around an opened mouth the discriminator sees what is made."""
JUDGE_MAPS = (0, 8)
"""Maps that a discriminator is shown: where the mouth is open, and where nothing was known."""
JUDGE_CHANNELS = 3 + len(JUDGE_MAPS)
NUM_MEASURED_PAIRS = 96
"""Pairs from which the scale of the residuals is measured."""


@dataclass(frozen=True)
class DenoiserTaskConfig:
    """The table [task] of `talkhead train denoiser`."""

    autoencoder: str
    """Checkpoint folder of the autoencoder whose latents are denoised; from the TOML file on."""
    initial: str = ""
    """Checkpoint folder whose weights a new run starts from, found alike; "" for random ones."""
    registration_pairs: int = 8000
    """Pairs of frames that the registration is fitted to, unless the run starts from another's."""
    end_share: float = 0.7
    """Share of the samples at time 1, pure noise: the only time that one-step sampling visits."""
    energy_floor: float = 0.03
    """Pairs with less energy in their residuals than this, in residual scales, weigh no more."""
    near_share: float = 0.2
    """Share of pairs at most three frames apart: what is right already has to be left alone."""
    opening_share: float = 0.3
    """Share of pairs from a nearly closed to a wide open mouth: what was hidden has to be made."""
    mouth_weight: float = 2.0
    """Extra weight of the error around the mouth."""
    inside_weight: float = 4.0
    """Extra weight of the error inside the lips."""
    adversarial_weight: float = 0.0
    """Weight of a discriminator's judgement of the mouth, which asks for sharp teeth; 0 trains
    without one."""
    feature_weight: float = 1.0
    """Beside it, weight of the distance of the mouths in the discriminator's features."""
    pixel_weight: float = 1.0
    """Beside it, weight of the absolute error of the decoded mouth."""
    background_weight: float = 0.05
    """Weight of the error outside the face, where the picture is not changed in the end."""
    validation_frames: int = 8
    """Frames of every held-out clip that are scored, each made from another one of the clip."""


class Trainee(nn.Module):
    """The denoiser, and the discriminator that is thrown away afterwards."""

    def __init__(self, config: DenoiserConfig, is_judged: bool) -> None:
        super().__init__()
        self.denoiser = Denoiser(config)
        self.discriminator = PatchDiscriminator(JUDGE_CHANNELS) if is_judged else None


class DenoiserSamples:
    """Pairs of frames of one clip."""

    def __init__(
        self, bank: ClipBank, registration: Registration, config: DenoiserTaskConfig, seed: int
    ) -> None:
        self._bank, self._registration = bank, registration
        self._config, self._seed = config, seed

    def sample(self, index: int) -> Sample:
        """Return what `pair` does."""
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
    """Shift, turn, stretch, shear, mirror, relight and recolour a pair alike."""
    centre = CROP_SIDE_PX / 2
    angle = rng.normal(0, np.radians(4))
    cos, sin = np.cos(angle), np.sin(angle)
    scale = np.exp(rng.normal(0, 0.05))
    # Faces a little wider, longer or more slanting than the people who were filmed.
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
    # Sampling goes the other way, in coordinates from -1 to 1 around the centre.
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
    """Light from a side, (256, 256): a factor that changes evenly over the picture."""
    line = torch.linspace(-1, 1, CROP_SIDE_PX)
    across, down = rng.normal(0, 0.15, 2)
    return torch.exp(line * float(across) + line[:, None] * float(down))


def _mix_colours(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Mix the channels of (B, 3, H, W): other light, other skin."""
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
    """Warp an identity to a target and cut everything to the lower face.

    Args:
        frames: identity and target, uint8 (256, 256, 3).
        meshes: (2, 478, 3), crop pixels.
        registration: what the target's mesh goes through first.
        config: the weights.
        scored: also return what scores are taken with: `plain`, the warp to the mesh as it is,
            without the darkened mouth, `mask` and `mouth`.

    Returns:
        `target` and `warped` (3, 160, 192), `maps` (9, 80, 96), `weight` (1, 20, 24), `corner` (2),
        top and left of the mouth's patch.
    """
    image = torch.from_numpy(to_model(frames[0]))[None]
    identity = torch.from_numpy(meshes[:1])
    mesh = torch.from_numpy(registration.apply(meshes[0], meshes[1:]))
    grid, maps = draw_maps(identity, mesh)
    mask, mouth = lower_face_mask(mesh, maps), _around_mouth(mesh[0])
    near = functional.max_pool2d(mask, 9, stride=1, padding=4)
    weight = config.background_weight + (1 - config.background_weight) * near
    inside = functional.max_pool2d(maps[:, :1], 3, stride=1, padding=1)
    weight = weight + config.mouth_weight * mouth + config.inside_weight * inside
    sample = {
        "target": lower_face(to_model(frames[1])),
        "warped": lower_face(warp_identity(image, grid, maps))[0].numpy(),
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
        sample["mouth"] = lower_face(_around_mouth(mesh[0]), MAP_RATIO)[None].float().numpy()
    return sample


def _around_mouth(mesh: Tensor) -> Tensor:
    """Return the box around the lips of a mesh (478, 3), shape = (128, 128)."""
    lips = mesh[[61, 291, 0, 17], :2] * MAP_RATIO
    low, high = lips.amin(0) - 4, lips.amax(0) + 4
    line = torch.arange(MAP_SIDE_PX) + 0.5
    rows = (line > low[1]) & (line < high[1])
    return rows[:, None] & (line > low[0]) & (line < high[0])


def _patch_corner(mesh: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Return top and left of the mouth's patch in the lower face, on even pixels."""
    middle = mesh[[61, 291, 0, 17], 1::-1].mean(0) - [TOP_PX, LEFT_PX]
    room = np.array([REGION_HEIGHT_PX, REGION_WIDTH_PX]) - PATCH_PX
    corner = np.clip(np.round((middle - np.array(PATCH_PX) / 2) / 2) * 2, 0, room)
    return np.asarray(corner, np.int64)


def _patches(images: Tensor, corners: Tensor, scale: float = 1.0) -> Tensor:
    """Cut the mouths' patches from lower faces, (B, C, 160 scale, 192 scale)."""
    height, width = (round(side * scale) for side in PATCH_PX)
    starts = (corners * scale).round().long().tolist()
    cut = [
        image[:, y : y + height, x : x + width]
        for image, (y, x) in zip(images, starts, strict=True)
    ]
    return torch.stack(cut)


class DenoiserTask:
    """Training of the residual latent denoiser.

    Args:
        data: prepared folder.
        model_config: sizes; `residual_scale` 0 is measured on the training clips.
        config: settings of the task.
        seed: of the samples and the first weights.
        autoencoder: checkpoint folder.
        initial: checkpoint folder of a denoiser to go on from.

    Raises:
        TalkheadError: the sizes do not fit the autoencoder or the maps, or there are no clips.
        WeightsError: a checkpoint is missing or corrupt, or the one to go on from has other sizes.
    """

    def __init__(
        self,
        data: Path,
        model_config: DenoiserConfig,
        config: DenoiserTaskConfig,
        seed: int,
        autoencoder: Path,
        initial: Path | None = None,
    ) -> None:
        train, unseen, _ = split_rows(data)
        self._config = config
        self.autoencoder = Autoencoder(
            read_config(autoencoder, AutoencoderConfig, architecture="autoencoder")
        )
        latent_channels = self.autoencoder.config.latent_channels
        for name, found, wanted in (
            ("latent_channels", model_config.latent_channels, latent_channels),
            ("map_channels", model_config.map_channels, NUM_MAPS),
        ):
            if found != wanted:
                raise TalkheadError(f"{name} of the denoiser is {found}, it has to be {wanted}")
        load_state(autoencoder, self.autoencoder)
        self.autoencoder.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model: Trainee = Trainee(model_config, config.adversarial_weight > 0).to(  # type: ignore[call-overload]
                memory_format=torch.channels_last
            )
        denoiser = self.model.denoiser
        bank = ClipBank(data, train)
        if initial is not None:
            load_alike(initial, denoiser, model_config, architecture="denoiser")
            self.registration = registration_of(denoiser)
        else:
            self.registration = fit_registration(
                bank, model_config.registration_components, config.registration_pairs, seed
            )
            denoiser.registration_basis.copy_(torch.from_numpy(self.registration.components))
            denoiser.registration_weights.copy_(torch.from_numpy(self.registration.weights))
        self.samples = DenoiserSamples(bank, self.registration, config, seed)
        if model_config.residual_scale == 0:
            scale = self._measure_residuals(seed)
            denoiser.config = replace(model_config, residual_scale=scale)
        bank = ClipBank(data, unseen or train)
        self._validation = [self._validation_pairs(clip, k) for k, clip in enumerate(bank.clips)]

    def _measure_residuals(self, seed: int) -> float:
        """Return the standard deviation of the latent residuals where they count."""
        squares = weights = 0.0
        for index in range(NUM_MEASURED_PAIRS):
            sample = self.samples.sample(2**40 + seed + index)
            target, warped, weight = (
                torch.from_numpy(sample[key])[None] for key in ("target", "warped", "weight")
            )
            residual = self.encode(target) - self.encode(warped)
            squares += float((residual.square() * weight).mean())
            weights += float(weight.mean())
        return round(math.sqrt(squares / weights), 4)

    def _validation_pairs(self, clip: Clip, seed: int) -> dict[str, Tensor]:
        """Spread frames of a clip, each made from another one that is drawn for it."""
        rng = np.random.default_rng(seed)
        pairs = []
        for target in np.linspace(0, len(clip) - 1, self._config.validation_frames).astype(int):
            first = other_frame(len(clip), int(target), rng)
            two = clip.frame(first), clip.frame(target)
            meshes = clip.landmarks[[first, target]]
            pairs.append(pair(two, meshes, self.registration, self._config, scored=True))
        return {key: torch.from_numpy(np.stack([p[key] for p in pairs])) for key in pairs[0]}

    def encode(self, image: Tensor) -> Tensor:
        """Encode pixels, (B, 3, H, W), without gradients."""
        self.autoencoder.to(image.device)
        with torch.no_grad():
            return self.autoencoder.encode(
                image.contiguous(memory_format=torch.channels_last)
            ).float()

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Velocity error, weighted to the lower face and the mouth; how the mouth is judged."""
        assert isinstance(model, Trainee)
        config = model.denoiser.config
        count = len(batch["target"])
        both = self.encode(torch.cat([batch["target"], batch["warped"]]))
        target, warped = both[:count], both[count:]
        clean = (target - warped) / config.residual_scale
        time = draw_times(count, self._config.end_share, generator).to(clean.device)
        epsilon = torch.randn(clean.shape, generator=generator).to(clean.device)
        weight = batch["weight"]
        # A pair that the warp gets nearly right has little error, but a viewer sees all of it:
        # errors count against what there was to correct.
        energy = (clean.square() * weight).mean((1, 2, 3)) / weight.mean((1, 2, 3))
        weight = weight * (0.2 / (energy + self._config.energy_floor))[:, None, None, None]

        def denoiser(noisy: Tensor, when: Tensor) -> Tensor:
            out: Tensor = model.denoiser(noisy, when, warped, batch["maps"])
            return out

        losses, estimate = diffusion_loss(denoiser, clean, time, epsilon, weight)
        # Share of the warp's error that is left at time 1: below 1, the network beats the warp.
        at_end = time == 1
        nothing = (clean.square() * weight).mean((1, 2, 3))
        left = (losses * at_end).sum() / (nothing * at_end).sum().clamp(min=1e-6)
        values = {"loss": losses.mean(), "left": left}
        if model.discriminator is not None:
            latents = warped + config.residual_scale * estimate
            judged = self._judge(model.discriminator, latents, batch)
            values["loss"] = (
                values["loss"]
                + self._config.pixel_weight * judged["pixel"]
                + self._config.feature_weight * judged["feature"]
                + self._config.adversarial_weight * judged["adversarial"]
                + judged["judge"]
            )
            values.update(judged)
        return values

    def _judge(
        self, discriminator: PatchDiscriminator, latents: Tensor, batch: Batch
    ) -> dict[str, Tensor]:
        """Decode mouths and compare them with filmed ones.

        Gradients of `pixel`, `feature` and `adversarial` reach the latents alone, those of `judge`
        the discriminator alone, which sees made mouths in filmed faces: skin has been seen, and
        needs nobody's imagination.
        """
        detail = self.autoencoder.lost_detail(batch["warped"])
        decoded = self.autoencoder.decode(latents.contiguous(memory_format=torch.channels_last))
        corners = batch["corner"]
        made, real, warped = (
            _patches(image, corners)
            for image in (decoded + detail, batch["target"], batch["warped"])
        )
        shown = batch["maps"][:, list(JUDGE_MAPS)]
        shown = functional.interpolate(_patches(shown, corners, MAP_RATIO), scale_factor=2.0)
        condition = torch.cat([warped, shown], 1)
        with torch.no_grad():
            _, goals = discriminator(real, condition)
        near = functional.max_pool2d(shown[:, :1], 2 * JUDGED_PX + 1, stride=1, padding=JUDGED_PX)
        judged = near * made + (1 - near) * real
        discriminator.requires_grad_(False)
        logits, features = discriminator(judged, condition)
        discriminator.requires_grad_(True)
        feature = torch.stack(
            [functional.l1_loss(a.float(), b.float()) for a, b in zip(features, goals, strict=True)]
        )
        real_logits, _ = discriminator(real, condition)
        made_logits, _ = discriminator(judged.detach(), condition)
        return {
            "pixel": functional.l1_loss(made.float(), real),
            "feature": feature.mean(),
            "adversarial": -logits.float().mean(),
            "judge": judge_loss(real_logits.float(), made_logits.float()),
        }

    def reconstruct(self, model: Denoiser, batch: Batch, num_steps: int, seed: int = 0) -> Tensor:
        """Sample the lower faces of a batch, (B, 3, 160, 192) in [-1, 1]."""
        image = batch["warped"]
        channels, (height, width) = model.config.latent_channels, image.shape[-2:]
        generator = torch.Generator().manual_seed(seed)
        shape = (1, channels, height // LATENT_PX, width // LATENT_PX)
        epsilon = torch.randn(shape, generator=generator).to(image)
        self.autoencoder.to(image.device)
        return correct(self.autoencoder, model, image, batch["maps"], epsilon, num_steps)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """PSNR of lower faces of people not in training: warped, denoised in one step, in four."""
        assert isinstance(model, Trainee)
        device = next(model.parameters()).device
        rows = []
        for clip in self._validation:
            batch = {key: value.to(device) for key, value in clip.items()}
            row = {
                "warp_psnr": _masked_psnr(batch["plain"], batch["target"], batch["mask"]),
                "mouth_warp_psnr": _masked_psnr(batch["plain"], batch["target"], batch["mouth"]),
            }
            for steps, name in ((1, "psnr"), (4, "psnr_4_steps")):
                made = self.reconstruct(model.denoiser, batch, steps)
                row[name] = _masked_psnr(made, batch["target"], batch["mask"])
                if steps == 1:
                    row["mouth_psnr"] = _masked_psnr(made, batch["target"], batch["mouth"])
            row["gain"] = row["worst_gain"] = row["psnr"] - row["warp_psnr"]
            rows.append(row)
        scores = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        scores["worst_gain"] = min(row["worst_gain"] for row in rows)
        return scores

    def preview(self, model: nn.Module) -> npt.NDArray[np.uint8] | None:
        """Return rows of warp, result in one step, result in four, truth."""
        assert isinstance(model, Trainee)
        device = next(model.parameters()).device
        rows = []
        for clip in self._validation[:10]:
            batch = {key: value[-2:].to(device) for key, value in clip.items()}
            made = [self.reconstruct(model.denoiser, batch, steps) for steps in (1, 4)]
            images = [batch["warped"], *made, batch["target"]]
            cells = [((i.float() + 1) * 127.5).round().clamp(0, 255).byte() for i in images]
            row = torch.cat([c[k] for k in range(len(cells[0])) for c in cells], -1)
            rows.append(row.permute(1, 2, 0).cpu().numpy())
        return np.asarray(np.concatenate(rows, 0), np.uint8)

    def save(self, folder: Path, model: nn.Module) -> None:
        """Write the checkpoint folder of the denoiser."""
        assert isinstance(model, Trainee)
        save_checkpoint(
            folder,
            architecture="denoiser",
            config=model.denoiser.config,
            state=model.denoiser.state_dict(),
            dtype=torch.float16,
        )


def _masked_psnr(made: Tensor, target: Tensor, mask: Tensor) -> float:
    """Mean over frames of the PSNR under a mask, images in [-1, 1] rounded to 8 bits."""
    mask = functional.interpolate(mask.float(), scale_factor=2.0, mode="nearest")
    a, b = (((x.float() + 1) * 127.5).round().clamp(0, 255) for x in (made, target))
    error = ((a - b).square() * mask).sum((1, 2, 3)) / (3 * mask.sum((1, 2, 3))).clamp(min=1)
    psnr = 10 * torch.log10(255**2 / error.clamp(min=255**2 * 1e-10))
    return float(psnr.mean())


assert CROP_SIDE_PX % LATENT_PX == 0

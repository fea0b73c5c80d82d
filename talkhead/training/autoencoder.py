"""Task `autoencoder`: reconstruct crops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.data.selection import split_rows
from talkhead.errors import TalkheadError
from talkhead.geometry.crop import CROP_SIDE_PX
from talkhead.landmarks2video.autoencoder import PATCH_PX, Autoencoder
from talkhead.landmarks2video.region import lower_face
from talkhead.networks import to_channels_last
from talkhead.training.config import CHECKPOINT
from talkhead.training.samples import Batch, ClipBank, Sample, jitter_colours, to_model

NUM_PCA_PATCHES = 60_000
NUM_VALIDATION_FRAMES = 48


@dataclass(frozen=True)
class AutoencoderTaskConfig:
    """The table [task] of `talkhead train autoencoder`."""

    crop_px: int = 128
    """Side of the random square crops used for training."""
    gradient_weight: float = 0.5
    """Weight of the L1 error of the image gradients."""
    noise: float = 0.0
    """Standard deviation of the noise added to the latents, in their scale. It makes the decoder
    robust to errors in the latents."""
    linear_weight: float = 0.02
    """Weight of the penalty that keeps the latents close to the principal components, which are an
    almost orthogonal projection of the pixels."""


class AutoencoderSamples:
    """Random squares of random frames."""

    def __init__(self, bank: ClipBank, crop_px: int, seed: int) -> None:
        self._bank, self._crop_px, self._seed = bank, crop_px, seed

    def sample(self, index: int) -> Sample:
        """Return `image`, float32 (3, crop_px, crop_px)."""
        rng = np.random.default_rng([self._seed, index])
        _, clip = self._bank.draw(rng)
        frame = clip.frame(int(rng.integers(len(clip))))
        side, size = self._crop_px, frame.shape[0]
        # Sample the lower half more often: the decoder must reproduce mouths well.
        lowest = size - side
        above = 0 if rng.random() < 0.5 else min(size // 4, lowest)
        top = int(rng.integers(above, lowest + 1))
        left = int(rng.integers(size - side + 1))
        square = frame[top : top + side, left : left + side]
        if rng.random() < 0.5:
            square = square[:, ::-1]
        (square,) = jitter_colours([square], rng)
        return {"image": to_model(square)}


class AutoencoderTask:
    """Training of the compact autoencoder.

    Args:
        data: prepared folder.
        model_config: arguments of the network.
        config: task settings.
        seed: seed for the samples and the initial weights.

    Raises:
        TalkheadError: crop_px is invalid, or the data has no clips.
    """

    def __init__(
        self,
        data: Path,
        model_config: Mapping[str, Any],
        config: AutoencoderTaskConfig,
        seed: int,
    ) -> None:
        if config.crop_px % PATCH_PX or not PATCH_PX <= config.crop_px <= CROP_SIDE_PX:
            raise TalkheadError(
                f"crop_px is {config.crop_px}: it must be a multiple of {PATCH_PX},"
                f" at most {CROP_SIDE_PX}"
            )
        train, unseen, _ = split_rows(data)
        self._config = config
        bank = ClipBank(data, train)
        self.samples = AutoencoderSamples(bank, config.crop_px, seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = Autoencoder(**model_config)
        to_channels_last(self.model)
        self._set_principal_components(seed)
        self._validation = _validation_frames(data, unseen or train)

    def _set_principal_components(self, seed: int) -> None:
        patches = []
        count = 4 * self._config.crop_px**2 // PATCH_PX**2
        for index in range(-(-NUM_PCA_PATCHES // count) * 4):
            square = torch.from_numpy(self.samples.sample(2**40 + seed + index)["image"])
            unfolded = functional.pixel_unshuffle(square[None], PATCH_PX)
            patches.append(unfolded.flatten(2)[0].T)
        stacked = torch.cat(patches).double()
        mean = stacked.mean(0)
        _, vectors = torch.linalg.eigh(torch.cov((stacked - mean).T))
        components = vectors.flip(1)[:, : self.model.config.latent_channels].T
        scale = float(((stacked - mean) @ components.T).std())
        self.model.set_linear_path(mean.float(), components.float(), scale)
        self._components = (components / scale).float()[..., None, None]
        self._bias = (-(components @ mean) / scale).float()

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the L1 errors of pixels and gradients, and the drift of the latents."""
        assert isinstance(model, Autoencoder)
        image = batch["image"].contiguous(memory_format=torch.channels_last)
        latents = model.encode(image)
        noisy = latents
        if self._config.noise:
            noise = torch.randn(latents.shape, generator=generator).to(latents)
            noisy = latents + self._config.noise * noise
        decoded = model.decode(noisy).float()
        pixel = (decoded - image).abs().mean()
        gradient = _gradient_error(decoded, image)
        with torch.autocast(image.device.type, enabled=False):
            patches = functional.pixel_unshuffle(image, PATCH_PX)
            linear = functional.conv2d(patches, self._components.to(image), self._bias.to(image))
        drift = (latents.float() - linear).square().mean()
        loss = pixel + self._config.gradient_weight * gradient + self._config.linear_weight * drift
        return {"loss": loss, "pixel": pixel, "gradient": gradient, "drift": drift}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the PSNR on people not in training, over the whole crop and the lower face."""
        assert isinstance(model, Autoencoder)
        device = next(model.parameters()).device
        whole, lower = [], []
        for frame in self._validation:
            image = torch.from_numpy(to_model(frame))[None].to(device)
            decoded = _to_pixels(model(image))[0].permute(1, 2, 0).numpy()
            difference = decoded.astype(np.float64) - frame
            error = torch.from_numpy(np.square(difference).transpose(2, 0, 1))
            whole.append(float(_psnr(error)))
            lower.append(float(_psnr(lower_face(error))))
        return {"psnr": float(np.mean(whole)), "lower_face_psnr": float(np.mean(lower))}

    def preview(self, model: nn.Module) -> npt.NDArray[np.uint8] | None:
        """Return input frames above their reconstructions."""
        frames = self._validation[:: max(1, len(self._validation) // 8)][:8]
        device = next(model.parameters()).device
        image = torch.from_numpy(np.stack([to_model(frame) for frame in frames])).to(device)
        decoded = _to_pixels(model(image)).permute(0, 2, 3, 1).numpy()
        rows = [np.concatenate(list(pictures), 1) for pictures in (frames, decoded)]
        return np.asarray(np.concatenate(rows, 0), np.uint8)

    def save(self, run: Path, model: nn.Module) -> None:
        """Write the checkpoint folder."""
        assert isinstance(model, Autoencoder)
        model.save_pretrained(run / CHECKPOINT, dtype=torch.float16)


def _validation_frames(data: Path, rows: list[Any]) -> list[npt.NDArray[np.uint8]]:
    bank = ClipBank(data, rows)
    per_clip = -(-NUM_VALIDATION_FRAMES // len(rows))
    frames = []
    for clip in bank.clips:
        for index in np.linspace(0, len(clip) - 1, per_clip).astype(int):
            frames.append(clip.frame(int(index)))
    return frames


def _gradient_error(a: Tensor, b: Tensor) -> Tensor:
    difference = a - b
    x = difference[..., :, 1:] - difference[..., :, :-1]
    y = difference[..., 1:, :] - difference[..., :-1, :]
    return x.abs().mean() + y.abs().mean()


def _to_pixels(image: Tensor) -> Tensor:
    return ((image.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu()


def _psnr(squared_error: Tensor) -> Tensor:
    return 10 * torch.log10(255**2 / squared_error.mean().clamp(min=1e-5))

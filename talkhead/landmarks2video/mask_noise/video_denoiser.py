"""Emotion-conditioned video denoiser: a 3D U-Net over windows of frames, for mask-noise rendering.

The input is the noisy frames together with the identity under mask-noise. Each convolution over
time and space is split into a spatial one and one over the previous and next frame, which is
several times cheaper on a CPU.

Source: Vo et al., "Individual audio-driven talking head generation based on sequence of landmark":
four levels of 32 to 256 channels, with embeddings of step and emotion concatenated. With
`diffuses = "frames"` it predicts the noise in the frames, as in the paper. By default it predicts
the difference between the frame and the identity, which preserves light and colours. For that it
must also see what the mask-noise hides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.emotions import EMOTIONS
from talkhead.landmarks2video.convolution import Conv3x3
from talkhead.landmarks2video.denoiser import time_angles, zero_layer
from talkhead.landmarks2video.mask_noise.mask import MaskNoiseConfig
from talkhead.landmarks2video.registered_network import RegisteredNetwork
from talkhead.networks import register_to_config

NUM_STEPS = 1000
"""Diffusion steps of the paper; `start_step` counts in these."""
_PATCH = 2
_RGB = 3
_GROUPS = 8
_MAX_FRAMES = 256


class _Block(nn.Module):
    """Residual block: space, time, space; scaled and shifted by the step and the emotion."""

    def __init__(self, channels_in: int, channels: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, channels_in)
        self.conv_in = Conv3x3(channels_in, channels)
        self.over_time = nn.Conv2d(3 * channels, channels, 1)
        self.film = nn.Linear(condition, 2 * channels)
        self.mid_norm = nn.GroupNorm(_GROUPS, channels)
        self.conv_out = Conv3x3(channels, channels)
        self.skip = (
            nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()
        )
        # `film` reads the emotion: zeros would leave the class embedding without a gradient.
        for layer in (self.over_time, self.conv_out):
            zero_layer(layer)

    def forward(self, x: Tensor, condition: Tensor, num_frames: int) -> Tensor:
        """Map (B * T, C, h, w) under conditions (B * T, E)."""
        y = self.conv_in(functional.relu(self.norm(x)))
        y = y + self.over_time(functional.relu(_neighbours(y, num_frames)))
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, 1)
        y = self.mid_norm(y) * (1 + scale) + shift
        return self.skip(x) + self.conv_out(functional.relu(y))  # type: ignore[no-any-return]


def _check(
    size_px: int,
    num_frames: int,
    widths: tuple[int, ...],
    embedding_size: int,
    mask: MaskNoiseConfig,
) -> None:
    """Raise ValueError unless the sizes are valid."""
    if len(widths) < 2 or any(width % _GROUPS or not width for width in widths):
        raise ValueError(f"widths must be two or more multiples of {_GROUPS}")
    if size_px < 1 or size_px % (_PATCH * 2 ** (len(widths) - 1)):
        raise ValueError(
            f"size_px {size_px} must be a positive multiple of {_PATCH * 2 ** (len(widths) - 1)}"
        )
    if embedding_size < 2 or embedding_size % 2:
        raise ValueError("embedding_size must be even and at least 2")
    if not 1 <= num_frames <= _MAX_FRAMES:
        raise ValueError(f"num_frames must be from 1 to {_MAX_FRAMES}")
    if not (mask.kernel_size % 2 and mask.kernel_size <= size_px and mask.sigma > 0):
        raise ValueError(
            "the mask's kernel_size must be odd and at most size_px, and its sigma above 0"
        )


def _neighbours(x: Tensor, num_frames: int) -> Tensor:
    """Stack the previous and next frame onto each frame, (B * T, C, ...) to (B * T, 3 C, ...)."""
    window = x.view(-1, num_frames, *x.shape[1:])
    before = torch.cat([window[:, :1], window[:, :-1]], 1)
    after = torch.cat([window[:, 1:], window[:, -1:]], 1)
    return torch.cat([before, window, after], 2).flatten(0, 1)


class VideoDenoiser(RegisteredNetwork):
    """The U-Net.

    Buffers: `registration_basis` (K, 478, 3) and `registration_weights` (6 + K, 478, 2), the linear
    model applied to meshes first, see `talkhead.geometry.skin_registration`.

    Args:
        size_px: side of the generated crops.
        num_frames: frames per window.
        widths: channels per level; each level halves the resolution.
        embedding_size: size of the step embedding and of the emotion embedding.
        residual_scale: standard deviation of the residual (frame minus base), by which it is
            divided; 0 to measure it in training. Unused if frames are diffused.
        base: the frame that is masked and corrected: the identity frame, as in the paper, or that
            frame warped to the landmarks.
        registration_components: number of deformations used by the skin registration.
        mask: the fields of `MaskNoiseConfig`; None for its defaults.
        diffuses: what is diffused. residual: what is missing from the base, of which the network
            predicts the clean sample. frames: the frames themselves, of which it predicts the
            noise, as in the paper. Then it does not see the base without mask-noise, and sampling
            starts from the base under mask-noise.
        guidance: factor by which the emotion's effect on the prediction is amplified (classifier-
            free guidance); 1 for none. Others take two evaluations per step.
    """

    nested_configs: ClassVar[Mapping[str, Any]] = {"mask": MaskNoiseConfig | None}

    @register_to_config
    def __init__(
        self,
        size_px: int = 128,
        num_frames: int = 16,
        widths: tuple[int, ...] = (32, 64, 128, 256),
        embedding_size: int = 64,
        residual_scale: float = 0.0,
        base: Literal["identity", "warp"] = "warp",
        registration_components: int = 40,
        mask: dict[str, Any] | None = None,
        diffuses: Literal["residual", "frames"] = "residual",
        guidance: float = 1.0,
    ) -> None:
        super().__init__()
        self.mask = MaskNoiseConfig(**(mask or {}))
        self.register_to_config(mask=asdict(self.mask))
        _check(size_px, num_frames, widths, embedding_size, self.mask)
        size = embedding_size
        condition = 2 * size
        self.emotion = nn.Embedding(len(EMOTIONS), size)
        self.step = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size))
        num_inputs = 2 if diffuses == "frames" else 3
        self.conv_in = nn.Conv2d(num_inputs * _RGB * _PATCH**2, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            _Block(widths[max(k - 1, 0)], width, condition) for k, width in enumerate(widths[:-1])
        )
        self.middle = _Block(widths[-2], widths[-1], condition)
        self.up = nn.ModuleList(
            _Block(widths[k + 1] + widths[k], widths[k], condition)
            for k in reversed(range(len(widths) - 1))
        )
        self.norm_out = nn.GroupNorm(_GROUPS, widths[0])
        self.conv_out = nn.Conv2d(widths[0], _RGB * _PATCH**2, 3, padding=1)
        zero_layer(self.conv_out)
        self.add_registration(registration_components)

    @property
    def reach(self) -> int:
        """Distance in frames over which frames influence each other."""
        return 2 * len(self.down) + 1

    def forward(
        self, noisy: Tensor, time: Tensor, seen: Tensor, base: Tensor, emotion: Tensor
    ) -> Tensor:
        """Return the clean residual, or the noise if frames are diffused.

        Args:
            noisy: (B, T, 3, S, S).
            time: (B,), step over `NUM_STEPS`.
            seen: (B, T, 3, S, S) in [-1, 1], the base under mask-noise.
            base: (B, T, 3, S, S) in [-1, 1], the frames to correct, without noise; not used if
                frames are diffused.
            emotion: (B, 8), probabilities of the emotions; zeros for no emotion.

        Returns:
            (B, T, 3, S, S).
        """
        num_frames = noisy.shape[1]
        step = self.step(_waves(time, self.config.embedding_size))
        emotion_embedding = emotion.to(step.dtype) @ self.emotion.weight.to(step.dtype)
        condition = torch.cat([step, emotion_embedding], -1).repeat_interleave(num_frames, 0)
        inputs = [noisy.to(seen.dtype), seen]
        if self.config.diffuses == "residual":
            inputs.append(base)
        x = torch.cat(inputs, 2).flatten(0, 1)
        x = functional.pixel_unshuffle(x, _PATCH).contiguous(memory_format=torch.channels_last)
        x = self.conv_in(x)
        kept = []
        for block in self.down:
            x = block(x, condition, num_frames)
            kept.append(x)
            x = functional.avg_pool2d(x, 2)
        x = self.middle(x, condition, num_frames)
        for block in self.up:
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, kept.pop()], 1), condition, num_frames)
        x = self.conv_out(functional.relu(self.norm_out(x)))
        return functional.pixel_shuffle(x, _PATCH).view(noisy.shape)


def _waves(time: Tensor, size: int) -> Tensor:
    """Embed times (B,) in [0, 1] as sines and cosines, (B, size)."""
    angles = time_angles(time, size // 2)
    return torch.cat([angles.sin(), angles.cos()], -1)

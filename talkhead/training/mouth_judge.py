"""Judge painted mouths beside filmed ones while the mouth denoiser trains."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.landmarks2video.mouth_patch import DISTANCE_UNIT_PX, LIP_MAP_PX, NUM_LIP_MAPS
from talkhead.training.discriminator import PatchDiscriminator, discriminator_loss
from talkhead.training.image_features import EfficientNetLite
from talkhead.training.projected_discriminator import ProjectedDiscriminator
from talkhead.weights.systems import PUBLISHED_FILES

WIDE_PX = 8.0
"""The loss counts fully up to this far outside the inner lips, in pixels of the patch."""
JUDGED = (slice(16, 112), slice(24, 136))
"""Rows and columns of the patch that the discriminator sees."""


class MouthJudge(nn.Module):
    """Compares painted mouths with filmed ones, inside filmed lips."""

    def forward(
        self, painted: Tensor, real: Tensor, draft: Tensor, maps: Tensor
    ) -> dict[str, Tensor]:
        """Return the losses of mouths.

        The gradients of `pixel`, `feature` and `adversarial` reach only the painted mouths; those
        of `discriminator` reach only the discriminator.

        Args:
            painted: (B, 3, 128, 160) in [-1, 1].
            real: the filmed mouths.
            draft: what the denoiser began with.
            maps: (B, 2, 32, 40), from `draw_lips`.
        """
        large = enlarged(maps)
        near = ((large[:, :1] * DISTANCE_UNIT_PX + WIDE_PX) / 2).clamp(0, 1)
        pixel = ((painted - real).abs() * near).sum() / (3 * near.sum())
        painted, real, draft, large, near = (
            image[..., JUDGED[0], JUDGED[1]] for image in (painted, real, draft, large, near)
        )
        mixed = near * painted + (1 - near) * real
        return {"pixel": pixel, **self._judge(mixed, real, draft, large, near)}

    def _judge(
        self, mixed: Tensor, real: Tensor, draft: Tensor, lips: Tensor, near: Tensor
    ) -> dict[str, Tensor]:
        raise NotImplementedError


class PatchJudge(MouthJudge):
    """Judges pixels, with a discriminator that learns everything itself."""

    def __init__(self) -> None:
        super().__init__()
        self.discriminator = PatchDiscriminator(3 + NUM_LIP_MAPS)

    def _judge(
        self, mixed: Tensor, real: Tensor, draft: Tensor, lips: Tensor, near: Tensor
    ) -> dict[str, Tensor]:
        condition = torch.cat([draft, lips], 1)
        real_logits, goals = self.discriminator(real, condition)
        self.discriminator.requires_grad_(False)
        logits, features = self.discriminator(mixed, condition)
        self.discriminator.requires_grad_(True)
        feature = torch.stack(
            [
                functional.l1_loss(a.float(), b.detach().float())
                for a, b in zip(features, goals, strict=True)
            ]
        )
        painted_logits, _ = self.discriminator(mixed.detach(), condition)
        return {
            "feature": feature.sum(),
            **_logit_losses([logits], [real_logits], [painted_logits], near),
        }


class FeatureJudge(MouthJudge):
    """Judges the features of a frozen classifier of pictures.

    Args:
        features: the classifier.
    """

    def __init__(self, features: EfficientNetLite) -> None:
        super().__init__()
        self.features = features
        self.discriminator = ProjectedDiscriminator(NUM_LIP_MAPS)

    def _judge(
        self, mixed: Tensor, real: Tensor, draft: Tensor, lips: Tensor, near: Tensor
    ) -> dict[str, Tensor]:
        del draft  # the surroundings of the mouth say enough
        with torch.no_grad():
            goals = self.features(real)
        features = self.features(mixed)
        feature = torch.stack([_distance(a, b, near) for a, b in zip(features, goals, strict=True)])
        self.discriminator.heads.requires_grad_(False)
        logits = self.discriminator(features, lips)
        self.discriminator.heads.requires_grad_(True)
        real_logits = self.discriminator(goals, lips)
        painted_logits = self.discriminator([each.detach() for each in features], lips)
        return {
            "feature": feature.sum(),
            **_logit_losses(logits, real_logits, painted_logits, near),
        }


def make_judge(features: Path | None) -> MouthJudge:
    """Return a judge.

    Args:
        features: folder of a classifier's tensors, for `EfficientNetLite`; None to judge pixels.

    Raises:
        WeightsError: the tensors cannot be read.
    """
    if features is None:
        return PatchJudge()
    return FeatureJudge(EfficientNetLite(features / PUBLISHED_FILES[1]))


def to_model(images: Tensor) -> Tensor:
    """Convert uint8 images to floats in [-1, 1]."""
    return images.float() / 127.5 - 1


def enlarged(maps: Tensor) -> Tensor:
    """Return lip maps (B, C, 32, 40) at the resolution of the patch."""
    return functional.interpolate(
        maps, scale_factor=float(LIP_MAP_PX), mode="bilinear", align_corners=False
    )


def _distance(made: Tensor, real: Tensor, near: Tensor) -> Tensor:
    """Return the mean difference of features (B, C, h, w) in the mouth, each of unit length."""
    difference = (_unit(made) - _unit(real)).abs().mean(1, keepdim=True)
    weight = functional.adaptive_max_pool2d(near, made.shape[-2:])
    return (difference * weight).sum() / weight.sum()


def _unit(features: Tensor) -> Tensor:
    """Divide the features of each place by their root mean square."""
    return features * (features.square().mean(1, keepdim=True) + 1e-4).rsqrt()


def _logit_losses(
    judged: list[Tensor], real: list[Tensor], painted: list[Tensor], near: Tensor
) -> dict[str, Tensor]:
    """Return the losses of logits, at each scale, in the mouth.

    Args:
        judged: logits of painted mouths, through which gradients reach the denoiser.
        real: those of filmed mouths.
        painted: those of painted mouths, for the discriminator.
        near: (B, 1, H, W), where the mouth is.
    """
    seen = [functional.adaptive_max_pool2d(near, each.shape[-2:]) > 0 for each in real]
    return {
        "adversarial": torch.stack(
            [-each.float()[place].mean() for each, place in zip(judged, seen, strict=True)]
        ).sum(),
        "discriminator": torch.stack(
            [
                discriminator_loss(a.float()[place], b.float()[place])
                for a, b, place in zip(real, painted, seen, strict=True)
            ]
        ).sum(),
    }

"""The skin registration that a denoiser stores."""

from __future__ import annotations

from talkhead.geometry.skin_registration import Registration
from talkhead.landmarks2video.denoiser import Denoiser
from talkhead.landmarks2video.mask_noise.video_denoiser import VideoDenoiser


def registration_of(denoiser: Denoiser | VideoDenoiser) -> Registration:
    """Return the registration that a denoiser was trained with."""
    basis, weights = denoiser.registration_basis, denoiser.registration_weights
    return Registration(basis.float().cpu().numpy(), weights.float().cpu().numpy())

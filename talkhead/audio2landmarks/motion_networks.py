"""What a landmark generator stores besides its network: motion basis and head style."""

from __future__ import annotations

from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.audio2landmarks.idle_motion import HeadStyle
from talkhead.geometry.motion_basis import MotionBasis


def basis_of(generator: LandmarkGenerator) -> MotionBasis:
    """Return the motion basis stored in a generator."""
    components, blink = generator.components.float().cpu(), generator.blink.float().cpu()
    return MotionBasis(components.numpy(), blink.numpy())


def head_style_of(generator: LandmarkGenerator) -> HeadStyle:
    """Return the head motion statistics of the clips that a generator was trained on."""
    slow, fast = generator.head.float().cpu().numpy()
    return HeadStyle(slow, fast, *generator.head_pace.float().tolist())

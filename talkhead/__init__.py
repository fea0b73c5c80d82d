"""Turns a picture of a person and a voice into a video of that person saying it.

Data flows in one direction, and every file is named after what it makes::

    audio ─ waveform ─ speech features ─ landmarks ─ conditioning maps ─ latents ─ frames ─ video
    face  ─ picture ─ identity landmarks ────┘              │
                  └── identity picture, warped to each frame's landmarks

Shapes in docstrings use one set of letters:

=== =======================================================================================
B   items of a batch
T   frames in time, at the video's rate
N   samples of a waveform, 16,000 a second
D   dimensions of a feature
C   channels
H W height and width of a picture, pixels
h w height and width of latents
=== =======================================================================================

Media are uint8, channels last, RGB; models take floats, channels first, in [-1, 1]. Points are
(x right, y down, z with smaller values nearer to the camera), in pixels of the picture.
"""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = ["__version__"]

"""Definitions of scores: the measures, and the row for one system on one clip.

A measure that does not apply to a clip is missing from its values; it never has a placeholder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Arrays = Mapping[str, npt.NDArray[Any]]
Stage = Literal["landmarks", "render", "both", "dub", "silence", "predicted"]
Better = Literal["higher", "lower", "neither"]

SCHEMA = 2
ARROWS: dict[Better, str] = {"higher": "↑", "lower": "↓", "neither": ""}
"""Arrow for each better direction."""
REAL = "real video"
IDENTITY = "identity repeated"
WARP = "plain warp"
CEILING = "autoencoder alone"
TRUTH, REST, LOUDNESS = "real landmarks", "face at rest", "jaw by loudness"
BASELINES = frozenset({REAL, IDENTITY, WARP, CEILING, TRUTH, REST, LOUDNESS})


@dataclass(frozen=True)
class Measure:
    """One column of the tables."""

    title: str
    unit: str
    better: Better
    digits: int


MEASURES: dict[str, Measure] = {
    "psnr": Measure("PSNR", "dB", "higher", 2),
    "identical_frames": Measure("identical frames, as 100 dB in the mean", "", "neither", 1),
    "ssim": Measure("SSIM", "", "higher", 4),
    "mse": Measure("MSE", "", "lower", 1),
    "lower_psnr": Measure("lower face, PSNR", "dB", "higher", 2),
    "lower_ssim": Measure("lower face, SSIM", "", "higher", 4),
    "lips_psnr": Measure("around the lips, PSNR", "dB", "higher", 2),
    "mouth_psnr": Measure("inside the mouth, PSNR", "dB", "higher", 2),
    "inside_psnr": Measure("inside opened lips, PSNR", "dB", "higher", 2),
    "inside_sharpness": Measure("sharpness inside opened lips, relative to real", "", "neither", 2),
    "inside_flicker": Measure("change inside opened lips, relative to real", "", "neither", 2),
    "two_sample": Measure("mouths that a network tells from real ones", "%", "lower", 1),
    "mouth_kid": Measure("mouths, kernel distance x 1000", "", "lower", 2),
    "lips_sharpness": Measure("lip sharpness, relative to real", "", "neither", 2),
    "face_sharpness": Measure("lower-face sharpness, relative to real", "", "neither", 2),
    "lpips": Measure("LPIPS, AlexNet", "", "lower", 4),
    "fid": Measure("FID", "", "lower", 2),
    "fvd": Measure("FVD", "", "lower", 1),
    "identity_distance": Measure("identity, distance of face embeddings", "", "lower", 3),
    "pixel_mse": Measure("Pixel-MSE, along the real flow", "", "lower", 1),
    "flicker": Measure("flicker", "of 255", "lower", 2),
    "tlp": Measure("tLP x 100", "", "lower", 3),
    "m_ld": Measure("M-LD", "px", "lower", 2),
    "f_ld": Measure("F-LD", "px", "lower", 2),
    "m_lvd": Measure("M-LVD", "px", "lower", 3),
    "f_lvd": Measure("F-LVD", "px", "lower", 3),
    "opening_r": Measure("opening, correlation", "", "higher", 3),
    "opening_r_best": Measure("opening, correlation at best lag", "", "higher", 3),
    "opening_lag": Measure("opening, best lag", "frames", "neither", 1),
    "width_r": Measure("width, correlation", "", "higher", 3),
    "width_r_best": Measure("width, correlation at best lag", "", "higher", 3),
    "lse_d": Measure("LSE-D", "", "lower", 2),
    "lse_c": Measure("LSE-C", "", "higher", 2),
    "sync_offset": Measure("SyncNet offset", "frames", "neither", 1),
    "closure_recall": Measure("closure recall for p, b, m", "", "higher", 2),
    "moving_share": Measure("frames with a moving mouth", "%", "lower", 1),
    "quiet_motion": Measure("lip motion in silence", "eye distances", "lower", 4),
    "blinks_per_minute": Measure("blinks per minute", "", "neither", 1),
    "head_motion": Measure("head motion", "eye distances", "neither", 3),
}
"""All measures by their key in scores.json, in the order of the tables."""


@dataclass(frozen=True)
class ClipRow:
    """One system's row for one clip in scores.json.

    Attributes:
        clip: name of the clip.
        person: the person in the clip.
        is_seen_person: whether the person is in a training clip of the weights.
        system: name of the system that generated the frames or landmarks.
        frames: number of scored frames.
        frames_without_face: number of scored frames without a detected face.
        values: scores by the measure's key.
    """

    clip: str
    person: str
    is_seen_person: bool
    system: str
    frames: int
    frames_without_face: int
    values: dict[str, float]


@dataclass(frozen=True)
class ClipScores(ClipRow):
    """Scores of one system on one clip.

    Attributes:
        opening: float32 (T,), the mouth opening in eye distances, nan without a face.
        arrays: features for measures of whole sets, by network name, and patches of mouths.
    """

    opening: Floats = field(repr=False)
    arrays: Arrays = field(default_factory=dict, repr=False)

    def row(self) -> dict[str, Any]:
        """Return the row for scores.json."""
        return {each.name: getattr(self, each.name) for each in fields(ClipRow)}

"""Samples of the task `mouth-denoiser`: augmented pairs, and the task's settings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from talkhead.landmarks2video.mouth_patch import PATCH_WIDTH_PX
from talkhead.training.mouth_pairs import Pairs
from talkhead.training.samples import PERSON_POWER, Sample, draw_place, jitter_colours


@dataclass(frozen=True)
class MouthDenoiserTaskConfig:
    """The table [task] of `talkhead train mouth-denoiser`."""

    weights: str = "default"
    """Pipeline whose renderer draws the drafts."""
    pairs: str = "../runs/mouth-pairs"
    """Folder of the pairs, made by the first run, relative to the TOML file."""
    per_clip: int = 24
    """Pairs made of each clip; a picture makes one."""
    workers: int = 2
    """Processes that make the pairs."""
    initial: str = ""
    """Checkpoint folder of a new run's initial weights; "" for random ones."""
    outside_weight: float = 0.05
    """Weight of the error away from the opened mouth."""
    component_power: float = 1.0
    """Weight of a component's error: its standard deviation in pixels to this power."""
    drop_reference: float = 0.15
    """Share of samples without a reference."""
    num_timesteps: int = 0
    """Train at this many evenly spaced timesteps only, as few-step sampling visits them; 0 trains
    at all."""
    adversarial_weight: float = 0.0
    """Weight of the discriminator's loss; 0 trains without a discriminator."""
    features: str = ""
    """An EfficientNet-Lite0 whose features the discriminator sees: a folder, relative to the TOML
    file, or ``owner/name@revision`` on the hub; "" for one that sees pixels."""
    feature_weight: float = 1.0
    """Weight of the feature-matching loss, if a discriminator is used."""
    pixel_weight: float = 1.0
    """Weight of the L1 error of the estimate, if a discriminator is used."""
    diffusion_weight: float = 1.0
    """Weight of the velocity error."""
    validation_pairs: int = 160
    """Pairs of held-out people to score."""


class MouthSamples:
    """Augmented pairs, balanced between people."""

    def __init__(self, pairs: Pairs, chosen: npt.NDArray[np.int64], seed: int) -> None:
        self._pairs, self._chosen, self._seed = pairs, chosen, seed
        people = [pairs.infos[k].person for k in chosen]
        count: dict[str, int] = {}
        for person in people:
            count[person] = count.get(person, 0) + 1
        weights = np.array([count[person] ** (PERSON_POWER - 1) for person in people])
        self._cumulative = np.cumsum(weights) / weights.sum()

    def sample(self, index: int) -> Sample:
        """Return one pair."""
        rng = np.random.default_rng([self._seed, index])
        number = int(self._chosen[draw_place(self._cumulative, rng)])
        pairs = self._pairs
        images = [pairs.drafts[number], pairs.reals[number], pairs.references[number]]
        images = jitter_colours(images, rng)
        outlines = pairs.outlines[number]
        if rng.random() < 0.5:
            images = [image[:, ::-1] for image in images]
            outlines = outlines * np.array([-1, 1], np.float32) + np.array(
                [PATCH_WIDTH_PX, 0], np.float32
            )
        return as_sample(images, outlines, pairs.infos[number].detail)


def as_sample(
    images: list[npt.NDArray[np.uint8]], outlines: npt.NDArray[np.float32], detail: float
) -> Sample:
    """Return images, uint8 (H, W, 3): draft, real and reference; lips (40, 2); and the detail."""
    draft, real, reference = (np.ascontiguousarray(i.transpose(2, 0, 1)) for i in images)
    return {
        "draft": draft,
        "real": real,
        "reference": reference,
        "outlines": np.ascontiguousarray(outlines, np.float32),
        "detail": np.array(detail, np.float32),
    }

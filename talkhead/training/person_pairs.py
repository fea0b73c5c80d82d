"""Pairs of frames of one person, made once and kept in memory, for the denoiser."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from talkhead.data.one_person import PersonVideo
from talkhead.geometry.mesh import mouth_opening
from talkhead.geometry.skin_registration import Registration
from talkhead.landmarks2video.autoencoder import Autoencoder
from talkhead.landmarks2video.batching import compute_in_order
from talkhead.training.pairs import DenoiserTaskConfig, pair
from talkhead.training.samples import Sample, jitter_colours

PART_PAIRS = 8
"""Pairs that are made at a time."""
REST_SHARE = 0.5
"""Share of pairs from a nearly closed mouth, as most portraits have."""
NEAR_SHARE = 0.2
"""Share of pairs of neighbouring frames, as in dubbing."""
OPENED_SHARE = 0.4
"""Share of pairs to one of the third of the frames whose mouth is most opened."""
JITTERED_SHARE = 0.5
"""Share of pairs with other colours, for pictures in other light."""
NEAR_FRAMES = 5


@dataclass(frozen=True)
class FramePair:
    """An identity frame and a target frame: numbers of the video, the clip and the frame."""

    video: int
    source: tuple[int, int]
    target: tuple[int, int]
    seed: int
    """Of the colours; 0 leaves them as they are."""


@dataclass(frozen=True)
class ResidualPairs:
    """What the denoiser's loss needs, float16.

    Attributes:
        target: (N, C, 20, 24), latents.
        warped: (N, C, 20, 24).
        maps: (N, 9, 80, 96).
        weight: (N, 1, 20, 24).
    """

    target: Tensor
    warped: Tensor
    maps: Tensor
    weight: Tensor

    def batch(self, chosen: Tensor, device: torch.device) -> dict[str, Tensor]:
        """Return some pairs in float32."""
        return {
            name: getattr(self, name)[chosen].float().to(device)
            for name in ("target", "warped", "maps", "weight")
        }


def choose_pairs(videos: Sequence[PersonVideo], count: int, seed: int) -> list[FramePair]:
    """Draw pairs of frames, each of one video."""
    rng = np.random.default_rng([seed, 1])
    lengths = np.array([sum(map(len, video.train)) for video in videos])
    places = [
        [(number, frame) for number, part in enumerate(video.train) for frame in range(len(part))]
        for video in videos
    ]
    orders = [
        np.concatenate([mouth_opening(part.clip.landmarks) for part in video.train]).argsort()
        if video.train
        else np.zeros(0, np.int64)
        for video in videos
    ]
    chosen = []
    for index in range(count):
        video = int(rng.choice(len(videos), p=lengths / lengths.sum()))
        order, length = orders[video], int(lengths[video])
        third = max(length // 3, 1)
        target = int(
            order[-1 - rng.integers(third)] if rng.random() < OPENED_SHARE else rng.integers(length)
        )
        kind = rng.random()
        if kind < REST_SHARE:
            source = int(order[rng.integers(third)])
        elif kind < REST_SHARE + NEAR_SHARE:
            source = target + int(rng.integers(-NEAR_FRAMES, NEAR_FRAMES + 1))
        else:
            source = int(rng.integers(length))
        source = min(max(source, 0), length - 1)
        colours = index + 1 if rng.random() < JITTERED_SHARE else 0
        chosen.append(FramePair(video, places[video][source], places[video][target], colours))
    return chosen


def make_residual_pairs(
    videos: Sequence[PersonVideo],
    chosen: Sequence[FramePair],
    registration: Registration,
    autoencoder: Autoencoder,
    progress: Callable[[int], None] = lambda done: None,
) -> ResidualPairs:
    """Warp, encode and map pairs, in as many threads as torch uses.

    Args:
        videos: the person's.
        chosen: from `choose_pairs`.
        registration: the denoiser's.
        autoencoder: encodes.
        progress: called with the number of pairs that are made.
    """
    device = next(autoencoder.parameters()).device
    config = DenoiserTaskConfig(autoencoder="")

    def parts() -> Generator[Sequence[FramePair], None, None]:
        for start in range(0, len(chosen), PART_PAIRS):
            yield chosen[start : start + PART_PAIRS]

    @torch.no_grad()
    def make(part: Sequence[FramePair]) -> dict[str, Tensor]:
        samples = [_sample(videos, each, registration, config) for each in part]
        batch = {
            key: torch.from_numpy(np.stack([sample[key] for sample in samples]))
            for key in ("target", "warped", "maps", "weight")
        }
        both = torch.cat([batch["target"], batch["warped"]]).to(device)
        latents = autoencoder.encode(both.contiguous(memory_format=torch.channels_last)).float()
        batch["target"], batch["warped"] = latents.cpu().chunk(2)
        return {key: value.half() for key, value in batch.items()}

    made: list[dict[str, Tensor]] = []
    for batch in compute_in_order(make, parts(), device, 0):
        made.append(batch)
        progress(min(len(made) * PART_PAIRS, len(chosen)))
    return ResidualPairs(**{key: torch.cat([batch[key] for batch in made]) for key in made[0]})


def _sample(
    videos: Sequence[PersonVideo],
    chosen: FramePair,
    registration: Registration,
    config: DenoiserTaskConfig,
) -> Sample:
    train = videos[chosen.video].train
    frames: list[npt.NDArray[np.uint8]] = []
    meshes = []
    for number, frame in (chosen.source, chosen.target):
        frames.append(train[number].clip.frame(frame))
        meshes.append(train[number].clip.landmarks[frame])
    if chosen.seed:
        frames = jitter_colours(frames, np.random.default_rng(chosen.seed))
    return pair(frames, np.stack(meshes), registration, config)

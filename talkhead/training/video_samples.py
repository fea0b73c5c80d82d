"""Samples of the task `video-denoiser`: windows of clips, each with an identity frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from talkhead.audio2landmarks.expressions import Expressions, express
from talkhead.data.clips import Clip, ClipInfo
from talkhead.emotions import EMOTIONS, NEUTRAL, one_hot
from talkhead.geometry.skin_registration import Registration
from talkhead.landmarks2video.conditioning import draw_maps, warp_identity
from talkhead.landmarks2video.mask_noise.renderer import shrink, small_points
from talkhead.landmarks2video.masks import lower_face_mask
from talkhead.training.fit_expressions import expressions_of_people
from talkhead.training.pairs import around_mouth
from talkhead.training.samples import ClipBank, Sample, jitter_colours, to_model

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class VideoDenoiserTaskConfig:
    """The table [task] of `talkhead train video-denoiser`."""

    initial: str = ""
    """Checkpoint folder of a new run's initial weights, relative to the TOML file."""
    fresh_emotion: bool = False
    """Whether to draw the class embedding of the initial weights anew."""
    registration: str = ""
    """Checkpoint folder of a denoiser whose skin registration a new run uses, likewise; "" to fit
    one."""
    expressions: str = ""
    """Folder of the expressions that a new run keeps, likewise; "" to fit them to the clips."""
    registration_pairs: int = 8000
    """Frame pairs to fit the skin registration to."""
    window_frames: int = 0
    """Frames per sample; 0 for the model's own. Fewer frames allow more windows per batch."""
    people: tuple[str, ...] = ()
    """People whose clips are trained on and scored; all by default."""
    person_power: float = 0.5
    """People are drawn with their number of frames to this power."""
    identity_share: float = 0.0
    """Share of windows whose identity is from another clip of the person, with another emotion if
    there is one. Otherwise the identity already shows the emotion."""
    neutral_share: float = 0.0
    """Share of emotional windows whose landmarks, and identity where there is a neutral clip of the
    person, are without the emotion, so that only its class tells what is missing."""
    acted_share: float = 0.0
    """Share of windows without an emotion whose frames are warped to the expression of one, so that
    the classes are learned on more people than the few who act. Of these, too, `neutral_share` have
    landmarks without it."""
    drop_emotion: float = 0.0
    """Share of windows whose emotion is hidden, so that guidance has something to compare with."""
    start_share: float = 0.5
    """Share of samples that are noised as sampling starts, without the truth underneath."""
    end_share: float = 0.2
    """Share of samples at step 1000, pure noise."""
    background_weight: float = 0.1
    """Weight of the error outside the lower face, which rendering leaves unchanged; the weight
    inside is 1."""
    mouth_weight: float = 2.0
    """Extra weight around the mouth."""
    inside_weight: float = 4.0
    """Extra weight inside the lips."""
    start_step: int = 300
    """Step at which sampling starts in the validation."""
    validation_steps: int = 1
    """Sampling steps in the validation."""
    validation_windows: int = 2
    """Windows to score per held-out clip."""

    @property
    def is_weighted(self) -> bool:
        """Whether some pixels count more than others."""
        return (self.background_weight, self.mouth_weight, self.inside_weight) != (1, 0, 0)


class VideoSamples:
    """Windows of clips, each with an identity frame of the same clip, or of another."""

    def __init__(
        self,
        bank: ClipBank,
        model_config: Mapping[str, Any],
        registration: Registration,
        config: VideoDenoiserTaskConfig,
        expressions: Expressions,
        seed: int,
    ) -> None:
        self._bank, self._registration, self._config, self._seed = bank, registration, config, seed
        self._model_config = model_config
        self._num_frames = config.window_frames or int(model_config["num_frames"])
        self._acted: dict[str, Floats] = {}
        if config.acted_share:
            for name, known in zip(EMOTIONS, expressions.known.tolist(), strict=True):
                if known and name != NEUTRAL:
                    self._acted[name] = expressions.shape_of(one_hot(name))
        self._expressions: dict[int, Floats] = {}
        if config.neutral_share:
            people = expressions_of_people(bank.rows, bank.clips)
            for number, row in enumerate(bank.rows):
                if row.emotion not in ("", NEUTRAL):
                    usual = expressions.shape_of(one_hot(row.emotion))
                    own = people.get(row.person, {}).get(row.emotion, usual)
                    self._expressions[number] = own

    def sample(self, index: int) -> Sample:
        """Return a window, as `window_sample` does, with jittered colours."""
        rng = np.random.default_rng([self._seed, index])
        number, clip = self._bank.draw(rng)
        row, of, expression, acted = self._bank.rows[number], clip, None, None
        if self._config.identity_share and rng.random() < self._config.identity_share:
            of = self._other_clip(number, rng)
        if number in self._expressions and rng.random() < self._config.neutral_share:
            of, expression = self._neutral_clip(number, rng), self._expressions[number]
        if row.emotion in ("", NEUTRAL) and self._acted and rng.random() < self._config.acted_share:
            name = str(rng.choice(list(self._acted)))
            row, acted = replace(row, emotion=name), self._acted[name]
            expression = acted if rng.random() < self._config.neutral_share else None
        identity = int(rng.integers(len(of)))
        start = int(rng.integers(max(len(clip) - self._num_frames, 0) + 1))
        numbers = range(start, start + self._num_frames)
        return window_sample(
            self._model_config,
            self._registration,
            self._config,
            clip,
            row,
            identity,
            numbers,
            rng,
            identity_clip=of,
            expression=expression,
            acted=acted,
        )

    def _other_clip(self, number: int, rng: np.random.Generator) -> Clip:
        """Draw a clip of the same person, with another emotion if there is one."""
        rows, same = self._bank.rows, self._same_person(number)
        others = [k for k in same if rows[k].emotion != rows[number].emotion] or same
        return self._bank.clips[others[int(rng.integers(len(others)))]]

    def _neutral_clip(self, number: int, rng: np.random.Generator) -> Clip:
        """Draw a neutral clip of the same person, or return the same clip if there is none."""
        rows, same = self._bank.rows, self._same_person(number)
        neutral = [k for k in same if rows[k].emotion == NEUTRAL] or [number]
        return self._bank.clips[neutral[int(rng.integers(len(neutral)))]]

    def _same_person(self, number: int) -> list[int]:
        rows = self._bank.rows
        return [k for k, row in enumerate(rows) if row.person == rows[number].person]


def window_sample(
    model_config: Mapping[str, Any],
    registration: Registration,
    config: VideoDenoiserTaskConfig,
    clip: Clip,
    row: ClipInfo,
    identity: int,
    numbers: range,
    rng: np.random.Generator | None = None,
    *,
    identity_clip: Clip | None = None,
    expression: Floats | None = None,
    acted: Floats | None = None,
    scored: bool = False,
) -> Sample:
    """Return one window of a clip; a clip that is too short repeats its last frame.

    Args:
        model_config: arguments of the network, which give the size of the frames and their base.
        registration: correction to apply to the meshes.
        config: weights of the loss.
        clip: the clip.
        row: its manifest line.
        identity: index of the identity frame.
        numbers: indices of the window's frames.
        rng: for a colour jitter; None for none.
        identity_clip: the clip of the identity frame; None for the same clip.
        expression: (478, 3), eye distances, what to take away from the landmarks; None for nothing.
        acted: (478, 3), eye distances, what to add to the true faces; None for nothing.
        scored: also return `mouth` (T, 1, S, S), the box around the lips.

    Returns:
        `target` and `base` (T, 3, S, S), `points` (T, 68, 2), `weight` (T, 1, S, S) and `emotion`
        (8,), zeros if unknown.
    """
    size = model_config["size_px"]
    chosen = np.minimum(numbers, len(clip) - 1)
    of = clip if identity_clip is None else identity_clip
    frames = [of.frame(identity), *(clip.frame(int(number)) for number in chosen)]
    if rng is not None:
        frames = jitter_colours(frames, rng)
    images = torch.from_numpy(np.stack([to_model(frame) for frame in frames]))
    shown = clip.landmarks[chosen]
    if acted is not None:
        images[1:], shown = _act(images[1:], shown, acted, registration)
    if expression is not None:
        (shown,) = express(iter([shown]), -expression)
    meshes = registration.apply(of.landmarks[identity], shown)
    own = torch.from_numpy(of.landmarks[identity])[None]
    targets = torch.from_numpy(meshes)
    base = images[:1].expand(len(targets), -1, -1, -1)
    weight = torch.ones(len(targets), 1, size, size)
    mouth = torch.stack([around_mouth(mesh) for mesh in targets])[:, None].float()
    if config.is_weighted or model_config["base"] == "warp":
        grid, maps = draw_maps(own, targets)
        if model_config["base"] == "warp":
            base = warp_identity(base, grid, maps)
        weight = functional.interpolate(
            _weight_of(config, targets, maps, mouth), size=(size, size), mode="area"
        )
    sample = {
        "target": shrink(images[1:], size).numpy(),
        "base": shrink(base, size).contiguous().numpy(),
        "points": small_points(meshes, size),
        "weight": weight.numpy(),
        "emotion": one_hot(row.emotion),
    }
    if scored:
        sample["mouth"] = functional.interpolate(mouth, size=(size, size), mode="area").numpy()
    return sample


def _act(
    images: Tensor, meshes: Floats, expression: Floats, registration: Registration
) -> tuple[Tensor, Floats]:
    """Add an expression, (478, 3), to frames, (T, 3, 256, 256), and to their meshes."""
    (acted,) = express(iter([meshes]), expression)
    moved = [
        registration.apply(mesh, goal[None])[0] for mesh, goal in zip(meshes, acted, strict=True)
    ]
    grid, maps = draw_maps(torch.from_numpy(meshes), torch.from_numpy(np.stack(moved)))
    return warp_identity(images, grid, maps), acted


def _weight_of(
    config: VideoDenoiserTaskConfig, targets: Tensor, maps: Tensor, mouth: Tensor
) -> Tensor:
    """Return the weight of the error at every pixel of the maps, (T, 1, 128, 128)."""
    face = lower_face_mask(targets, maps)
    inside = functional.max_pool2d(maps[:, :1], 3, stride=1, padding=1)
    weight = config.background_weight + (1 - config.background_weight) * face
    return weight + config.mouth_weight * mouth + config.inside_weight * inside

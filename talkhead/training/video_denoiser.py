"""Task `video-denoiser`: predict windows of frames from an identity under mask-noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.audio2landmarks.speech_emotion import one_hot
from talkhead.data.clips import Clip, ClipInfo
from talkhead.data.selection import split_rows
from talkhead.emotions import EMOTIONS, NEUTRAL
from talkhead.errors import TalkheadError
from talkhead.geometry.mesh import NUM_POINTS
from talkhead.geometry.pose import fit_head_pose
from talkhead.geometry.skin_registration import Registration
from talkhead.landmarks2video.conditioning import draw_maps
from talkhead.landmarks2video.denoiser import Denoiser, DenoiserConfig
from talkhead.landmarks2video.diffusion import schedule
from talkhead.landmarks2video.mask_noise.mask import mask_noise
from talkhead.landmarks2video.mask_noise.renderer import base_frames, make_window, points_of, shrink
from talkhead.landmarks2video.mask_noise.video_denoiser import VideoDenoiser, VideoDenoiserConfig
from talkhead.landmarks2video.masks import lower_face_mask
from talkhead.landmarks2video.registration import registration_of
from talkhead.networks import load_alike, load_model, read_config, save_checkpoint
from talkhead.training.loop import Batch, Sample
from talkhead.training.pairs import around_mouth
from talkhead.training.registration import fit_registration
from talkhead.training.samples import ClipBank, jitter_colours, to_model

Floats = npt.NDArray[np.float32]

ARCHITECTURE = "video-denoiser"
ENERGY_FLOOR = 0.1
"""Added to a window's residual energy, which divides its loss: small ones must not dominate."""
_SCORED_CLIPS = 8
"""Maximum number of held-out clips per category."""


@dataclass(frozen=True)
class VideoDenoiserTaskConfig:
    """The table [task] of `talkhead train video-denoiser`."""

    initial: str = ""
    """Checkpoint folder of a new run's initial weights, relative to the TOML file."""
    registration: str = ""
    """Checkpoint folder of a denoiser whose skin registration a new run uses, likewise; "" to fit
    one."""
    registration_pairs: int = 8000
    """Frame pairs to fit the skin registration to."""
    window_frames: int = 0
    """Frames per sample; 0 for the model's own. Fewer frames allow more windows per batch."""
    people: tuple[str, ...] = ()
    """People whose clips are trained on and scored; all by default."""
    person_power: float = 0.5
    """People are drawn with their number of frames to this power."""
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
    validation_windows: int = 2
    """Windows to score per held-out clip."""


class VideoSamples:
    """Windows of clips, each with an identity frame of the same clip."""

    def __init__(
        self,
        bank: ClipBank,
        model: VideoDenoiserConfig,
        registration: Registration,
        config: VideoDenoiserTaskConfig,
        seed: int,
    ) -> None:
        self._bank, self._registration, self._config, self._seed = bank, registration, config, seed
        self._model = replace(model, num_frames=config.window_frames or model.num_frames)

    def sample(self, index: int) -> Sample:
        """Return a window, as `window_sample` does, with jittered colours."""
        rng = np.random.default_rng([self._seed, index])
        number, clip = self._bank.draw(rng)
        identity = int(rng.integers(len(clip)))
        start = int(rng.integers(max(len(clip) - self._model.num_frames, 0) + 1))
        row = self._bank.rows[number]
        return window_sample(
            self._model, self._registration, self._config, clip, row, identity, start, rng
        )


def window_sample(
    model: VideoDenoiserConfig,
    registration: Registration,
    config: VideoDenoiserTaskConfig,
    clip: Clip,
    row: ClipInfo,
    identity: int,
    start: int,
    rng: np.random.Generator | None = None,
    *,
    scored: bool = False,
) -> Sample:
    """Return one window of a clip; a clip that is too short repeats its last frame.

    Args:
        model: determines the size of the frames and the base they are generated from.
        registration: correction to apply to the meshes.
        config: weights of the loss.
        clip: the clip.
        row: its manifest line.
        identity: index of the identity frame.
        start: index of the window's first frame.
        rng: for a colour jitter; None for none.
        scored: also return `mouth` (T, 1, S, S), the box around the lips.

    Returns:
        `target` and `base` (T, 3, S, S), `points` (T, 68, 2), `weight` (T, 1, S, S) and `emotion`
        (8,).
    """
    size, count = model.size_px, model.num_frames
    numbers = np.minimum(np.arange(start, start + count), len(clip) - 1)
    frames = [clip.frame(identity), *(clip.frame(int(number)) for number in numbers)]
    if rng is not None:
        frames = jitter_colours(frames, rng)
    images = torch.from_numpy(np.stack([to_model(frame) for frame in frames]))
    meshes = registration.apply(clip.landmarks[identity], clip.landmarks[numbers])
    own = torch.from_numpy(clip.landmarks[identity])[None]
    targets = torch.from_numpy(meshes)
    grid, maps = draw_maps(own, targets)
    face = lower_face_mask(targets, maps)
    mouth = torch.stack([around_mouth(mesh) for mesh in targets])[:, None].float()
    inside = functional.max_pool2d(maps[:, :1], 3, stride=1, padding=1)
    weight = config.background_weight + (1 - config.background_weight) * face
    weight = weight + config.mouth_weight * mouth + config.inside_weight * inside
    sample = {
        "target": shrink(images[1:], size).numpy(),
        "base": base_frames(model, images[:1], grid, maps).contiguous().numpy(),
        "points": points_of(model, meshes),
        "weight": functional.interpolate(weight, size=(size, size), mode="area").numpy(),
        "emotion": one_hot(row.emotion or NEUTRAL),
    }
    if scored:
        sample["mouth"] = functional.interpolate(mouth, size=(size, size), mode="area").numpy()
    return sample


class VideoDenoiserTask:
    """Training of the video denoiser.

    Args:
        data: prepared folder.
        model_config: sizes; a `residual_scale` of 0 is measured on the training clips.
        config: task settings.
        seed: seed for the samples and the initial weights.
        initial: checkpoint folder to start from.
        registration: checkpoint folder of a denoiser whose registration to use.

    Raises:
        TalkheadError: the data has no matching clips, or the registration has another size.
        WeightsError: the checkpoint to start from is missing, corrupt, or has other sizes.
    """

    def __init__(
        self,
        data: Path,
        model_config: VideoDenoiserConfig,
        config: VideoDenoiserTaskConfig,
        seed: int,
        initial: Path | None = None,
        registration: Path | None = None,
    ) -> None:
        train, unseen, seen = (
            [row for row in rows if not config.people or row.person in config.people]
            for rows in split_rows(data)
        )
        self._config = config
        bank = ClipBank(data, train, person_power=config.person_power)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = VideoDenoiser(model_config)
        if initial is not None:
            if model_config.residual_scale == 0:
                begun = read_config(initial, VideoDenoiserConfig, architecture=ARCHITECTURE)
                self.model.config = replace(model_config, residual_scale=begun.residual_scale)
            load_alike(initial, self.model, self.model.config, architecture=ARCHITECTURE)
            self.registration = registration_of(self.model)
        else:
            self.registration = self._registration(bank, model_config, registration, seed)
            basis, weights = self.registration.components, self.registration.weights
            self.model.registration_basis.copy_(torch.from_numpy(basis))
            self.model.registration_weights.copy_(torch.from_numpy(weights))
        self.samples = VideoSamples(bank, model_config, self.registration, config, seed)
        if initial is None:
            if model_config.residual_scale == 0:
                scale = self._measure_residuals()
                self.model.config = replace(model_config, residual_scale=scale)
            expressions = fit_expressions(list(zip(bank.rows, bank.clips, strict=True)))
            self.model.expressions.copy_(torch.from_numpy(expressions))
        for row in bank.rows:
            self.model.shown[EMOTIONS.index(row.emotion or NEUTRAL)] = 1
        self._banks = {
            name: ClipBank(data, spread(rows))
            for name, rows in (("unseen", unseen), ("seen", seen))
            if rows
        }

    def _registration(
        self,
        bank: ClipBank,
        model_config: VideoDenoiserConfig,
        checkpoint: Path | None,
        seed: int,
    ) -> Registration:
        if checkpoint is None:
            return fit_registration(
                *(bank, model_config.registration_components),
                *(self._config.registration_pairs, seed),
            )
        denoiser = load_model(checkpoint, DenoiserConfig, Denoiser, architecture="denoiser")
        found = registration_of(denoiser)
        if len(found.components) != model_config.registration_components:
            raise TalkheadError(
                f"the registration of {checkpoint} has {len(found.components)} components, but"
                f" {model_config.registration_components} are needed"
            )
        return found

    def _measure_residuals(self) -> float:
        """Return the standard deviation of the difference between target and base."""
        squares = weights = 0.0
        for index in range(16):
            sample = self.samples.sample(index)
            weight = np.broadcast_to(sample["weight"], sample["target"].shape)
            squares += float((np.square(sample["target"] - sample["base"]) * weight).sum())
            weights += float(weight.sum())
        return round(float(np.sqrt(squares / weights)), 4)

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the weighted mean squared error of the clean residual."""
        assert isinstance(model, VideoDenoiser)
        config, base = model.config, batch["base"]
        count, device = len(base), base.device

        def draw(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator).to(device)

        noise = draw(count, 1, *base.shape[2:]) * 2 - 1
        seen = mask_noise(
            base.flatten(0, 1),
            batch["points"].flatten(0, 1),
            noise.expand_as(base).flatten(0, 1),
            config.mask,
        ).view_as(base)
        # All frames of a window start from the same noise, as in sampling.
        epsilon = torch.randn(count, 1, *base.shape[2:], generator=generator).to(device)
        time = torch.where(draw(count) < self._config.end_share, 1.0, draw(count))
        signal, noise_level = (part[..., None] for part in schedule(time))
        clean = (batch["target"] - base) / config.residual_scale
        from_start = (draw(count) < self._config.start_share).view_as(signal)
        given = torch.where(from_start, 0.0, signal * clean) + noise_level * epsilon
        answer = model(given, time, seen, base, batch["emotion"]).float()
        error = ((answer - clean).square() * batch["weight"]).mean((1, 2, 3, 4))
        energy = (clean.square() * batch["weight"]).mean((1, 2, 3, 4))
        # Otherwise a few windows with large head turns would dominate.
        return {"loss": (error / (energy + ENERGY_FLOOR)).mean(), "error": error.mean()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Generate windows of held-out clips from their first frame, in one step.

        Returns:
            Mean PSNR in decibels, for unseen people and for unseen clips of people in the training
            set: of the base and of the generated frames, over the whole crop and around the mouth.
        """
        assert isinstance(model, VideoDenoiser)
        scores: dict[str, float] = {}
        for name, bank in self._banks.items():
            found: dict[str, list[float]] = {}
            for row, clip in zip(bank.rows, bank.clips, strict=True):
                windows = self._config.validation_windows
                last = max(len(clip) - model.config.num_frames, 0)
                for start in np.linspace(0, last, windows).round().astype(int):
                    sample = window_sample(
                        model.config,
                        self.registration,
                        self._config,
                        clip,
                        row,
                        0,
                        int(start),
                        scored=True,
                    )
                    made = self._make(model, sample)
                    for key, value in _measure(sample, made).items():
                        found.setdefault(key, []).append(value)
            scores |= {f"{name}_{key}": float(np.mean(values)) for key, values in found.items()}
        return scores

    def _make(self, model: VideoDenoiser, sample: Sample) -> Floats:
        device = model.expressions.device
        generator = torch.Generator().manual_seed(0)
        shape = sample["base"].shape[1:]
        made = make_window(
            model,
            torch.from_numpy(sample["base"]).to(device),
            torch.from_numpy(sample["points"]).to(device),
            torch.from_numpy(sample["emotion"]).to(device),
            noise=(torch.rand(shape, generator=generator) * 2 - 1).to(device),
            epsilon=torch.randn(shape, generator=generator).to(device),
            start_step=self._config.start_step,
            num_steps=1,
        )
        return made.float().clamp(-1, 1).cpu().numpy()

    def preview(self, model: nn.Module) -> npt.NDArray[np.uint8] | None:
        """Return rows of true, base and generated frames of held-out clips."""
        assert isinstance(model, VideoDenoiser)
        rows = []
        for bank in self._banks.values():
            for row, clip in list(zip(bank.rows, bank.clips, strict=True))[:3]:
                sample = window_sample(
                    model.config, self.registration, self._config, clip, row, 0, len(clip) // 2
                )
                made = self._make(model, sample)
                for frames in (sample["target"], sample["base"], made):
                    chosen = frames[:: max(len(frames) // 6, 1)][:6]
                    rows.append(np.concatenate(list(chosen), -1))
        if not rows:
            return None
        picture = ((np.concatenate(rows, 1) + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
        return np.ascontiguousarray(picture.transpose(1, 2, 0))

    def save(self, folder: Path, model: nn.Module) -> None:
        """Write the checkpoint folder."""
        assert isinstance(model, VideoDenoiser)
        save_checkpoint(
            folder,
            architecture=ARCHITECTURE,
            config=model.config,
            state=model.state_dict(),
            dtype=torch.float16,
        )


def spread(rows: Sequence[ClipInfo], count: int = _SCORED_CLIPS) -> list[ClipInfo]:
    """Choose manifest lines, evenly spaced."""
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return [rows[place] for place in places]


def fit_expressions(clips: Sequence[tuple[ClipInfo, Clip]]) -> Floats:
    """Return what each emotion adds to the shape of faces, (8, 478, 3) in eye distances.

    For each person, the mean face of an emotion's clips minus that of the neutral ones, averaged
    over people. Zeros for emotions for which no person has both.
    """
    shapes: dict[str, dict[str, list[Floats]]] = {}
    for row, clip in clips:
        if row.emotion:
            mean = fit_head_pose(clip.landmarks).to_face(clip.landmarks).mean(0)
            shapes.setdefault(row.person, {}).setdefault(row.emotion, []).append(mean)
    found = np.zeros((len(EMOTIONS), NUM_POINTS, 3), np.float32)
    for number, name in enumerate(EMOTIONS):
        of_people = [
            np.mean(own[name], 0) - np.mean(own[NEUTRAL], 0)
            for own in shapes.values()
            if name in own and NEUTRAL in own
        ]
        if of_people:
            found[number] = np.mean(of_people, 0)
    return found


def _measure(sample: Sample, made: Floats) -> dict[str, float]:
    """Return the PSNR values of a window, in decibels."""
    truth = sample["target"]
    mouth = np.broadcast_to(sample["mouth"] > 0.5, truth.shape)
    found = {}
    for name, frames in (("base", sample["base"]), ("made", made)):
        error = np.square((frames - truth) / 2)
        found[f"{name}_psnr"] = -10 * float(np.log10(error.mean() + 1e-10))
        if mouth.any():
            found[f"{name}_mouth_psnr"] = -10 * float(np.log10(error[mouth].mean() + 1e-10))
    return found

"""Task `landmarks`: waveform to face motion; trains the speech encoder and LSTM jointly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.audio2landmarks.audio2motion import LEAD_S, generate_motion
from talkhead.audio2landmarks.generator import (
    NUM_STYLE,
    LandmarkGenerator,
    LandmarkGeneratorConfig,
)
from talkhead.audio2landmarks.loudness import normalise_speech
from talkhead.audio2landmarks.motion_networks import basis_of
from talkhead.audio2landmarks.speech_encoder import LogMel, frame_positions
from talkhead.data.av_sync import best_lag
from talkhead.data.clips import Clip, ClipInfo
from talkhead.data.selection import MIN_AGREEMENT, is_scored, split_rows, teaches_lips
from talkhead.errors import TalkheadError
from talkhead.geometry.mesh import (
    CLOSED_LIPS,
    FACE_OVAL,
    INNER_LIPS,
    LEFT_MOUTH_CORNER,
    OUTER_LIPS,
    RIGHT_MOUTH_CORNER,
    eye_distance,
    mouth_opening,
    mouth_width,
    to_ibug68,
)
from talkhead.geometry.motion_basis import (
    MotionBasis,
    eye_closure,
    fit_motion_basis,
    mouth_scale,
    opening_direction,
    proportions,
    rest_of_clip,
)
from talkhead.media.rates import DEFAULT_FPS, SAMPLE_RATE_HZ
from talkhead.networks import load_alike, read_config, save_checkpoint
from talkhead.training.encoders import load_encoder
from talkhead.training.fit_head_motion import fit_head_style
from talkhead.training.loop import Batch, Sample, dropout_from
from talkhead.training.samples import PERSON_POWER, ClipBank
from talkhead.training.voices import disturb, drop_moments, not_speech

Floats = npt.NDArray[np.float32]

NUM_MEL = 80
NUM_BASIS_FRAMES = 6000
SHAPE_NOISE = 0.1
"""Relative noise on the proportions in training."""
POINTS = np.concatenate([INNER_LIPS, OUTER_LIPS, FACE_OVAL[10:27]])
POINT_WEIGHTS = np.repeat(np.array([1.5, 1.0, 0.5], np.float32), [20, 20, 17])
MOUTH_68 = slice(48, 68)
"""Lip points among the 68."""
WORD_FRAMES = 6
"""Lips closed within this many frames of an opening are closed for a sound, such as p or b."""
SILENT_WEIGHT = 0.2
"""Weight of closed lips in silence, relative to lips closed for a sound."""


@dataclass(frozen=True)
class LandmarksTaskConfig:
    """The table [task] of `talkhead train landmarks`."""

    window_frames: int = 64
    """Frames per sample; only longer clips are used."""
    initial: str = ""
    """Checkpoint folder with the initial weights and motion basis of a new run, relative to the
    TOML file; "" for random weights and a basis fitted to the clips."""
    dual: str = ""
    """With `dual_share`: checkpoint folder of the dual-domain generator that a new run combines
    with the LSTM of `initial`."""
    speech: str = ""
    """Pre-trained speech encoder for a new run: the checkpoint folder of an encoder or of a
    landmark generator, relative to the TOML file, or the name of published weights."""
    min_agreement: float = MIN_AGREEMENT
    """Clips whose lips and sound agree less than this, at their best lag, are skipped, unless
    their sound is marked as good."""
    use_offsets: bool = True
    """Shift the sound of every clip by its measured lag."""
    loss: Literal["motion", "points", "squares"] = "motion"
    """motion: position, velocity, concordance and closure of the mouth, in the motion basis.
    points: squared distances of the 68 points, weighted 0.2 for all and 0.8 for the mouth, as in
    the paper of the dual-domain generator. squares: like motion, but with squared point distances
    for the positions. Where the sound leaves the motion open, as in the breath before a word, this
    predicts the mean instead of the most common motion."""
    person_power: float = PERSON_POWER
    """People are drawn with their number of frames to this power; 0 draws them equally, 1 draws
    frames equally."""
    mel_weight: float = 0.3
    """Weight of the auxiliary task, which teaches the convolutions to predict a spectrum."""
    concordance_weight: float = 0.3
    """Weight of 1 - concordance of mouth opening and width, which rewards timing and size."""
    correlation_weight: float = 0.0
    """Weight of 1 - correlation of mouth opening and width with the measured ones, not with their
    projection on the motion basis."""
    width_weight: float = 1.0
    """Weight of the width in concordance and correlation, relative to 1 for the opening."""
    velocity_weight: float = 2.0
    """Weight of the error in frame-to-frame motion."""
    closure_weight: float = 1.0
    """Weight of lips that are open where they must close, as for p, b and m."""
    speed_spread: float = 0.08
    """Standard deviation of the log playback speed. Pitch and formants change with it, which
    simulates other voices."""
    gap_share: float = 0.0
    """Share of samples with short silences inside words, which the context must fill in."""
    disturb_share: float = 0.8
    """Share of samples with augmented sound."""
    silent_share: float = 0.06
    """Share of samples with music, breath, hum or noise, for which the face stays at rest."""


@dataclass(frozen=True)
class Talker:
    """One clip, preprocessed for drawing windows."""

    coefficients: Floats  # (T, K)
    waveform: Floats  # normalised loudness
    shape: Floats  # (4,)
    style: Floats  # (4,), standardised
    mouth: Floats  # (T, 2), opening and width measured on the landmarks
    lag: int


class LandmarkSamples:
    """Windows of clips, with random speed and augmented sound."""

    def __init__(
        self,
        bank: ClipBank,
        talkers: list[Talker],
        config: LandmarksTaskConfig,
        fps: float,
        seed: int,
    ) -> None:
        self._bank, self._talkers, self._config = bank, talkers, config
        self._fps, self._seed = fps, seed

    def sample(self, index: int) -> Sample:
        """Return `waveform`, `coefficients`, `mouth`, `style` and `shape` of one window.

        `mouth` is (T, 2), the measured opening and width; constant for non-speech samples.
        """
        rng = np.random.default_rng([self._seed, index])
        talker = self._talkers[self._bank.draw(rng)[0]]
        frames = self._config.window_frames
        total = len(talker.coefficients)
        # A different speed sounds like a different voice, because pitch and formants shift with it.
        speed = min(float(np.exp(rng.normal(0, self._config.speed_spread))), (total - 1) / frames)
        start = rng.uniform(0, total - 1 - (frames - 1) * speed)
        at = start + np.arange(frames) * speed
        low = np.floor(at).astype(int).clip(0, total - 2)
        share = (at - low)[:, None].astype(np.float32)
        coefficients, mouth = (
            values[low] * (1 - share) + values[low + 1] * share
            for values in (talker.coefficients, talker.mouth)
        )
        begin_s = (start + 0.5 - talker.lag) / self._fps - (0.5 / self._fps + LEAD_S) * speed
        count = window_samples(frames, self._fps)
        positions = begin_s * SAMPLE_RATE_HZ + np.arange(count) * speed
        grid = np.arange(len(talker.waveform))
        waveform = np.interp(positions, grid, talker.waveform, left=0, right=0).astype(np.float32)
        if rng.random() < self._config.silent_share:
            waveform = not_speech(count, rng) * np.float32(10 ** (rng.uniform(-12, 3) / 20))
            coefficients, mouth = np.zeros_like(coefficients), np.zeros_like(mouth)
        else:
            if rng.random() < self._config.gap_share:
                waveform = drop_moments(waveform, rng)
            if rng.random() < self._config.disturb_share:
                waveform = disturb(waveform, rng)
        style = talker.style + rng.normal(0, 0.3, NUM_STYLE)
        return {
            "waveform": waveform,
            "coefficients": coefficients.astype(np.float32),
            "mouth": mouth.astype(np.float32),
            "style": (style * (rng.random() > 0.15)).astype(np.float32),
            # A single frame, smiling or not, measures a person's proportions poorly.
            "shape": (talker.shape * rng.normal(1, SHAPE_NOISE, 4)).astype(np.float32),
        }


class Trainee(nn.Module):
    """The generator, plus the auxiliary task's head, which is only used during training."""

    def __init__(self, config: LandmarkGeneratorConfig) -> None:
        super().__init__()
        self.generator = LandmarkGenerator(config)
        self.mel_head = nn.Linear(self.generator.speech.conv_size, NUM_MEL)
        self.spectrum = LogMel(NUM_MEL)


class LandmarksTask:
    """Training of the landmark generator, its speech encoder and the motion basis.

    Args:
        data: prepared folder.
        model_config: sizes of the generator.
        config: task settings.
        seed: seed for the samples and the initial weights.
        initial: checkpoint folder of a generator to start from.
        speech: checkpoint folder of a speech encoder to start from.
        dual: checkpoint folder of a generator whose dual-domain part is combined with the LSTM of
            `initial`.

    Raises:
        TalkheadError: no clip has usable sound, the clips have another frame rate, or `dual` is
            given without `initial`.
        WeightsError: a checkpoint to start from is missing, corrupt, or has other sizes.
    """

    def __init__(
        self,
        data: Path,
        model_config: LandmarkGeneratorConfig,
        config: LandmarksTaskConfig,
        seed: int,
        initial: Path | None = None,
        speech: Path | None = None,
        dual: Path | None = None,
    ) -> None:
        if dual is not None and initial is None:
            raise TalkheadError("[task]: dual needs initial, the LSTM to combine it with")
        train, unseen, seen = split_rows(data)
        self._config = config
        rows = [row for row in train if _teaches_lips(row, config)]
        bank = ClipBank(data, rows, frames=False, person_power=config.person_power)
        rates = {Fraction(row.fps) for row in train} - {DEFAULT_FPS}
        if rates:
            raise TalkheadError(
                f"{data} was prepared at {min(rates)} fps, but the generator works at"
                f" {DEFAULT_FPS} fps: prepare the videos at that rate"
            )
        self._fps = float(DEFAULT_FPS)
        everyone = ClipBank(data, train, frames=False)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model: Trainee = Trainee(model_config)
        generator = self.model.generator
        if initial is None:
            self.basis = _fit_basis(everyone, model_config.num_components, seed)
            generator.components.copy_(torch.from_numpy(self.basis.components))
            generator.blink.copy_(torch.from_numpy(self.basis.blink))
        else:
            if dual is None:
                load_alike(initial, generator, model_config, architecture="landmarks")
            else:
                _join(initial, dual, generator)
            self.basis = basis_of(generator)
        if speech is not None:
            load_encoder(speech, generator.speech)
        # (K, 68, 2): displacement of the 68 points per unit of each coefficient.
        in_68 = to_ibug68(self.basis.components)[..., :2]
        self._components_68 = torch.from_numpy(np.ascontiguousarray(in_68))
        talkers = _talkers(bank, self.basis, config)
        styles = np.stack([talker.style for talker in talkers])
        self._style_mean, self._style_spread = styles.mean(0), styles.std(0) + 1e-6
        talkers = [self._standardised(talker) for talker in talkers]
        self.samples = LandmarkSamples(bank, talkers, config, self._fps, seed)
        if initial is None:
            style = fit_head_style(bank.clips, bank.rows)
            generator.head.copy_(torch.from_numpy(np.stack([style.slow, style.fast])))
            generator.head_pace.copy_(torch.tensor([style.slow_s, style.fast_s, style.pause]))
            people: dict[str, list[Floats]] = {}
            for talker, row in zip(talkers, bank.rows, strict=True):
                people.setdefault(row.person, []).append(talker.shape)
            # Count every person once, or people with many clips would make the rest look rare.
            shapes = np.stack([np.mean(found, axis=0) for found in people.values()])
            # Clear speech: average mouth width, but livelier motion than average.
            generator.style.copy_(torch.tensor([0.0, 0.7, 0.0, 0.7]))
            generator.shape_mean.copy_(torch.from_numpy(shapes.mean(0)))
            generator.shape_spread.copy_(torch.from_numpy(shapes.std(0) + 1e-3))
        groups = {"unseen": unseen, "seen_person": seen} if unseen or seen else {"train": train}
        scored = {
            name: [row for row in rows if is_scored(row)][: None if name == "unseen" else 24]
            for name, rows in groups.items()
        }
        self._held_out = {
            name: _talkers(ClipBank(data, rows, frames=False), self.basis, config)
            for name, rows in scored.items()
            if rows
        }

    def _standardised(self, talker: Talker) -> Talker:
        style = (talker.style - self._style_mean) / self._style_spread
        return replace(talker, style=style.clip(-2.5, 2.5).astype(np.float32))

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the total loss and its parts: positions, velocities, mouth and spectrum."""
        assert isinstance(model, Trainee)
        truth = batch["coefficients"]
        frames = truth.shape[1]
        positions = frame_positions(frames, self._fps, LEAD_S).to(truth.device)
        waveform = batch["waveform"]
        for part in model.generator.children():
            learns = [parameter.requires_grad for parameter in part.parameters()]
            if learns and not any(learns):
                part.eval()  # frozen parts need no dropout: an encoder works better without it
        with dropout_from(generator):
            made, conv_features = model.generator(
                waveform, positions.expand(len(truth), -1), batch["style"], batch["shape"]
            )
        mel = functional.l1_loss(model.mel_head(conv_features).float(), model.spectrum(waveform))
        config = self._config
        components = model.generator.components
        if config.loss != "motion":
            error = torch.einsum(
                "btk,kpc->btpc", made - truth, self._components_68.to(truth.device)
            )
            distance = error.square().sum(-1)
            squares = 1e4 * (0.2 * distance.mean() + 0.8 * distance[..., MOUTH_68].mean())
        if config.loss == "points":
            loss = squares + config.mel_weight * mel
            return {"loss": loss, "points": squares, "mel": mel}
        points = components[:, POINTS, :2]
        of_points = torch.from_numpy(POINT_WEIGHTS).to(truth.device)[:, None]
        error = torch.einsum("btk,kpc->btpc", made - truth, points)
        if config.loss == "squares":
            position = squares
        else:
            position = 100 * (error.abs() * of_points).mean()
        step = error[:, 1:] - error[:, :-1]
        velocity = 100 * (step.abs() * of_points).mean()
        concord = correlate = torch.zeros((), device=truth.device)
        opening, width = mouth_directions(components)
        weights = (opening, 1.0), (width, config.width_weight)
        for (direction, weight), measured in zip(weights, batch["mouth"].unbind(-1), strict=True):
            said, meant = ((each * direction).sum(-1) for each in (made, truth))  # not in bfloat16
            concord = concord + weight * (1 - _concordance(said, meant)).mean()
            correlate = correlate + weight * (1 - correlation(said, measured)).mean()
        closure = 100 * closure_error(made @ opening, truth @ opening)
        loss = (
            position
            + config.velocity_weight * velocity
            + config.concordance_weight * concord
            + config.correlation_weight * correlate
            + config.closure_weight * closure
            + config.mel_weight * mel
        )
        return {
            "loss": loss,
            "position": position,
            "velocity": velocity,
            "concordance": concord,
            "correlation": correlate,
            "closure": closure,
            "mel": mel,
        }

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Correlate generated and true opening and width, at each clip's best lag and at lag 0."""
        assert isinstance(model, Trainee)
        scores = {}
        for name, talkers in self._held_out.items():
            rows = [self._score(model.generator, talker) for talker in talkers]
            for key in rows[0]:
                scores[f"{name}_{key}"] = float(np.mean([row[key] for row in rows]))
        return scores

    def _score(self, generator: LandmarkGenerator, talker: Talker) -> dict[str, float]:
        made = generate(generator, talker, self._fps)
        components = generator.components.detach().cpu()
        directions = [direction.numpy() for direction in mouth_directions(components)]
        opening, width = (made @ direction for direction in directions)
        true_opening = talker.coefficients @ directions[0]
        seen_opening, seen_width = talker.mouth.T
        return {
            "opening_best": best_lag(seen_opening, opening, detrend_frames=None)[1],
            "opening_lag0": best_lag(seen_opening, opening, 0, detrend_frames=None)[1],
            "width_best": best_lag(seen_width, width, detrend_frames=None)[1],
            "opening_size": float(opening.std() / max(true_opening.std(), 1e-6)),
        }

    def preview(self, model: nn.Module) -> npt.NDArray[np.uint8] | None:
        """Return curves of the opening: truth in black, generated motion in red."""
        assert isinstance(model, Trainee)
        direction = mouth_directions(model.generator.components.detach().cpu())[0].numpy()
        talkers = [t for group in self._held_out.values() for t in group[:6]]
        if not talkers:
            return None
        picture = np.full((110 * len(talkers), 750, 3), 255, np.uint8)
        for row, talker in enumerate(talkers):
            made = generate(model.generator, talker, self._fps)
            pair = talker.coefficients @ direction, made @ direction
            low = min(values.min() for values in pair)
            high = max(values.max() for values in pair)
            for values, colour in zip(pair, ((0, 0, 0), (220, 30, 30)), strict=True):
                x = np.linspace(0, len(values) - 1, 4 * min(len(values), 180)).clip(0, 180)
                y = np.interp(x, np.arange(len(values)), values)
                line = 110 * row + 5 + (100 * (high - y) / (high - low + 1e-6)).astype(int)
                picture[line, (4 * x).astype(int)] = colour
        return picture

    def save(self, folder: Path, model: nn.Module) -> None:
        """Write the generator's checkpoint folder."""
        assert isinstance(model, Trainee)
        save_checkpoint(
            folder,
            architecture="landmarks",
            config=model.generator.config,
            state=model.generator.state_dict(),
            dtype=torch.float16,
        )


def generate(generator: LandmarkGenerator, talker: Talker, fps: float) -> Floats:
    """Generate a whole clip's coefficients in the default style, (T, K)."""
    count = len(talker.coefficients)
    return generate_motion(generator, talker.waveform, count, fps, talker.shape)


def window_samples(frames: int, fps: float) -> int:
    """Return the number of audio samples in a window."""
    return round((frames / fps + 2 * LEAD_S) * SAMPLE_RATE_HZ)


def _join(initial: Path, dual: Path, generator: LandmarkGenerator) -> None:
    """Load the LSTM of `initial` and the dual-domain part of `dual` into a generator with both."""
    config = generator.config
    if config.dual_share is None:
        raise TalkheadError("[task]: dual needs dual_share in [model]")
    state: dict[str, Tensor] = {"shares": generator.shares.detach()}
    for folder, sizes in (
        (dual, replace(config, dual_share=None)),
        (initial, replace(config, dual=None, dual_share=None)),  # the rest, including speech
    ):
        stored = read_config(folder, LandmarkGeneratorConfig, architecture="landmarks")
        found = LandmarkGenerator(replace(sizes, dropout=stored.dropout))  # dropout may differ
        load_alike(folder, found, found.config, architecture="landmarks")
        state |= found.state_dict()
    generator.load_state_dict(state)


def _teaches_lips(row: ClipInfo, config: LandmarksTaskConfig) -> bool:
    return row.num_frames > config.window_frames and teaches_lips(row, config.min_agreement)


def _fit_basis(bank: ClipBank, num_components: int, seed: int) -> MotionBasis:
    rng = np.random.default_rng([seed, 1])
    per_draw = 20
    cache: dict[int, tuple[Floats, Floats, np.float32]] = {}
    parts = []
    for _ in range(NUM_BASIS_FRAMES // per_draw):
        index, clip = bank.draw(rng)
        if index not in cache:
            rest, pose = rest_of_clip(clip.landmarks)
            aligned = pose.to_face(clip.landmarks)
            motion = np.asarray(aligned - rest, np.float32)
            cache[index] = motion, eye_closure(aligned), np.float32(mouth_scale(rest))
        deformation, closure, scale = cache[index]
        picks = rng.integers(len(deformation), size=per_draw)
        parts.append((deformation[picks] / scale, closure[picks], deformation[picks]))
    deformations, closures, lids = (np.concatenate(part) for part in zip(*parts, strict=True))
    return fit_motion_basis(deformations, closures, lids, num_components)


def _talkers(bank: ClipBank, basis: MotionBasis, config: LandmarksTaskConfig) -> list[Talker]:
    return [
        _talker(clip, row, basis, config.use_offsets)
        for clip, row in zip(bank.clips, bank.rows, strict=True)
    ]


def _talker(clip: Clip, row: ClipInfo, basis: MotionBasis, use_offset: bool) -> Talker:
    rest, pose = rest_of_clip(clip.landmarks)
    aligned = pose.to_face(clip.landmarks)
    unit = eye_distance(aligned)
    opening, width = mouth_opening(aligned, unit), mouth_width(aligned, unit)
    spread = width - mouth_width(rest)
    style = np.array([opening.mean(), opening.std(), spread.mean(), spread.std()], np.float32)
    return Talker(
        coefficients=basis.project((aligned - rest) / np.float32(mouth_scale(rest))),
        waveform=normalise_speech(clip.waveform_float()),
        shape=proportions(rest),
        style=style,
        mouth=np.stack([opening, width], -1),
        lag=row.offset_frames if use_offset else 0,
    )


def mouth_directions(components: Tensor) -> tuple[Tensor, Tensor]:
    """Return the change of the mouth's opening and width per unit of each coefficient, (K,)."""
    opening = opening_direction(components)
    width = components[:, LEFT_MOUTH_CORNER, 0] - components[:, RIGHT_MOUTH_CORNER, 0]
    return opening, width


def closure_error(made: Tensor, truth: Tensor) -> Tensor:
    """Return how much the lips are open beyond the truth where they must close, ().

    Lips that close between openings, as for p, b and m, weigh more than a mouth at rest. Openings
    below `CLOSED_LIPS` all count the same; otherwise pressing the lips together would pay off, and
    all openings would become too small.

    Args:
        made: openings (B, T), in eye distances, relative to the face at rest.
        truth: true openings, likewise.
    """
    closed = truth < CLOSED_LIPS
    moving = functional.max_pool1d(truth.detach()[:, None], 2 * WORD_FRAMES + 1, 1, WORD_FRAMES)[
        :, 0
    ]
    weight = closed * (SILENT_WEIGHT + (1 - SILENT_WEIGHT) * (moving > 3 * CLOSED_LIPS))
    excess = functional.relu(made - truth.clamp(min=CLOSED_LIPS))
    return (weight * excess).sum() / weight.sum().clamp(min=1)


def _concordance(a: Tensor, b: Tensor) -> Tensor:
    """Return the concordance correlation over time, (B, T) to (B,).

    Source: Lin, "A concordance correlation coefficient to evaluate reproducibility" (1989).
    """
    a_mean, b_mean = a.mean(1, keepdim=True), b.mean(1, keepdim=True)
    covariance = ((a - a_mean) * (b - b_mean)).mean(1)
    spread = (a - a_mean).square().mean(1) + (b - b_mean).square().mean(1)
    return 2 * covariance / (spread + (a_mean - b_mean).square()[:, 0] + 1e-6)


def correlation(made: Tensor, measured: Tensor) -> Tensor:
    """Return Pearson's correlation over time, (B, T) to (B,); 1 where `measured` is constant."""
    ours = made - made.mean(1, keepdim=True)
    theirs = measured - measured.mean(1, keepdim=True)
    energy = theirs.square().sum(1)
    found = (ours * theirs).sum(1) / (ours.square().sum(1) * energy + 1e-9).sqrt()
    return torch.where(energy > 1e-9, found, torch.ones_like(found))

"""Samples of the task `landmarks`: windows of clips, with random speed and augmented sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from talkhead.audio2landmarks.audio2motion import LEAD_S
from talkhead.audio2landmarks.generator import NUM_STYLE
from talkhead.audio2landmarks.loudness import normalise_speech
from talkhead.data.clips import Clip, ClipInfo
from talkhead.data.selection import MIN_AGREEMENT
from talkhead.geometry.mesh import eye_distance, mouth_opening, mouth_width
from talkhead.geometry.motion_basis import (
    MotionBasis,
    eye_closure,
    fit_motion_basis,
    mouth_scale,
    proportions,
    rest_of_clip,
)
from talkhead.media.rates import SAMPLE_RATE_HZ
from talkhead.training.recordings import draw_window
from talkhead.training.samples import PERSON_POWER, ClipBank, Sample, draw_place
from talkhead.training.voices import disturb, drop_moments, not_speech

Floats = npt.NDArray[np.float32]

NUM_BASIS_FRAMES = 6000
SHAPE_NOISE = 0.1
"""Relative noise on the proportions in training."""


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
    landmark generator, or a folder with a wav2vec 2.0, HuBERT, WavLM or Whisper, relative to
    the TOML file; the name of published weights; or ``owner/name@revision`` on the hub. A published
    encoder brings its own sizes: leave [model.speech_encoder] out."""
    basis: str = ""
    """Checkpoint folder of a generator whose motion basis and statistics a new run without
    `initial` takes, relative to the TOML file; "" to fit them to the clips."""
    teacher: str = ""
    """Checkpoint folder of a generator with a larger encoder, such as a Whisper, that teaches this
    one; "" for none. Its motion basis must be the same: see `basis`."""
    recordings: str = ""
    """With `teacher`: folder of speech without video, relative to the TOML file; "" for none."""
    recordings_share: float = 0.6
    """Share of samples from the recordings."""
    num_units: int = 160
    """Clusters of the teacher's features."""
    unit_weight: float = 10.0
    """Weight of the cross-entropy of these clusters."""
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
class TalkingClip:
    """One clip, preprocessed for drawing windows.

    Attributes:
        coefficients: (T, K).
        waveform: (N,), normalised loudness.
        shape: (4,), proportions of the face at rest.
        style: (4,), standardised over the training clips.
        mouth: (T, 2), opening and width measured on the landmarks.
        lag: frames by which the sound is late.
    """

    coefficients: Floats
    waveform: Floats
    shape: Floats
    style: Floats
    mouth: Floats
    lag: int


class LandmarkSamples:
    """Windows of clips, with random speed and augmented sound."""

    def __init__(
        self,
        bank: ClipBank,
        clips: Sequence[TalkingClip],
        config: LandmarksTaskConfig,
        rate_hz: float,
        seed: int,
        recordings: Sequence[npt.NDArray[np.int16]] = (),
    ) -> None:
        self._bank, self._clips, self._config = bank, clips, config
        self._fps, self._seed = rate_hz, seed
        self._recordings = recordings
        lengths = np.array([len(one) for one in recordings], np.float64)
        self._cumulative = np.cumsum(lengths) / max(lengths.sum(), 1)

    def sample(self, index: int) -> Sample:
        """Return one window.

        `waveform` is its sound; `undisturbed` the same as the teacher hears it. `coefficients` and
        `mouth` (T, 2), the measured opening and width, are the truth, and constant for non-speech
        samples. For recordings they are zero, and `is_filmed` is, too. `is_speech` is 0 for
        non-speech. `style` and `shape` are a person's.
        """
        rng = np.random.default_rng([self._seed, index])
        clip = self._clips[self._bank.draw(rng)[0]]
        if self._recordings and rng.random() < self._config.recordings_share:
            waveform, coefficients, mouth = self._from_recording(rng)
            is_filmed = False
        else:
            waveform, coefficients, mouth = self._from_clip(clip, rng)
            is_filmed = True
        is_speech = rng.random() >= self._config.silent_share
        undisturbed = waveform
        if not is_speech:
            waveform = not_speech(len(waveform), rng)
            waveform *= np.float32(10 ** (rng.uniform(-12, 3) / 20))
            coefficients, mouth = np.zeros_like(coefficients), np.zeros_like(mouth)
        else:
            if rng.random() < self._config.gap_share:
                waveform = drop_moments(waveform, rng)
            if rng.random() < self._config.disturb_share:
                waveform = disturb(waveform, rng)
        style = clip.style + rng.normal(0, 0.3, NUM_STYLE)
        return {
            "waveform": waveform,
            "undisturbed": undisturbed,
            "is_filmed": np.array(is_filmed or not is_speech, np.float32),
            "is_speech": np.array(is_speech, np.float32),
            "coefficients": coefficients,
            "mouth": mouth,
            "style": (style * (rng.random() > 0.15)).astype(np.float32),
            # A single frame, smiling or not, measures a person's proportions poorly.
            "shape": (clip.shape * rng.normal(1, SHAPE_NOISE, 4)).astype(np.float32),
        }

    def _from_recording(self, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
        frames = self._config.window_frames
        recording = self._recordings[draw_place(self._cumulative, rng)]
        speed = float(np.exp(rng.normal(0, self._config.speed_spread)))
        count = window_samples(frames, self._fps)
        components = self._clips[0].coefficients.shape[1]
        return (
            draw_window(recording, count, speed, rng),
            np.zeros((frames, components), np.float32),
            np.zeros((frames, 2), np.float32),
        )

    def _from_clip(
        self, clip: TalkingClip, rng: np.random.Generator
    ) -> tuple[Floats, Floats, Floats]:
        frames = self._config.window_frames
        total = len(clip.coefficients)
        # A different speed sounds like a different voice, because pitch and formants shift with it.
        speed = min(float(np.exp(rng.normal(0, self._config.speed_spread))), (total - 1) / frames)
        start = rng.uniform(0, total - 1 - (frames - 1) * speed)
        at = start + np.arange(frames) * speed
        low = np.floor(at).astype(int).clip(0, total - 2)
        share = (at - low)[:, None].astype(np.float32)
        coefficients, mouth = (
            values[low] * (1 - share) + values[low + 1] * share
            for values in (clip.coefficients, clip.mouth)
        )
        begin_s = (start + 0.5 - clip.lag) / self._fps - (0.5 / self._fps + LEAD_S) * speed
        count = window_samples(frames, self._fps)
        positions = begin_s * SAMPLE_RATE_HZ + np.arange(count) * speed
        grid = np.arange(len(clip.waveform))
        waveform = np.interp(positions, grid, clip.waveform, left=0, right=0).astype(np.float32)
        return waveform, coefficients.astype(np.float32), mouth.astype(np.float32)


def window_samples(frames: int, rate_hz: float) -> int:
    """Return the number of audio samples in a window."""
    return round((frames / rate_hz + 2 * LEAD_S) * SAMPLE_RATE_HZ)


def fit_basis(bank: ClipBank, num_components: int, seed: int) -> MotionBasis:
    """Fit the motion basis to random frames of clips."""
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


def talking_clips(
    bank: ClipBank, basis: MotionBasis, config: LandmarksTaskConfig
) -> list[TalkingClip]:
    """Preprocess the clips of a bank; their styles are not yet standardised."""
    return [
        talking_clip(clip, row, basis, config.use_offsets)
        for clip, row in zip(bank.clips, bank.rows, strict=True)
    ]


def talking_clip(clip: Clip, row: ClipInfo, basis: MotionBasis, use_offset: bool) -> TalkingClip:
    """Preprocess a clip; its style is not standardised."""
    rest, pose = rest_of_clip(clip.landmarks)
    aligned = pose.to_face(clip.landmarks)
    unit = eye_distance(aligned)
    opening, width = mouth_opening(aligned, unit), mouth_width(aligned, unit)
    spread = width - mouth_width(rest)
    style = np.array([opening.mean(), opening.std(), spread.mean(), spread.std()], np.float32)
    return TalkingClip(
        coefficients=basis.project((aligned - rest) / np.float32(mouth_scale(rest))),
        waveform=normalise_speech(clip.waveform_float()),
        shape=proportions(rest),
        style=style,
        mouth=np.stack([opening, width], -1),
        lag=row.offset_frames if use_offset else 0,
    )


def standardise_styles(clips: Sequence[TalkingClip]) -> list[TalkingClip]:
    """Standardise the speaking styles over the clips."""
    styles = np.stack([clip.style for clip in clips])
    mean, spread = styles.mean(0), styles.std(0) + 1e-6
    return [
        replace(clip, style=((clip.style - mean) / spread).clip(-2.5, 2.5).astype(np.float32))
        for clip in clips
    ]

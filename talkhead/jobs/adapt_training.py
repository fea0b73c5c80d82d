"""The middle of an adaptation: score, train, score again, within a time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from talkhead.errors import TalkheadError
from talkhead.evaluation.person_scores import HeldOutClip, held_out_clips, score_person
from talkhead.jobs.adapt_clips import Footage, Report
from talkhead.landmarks2video.renderer import LatentRenderer
from talkhead.pipelines import TalkheadPipeline
from talkhead.training.adaptation import Mouths, draw_mouths, tune_denoiser, tune_mouth_denoiser
from talkhead.training.fine_tuning import Limit, TuningProgress
from talkhead.training.person_pairs import choose_pairs, make_residual_pairs
from talkhead.training.speaking_style import (
    fit_speaking_style,
    opening_correlation,
    spoken_clips,
)

MAX_PAIRS, MAX_MOUTHS = 1600, 800
PAIRS_PER_S, PAIRS_PER_STEP = 3.0, 8
"""Pairs that are made for each second or step of training, as they take time, too."""
DENOISER_SHARE = 0.5
"""Share of the training time that the denoiser gets; the mouth denoiser gets the rest."""
SAVE_S = 5.0
MIN_TRAINING_S = 20.0
OPENING_SLACK = 0.05
"""By how much the correlation of the opening may fall: two seconds of lips measure it no better."""


class Clock:
    """The time that is left.

    Args:
        minutes: for everything, from now.
        steps: steps of each network, whatever the time; None for as many as the time allows.
    """

    def __init__(self, minutes: float, steps: int | None) -> None:
        self._minutes, self.steps = minutes, steps
        self._started = time.monotonic()

    def elapsed_s(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._started

    def left_s(self) -> float:
        """Return the seconds that are left; infinite if the steps are given."""
        return math.inf if self.steps is not None else self._minutes * 60 - self.elapsed_s()

    def limit(self, seconds: float) -> Limit:
        """Return the limit of a training."""
        return Limit(self.steps, seconds)

    def num_pairs(self, most: int, reserve_s: float) -> int:
        """Return how many pairs to make.

        Args:
            most: an upper limit.
            reserve_s: seconds that are needed for other things.
        """
        if self.steps is not None:
            return min(most, PAIRS_PER_STEP * self.steps)
        return min(most, max(round(PAIRS_PER_S * (self.left_s() - reserve_s)), PAIRS_PER_STEP))


@dataclass
class Adaptation:
    """A pipeline that is adapted to a person, and how it scores."""

    footage: Footage
    pipeline: TalkheadPipeline
    clips: list[HeldOutClip]
    seed: int
    steps: dict[str, int] = field(default_factory=dict)
    """Steps of each network."""
    adapted: tuple[str, ...] = ()
    """Components that were trained."""
    speaking: str = ""
    """What became of the landmark generator."""
    scores: dict[str, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def load(
        cls, footage: Footage, folder: Path, device: torch.device, dtype: torch.dtype, seed: int
    ) -> Adaptation:
        """Load the weights to start from, and measure the held-out frames."""
        pipeline = TalkheadPipeline.from_folder(folder, device=device, dtype=dtype)
        clips = held_out_clips(footage.videos)
        if not clips:
            raise TalkheadError("the held-out frames are too few to score: give longer videos")
        return cls(footage, pipeline, clips, seed)

    def run(self, clock: Clock, report: Report) -> None:
        """Score, train and score again.

        Raises:
            TalkheadError: the time is too short, or a loss is not finite.
        """
        started = clock.elapsed_s()
        self.scores = {"before": self._score("scores before", report), "after": {}}
        scoring_s = clock.elapsed_s() - started
        reserve_s = 1.2 * scoring_s + SAVE_S
        if clock.left_s() - reserve_s < MIN_TRAINING_S:
            needed = (clock.elapsed_s() + reserve_s) / 60
            raise TalkheadError(
                f"preparing and scoring take {needed:.1f} minutes here, and training comes on top:"
                " allow more time"
            )
        self._fit_speaking_style(report)
        self._train_denoiser(clock, reserve_s, report)
        self._train_mouth_denoiser(clock, reserve_s, report)
        self.scores["after"] |= self._score("scores after", report)

    def why_worse(self) -> str | None:
        """Say in what the weights are worse than before, or return None."""
        before, after = self.scores["before"], self.scores["after"]
        key = "inside_psnr" if "inside_psnr" in before and "inside_psnr" in after else "lips_psnr"
        if not after[key] > before[key]:
            return f"the mouth is no better ({after[key]:.2f} dB, before {before[key]:.2f})"
        old, new = (scores.get("opening_r", 0.0) for scores in (before, after))
        if new < old - OPENING_SLACK:
            return f"the lips follow the landmarks less ({new:.3f}, before {old:.3f})"
        return None

    def _score(self, stage: str, report: Report) -> dict[str, float]:
        found: dict[str, float] = {}
        for number, means in enumerate(score_person(self.pipeline, self.clips, self.seed), 1):
            found = means
            report(stage, number / len(self.clips))
        return found

    def _fit_speaking_style(self, report: Report) -> None:
        """Fit the landmark generator, and keep the change if the held-out lips agree."""
        generator = self.pipeline.landmark_generator
        if not generator.has_lstm:
            self.speaking = "kept: it has no LSTM to fit"
            return
        train, held_out = (
            spoken_clips(generator, [p for v in self.footage.videos for p in getattr(v, name)])
            for name in ("train", "held_out")
        )
        report("way of speaking", 0.5)
        before = opening_correlation(generator, held_out)
        change = fit_speaking_style(generator, train)
        report("way of speaking", 1.0)
        if before is None:
            self.speaking = "kept: the videos have no sound that belongs to the lips"
            return
        after = before
        if change is None:
            self.speaking = "kept: it predicts this person as well as one fitted to them"
        elif (after := opening_correlation(generator, held_out, change) or 0.0) < before:
            self.speaking = (
                f"kept: fitted, it would predict the held-out lips less well ({after:.3f}, before"
                f" {before:.3f})"
            )
            after = before
        else:
            change.apply(generator)
            self.speaking = "adapted"
            self.adapted = ("landmark_generator",)
        for when, score in (("before", before), ("after", after)):
            self.scores[when]["spoken_opening_r"] = round(score, 4)

    def _renderer(self) -> LatentRenderer:
        renderer = self.pipeline.renderer()
        assert isinstance(renderer, LatentRenderer)
        return renderer

    def _train_denoiser(self, clock: Clock, reserve_s: float, report: Report) -> None:
        renderer = self._renderer()
        count = clock.num_pairs(MAX_PAIRS, reserve_s)
        chosen = choose_pairs(self.footage.videos, count, self.seed)
        pairs = make_residual_pairs(
            self.footage.videos,
            chosen,
            renderer.denoiser.registration(),
            renderer.autoencoder,
            lambda done: report("pairs", done / count),
        )
        limit = clock.limit(DENOISER_SHARE * (clock.left_s() - reserve_s))
        self._follow("denoiser", tune_denoiser(renderer, pairs, limit, self.seed), report)

    def _train_mouth_denoiser(self, clock: Clock, reserve_s: float, report: Report) -> None:
        renderer = self._renderer()
        if renderer.painter is None:
            return
        count = clock.num_pairs(MAX_MOUTHS, reserve_s)
        drawer = replace(renderer, painter=None)
        parts = []
        for pairs in draw_mouths(drawer, self.footage.videos, count, self.seed):
            parts.append(pairs)
            report("mouths", min(sum(len(part.infos) for part in parts) / count, 1.0))
        if not parts:
            return
        limit = clock.limit(max(clock.left_s() - reserve_s, 1.0))
        tuning = tune_mouth_denoiser(renderer, Mouths.join(parts), limit, self.seed)
        self._follow("mouth_denoiser", tuning, report)

    def _follow(self, component: str, tuning: Iterator[TuningProgress], report: Report) -> None:
        for progress in tuning:
            self.steps[component] = progress.step
            report(component.replace("_", " "), progress.share)
        self.adapted = (*self.adapted, component)

"""Choose what the report puts first: a system, a measure, and the clips it does best and worst."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from talkhead.evaluation.scores import BASELINES

Scores = Mapping[str, Any]
"""The content of scores.json."""
Role = Literal["best", "median", "worst"]

PREFERRED_MEASURES = ("psnr", "opening_r_best")
"""Measures for ranking the clips, in this order, if the scores have them."""


@dataclass(frozen=True)
class Ranking:
    """The system and the measure by which the report ranks the clips."""

    system: str
    measure: str


def list_systems(scores: Scores) -> list[str]:
    """Return the systems in the order of scoring."""
    in_groups = (name for group in scores["groups"].values() for name in group["systems"])
    return list(dict.fromkeys([*(clip["system"] for clip in scores["clips"]), *in_groups]))


def choose_ranking(scores: Scores) -> Ranking | None:
    """Return how the report ranks the clips; None without systems or measures.

    The system is the first that is not a baseline, if any. The measure is a preferred one, if any.
    """
    systems, measures = list_systems(scores), scores["measures"]
    if not systems or not measures:
        return None
    return Ranking(
        next((name for name in systems if name not in BASELINES), systems[0]),
        next((key for key in PREFERRED_MEASURES if key in measures), next(iter(measures))),
    )


def rank_clips(scores: Scores, ranking: Ranking) -> list[str]:
    """Return the clips that have the measure, best first; names break ties.

    A measure without a better direction counts as higher-is-better.
    """
    sign = 1 if scores["measures"][ranking.measure]["better"] == "lower" else -1
    return [
        clip
        for _, clip in sorted(
            (sign * float(row["values"][ranking.measure]), str(row["clip"]))
            for row in rows_with(scores, ranking.system, ranking.measure)
        )
    ]


def choose_clips(scores: Scores, ranking: Ranking) -> dict[Role, str]:
    """Return the best, the median and the worst clip; empty if no clip has the measure.

    Of an even number of clips, the better of the middle two is the median. A single clip is all
    three.
    """
    ranked = rank_clips(scores, ranking)
    if not ranked:
        return {}
    return {"best": ranked[0], "median": ranked[(len(ranked) - 1) // 2], "worst": ranked[-1]}


def rows_with(scores: Scores, system: str, measure: str) -> list[Mapping[str, Any]]:
    """Return a system's rows that have a measure."""
    return [row for row in scores["clips"] if row["system"] == system and measure in row["values"]]

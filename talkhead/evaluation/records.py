"""Records of an evaluation in progress: the scores of every clip, and what could not be scored.

The part of a clip is a JSON file with its scores, and an npz file with its arrays.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from talkhead.atomic import replacing
from talkhead.evaluation.plan import Plan
from talkhead.evaluation.scores import ClipScores


@dataclass(frozen=True)
class BrokenClip:
    """A clip that could not be scored for a system."""

    clip: str
    system: str
    why: str


def write_part(part: Path, scores: Sequence[ClipScores], broken: Sequence[BrokenClip]) -> None:
    """Write a clip's arrays, then its scores, which mark the part as complete."""
    part.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, npt.NDArray[Any]] = {}
    for index, one in enumerate(scores):
        arrays[f"{index}.opening"] = one.opening
        arrays |= {f"{index}.{name}": values for name, values in one.arrays.items()}
    with replacing(part.with_suffix(".npz")) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **cast("dict[str, Any]", arrays))
    content = {
        "scores": [one.row() for one in scores],
        "broken": [{"system": one.system, "why": one.why} for one in broken],
    }
    with replacing(part) as partial:
        partial.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")


def is_complete(part: Path) -> bool:
    """Return whether a clip's scores exist for every system."""
    content = read_json(part, None)
    return content is not None and not content["broken"]


def read_parts(plan: Plan) -> tuple[list[ClipScores], list[BrokenClip]]:
    """Read the scores of all clips, in the order of the plan."""
    scores: list[ClipScores] = []
    broken: list[BrokenClip] = []
    for row in plan.rows:
        path = plan.part(row.clip)
        content = read_json(path, {"scores": [], "broken": []})
        broken += [BrokenClip(row.clip, one["system"], one["why"]) for one in content["broken"]]
        if not content["scores"]:
            continue
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            for index, one in enumerate(content["scores"]):
                prefix = f"{index}."
                own = {
                    key.removeprefix(prefix): arrays[key]
                    for key in arrays.files
                    if key.startswith(prefix)
                }
                scores.append(ClipScores(**one, opening=own.pop("opening"), arrays=own))
    return scores, broken


def read_json(path: Path, default: Any) -> Any:
    """Read a JSON file; return the default if it does not exist."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else default

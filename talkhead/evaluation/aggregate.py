"""Combine the scores of all clips into scores.json, scores.csv and report.html."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from talkhead.atomic import replacing
from talkhead.evaluation.intervals import Interval
from talkhead.evaluation.kernel_distance import mouth_distances
from talkhead.evaluation.networks import FidInception, find_networks
from talkhead.evaluation.perceptual import MIN_FEATURES, set_values
from talkhead.evaluation.plan import PAGE, SCORES, TABLE, Plan
from talkhead.evaluation.records import BrokenClip, read_parts
from talkhead.evaluation.report import write_html
from talkhead.evaluation.report_clips import ClipEvidence
from talkhead.evaluation.report_ranking import choose_clips, choose_ranking
from talkhead.evaluation.scores import MEASURES, SCHEMA, ClipScores
from talkhead.evaluation.systems import EvalClip
from talkhead.evaluation.tables import NEVER_SEEN, SEEN, summarise, write_csv
from talkhead.evaluation.two_sample import CPU, MIN_PEOPLE, two_sample_test
from talkhead.evaluation.videos import video_for_report

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def aggregate_scores(
    plan: Plan,
    not_computed: Mapping[str, str] | None = None,
    unread: Sequence[BrokenClip] = (),
    device: torch.device = CPU,
) -> dict[str, Any]:
    """Return the content of scores.json.

    Args:
        plan: the evaluation; its parts are complete.
        not_computed: by measure, why it has no values.
        unread: failures before there were clips.
        device: where to train the networks of the two-sample test.
    """
    scores, broken = read_parts(plan)
    rows = [one.row() for one in scores]
    of_sets: dict[str, dict[str, dict[str, float | Interval]]] = {}
    warnings = _warnings(plan, scores)
    reasons = dict(not_computed or {})
    fewest_people: dict[tuple[str, str], int] = {}
    for group, is_seen in ((NEVER_SEEN, False), (SEEN, True)):
        part = [one for one in scores if one.is_seen_person == is_seen]
        found, fewest = set_values(part)
        of_sets[group] = {system: dict(values) for system, values in found.items()}
        accuracies, too_few = two_sample_test(part, device)
        for system, accuracy in accuracies.items():
            of_sets[group].setdefault(system, {})["two_sample"] = accuracy
        if "fid" in plan.families:
            for system, distance in mouth_distances(part, _inception_features(device)).items():
                of_sets[group].setdefault(system, {})["mouth_kid"] = distance
        fewest_people |= {(group, system): count for system, count in too_few.items()}
        for name, count in fewest.items():
            enough, what = MIN_FEATURES[name]
            if count < enough:
                warnings.append(
                    f"{MEASURES[name].title} for {group} is based on only {count} {what};"
                    f" it is unreliable below {enough}"
                )
    used = {name for row in rows for name in row["values"]}
    used |= {name for group in of_sets.values() for one in group.values() for name in one}
    if "two_sample" in used:
        warnings += [
            f"the two-sample test of {system} for {group} is left out: {_too_few_people(count)}"
            for (group, system), count in fewest_people.items()
        ]
    elif plan.stage not in ("landmarks", "silence"):
        most = max(fewest_people.values(), default=0)
        reasons["two_sample"] = f"not computed: {_too_few_people(most)}"
    measures = {
        key: dataclasses.asdict(measure) for key, measure in MEASURES.items() if key in used
    }
    return {
        "schema": SCHEMA,
        **plan.facts,
        "measures": measures,
        "groups": summarise(rows, measures, of_sets),
        "not_computed": reasons,
        "warnings": warnings,
        "broken": [dataclasses.asdict(one) for one in (*unread, *broken)],
        "clips": rows,
    }


def _inception_features(device: torch.device) -> Callable[[Pixels], Floats]:
    network = find_networks(device=device)[0]["fid"].network
    return cast("FidInception", network).features


def _too_few_people(count: int) -> str:
    who = "one person" if count == 1 else f"{count} people"
    return f"opened mouths of {who}, but {MIN_PEOPLE} are needed"


def _warnings(plan: Plan, scores: list[ClipScores]) -> list[str]:
    warnings = []
    seen = {one.clip for one in scores if one.is_seen_person}
    if seen:
        warnings.append(
            f"{len(seen)} of {len(plan.rows)} clips show people who are also in the training clips"
        )
    if not plan.is_aligned:
        warnings.append(
            "head poses differ from the real clips, which affects all pixel-based scores"
        )
    people = {one.person for one in scores}
    if scores and len(people) < 5:
        who = "one person" if len(people) == 1 else f"{len(people)} people"
        warnings.append(f"only {who}: the intervals over clips say little about other people")
    return warnings


def write_report(plan: Plan, result: Mapping[str, Any]) -> None:
    """Write scores.csv and report.html, and scores.json last.

    Raises:
        TalkheadError: the folder is not writable.
    """
    write_csv(result, plan.report / TABLE)
    write_html(result, _evidence(plan, result), plan.report / PAGE)
    with replacing(plan.report / SCORES) as partial:
        partial.write_text(
            json.dumps(result, indent=1, allow_nan=False, ensure_ascii=False),
            encoding="utf-8",
            errors="backslashreplace",  # a file's name that is no UTF-8: \\udce9 is JSON's own way
        )


def _evidence(plan: Plan, result: Mapping[str, Any]) -> dict[str, ClipEvidence]:
    """Collect the page's material on the best, the median and the worst clip."""
    ranking = choose_ranking(result)
    chosen = choose_clips(result, ranking).values() if ranking else ()
    rows = tuple(row for row in plan.rows if row.clip in chosen)
    scores, _ = read_parts(dataclasses.replace(plan, rows=rows))
    found = {}
    for row in rows:
        own = {one.system: one.opening for one in scores if one.clip == row.clip}
        videos = {}
        if plan.stage != "landmarks":
            videos = {name: video_for_report(plan, row, name) for name in own}
        found[row.clip] = ClipEvidence(
            clip=row.clip,
            rate_hz=float(Fraction(row.fps)),
            waveform=EvalClip.read(plan.data, row, frames=False, max_s=plan.max_s).waveform,
            openings=own,
            videos=videos,
        )
    return found

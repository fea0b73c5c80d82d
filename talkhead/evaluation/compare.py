"""Compare two reports on the same clips: what changed, by how much, and how certain that is.

Differences are paired by clip, so the verdict on a change of weights depends on its effect on each
clip, and not on which clips are hard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from talkhead.errors import TalkheadError
from talkhead.evaluation.intervals import Interval, paired_difference
from talkhead.evaluation.scores import BASELINES
from talkhead.evaluation.scores_io import check_scores
from talkhead.evaluation.tables import NEVER_SEEN, SEEN

COMPARISON_SCHEMA = 1
SAME_FACTS = ("fps", "crop", "detector", "codec")
"""Facts of the protocol that affect scores by themselves."""

Verdict = Literal["better", "worse", "different", "no difference shown"]
Scores = Mapping[str, Any]
ByClip = dict[str, Mapping[str, Any]]


def compare(before: Scores, after: Scores) -> dict[str, Any]:
    """Return the paired differences, `after` minus `before`, of two scores.json.

    Systems of the same name are compared, baselines included: if *their* scores differ, something
    other than the weights changed. If each side scored one system besides the baselines, under
    different names, these two form a pair. A clip counts as a seen person's if either side says so.

    The verdict is "better" or "worse" if the interval excludes 0, "different" for a measure without
    a better direction, and "no difference shown" otherwise. Measures of whole sets of clips have no
    interval, so they never get a verdict; they are compared if both sides scored the same clips.

    Returns:
        `schema`, `stage`, `before` and `after` (`talkhead`, `weights`), `measures` compared,
        `clips` in both, `only_before` and `only_after` (names of clips), `changed_facts` (of the
        protocol, those that do not rule out a comparison: fact to [before, after]), `not_compared`
        (measure to reason), and `groups`: by name `clips`, `people` and `pairs`; a pair has
        `before` and `after` (systems) and `values`: by measure `before`, `after` (means over the
        common clips), `mean`, `low`, `high` (of the difference), `clips` and `verdict`.

    Raises:
        TalkheadError: the schema or stage differs, facts of the protocol make the scores
            incomparable, or no clip or no system is in both.
    """
    check_scores(before, "the first file")
    check_scores(after, "the second file")
    _check_protocols(before, after)
    measures, not_compared = _common_measures(before, after)
    pairs = _pairs(before, after)
    people = _people(before), _people(after)
    common = _common_clips(*people)
    seen = {
        clip["clip"] for side in (before, after) for clip in side["clips"] if clip["is_seen_person"]
    }
    groups: dict[str, Any] = {}
    for name, part in (
        (NEVER_SEEN, [clip for clip in common if clip not in seen]),
        (SEEN, [clip for clip in common if clip in seen]),
    ):
        if part:
            groups[name] = {
                "clips": len(part),
                "people": len({people[0][clip] for clip in part}),
                "pairs": [
                    {
                        "before": first,
                        "after": second,
                        "values": _by_clip(before, after, first, second, part, measures)
                        | _of_sets(before, after, first, second, name, measures),
                    }
                    for first, second in pairs
                ],
            }
    return {
        "schema": COMPARISON_SCHEMA,
        "stage": after["stage"],
        "before": {key: before.get(key) for key in ("talkhead", "weights")},
        "after": {key: after.get(key) for key in ("talkhead", "weights")},
        "measures": measures,
        "clips": len(common),
        "only_before": sorted(people[0].keys() - people[1].keys()),
        "only_after": sorted(people[1].keys() - people[0].keys()),
        "changed_facts": _changed_facts(before, after),
        "not_compared": not_compared,
        "groups": groups,
    }


def _common_clips(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return the clips in both files, given the person in each clip."""
    common = sorted(before.keys() & after.keys())
    if not common:
        raise TalkheadError("the two files have no clip in common; score the same clips")
    for clip in common:
        if before[clip] != after[clip]:
            raise TalkheadError(
                f"clip {clip} shows {before[clip]} in the first file, but {after[clip]} in the"
                " second; score the same data"
            )
    return common


def verdict(difference: Interval, better: str) -> Verdict:
    """Return the verdict on a difference; an interval that touches 0, or none, shows nothing.

    Args:
        difference: after minus before.
        better: the measure's better direction: "higher", "lower" or "neither".
    """
    low, high = difference.low, difference.high
    if low is None or high is None or low <= 0 <= high:
        return "no difference shown"
    if better == "neither":
        return "different"
    return "better" if (low > 0) == (better == "higher") else "worse"


def _check_protocols(before: Scores, after: Scores) -> None:
    for fact in ("stage", *SAME_FACTS):
        sides = before, after
        old, new = (side[fact] if fact == "stage" else side["protocol"].get(fact) for side in sides)
        if old != new:
            raise TalkheadError(
                f"the two files cannot be compared because their {fact} differs:"
                f" {_format_fact(old)} and {_format_fact(new)}; score both the same way"
            )
    networks = [side["protocol"].get("networks") or {} for side in (before, after)]
    for name in sorted(networks[0].keys() & networks[1].keys()):
        if networks[0][name] != networks[1][name]:
            raise TalkheadError(
                f"the two files cannot be compared because their network {name} differs:"
                f" {networks[0][name]} and {networks[1][name]}; score both with the same one"
            )


def _format_fact(fact: Any) -> str:
    return "not stated" if fact is None else str(fact)


def _changed_facts(before: Scores, after: Scores) -> dict[str, list[Any]]:
    old, new = before["protocol"], after["protocol"]
    return {
        fact: [old.get(fact), new.get(fact)]
        for fact in dict.fromkeys([*old, *new])
        if old.get(fact) != new.get(fact)
    }


def _common_measures(before: Scores, after: Scores) -> tuple[dict[str, Any], dict[str, str]]:
    common: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for key in dict.fromkeys([*before["measures"], *after["measures"]]):
        old, new = before["measures"].get(key), after["measures"].get(key)
        if old is None or new is None:
            left_out[key] = f"only in the {'second' if old is None else 'first'} file"
        elif (old["better"], old["unit"]) != (new["better"], new["unit"]):
            left_out[key] = "its unit or its better direction differs"
        else:
            common[key] = new
    return common, left_out


def _pairs(before: Scores, after: Scores) -> list[tuple[str, str]]:
    old, new = (
        list(dict.fromkeys(str(clip["system"]) for clip in side["clips"]))
        for side in (before, after)
    )
    pairs = [(name, name) for name in old if name in new]
    scored = [[name for name in names if name not in BASELINES] for names in (old, new)]
    if len(scored[0]) == len(scored[1]) == 1 and scored[0] != scored[1]:
        pairs.insert(0, (scored[0][0], scored[1][0]))
    if not pairs:
        raise TalkheadError("the two files have no system in common; give them the same name")
    return pairs


def _people(scores: Scores) -> dict[str, str]:
    """Return the person in each clip."""
    return {clip["clip"]: clip["person"] for clip in scores["clips"]}


def _by_clip(
    before: Scores,
    after: Scores,
    first: str,
    second: str,
    clips: Sequence[str],
    measures: Mapping[str, Any],
) -> dict[str, Any]:
    old, new = _values(before, first), _values(after, second)
    found: dict[str, Any] = {}
    for key, measure in measures.items():
        both = [clip for clip in clips if key in old.get(clip, {}) and key in new.get(clip, {})]
        if both:
            earlier, later = ([float(side[clip][key]) for clip in both] for side in (old, new))
            found[key] = _entry(earlier, later, measure["better"])
    return found


def _values(scores: Scores, system: str) -> ByClip:
    return {clip["clip"]: clip["values"] for clip in scores["clips"] if clip["system"] == system}


def _entry(old: Sequence[float], new: Sequence[float], better: str) -> dict[str, Any]:
    difference = paired_difference(old, new)
    entry: dict[str, Any] = {
        "before": sum(old) / len(old),
        "after": sum(new) / len(new),
        "mean": difference.mean,
    }
    if difference.low is not None:
        entry |= {"low": difference.low, "high": difference.high}
    return entry | {"clips": difference.num, "verdict": verdict(difference, better)}


def _of_sets(
    before: Scores,
    after: Scores,
    first: str,
    second: str,
    group: str,
    measures: Mapping[str, Any],
) -> dict[str, Any]:
    """Compare measures of whole sets, if both sides scored the same clips."""
    if _in_group(before, first, group) != _in_group(after, second, group):
        return {}
    old, new = (
        side["groups"].get(group, {}).get("systems", {}).get(system, {}).get("values", {})
        for side, system in ((before, first), (after, second))
    )
    by_clip = {key for side in (before, after) for clip in side["clips"] for key in clip["values"]}
    return {
        key: {
            "before": old[key]["mean"],
            "after": new[key]["mean"],
            "mean": new[key]["mean"] - old[key]["mean"],
            "clips": new[key]["clips"],
            "verdict": "no difference shown",
        }
        for key in measures
        if key in old and key in new and key not in by_clip
    }


def _in_group(scores: Scores, system: str, group: str) -> set[str]:
    return {
        clip["clip"]
        for clip in scores["clips"]
        if clip["system"] == system and bool(clip["is_seen_person"]) == (group == SEEN)
    }

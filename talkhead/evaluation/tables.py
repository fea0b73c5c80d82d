"""Summarise scores: means with intervals by group and system, and one CSV of everything.

Here, *scores* means the content of scores.json, in `talkhead.evaluation.scores.SCHEMA`.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from talkhead.atomic import replacing
from talkhead.evaluation.intervals import Interval, mean_interval

NEVER_SEEN, SEEN = "people never seen", "people seen in training"

Values = Mapping[str, float | Interval]
SetValues = Mapping[str, Mapping[str, Values]]

_FACTS = ("clip", "person", "is_seen_person", "system", "frames", "frames_without_face")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def summarise(
    clips: Sequence[Mapping[str, Any]], measures: Iterable[str], set_values: SetValues | None = None
) -> dict[str, Any]:
    """Return the `groups` of scores: people never seen, and people seen in training.

    Each mean covers the clips that have the value, and includes their number. A group's frames are
    those of its clips, counted once whatever the number of systems.

    Args:
        clips: the `clips` of scores: one entry per clip and system.
        measures: their keys in the order of the tables.
        set_values: values of whole sets of clips, such as FID, by group, system and measure; with
            an interval if there is one.

    Raises:
        ValueError: a clip has a measure that is not among `measures`, one system scored a clip
            twice, or a value is not finite.
    """
    keys = list(measures)
    groups: dict[str, Any] = {}
    for name, is_seen in ((NEVER_SEEN, False), (SEEN, True)):
        part = [clip for clip in clips if bool(clip["is_seen_person"]) == is_seen]
        if not part:
            continue
        frames: dict[str, int] = {}
        for clip in part:
            frames[clip["clip"]] = max(frames.get(clip["clip"], 0), int(clip["frames"]))
        of_set = (set_values or {}).get(name, {})
        systems = dict.fromkeys([*(str(clip["system"]) for clip in part), *of_set])
        groups[name] = {
            "clips": len(frames),
            "people": len({clip["person"] for clip in part}),
            "frames": sum(frames.values()),
            "systems": {
                system: _summarise_system(
                    [clip for clip in part if clip["system"] == system],
                    keys,
                    of_set.get(system, {}),
                )
                for system in systems
            },
        }
    return groups


def _summarise_system(
    clips: Sequence[Mapping[str, Any]], measures: Sequence[str], of_set: Values
) -> dict[str, Any]:
    if len({clip["clip"] for clip in clips}) < len(clips):
        raise ValueError(f"{clips[0]['system']!r} scored a clip twice")
    unknown = {*of_set, *(key for clip in clips for key in clip["values"])} - set(measures)
    if unknown:
        raise ValueError(f"measures without a description: {sorted(unknown)}")
    values: dict[str, Any] = {}
    for key in measures:
        found = [float(clip["values"][key]) for clip in clips if key in clip["values"]]
        if key in of_set:
            value = of_set[key]
            if not isinstance(value, Interval):
                value = Interval(float(value), None, None, 0)
            values[key] = _entry(dataclasses.replace(value, num=len(clips)))
        elif found:
            values[key] = _entry(mean_interval(found))
    return {
        "frames": sum(int(clip["frames"]) for clip in clips),
        "frames_without_face": sum(int(clip["frames_without_face"]) for clip in clips),
        "values": values,
    }


def _entry(interval: Interval) -> dict[str, float]:
    """Return a mean in the format of scores; the interval is left out if there is none."""
    entry: dict[str, float] = {"mean": interval.mean}
    if interval.low is not None and interval.high is not None:
        entry |= {"low": interval.low, "high": interval.high}
    return entry | {"clips": interval.num}


def write_csv(scores: Mapping[str, Any], path: Path) -> None:
    """Write one row per clip and system, one column per measure; empty cells for missing values.

    The file is UTF-8 with a byte order mark, which Excel needs and pandas skips. Text that a
    spreadsheet would treat as a formula gets an apostrophe in front.

    Raises:
        TalkheadError: the file cannot be written.
    """
    measures = list(scores["measures"])
    with (
        replacing(path) as partial,
        # A file name may not be valid text, and must not abort the report.
        partial.open("w", encoding="utf-8-sig", errors="backslashreplace", newline="") as file,
    ):
        rows = csv.writer(file)
        rows.writerow([_harmless(key) for key in (*_FACTS, *measures)])
        for clip in scores["clips"]:
            facts = [_cell(clip[key]) for key in _FACTS]
            rows.writerow(facts + [_cell(clip["values"].get(key, "")) for key in measures])


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    return _harmless(str(value))


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text

"""Protocols: which clips of a prepared folder are scored, and which people training has seen.

The choice depends on the manifest and the seed, never on the stage. A clip that a stage cannot
score is left out without a replacement.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from talkhead.data.clips import ClipInfo, read_manifest
from talkhead.data.dataset_names import official_test
from talkhead.data.layouts import in_short
from talkhead.errors import TalkheadError

Protocol = Literal["split", "mead-official", "seed-90-10", "speaker"]

TRAIN = "train"
TEST_SHARE = 0.1
"""Share of a person's clips, or of the people, that is drawn."""

ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class ChosenClips:
    """The clips that a protocol scores."""

    rows: tuple[ClipInfo, ...]
    """Sorted by clip name."""
    seen_people: frozenset[str]
    """People with training clips, according to the protocol's own split."""
    note: str
    """Describes the choice and its caveats; report it with the scores."""


@dataclass(frozen=True)
class _Division:
    """The clips of a protocol, including those that the stage cannot score."""

    rows: list[ClipInfo]
    seen_people: frozenset[str]
    what: str
    """Completes "none of ..."."""
    warning: str = ""


def choose_rows(
    data: Path,
    *,
    protocol: Protocol = "split",
    splits: Sequence[str] = (),
    people: Sequence[str] = (),
    seed: int = 0,
    limit: int | None = None,
    unseen_only: bool = False,
    fits: Callable[[ClipInfo], bool] = lambda row: True,
    needs: str = "the required data",
) -> ChosenClips:
    """Choose the clips of a prepared folder to score.

    `split`: the clips of splits of the manifest.

    `seed-90-10`: a tenth of one person's clips, at least one, drawn from those outside the split
    `train` if possible, otherwise from all. The rest is for training, so the person counts as seen.

    `speaker`: the clips of people with no clip in the split `train`. If all people are in `train`,
    a tenth of them, at least one, is drawn and counts as never seen.

    `mead-official`: for each person, view and level, the last 10 videos of the neutral emotion and
    the last 6 of every other emotion. If the manifest has a split `test`, as the MEAD layout
    creates, clips of `train` are left out: a training clip never replaces a dropped video.

    Args:
        data: prepared folder.
        protocol: see above.
        splits: splits of the manifest, only for the protocol `split`; by default `dev`, or `test`
            if there is no `dev`.
        people: shell patterns; a person has to match one of them; empty for all people.
        seed: random seed of the draw.
        limit: maximum number of clips; keeps the first by name.
        unseen_only: without `people`, leave out the clips of people in `train` if others remain;
            only for the protocol `split`.
        fits: whether the stage can score a clip.
        needs: describes what `fits` requires, for example "sound that fits".

    Raises:
        TalkheadError: the folder is not prepared, no clip is left, or the protocol needs exactly
            one person.
    """
    rows = read_manifest(data)
    named = [row for row in rows if not people or any(fnmatch(row.person, p) for p in people)]
    if not named:
        reason = f"no person matches {' or '.join(people)}" if people else "it is empty"
        raise TalkheadError(f"{data} has no clip to score: {reason}")
    if protocol == "seed-90-10":
        divided = _by_seed(data, named, seed)
    elif protocol == "speaker":
        divided = _by_speaker(rows, named, seed)
    elif protocol == "mead-official":
        divided = _by_mead(named)
    else:
        seen = frozenset(row.person for row in rows if row.split == TRAIN)
        known = {row.split for row in rows}
        default = "dev" if "dev" in known or "test" not in known else "test"
        splits = list(dict.fromkeys(splits)) or [default]
        inside = [row for row in named if row.split in splits]
        noun = "split" if len(splits) == 1 else "splits"
        divided = _Division(inside, seen, f"the {noun} {' and '.join(splits)}")
    chosen = [row for row in divided.rows if fits(row)]
    if unseen_only and protocol == "split" and not people:
        chosen = [row for row in chosen if row.person not in divided.seen_people] or chosen
    if not chosen:
        whose = f", of people matching {' or '.join(people)}," if people else ""
        raise TalkheadError(
            f"{data} has no clip to score: none of {divided.what}{whose} with {needs}"
        )
    note = "; ".join(filter(None, (divided.what, divided.warning)))
    return ChosenClips(tuple(chosen[:limit]), divided.seen_people, note)


def draw_share(items: Sequence[ItemT], seed: int, count: int | None = None) -> list[ItemT]:
    """Draw a tenth of the items, at least one, or `count`; the drawn ones keep their order."""
    count = count or max(1, round(TEST_SHARE * len(items)))
    order = np.random.default_rng(seed).random(len(items)).argsort(kind="stable")
    return [items[index] for index in sorted(order[:count])]


def _by_seed(data: Path, named: list[ClipInfo], seed: int) -> _Division:
    people = sorted({row.person for row in named})
    if len(people) != 1:
        raise TalkheadError(
            f"seed-90-10 needs exactly one person, but the people chosen from {data} are"
            f" {in_short(people)}: choose one of them"
        )
    # If the manifest holds out clips, weights trained on it have seen the others.
    held_out = [row for row in named if row.split != TRAIN]
    drawn = draw_share(held_out or named, seed, max(1, round(TEST_SHARE * len(named))))
    what = f"{len(drawn)} of {len(named)} clips of {people[0]}, drawn with seed {seed}"
    if held_out and len(held_out) < len(named):
        what += f" from the {len(held_out)} outside the split {TRAIN}"
    return _Division(drawn, frozenset(people), what, _in_train(drawn))


def _by_speaker(rows: list[ClipInfo], named: list[ClipInfo], seed: int) -> _Division:
    trained = frozenset(row.person for row in rows if row.split == TRAIN)
    if any(row.person not in trained for row in rows):
        held_out = [row for row in named if row.person not in trained]
        return _Division(held_out, trained, f"people with no clip in the split {TRAIN}")
    people = sorted({row.person for row in named})
    drawn = frozenset(draw_share(people, seed))
    chosen = [row for row in named if row.person in drawn]
    what = f"{len(drawn)} of {len(people)} people, drawn with seed {seed}"
    return _Division(chosen, trained - drawn, what, _in_train(chosen))


def _by_mead(named: list[ClipInfo]) -> _Division:
    groups = defaultdict[tuple[str, str, int, str], dict[str, int]](dict)
    for row in named:
        number = re.search(r"\d+$", Path(row.video).stem)
        if row.emotion and number:
            groups[_group(row)][row.clip] = int(number[0])
    tests = {
        clip
        for (*_, emotion), numbers in groups.items()
        for clip, number in numbers.items()
        if number in official_test(emotion, numbers.values())
    }
    if any(row.split == "test" for row in named):
        tests -= {row.clip for row in named if row.split == TRAIN}
    chosen = [row for row in named if row.clip in tests]
    seen = frozenset(row.person for row in named if row.split == TRAIN and row.clip not in tests)
    what = "the official test set of MEAD (clips with an emotion and a number)"
    return _Division(chosen, seen, what, _in_train(chosen))


def _group(row: ClipInfo) -> tuple[str, str, int, str]:
    return row.person, row.view, row.level, row.emotion


def _in_train(rows: list[ClipInfo]) -> str:
    """Return a warning about clips that the manifest assigns to training."""
    count = sum(row.split == TRAIN for row in rows)
    if not count:
        return ""
    return (
        f"{count} of these clips are in the split {TRAIN}: weights trained on this folder may have"
        " seen them"
    )

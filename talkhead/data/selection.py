"""Select prepared clips for training, lip-sync training or scoring."""

from __future__ import annotations

from pathlib import Path

from talkhead.data.clips import ClipInfo, read_manifest

USABLE_SOUNDS = ("good", "weak", "offset", "unknown")
"""Values of `ClipInfo.sound` with which a clip can train or score lip motion."""
MIN_AGREEMENT = 0.25
MIN_SCORED_FRAMES = 50


def split_rows(
    folder: Path, *, with_stills: bool = False
) -> tuple[list[ClipInfo], list[ClipInfo], list[ClipInfo]]:
    """Split the manifest into training clips, held-out people, and held-out clips of known people.

    Args:
        folder: written by `talkhead prepare`.
        with_stills: whether single pictures count.

    Raises:
        talkhead.errors.TalkheadError: the folder was not prepared.
    """
    rows = [row for row in read_manifest(folder) if with_stills or not row.is_still]
    train = [row for row in rows if row.split == "train"]
    seen = {row.person for row in train}
    held_out = [row for row in rows if row.split != "train"]
    return (
        train,
        [row for row in held_out if row.person not in seen],
        [row for row in held_out if row.person in seen],
    )


def teaches_lips(row: ClipInfo, min_agreement: float) -> bool:
    """Return whether a clip's sound matches its lips: listed as good, or measured to agree."""
    if not row.has_sound or row.sound not in USABLE_SOUNDS:
        return False
    return row.sound == "good" or row.agreement >= min_agreement


def is_scored(row: ClipInfo) -> bool:
    """Return whether a clip is long enough to score and its sound belongs to the picture."""
    return row.has_sound and row.sound in USABLE_SOUNDS and row.num_frames >= MIN_SCORED_FRAMES

"""Plan an evaluation, and prepare the folder of its report.

A killed run resumes from its report folder: `run.json` records the request, `videos` holds the
generated videos in one folder per system, and `parts` the scores of every clip. `scores.json`,
`scores.csv` and `report.html` are written only when all clips are done.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from talkhead.atomic import replacing
from talkhead.data.clips import ClipInfo
from talkhead.errors import TalkheadError
from talkhead.evaluation.scores import Stage
from talkhead.weights.listing import measure_file
from talkhead.weights.systems import TENSORS_NAME, network_folders

PREPARED, PREPARED_FROM = "prepared", "prepared-from.txt"
RUN, PARTS, VIDEOS, TIMINGS = "run.json", "parts", "videos", "timings.json"
SCORES, TABLE, PAGE = "scores.json", "scores.csv", "report.html"


@dataclass(frozen=True)
class Plan:
    """Definition of an evaluation.

    Attributes:
        report: folder of the report.
        data: prepared folder.
        stage: the evaluated stage.
        rows: the clips.
        seen_people: people in the training clips.
        facts: everything that affects the scores, as printed in scores.json.
        is_aligned: whether heads move as in the real clips.
        with_closures: whether to score lip closures for p, b and m if the text is known.
        with_identity: whether to score identity.
        predicted: folders of videos from other tools, by system name.
        families: networks that score the frames, see `talkhead.evaluation.networks`.
        max_s: how much of each clip is scored, seconds; None for all.
    """

    report: Path
    data: Path
    stage: Stage
    rows: tuple[ClipInfo, ...]
    seen_people: frozenset[str]
    facts: Mapping[str, Any]
    is_aligned: bool = True
    with_closures: bool = True
    with_identity: bool = False
    predicted: Mapping[str, Path] = field(default_factory=dict)
    families: tuple[str, ...] = ()
    max_s: float | None = None

    def video(self, system: str, clip: str) -> Path:
        """Return the path of a system's video of a clip."""
        return self.report / VIDEOS / folder_name(system) / f"{clip}.mp4"

    def landmarks(self, system: str, clip: str) -> Path:
        """Return the path of the faces in a system's video, if they are not the clip's own."""
        return self.report / VIDEOS / folder_name(system) / f"{clip}.npy"

    def part(self, clip: str) -> Path:
        """Return the path of a clip's scores."""
        return self.report / PARTS / f"{clip}.json"


def folder_name(system: str) -> str:
    """Return a folder name for a system."""
    return re.sub(r"[^\w.-]+", "_", system).strip("_.") or "_"


def check_report(report: Path, *, overwrite: bool) -> None:
    """Refuse a folder that cannot take a report.

    Raises:
        TalkheadError: it is not a folder, or has scores that must not be overwritten.
    """
    if report.exists() and not report.is_dir():
        raise TalkheadError(f"{report} is not a folder: choose another one for the scores")
    if _is_finished(report) and not overwrite:
        raise TalkheadError(f"{report / SCORES} exists: allow overwriting to replace it")


def digests_of(folder: Path) -> dict[str, str]:
    """Return the digests of a pipeline's models by name, or of a single model, named "."."""
    parts = {".": folder} if (folder / TENSORS_NAME).is_file() else network_folders(folder)
    return {
        name: measure_file(where, TENSORS_NAME).sha256
        for name, where in parts.items()
        if (where / TENSORS_NAME).is_file()
    }


def begin_preparation(report: Path, source: str, *, overwrite: bool) -> None:
    """Prepare a report's folder of clips for a source, or accept the one made from it earlier.

    Raises:
        TalkheadError: its clips are from another source and must not be overwritten.
    """
    record = report / PREPARED_FROM
    if (report / PREPARED).exists():
        # Names that are not UTF-8 survive a round trip with surrogate escapes.
        if record.is_file() and (
            record.read_text(encoding="utf-8", errors="surrogateescape") == source
        ):
            return
        if not overwrite or not record.is_file():
            raise TalkheadError(
                f"{report / PREPARED} holds clips from another source: choose another folder"
                + (", or allow overwriting" if record.is_file() else "")
            )
        shutil.rmtree(report / PREPARED)
    (report / PREPARED).mkdir(parents=True)
    with replacing(record) as partial:
        partial.write_text(source, encoding="utf-8", errors="surrogateescape")


def begin(plan: Plan, *, overwrite: bool) -> None:
    """Prepare the report's folder, or accept that of an earlier run of the same evaluation.

    Raises:
        TalkheadError: the folder has scores or an unfinished evaluation that must not be
            overwritten, or it is not writable.
    """
    report = plan.report
    check_report(report, overwrite=overwrite)
    asked = json.dumps({"facts": plan.facts, "clips": [row.clip for row in plan.rows]}, indent=1)
    record = report / RUN
    if not record.is_file() and (report / PARTS).exists():
        raise TalkheadError(f"{report} has parts but no {RUN}: choose another folder")
    if record.is_file():
        is_this = record.read_text(encoding="utf-8") == asked
        if not is_this and not overwrite:
            raise TalkheadError(
                f"{report} holds another, unfinished evaluation: choose another folder, or allow"
                " overwriting"
            )
        if overwrite:
            for name in (PARTS, VIDEOS):
                shutil.rmtree(report / name, ignore_errors=True)
            for name in (TIMINGS, SCORES, TABLE, PAGE):
                (report / name).unlink(missing_ok=True)
    for half in report.glob(f"{VIDEOS}/*/.talkhead-*"):  # left by a killed run
        half.unlink()
    report.mkdir(parents=True, exist_ok=True)
    with replacing(record) as partial:
        partial.write_text(asked, encoding="utf-8")


def _is_finished(report: Path) -> bool:
    """Return whether the scores are complete; a run with broken clips may be tried again."""
    path = report / SCORES
    if not path.exists():
        return False
    try:
        in_progress = (report / RUN).is_file()
        return not (in_progress and json.loads(path.read_text(encoding="utf-8")).get("broken"))
    except (OSError, ValueError, AttributeError):  # not a file of ours
        return True

"""Run an evaluation: generate videos, score them clip by clip, and collect a report.

A killed run resumes from its report folder: `run.json` records the request, `videos` holds the
generated videos in one folder per system, and `parts` the scores of every clip. `scores.json`,
`scores.csv` and `report.html` are written only when all clips are done.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from talkhead.atomic import replacing
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.audio2landmarks.loudness import frame_levels
from talkhead.data.clips import ClipInfo
from talkhead.errors import TalkheadError
from talkhead.evaluation.articulation import closing_moments
from talkhead.evaluation.frames import Reference, VideoScorer, detect_points, score_together
from talkhead.evaluation.landmark_metrics import (
    inner_opening,
    landmark_values,
    life_values,
    quiet_frames,
)
from talkhead.evaluation.networks import FeatureNetwork, find_networks
from talkhead.evaluation.perceptual import NetworkScorer
from talkhead.evaluation.predicted import find_predicted, predicted_frames, video_of
from talkhead.evaluation.scores import REAL, TRUTH, ClipScores, Stage
from talkhead.evaluation.systems import (
    Case,
    FrameMaker,
    Pose,
    hear,
    landmark_baselines,
    spoken_points,
)
from talkhead.geometry.crop import CROP_SIDE_PX
from talkhead.media.video import VideoWriter
from talkhead.media.workers import worker_pool
from talkhead.networks import TENSORS_NAME
from talkhead.weights.listing import measure_file, parts_of

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

PREPARED, PREPARED_FROM = "prepared", "prepared-from.txt"
RUN, PARTS, VIDEOS, TIMINGS = "run.json", "parts", "videos", "timings.json"
SCORES, TABLE, PAGE = "scores.json", "scores.csv", "report.html"
CRF = 18


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
        predicted: folders of videos from other tools, by system name.
        families: networks that score the frames, see `talkhead.evaluation.networks`.
    """

    report: Path
    data: Path
    stage: Stage
    rows: tuple[ClipInfo, ...]
    seen_people: frozenset[str]
    facts: Mapping[str, Any]
    is_aligned: bool = True
    with_closures: bool = True
    predicted: Mapping[str, Path] = field(default_factory=dict)
    families: tuple[str, ...] = ()

    def video(self, system: str, clip: str) -> Path:
        """Return the path of a system's video of a clip."""
        return self.report / VIDEOS / folder_name(system) / f"{clip}.mp4"

    def part(self, clip: str) -> Path:
        """Return the path of a clip's scores."""
        return self.report / PARTS / f"{clip}.json"


@dataclass(frozen=True)
class Broken:
    """A clip that could not be scored for a system."""

    clip: str
    system: str
    why: str


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
    parts = {".": folder} if (folder / TENSORS_NAME).is_file() else parts_of(folder)
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
        if record.is_file() and _text_of(record) == source:
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


def _text_of(record: Path) -> str:
    """What was written, names that are no UTF-8 included."""
    return record.read_text(encoding="utf-8", errors="surrogateescape")


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
        return not (report / RUN).is_file() or not _read_json(path, {}).get("broken")
    except (ValueError, AttributeError):  # not a file of ours
        return True


def make_videos(
    plan: Plan, makers: Mapping[str, FrameMaker], broken: list[Broken]
) -> Iterator[None]:
    """Write all missing videos, for every clip and system.

    Yields:
        After each video.

    Raises:
        TalkheadError: two systems would share a folder.
    """
    names: dict[str, str] = {}
    for system in (*plan.predicted, *makers):
        other = names.setdefault(folder_name(system), system)
        if other != system:
            raise TalkheadError(f"the names {other} and {system} are too similar: rename one")
    times = _read_json(plan.report / TIMINGS, {})
    for row in plan.rows:
        waiting = {name: plan.video(name, row.clip) for name in makers}
        case: Case | None = None
        for name, path in waiting.items():
            if not path.is_file():
                try:
                    case = case or Case.read(plan.data, row)
                    started = time.perf_counter()
                    _write_video(case, makers[name], path)
                    spent = times.setdefault(name, {"frames": 0, "seconds": 0.0})
                    spent["frames"] += len(case.clip)
                    spent["seconds"] += round(time.perf_counter() - started, 3)
                except TalkheadError as error:
                    broken.append(Broken(row.clip, name, str(error)))
            yield
        if case is not None:
            with replacing(plan.report / TIMINGS) as partial:
                partial.write_text(json.dumps(times, indent=1), encoding="utf-8")


def _write_video(case: Case, make: FrameMaker, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        sound = case.sound if len(case.waveform) else None
        size = (CROP_SIDE_PX, CROP_SIDE_PX)
        frames = make(case)
        stack.callback(getattr(frames, "close", lambda: None))
        writer = VideoWriter(path, size=size, fps=case.fps, sound=sound, crf=CRF)
        with writer:
            for window in frames:
                writer.write(window)


def score_videos(
    plan: Plan, systems: Iterable[str], *, num_workers: int, broken: Iterable[Broken] = ()
) -> Iterator[None]:
    """Score the videos of every clip that has no scores yet, several clips in parallel.

    Args:
        plan: the evaluation.
        systems: system names; `make_videos` made the videos of those not in `predicted`.
        num_workers: number of processes.
        broken: clips whose videos could not be made; recorded in the clip's part.

    Yields:
        After each clip.
    """
    failed: dict[str, dict[str, str]] = {}
    for one in broken:
        failed.setdefault(one.clip, {})[one.system] = one.why
    names, waiting = list(systems), []
    for row in plan.rows:
        if _is_whole(plan.part(row.clip)):
            yield
        else:
            waiting.append(row)
    if not waiting:
        return
    with worker_pool(min(num_workers, len(waiting))) as pool:
        futures = [
            pool.submit(_score_clip, plan, row, names, failed.get(row.clip, {})) for row in waiting
        ]
        for future in as_completed(futures):
            future.result()
            yield


def _score_clip(
    plan: Plan, row: ClipInfo, systems: Sequence[str], failed: Mapping[str, str]
) -> None:
    """Score all videos of a clip and write its part; runs in a worker."""
    import torch

    torch.set_num_threads(1)
    scores: list[ClipScores] = []
    broken = [Broken(row.clip, system, why) for system, why in failed.items()]
    try:
        case = Case.read(plan.data, row)
        reference = _reference(plan, case)
    except TalkheadError as error:
        broken = [Broken(row.clip, system, str(error)) for system in systems]
        _write_part(plan, row, scores, broken)
        return
    videos: dict[str, Iterator[Pixels]] = {}
    scorers: dict[str, VideoScorer] = {}
    for system in systems:
        if system not in failed:
            videos[system] = _frames_of(plan, case, system)
            look = NetworkScorer(
                _networks(plan.families), case.waveform, reference.fps, with_real=system == REAL
            )
            scorers[system] = VideoScorer([look])
    results = score_together(videos, scorers, reference, is_aligned=plan.is_aligned)
    for system in videos:
        found = results[system]
        if isinstance(found, TalkheadError):
            broken.append(Broken(row.clip, system, str(found)))
            continue
        scores.append(
            ClipScores(
                row.clip,
                row.person,
                row.person in plan.seen_people,
                system,
                len(found.points),
                int(np.isnan(found.points[:, 0, 0]).sum()),
                found.values,
                found.opening,
                found.arrays,
            )
        )
    _write_part(plan, row, scores, broken)


@functools.cache
def _networks(families: tuple[str, ...]) -> dict[str, FeatureNetwork]:
    """Load the networks once per worker."""
    loaded, _ = find_networks()
    return {name: loaded[name].network for name in families}


def _frames_of(plan: Plan, case: Case, system: str) -> Iterator[Pixels]:
    """Yield a system's crops of a clip; errors surface on the first one."""
    yield from predicted_frames(case, *_source(plan, case, system))


def _source(plan: Plan, case: Case, system: str) -> tuple[Path, float | None]:
    """Return a system's video of a clip, and where the clip starts in it: see `video_of`."""
    if folder := plan.predicted.get(system):
        return video_of(case, find_predicted(folder))
    return plan.video(system, case.info.clip), None


def show_video(plan: Plan, row: ClipInfo, system: str) -> Path:
    """Return a system's video of a clip's crops, cut from another tool's video if needed."""
    path = plan.video(system, row.clip)
    if system in plan.predicted and not path.is_file():
        case = Case.read(plan.data, row)
        _write_video(case, lambda case: predicted_frames(case, *_source(plan, case, system)), path)
    return path


def _reference(plan: Plan, case: Case) -> Reference:
    class Frames:
        """The real frames, from the start on each iteration."""

        def __iter__(self) -> Iterator[Pixels]:
            return case.frames()

    moments, quiet = _what_is_said(plan, case)
    points = np.stack(list(detect_points(Frames())))
    return Reference(Frames(), points, float(case.fps), quiet, moments)


def _what_is_said(
    plan: Plan, case: Case
) -> tuple[list[tuple[float, float]], npt.NDArray[np.bool_]]:
    """Return when the lips should close, and which frames are silent."""
    count = len(case.clip)
    if not len(case.waveform):
        return [], np.zeros(count, np.bool_)
    moments = []
    if case.info.transcript and plan.with_closures:
        moments = closing_moments(case.waveform, case.info.transcript)
    return moments, quiet_frames(frame_levels(case.waveform, count, float(case.fps)))


def score_landmarks(
    plan: Plan, generators: Mapping[str, LandmarkGenerator], *, pose: Pose = "true", seed: int = 0
) -> Iterator[None]:
    """Score landmarks predicted from audio, and baselines, for clips without scores.

    Yields:
        After each clip.
    """
    for row in plan.rows:
        if not _is_whole(plan.part(row.clip)):
            scores: list[ClipScores] = []
            broken: list[Broken] = []
            try:
                scores = _landmark_scores(plan, row, generators, pose, seed)
            except TalkheadError as error:
                broken = [Broken(row.clip, name, str(error)) for name in generators]
            _write_part(plan, row, scores, broken)
        yield


def _landmark_scores(
    plan: Plan, row: ClipInfo, generators: Mapping[str, LandmarkGenerator], pose: Pose, seed: int
) -> list[ClipScores]:
    case = Case.read(plan.data, row, frames=False)
    moments, quiet = _what_is_said(plan, case)
    rate = float(case.fps)
    made: dict[str, Floats] = {}
    life: dict[str, dict[str, float]] = {}
    for name, generator in generators.items():
        speech = hear(case, generator)
        made[name] = spoken_points(case, generator, speech, pose, seed)
        # Idle motion cannot be measured in the clip's own pose; use the natural pose for it.
        own = made[name]
        if pose == "true":
            own = spoken_points(case, generator, speech, "natural", seed)
        life[name] = life_values(own, rate)
    made |= dict(landmark_baselines(case, generator, speech))
    life[TRUTH] = life_values(case.clip.landmarks, rate)
    return [
        ClipScores(
            row.clip,
            row.person,
            row.person in plan.seen_people,
            name,
            len(points),
            0,
            landmark_values(
                points,
                case.clip.landmarks,
                moments,
                quiet,
                rate,
                is_aligned=plan.is_aligned,
            )
            | life.get(name, {}),
            inner_opening(points),
        )
        for name, points in made.items()
    ]


def _write_part(plan: Plan, row: ClipInfo, scores: list[ClipScores], broken: list[Broken]) -> None:
    """Write a clip's arrays, then its scores, which mark the part as complete."""
    path = plan.part(row.clip)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Floats] = {}
    for index, one in enumerate(scores):
        arrays[f"{index}.opening"] = one.opening
        arrays |= {f"{index}.{name}": values for name, values in one.arrays.items()}
    with replacing(path.with_suffix(".npz")) as partial, partial.open("wb") as file:
        np.savez(file, **cast("dict[str, Any]", arrays))
    content = {
        "scores": [one.row() for one in scores],
        "broken": [{"system": one.system, "why": one.why} for one in broken],
    }
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")


def _is_whole(part: Path) -> bool:
    """Return whether a clip's scores exist and nothing in it broke."""
    content = _read_json(part, None)
    return content is not None and not content["broken"]


def read_parts(plan: Plan) -> tuple[list[ClipScores], list[Broken]]:
    """Read the scores of all clips, in the order of the plan."""
    scores: list[ClipScores] = []
    broken: list[Broken] = []
    for row in plan.rows:
        path = plan.part(row.clip)
        content = _read_json(path, {"scores": [], "broken": []})
        broken += [Broken(row.clip, one["system"], one["why"]) for one in content["broken"]]
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


def _read_json(path: Path, otherwise: Any) -> Any:
    if not path.is_file():
        return otherwise
    return json.loads(path.read_text(encoding="utf-8"))

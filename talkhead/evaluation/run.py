"""One evaluation: videos are made, scored clip by clip, and gathered into a report.

A report folder holds what a killed run goes on from: `run.json` says what was asked for, `videos`
holds what was made, a folder for every system, and `parts` the scores of every clip. Only when all
clips are done come `scores.json`, `scores.csv` and `report.html`.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from talkhead.checkpoint import TENSORS_NAME
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
from talkhead.evaluation.perception import NetworkScorer
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
from talkhead.face.crop import CROP_SIDE_PX
from talkhead.media.audio import write_waveform
from talkhead.media.files import replacing
from talkhead.media.loudness import frame_levels
from talkhead.media.video import VideoWriter
from talkhead.media.workers import worker_pool
from talkhead.models.landmarks import LandmarkGenerator
from talkhead.weights.listing import measure_file, parts_of

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

PREPARED, PREPARED_FROM = "prepared", "prepared-from.txt"
RUN, PARTS, VIDEOS, TIMINGS = "run.json", "parts", "videos", "timings.json"
SCORES, TABLE, PAGE = "scores.json", "scores.csv", "report.html"
CRF = 18


@dataclass(frozen=True)
class Plan:
    """What is evaluated.

    Attributes:
        report: folder of the report.
        data: prepared folder.
        stage: what is made of what.
        rows: the clips.
        seen_people: who was in training.
        facts: everything that scores depend on, as scores.json prints it.
        is_aligned: heads move as in the real clips.
        with_closures: lips that close for p, b and m are scored where the text is known.
        predicted: folders of videos that others made, by the names of these systems.
        families: networks that look at the frames, see `talkhead.evaluation.networks`.
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
        """Return where the video of a system and clip lies."""
        return self.report / VIDEOS / folder_name(system) / f"{clip}.mp4"

    def part(self, clip: str) -> Path:
        """Return where the scores of a clip lie."""
        return self.report / PARTS / f"{clip}.json"


@dataclass(frozen=True)
class Broken:
    """A clip that a system could not do."""

    clip: str
    system: str
    why: str


def folder_name(system: str) -> str:
    """Return a system's name as that of a folder."""
    return re.sub(r"[^\w.-]+", "_", system).strip("_.") or "_"


def check_report(report: Path, *, overwrite: bool) -> None:
    """Refuse a folder that could not take a report.

    Raises:
        TalkheadError: it is no folder, or has scores that must not be overwritten.
    """
    if report.exists() and not report.is_dir():
        raise TalkheadError(f"{report} is not a folder: choose another one for the scores")
    if _is_finished(report) and not overwrite:
        raise TalkheadError(f"{report / SCORES} exists: give --overwrite to replace it")


def digests_of(folder: Path) -> dict[str, str]:
    """Return the digest of every model of a pipeline by its name, or of a model alone, as "."."""
    parts = {".": folder} if (folder / TENSORS_NAME).is_file() else parts_of(folder)
    return {
        name: measure_file(where, TENSORS_NAME).sha256
        for name, where in parts.items()
        if (where / TENSORS_NAME).is_file()
    }


def begin_preparation(report: Path, source: str, *, overwrite: bool) -> None:
    """Make a report's folder of clips ready for a source, or recognise it as made from that.

    Raises:
        TalkheadError: its clips are another source's and must not be overwritten.
    """
    record = report / PREPARED_FROM
    if (report / PREPARED).exists():
        if record.is_file() and _text_of(record) == source:
            return
        if not overwrite or not record.is_file():
            raise TalkheadError(
                f"{report / PREPARED} holds clips of something else: choose another folder"
                + (", or give --overwrite" if record.is_file() else "")
            )
        shutil.rmtree(report / PREPARED)
    (report / PREPARED).mkdir(parents=True)
    with replacing(record) as partial:
        partial.write_text(source, encoding="utf-8", errors="surrogateescape")


def _text_of(record: Path) -> str:
    """What was written, names that are no UTF-8 included."""
    return record.read_text(encoding="utf-8", errors="surrogateescape")


def begin(plan: Plan, *, overwrite: bool) -> None:
    """Make the report's folder ready, or recognise it as that of this very evaluation.

    Raises:
        TalkheadError: the folder has scores already, or those of another evaluation half done, and
            must not be overwritten; or it cannot be written to.
    """
    report = plan.report
    check_report(report, overwrite=overwrite)
    asked = json.dumps({"facts": plan.facts, "clips": [row.clip for row in plan.rows]}, indent=1)
    record = report / RUN
    if not record.is_file() and (report / PARTS).exists():
        raise TalkheadError(f"{report} has parts without {RUN}: choose another folder")
    if record.is_file():
        is_this = record.read_text(encoding="utf-8") == asked
        if not is_this and not overwrite:
            raise TalkheadError(
                f"{report} holds another evaluation, half done: choose another folder, or give"
                " --overwrite"
            )
        if overwrite:
            for name in (PARTS, VIDEOS):
                shutil.rmtree(report / name, ignore_errors=True)
            for name in (TIMINGS, SCORES, TABLE, PAGE):
                (report / name).unlink(missing_ok=True)
    for half in report.glob(f"{VIDEOS}/*/.talkhead-*"):  # of a run that was killed
        half.unlink()
    report.mkdir(parents=True, exist_ok=True)
    with replacing(record) as partial:
        partial.write_text(asked, encoding="utf-8")


def _is_finished(report: Path) -> bool:
    """Whether scores are there, and not of a run in which clips broke that may be tried again."""
    path = report / SCORES
    if not path.exists():
        return False
    try:
        return not (report / RUN).is_file() or not _read_json(path, {}).get("broken")
    except (ValueError, AttributeError):  # somebody else's file
        return True


def make_videos(
    plan: Plan, makers: Mapping[str, FrameMaker], broken: list[Broken]
) -> Iterator[None]:
    """Write the video of every clip and system that is not there yet.

    Yields:
        After each of them.

    Raises:
        TalkheadError: two systems would share a folder.
    """
    names: dict[str, str] = {}
    for system in (*plan.predicted, *makers):
        other = names.setdefault(folder_name(system), system)
        if other != system:
            raise TalkheadError(f"{other} and {system} are too much alike as names: rename one")
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
        sound = None
        if len(case.waveform):
            sound = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "sound.wav"
            write_waveform(sound, case.waveform)
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
    """Score the videos of every clip that has no scores yet, several clips at a time.

    Args:
        plan: what is evaluated.
        systems: names; of those that are not `predicted` there are videos by `make_videos`.
        num_workers: processes.
        broken: what could not be made: it is told in the clip's part.

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
    """Load networks once in every worker."""
    loaded, _ = find_networks()
    return {name: loaded[name].network for name in families}


def _frames_of(plan: Plan, case: Case, system: str) -> Iterator[Pixels]:
    """Yield a system's crops of a clip; whatever is wrong with them shows at the first."""
    yield from predicted_frames(case, *_source(plan, case, system))


def _source(plan: Plan, case: Case, system: str) -> tuple[Path, float | None]:
    """Return a system's video of a clip, and when the clip begins in it: see `video_of`."""
    if folder := plan.predicted.get(system):
        return video_of(case, find_predicted(folder))
    return plan.video(system, case.info.clip), None


def show_video(plan: Plan, row: ClipInfo, system: str) -> Path:
    """Return a video of a clip's crops by a system, cut out of somebody else's where it is that."""
    path = plan.video(system, row.clip)
    if system in plan.predicted and not path.is_file():
        case = Case.read(plan.data, row)
        _write_video(case, lambda case: predicted_frames(case, *_source(plan, case, system)), path)
    return path


def _reference(plan: Plan, case: Case) -> Reference:
    class Frames:
        """The real frames, from the start at every time."""

        def __iter__(self) -> Iterator[Pixels]:
            return case.frames()

    moments, quiet = _what_is_said(plan, case)
    points = np.stack(list(detect_points(Frames())))
    return Reference(Frames(), points, float(case.fps), quiet, moments)


def _what_is_said(
    plan: Plan, case: Case
) -> tuple[list[tuple[float, float]], npt.NDArray[np.bool_]]:
    """Return when lips have to close, and which frames lie in silence."""
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
    """Score landmarks made from the sound of every clip that has no scores yet, and baselines.

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
        # A head in the clip's pose does not live by itself: that of every day is looked at.
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
    """Write a clip's arrays, then its scores: a part is whole when these are there."""
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
    """Whether a clip's scores are there, and nothing was broken that may be whole now."""
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

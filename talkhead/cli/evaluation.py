"""The steps of `talkhead eval` between parsing options and printing tables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from talkhead.cli.device import DeviceName, DtypeName
from talkhead.cli.output import with_progress
from talkhead.cli.prepare import Layout

if TYPE_CHECKING:
    import torch

    from talkhead.evaluation.plan import Plan
    from talkhead.evaluation.protocols import ChosenClips
    from talkhead.evaluation.records import BrokenClip
    from talkhead.evaluation.scores import Stage

ProtocolName = Literal["split", "speaker", "seed-90-10", "mead-official"]
PoseName = Literal["true", "natural", "still"]
PartName = Literal["mask-noise", "class", "landmarks"]


@dataclass(frozen=True)
class EvaluationRequest:
    """Parsed options of `talkhead eval`."""

    data: Path
    output: Path
    stage: Stage
    predicted: dict[str, Path]
    weights: dict[str, Path]
    steps: list[int]
    start_steps: list[int]
    """For mask-noise; empty for its default."""
    without: list[PartName]
    """For mask-noise: parts that further systems lack."""
    emotion: str | None
    """For mask-noise."""
    pose: PoseName
    protocol: ProtocolName
    splits: tuple[str, ...]
    people: tuple[str, ...]
    limit: int | None
    layout: Layout
    seed: int
    device: DeviceName
    dtype: DtypeName
    jobs: int
    overwrite: bool
    quiet: bool


def run_evaluation(request: EvaluationRequest) -> dict[str, Any]:
    """Prepare clips, generate, score and write the report; return the content of scores.json."""
    from talkhead.device import resolve_device, resolve_dtype
    from talkhead.evaluation.aggregate import aggregate_scores, write_report
    from talkhead.evaluation.plan import begin
    from talkhead.evaluation.predicted import find_predicted

    for videos in request.predicted.values():
        find_predicted(videos)  # before anything slow
    device = resolve_device(request.device)
    dtype = resolve_dtype(request.dtype, device)
    prepared, unread = _prepared(request)
    chosen = _choose(prepared, request)
    networks, not_computed = _networks(request)
    settings = {"device": str(device), "dtype": str(dtype).removeprefix("torch.")}
    plan = _plan(request, prepared, chosen, networks, not_computed, settings)
    begin(plan, overwrite=request.overwrite)
    if request.stage == "landmarks":
        _score_landmarks(plan, request, device)
    else:
        _score_videos(plan, request, device, dtype)
    result = aggregate_scores(plan, not_computed, unread, device)
    write_report(plan, result)
    return result


def _prepared(request: EvaluationRequest) -> tuple[Path, list[BrokenClip]]:
    """Return the folder of clips, after preparing DATA if it holds videos, and what failed."""
    import dataclasses

    from talkhead.data.clips import MANIFEST
    from talkhead.data.layouts import list_sources
    from talkhead.data.prepare import prepare
    from talkhead.evaluation.plan import PREPARED, begin_preparation
    from talkhead.evaluation.records import BrokenClip

    unread: list[BrokenClip] = []
    data, folder = request.data, request.output / PREPARED
    if (data / MANIFEST).is_file():
        return data, unread
    listing = list_sources(data, request.layout)
    sources = list(listing.sources)
    if all(source.split == "train" for source in sources):  # the data has no splits
        sources = [dataclasses.replace(source, split="test") for source in sources]
    begin_preparation(
        request.output, f"{data.resolve()} as {listing.layout}", overwrite=request.overwrite
    )
    for note in listing.notes:
        typer.echo(f"{data}: {note}", err=True)
    outcomes = prepare(sources, folder, num_workers=min(request.jobs, len(sources)))
    with contextlib.closing(outcomes):
        total = len(sources)
        for outcome in with_progress(outcomes, label="videos", total=total, quiet=request.quiet):
            if outcome.broken:
                unread.append(BrokenClip(outcome.source.name, "preparation", outcome.dropped))
            elif outcome.dropped:
                typer.echo(f"{outcome.source.name} left out: {outcome.dropped}", err=True)
    return folder, sorted(unread, key=lambda one: one.clip)


def _choose(prepared: Path, request: EvaluationRequest) -> ChosenClips:
    from talkhead.data.selection import is_scored
    from talkhead.evaluation.protocols import choose_rows

    needs_sound = request.stage in ("landmarks", "both", "silence")
    return choose_rows(
        prepared,
        protocol=request.protocol,
        splits=request.splits,
        people=request.people,
        seed=request.seed,
        limit=request.limit,
        unseen_only=request.stage in ("render", "dub", "silence"),
        fits=is_scored if needs_sound else lambda row: not row.is_still,
        needs="sound that fits" if needs_sound else "frames",
    )


def _networks(request: EvaluationRequest) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Return the available networks with their digests, and why other measures are not computed."""
    from talkhead.evaluation.articulation import has_espeak
    from talkhead.evaluation.frames import has_opencv
    from talkhead.evaluation.identity import reason_for_absence
    from talkhead.evaluation.networks import list_networks
    from talkhead.evaluation.perceptual import FAMILY_MEASURES

    not_computed: dict[str, str] = {}
    if request.stage == "dub":  # no true frames: only the mouths are scored
        networks, missing = list_networks()
        if "fid" in missing:
            not_computed["mouth_kid"] = missing["fid"]
        return {name: networks[name] for name in ("fid",) if name in networks}, not_computed
    if request.stage == "silence":
        return {}, not_computed
    if not has_espeak():
        not_computed["closure_recall"] = "not computed: install talkhead[train] for espeak-ng"
    if request.stage == "landmarks":
        return {}, not_computed
    networks, missing = list_networks()
    for family, why in missing.items():
        not_computed |= dict.fromkeys(FAMILY_MEASURES[family], why)
    if reason := reason_for_absence():
        not_computed["identity_distance"] = reason
    if not has_opencv():
        not_computed["pixel_mse"] = "not computed: OpenCV cannot be loaded (no libGL.so.1?)"
    return networks, not_computed


def _plan(
    request: EvaluationRequest,
    prepared: Path,
    chosen: ChosenClips,
    networks: Mapping[str, dict[str, str]],
    not_computed: Mapping[str, str],
    settings: Mapping[str, str],
) -> Plan:
    """Collect everything that the scores depend on; `settings` are the device and the dtype."""
    from talkhead import __version__
    from talkhead.evaluation.plan import Plan, digests_of
    from talkhead.evaluation.silence import MAX_CLIP_S
    from talkhead.evaluation.videos import CRF

    protocol = _common_facts(request, prepared, chosen)
    if request.stage != "landmarks":
        digests = {name: digest for family in networks.values() for name, digest in family.items()}
        protocol |= {"codec": f"H.264, crf {CRF}, yuv420p", "networks": digests}
    protocol |= _predicted_facts(request) if request.predicted else _stage_facts(request, settings)
    return Plan(
        report=request.output,
        data=prepared,
        stage=request.stage,
        rows=chosen.rows,
        seen_people=chosen.seen_people,
        facts={
            "talkhead": __version__,
            "stage": request.stage,
            "protocol": protocol,
            "weights": {name: digests_of(folder) for name, folder in request.weights.items()},
        },
        is_aligned=request.pose == "true",
        with_closures="closure_recall" not in not_computed,
        with_identity=request.stage in ("render", "both")
        and "identity_distance" not in not_computed,
        predicted=request.predicted,
        families=tuple(networks),
        max_s=MAX_CLIP_S if request.stage == "silence" else None,
    )


def _common_facts(
    request: EvaluationRequest, prepared: Path, chosen: ChosenClips
) -> dict[str, Any]:
    """Return the facts about the clips, and about how they are measured."""
    from talkhead.tracking.face_detector import FaceDetector

    with FaceDetector() as detector:
        detector_name = detector.name
    side_px = _side_px(request, prepared, chosen)
    return {
        "name": request.protocol,
        "clips": chosen.note,
        "data": str(request.data),
        "people": " ".join(request.people) or "all",
        "seed": request.seed,
        "identity": "the frame whose face is nearest to rest",
        "fps": ", ".join(sorted({row.fps for row in chosen.rows})),
        "crop": f"{side_px} px around the face, as talkhead prepare cuts it",
        "detector": detector_name,
        "left_out": _left_out(prepared, chosen),
        "landmarks_aligned": "none" if request.pose == "true" else "centroid",
    }


def _side_px(request: EvaluationRequest, prepared: Path, chosen: ChosenClips) -> int:
    """Return the side of the frames: the crop's if there are none, else that of the first clip."""
    from talkhead.errors import TalkheadError
    from talkhead.evaluation.systems import EvalClip
    from talkhead.geometry.crop import CROP_SIDE_PX

    if request.stage != "landmarks":
        for row in chosen.rows:
            with contextlib.suppress(TalkheadError):  # a damaged clip is reported when it is scored
                return EvalClip.read(prepared, row).side_px
    return CROP_SIDE_PX


def _predicted_facts(request: EvaluationRequest) -> dict[str, str]:
    """Return the facts about the videos of other tools."""
    from talkhead.evaluation.predicted import find_predicted

    facts = {}
    for name, folder in request.predicted.items():
        videos = find_predicted(folder).values()
        size = sum(path.stat().st_size for path in videos)
        facts[f"videos of {name}"] = f"{folder}: {len(videos)} videos, {size:,} bytes"
    return facts


def _stage_facts(request: EvaluationRequest, settings: Mapping[str, str]) -> dict[str, Any]:
    """Return the facts about how landmarks and frames are generated."""
    from talkhead.evaluation.silence import silence_facts
    from talkhead.landmarks2video.mask_noise.renderer import START_STEP
    from talkhead.weights.systems import system_of

    pose: str = request.pose
    if request.stage == "render":
        pose = "true, with all landmarks"
    elif request.stage == "dub":
        pose = "true, with the mouth of the frame half the clip later"
    elif request.stage == "silence":
        pose = "true, with the mouth that the sound gives"
    facts: dict[str, Any] = {"pose": pose, "device": settings["device"]}
    if request.stage == "silence":
        facts |= silence_facts()
    if request.stage != "landmarks":
        facts |= {"steps": request.steps, "dtype": settings["dtype"]}
        if any(system_of(folder).has_start_step for folder in request.weights.values()):
            facts["start_steps"] = request.start_steps or [START_STEP]
            if request.without:
                facts["without"] = request.without
        if request.stage == "both":
            facts["emotion"] = request.emotion or "the pipeline's own"
    return facts


def _left_out(prepared: Path, chosen: ChosenClips) -> str:
    """Describe how many frames of the clips' videos are in no clip because they show no face."""
    from talkhead.data.prepare import read_face_counts

    counts = read_face_counts(prepared)
    videos = {row.clip.partition(".")[0] for row in chosen.rows} & counts.keys()
    if not videos:
        return "unknown: prepared by an earlier version"
    frames, without = (sum(counts[video][k] for video in videos) for k in (0, 1))
    return f"{without} of the videos' {frames} frames, which show no face"


def _score_landmarks(plan: Plan, request: EvaluationRequest, device: torch.device) -> None:
    from talkhead.evaluation.clip_scoring import score_landmarks
    from talkhead.pipelines.loading import load_landmark_generator

    generators = {
        name: load_landmark_generator(folder, device) for name, folder in request.weights.items()
    }
    scored = score_landmarks(plan, generators, pose=request.pose, seed=request.seed)
    _finish(scored, "clips", len(plan.rows), quiet=request.quiet)


def _score_videos(
    plan: Plan, request: EvaluationRequest, device: torch.device, dtype: torch.dtype
) -> None:
    from talkhead.evaluation.clip_scoring import score_videos
    from talkhead.evaluation.dubbed import dub_generators
    from talkhead.evaluation.silence import silence_generators
    from talkhead.evaluation.systems import frame_generators
    from talkhead.evaluation.videos import generate_videos
    from talkhead.pipelines import FacePipeline

    pipelines = {
        name: FacePipeline.from_folder(folder, device=device, dtype=dtype)
        for name, folder in request.weights.items()
    }
    if request.stage == "dub":
        generators = dub_generators(pipelines, steps=request.steps, seed=request.seed)
    elif request.stage == "silence":
        generators = silence_generators(pipelines, steps=request.steps, seed=request.seed)
    else:
        generators = frame_generators(
            pipelines,
            from_sound=request.stage == "both",
            pose=request.pose,
            steps=request.steps,
            start_steps=request.start_steps or [None],
            emotion=request.emotion,
            without=request.without,
            seed=request.seed,
        )
    broken: list[BrokenClip] = []
    generated = generate_videos(plan, generators, broken)
    _finish(generated, "videos", len(plan.rows) * len(generators), quiet=request.quiet)
    systems = [*request.predicted, *generators]
    scored = score_videos(plan, systems, num_workers=request.jobs, broken=broken)
    _finish(scored, "clips", len(plan.rows), quiet=request.quiet)


def _finish(steps: Iterator[None], label: str, total: int, *, quiet: bool) -> None:
    for _ in with_progress(steps, label=label, total=total, quiet=quiet):
        pass

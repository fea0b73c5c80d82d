"""Score the clips of an evaluation: frames in parallel workers, or landmarks alone."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed

import numpy as np
import numpy.typing as npt
import torch

from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.audio2landmarks.loudness import frame_levels
from talkhead.data.clips import ClipInfo
from talkhead.errors import TalkheadError
from talkhead.evaluation.articulation import closing_moments
from talkhead.evaluation.dubbed import score_mouths
from talkhead.evaluation.frames import Reference, detect_points, to_crop_size
from talkhead.evaluation.identity import IdentityScorer
from talkhead.evaluation.landmark_metrics import (
    idle_motion_values,
    inner_opening,
    landmark_values,
    quiet_frames,
)
from talkhead.evaluation.mouth_scorer import MouthScorer
from talkhead.evaluation.networks import FeatureNetwork, find_networks
from talkhead.evaluation.perceptual import NetworkScorer
from talkhead.evaluation.plan import Plan
from talkhead.evaluation.records import BrokenClip, is_complete, write_part
from talkhead.evaluation.scores import REAL, TRUTH, Arrays, ClipScores
from talkhead.evaluation.silence import score_moving_mouths
from talkhead.evaluation.systems import (
    EvalClip,
    Pose,
    landmark_baselines,
    predict_speech_of,
    spoken_points,
)
from talkhead.evaluation.video_scorer import FrameScores, VideoScorer, score_together
from talkhead.evaluation.videos import read_crops, read_landmarks
from talkhead.media.workers import worker_pool

Floats = npt.NDArray[np.float32]


def score_videos(
    plan: Plan, systems: Iterable[str], *, num_workers: int, broken: Iterable[BrokenClip] = ()
) -> Iterator[None]:
    """Score the videos of every clip that has no scores yet, several clips in parallel.

    Args:
        plan: the evaluation.
        systems: system names; `generate_videos` wrote the videos of those not in `predicted`.
        num_workers: number of processes.
        broken: clips whose videos could not be generated; recorded in the clip's part.

    Yields:
        After each clip.
    """
    failed: dict[str, dict[str, str]] = {}
    for one in broken:
        failed.setdefault(one.clip, {})[one.system] = one.why
    names, waiting = list(systems), []
    for row in plan.rows:
        if is_complete(plan.part(row.clip)):
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
    torch.set_num_threads(1)
    scores: list[ClipScores] = []
    broken = [BrokenClip(row.clip, system, why) for system, why in failed.items()]
    try:
        eval_clip = EvalClip.read(plan.data, row, max_s=plan.max_s)
        generated = [system for system in systems if system not in failed]
        results = _results(plan, eval_clip, generated)
    except TalkheadError as error:
        broken = [BrokenClip(row.clip, system, str(error)) for system in systems]
        write_part(plan.part(row.clip), scores, broken)
        return
    for system in generated:
        result = results[system]
        if isinstance(result, TalkheadError):
            broken.append(BrokenClip(row.clip, system, str(result)))
        else:
            one = _clip_scores(plan, row, system, result.points, result.values, result.arrays)
            scores.append(one)
    write_part(plan.part(row.clip), scores, broken)


def _results(
    plan: Plan, eval_clip: EvalClip, systems: Sequence[str]
) -> dict[str, FrameScores | TalkheadError]:
    """Return the scores of a clip's videos by system, or the error that prevented them."""
    videos = {system: read_crops(plan, eval_clip, system) for system in systems}
    if plan.stage == "silence":
        return score_moving_mouths(eval_clip, videos)
    if plan.stage == "dub":
        return score_mouths(
            eval_clip,
            videos,
            {system: read_landmarks(plan, eval_clip, system) for system in systems},
        )
    return score_together(
        videos,
        {system: _scorer(plan, eval_clip, system) for system in systems},
        _reference(plan, eval_clip),
        is_aligned=plan.is_aligned,
    )


def _scorer(plan: Plan, eval_clip: EvalClip, system: str) -> VideoScorer:
    networks = _networks(plan.families)
    rate, with_real = float(eval_clip.fps), system == REAL
    network_scorer = NetworkScorer(networks, eval_clip.waveform, rate, with_real=with_real)
    landmarks = read_landmarks(plan, eval_clip, system)
    shares_landmarks = landmarks is None and system not in plan.predicted
    mouth_scorer = MouthScorer(shares_landmarks=shares_landmarks, with_real=with_real)
    if shares_landmarks:
        landmarks = eval_clip.clip.landmarks
    identity_scorer = IdentityScorer() if plan.with_identity else None
    return VideoScorer([network_scorer], mouth_scorer, identity_scorer, landmarks)


@functools.cache
def _networks(families: tuple[str, ...]) -> dict[str, FeatureNetwork]:
    """Load the networks once per worker."""
    loaded, _ = find_networks()
    return {name: loaded[name].network for name in families}


def _clip_scores(
    plan: Plan,
    row: ClipInfo,
    system: str,
    points: Floats,
    values: dict[str, float],
    arrays: Arrays | None = None,
) -> ClipScores:
    """Return a system's scores; its landmarks are nan in frames without a face."""
    return ClipScores(
        clip=row.clip,
        person=row.person,
        is_seen_person=row.person in plan.seen_people,
        system=system,
        frames=len(points),
        frames_without_face=int(np.isnan(points[:, 0, 0]).sum()),
        values=values,
        opening=inner_opening(points),
        arrays=arrays or {},
    )


def _reference(plan: Plan, eval_clip: EvalClip) -> Reference:
    moments, quiet = _speech_timing(plan, eval_clip)
    points = np.stack(list(detect_points(map(to_crop_size, eval_clip.frames()))))
    landmarks = eval_clip.clip.landmarks
    return Reference(eval_clip.frames, points, landmarks, float(eval_clip.fps), quiet, moments)


def _speech_timing(
    plan: Plan, eval_clip: EvalClip
) -> tuple[list[tuple[float, float]], npt.NDArray[np.bool_]]:
    """Return when the lips should close, and which frames are silent."""
    waveform, count = eval_clip.waveform, len(eval_clip.clip)
    if not len(waveform):
        return [], np.zeros(count, np.bool_)
    moments = []
    if eval_clip.info.transcript and plan.with_closures:
        moments = closing_moments(waveform, eval_clip.info.transcript)
    return moments, quiet_frames(frame_levels(waveform, count, float(eval_clip.fps)))


def score_landmarks(
    plan: Plan, generators: Mapping[str, LandmarkGenerator], *, pose: Pose = "true", seed: int = 0
) -> Iterator[None]:
    """Score landmarks predicted from audio, and baselines, for clips without scores.

    Yields:
        After each clip.
    """
    for row in plan.rows:
        if not is_complete(plan.part(row.clip)):
            scores: list[ClipScores] = []
            broken: list[BrokenClip] = []
            try:
                scores = _landmark_scores(plan, row, generators, pose, seed)
            except TalkheadError as error:
                broken = [BrokenClip(row.clip, name, str(error)) for name in generators]
            write_part(plan.part(row.clip), scores, broken)
        yield


def _landmark_scores(
    plan: Plan, row: ClipInfo, generators: Mapping[str, LandmarkGenerator], pose: Pose, seed: int
) -> list[ClipScores]:
    eval_clip = EvalClip.read(plan.data, row, frames=False)
    moments, quiet = _speech_timing(plan, eval_clip)
    rate, truth = float(eval_clip.fps), eval_clip.clip.landmarks
    generated: dict[str, Floats] = {}
    idle_motion: dict[str, dict[str, float]] = {}
    for name, generator in generators.items():
        speech = predict_speech_of(eval_clip, generator)
        generated[name] = points = spoken_points(eval_clip, generator, speech, pose, seed)
        if pose == "true":  # idle motion cannot be measured in the clip's own pose
            points = spoken_points(eval_clip, generator, speech, "natural", seed)
        idle_motion[name] = idle_motion_values(points, rate)
    generated |= dict(landmark_baselines(eval_clip, generator, speech))
    idle_motion[TRUTH] = idle_motion_values(truth, rate)
    scores = []
    for name, points in generated.items():
        values = landmark_values(points, truth, moments, quiet, rate, is_aligned=plan.is_aligned)
        scores.append(_clip_scores(plan, row, name, points, values | idle_motion.get(name, {})))
    return scores

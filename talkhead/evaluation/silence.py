"""The silence test: clips dubbed with sounds that have no voice, and whether the mouth keeps still.

The mouth is measured in the rendered frames, as they are after the codec, not in the landmarks from
which they were rendered. The real video and the clip's own speech are the upper end: a system that
never moves a mouth would pass, too. The identity frame repeated is the lower end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

import numpy as np
import numpy.typing as npt

from talkhead.audio2landmarks.audio2motion import predict_motion
from talkhead.audio2landmarks.loudness import frame_levels
from talkhead.errors import TalkheadError
from talkhead.evaluation.dubbed import edited_frames, track_of
from talkhead.evaluation.frames import detect_points, to_crop_size
from talkhead.evaluation.landmark_metrics import (
    MOVING_OPENING,
    MOVING_S,
    inner_opening,
    moving_frames,
    quiet_frames,
)
from talkhead.evaluation.nonspeech import LOUD_ROOM_DB, MUSIC_DB, QUIET_ROOM_DB, SOUNDS
from talkhead.evaluation.scores import IDENTITY, REAL
from talkhead.evaluation.systems import (
    EvalClip,
    FrameGenerator,
    fitted,
    label_of,
    repeated_identity,
)
from talkhead.evaluation.video_scorer import FrameScores
from talkhead.geometry.motion_basis import proportions
from talkhead.landmarks2video.dubbing import Dubber
from talkhead.landmarks2video.sampling import SamplerOptions
from talkhead.media.audio_clip import AudioClip
from talkhead.media.rates import SAMPLE_RATE_HZ
from talkhead.pipelines import FacePipeline

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

OWN_SPEECH = "own speech"
MAX_CLIP_S = 8.0
"""Only this much of a clip is dubbed: there are several sounds, and none of them changes."""


def silence_facts() -> dict[str, str]:
    """Return how the stage measures, for scores.json."""
    return {
        "seconds": f"at most {MAX_CLIP_S:g} of each clip",
        "sounds": f"pink noise at {QUIET_ROOM_DB:g} and {LOUD_ROOM_DB:g} dBFS, music at"
        f" {MUSIC_DB:g} dBFS",
        "moving_mouth": f"its opening changes by more than {MOVING_OPENING:g} eye distances within"
        f" {MOVING_S:g} s; counted where the real person speaks",
    }


def silence_generators(
    pipelines: Mapping[str, FacePipeline], *, steps: Iterable[int] = (1,), seed: int = 0
) -> dict[str, FrameGenerator]:
    """Return the frame generators of the stage by name: one per weights and sound, then references.

    Args:
        pipelines: by display name.
        steps: numbers of sampling steps; each makes a system of its own.
        seed: random seed of the sounds and the frames.

    Raises:
        WeightsError: a pipeline cannot dub.
    """
    steps = list(steps)
    generators: dict[str, FrameGenerator] = {}
    for name, pipeline in pipelines.items():
        pipeline.system.check_request(dubs=True)
        for count in steps:
            label, sampler = label_of(name, count, steps), SamplerOptions(count, seed=seed)
            for kind in (*SOUNDS, OWN_SPEECH):
                sound = partial(_sound_of, kind=kind, seed=seed)
                frames = partial(
                    _dubbed_frames, pipeline=pipeline, sampler=sampler, kind=kind, seed=seed
                )
                generators[f"{label}, {kind}"] = FrameGenerator(frames, sound=sound)
    return generators | {IDENTITY: repeated_identity(), REAL: FrameGenerator(EvalClip.frames)}


def _sound_of(eval_clip: EvalClip, kind: str, seed: int) -> Floats:
    """Return a sound as long as the clip's own, (N,)."""
    if kind == OWN_SPEECH:
        return eval_clip.waveform
    return SOUNDS[kind](len(eval_clip.waveform), seed)


def _dubbed_frames(
    eval_clip: EvalClip, pipeline: FacePipeline, sampler: SamplerOptions, kind: str, seed: int
) -> Iterator[Pixels]:
    generator, track = pipeline.landmark_generator, track_of(eval_clip)
    dubber = Dubber(track, generator.motion_basis())
    audio = AudioClip.from_samples(_sound_of(eval_clip, kind, seed), SAMPLE_RATE_HZ)
    speech = predict_motion(generator, audio, proportions(dubber.rest(0)), eval_clip.fps)
    motion = fitted(speech.coefficients, len(eval_clip.clip))
    faces = (dubber.speak(frame, coefficients) for frame, coefficients in enumerate(motion))
    return edited_frames(pipeline, eval_clip, track, faces, sampler)


def score_moving_mouths(
    eval_clip: EvalClip, videos: Mapping[str, Iterator[Pixels]]
) -> dict[str, FrameScores | TalkheadError]:
    """Return in how many frames the mouth moves, for several videos of one clip.

    Counted are the frames in which the person in the real clip speaks, whatever the video's own
    sound: there, a mouth that should be still is the hardest to keep so.

    Args:
        eval_clip: the clip.
        videos: by system, uint8 crops, (T, S, S, 3) in all.

    Returns:
        The scores by system, or the error that prevented them.
    """
    count, rate_hz = len(eval_clip.clip), float(eval_clip.fps)
    speaks = ~quiet_frames(frame_levels(eval_clip.waveform, count, rate_hz))
    results: dict[str, FrameScores | TalkheadError] = {}
    for system, video in videos.items():
        try:
            points = np.stack(list(detect_points(map(to_crop_size, video))))
        except TalkheadError as error:
            results[system] = error
            continue
        if len(points) != count:
            results[system] = TalkheadError(
                f"it has {len(points)} frames, but the real clip has {count}"
            )
            continue
        values = {}
        opening = inner_opening(points)
        counted = speaks & ~np.isnan(opening)
        if counted.any():
            moving = moving_frames(opening, rate_hz)[counted]
            values["moving_share"] = 100 * float(moving.mean())
        results[system] = FrameScores(values, points, {})
    return results

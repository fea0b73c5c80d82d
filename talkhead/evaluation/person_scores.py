"""Score a pipeline on the held-out end of a person's videos, from a picture of the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from talkhead.audio2landmarks.loudness import frame_levels
from talkhead.data.one_person import PersonVideo
from talkhead.errors import TalkheadError
from talkhead.evaluation.frames import Reference, detect_points, in_batches, to_crop_size
from talkhead.evaluation.landmark_metrics import MIN_COMMON_FRAMES, quiet_frames
from talkhead.evaluation.mouth_scorer import MouthScorer
from talkhead.evaluation.systems import EvalClip, identity_frame
from talkhead.evaluation.video_scorer import VideoScorer, score_together
from talkhead.geometry.windows import split_windows
from talkhead.landmarks2video.renderer import render_frames
from talkhead.landmarks2video.sampling import SamplerOptions
from talkhead.pipelines import FacePipeline

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

MEASURES = (
    "inside_psnr",
    "lips_psnr",
    "lower_psnr",
    "inside_sharpness",
    "lips_sharpness",
    "opening_r",
)
"""Keys of `talkhead.evaluation.scores`, from the clip's true landmarks."""


@dataclass(frozen=True)
class HeldOutClip:
    """Frames to reproduce, and the picture to make them from.

    Attributes:
        real: the frames.
        picture: uint8 (S, S, 3), a frame of the same video that may be learned from.
        mesh: (478, 3), the face in it, crop pixels.
        reference: what does not depend on the system.
    """

    real: EvalClip
    picture: Pixels
    mesh: Floats
    reference: Reference


def held_out_clips(videos: Sequence[PersonVideo]) -> list[HeldOutClip]:
    """Return what to score; parts that are too short for it are left out."""
    found = []
    for video in videos:
        long = [part for part in video.held_out if len(part) >= MIN_COMMON_FRAMES]
        if not long or not video.train:
            continue
        picture, mesh = identity_of(video)
        for part in long:
            real = EvalClip(part.info, part.clip)
            found.append(HeldOutClip(real, picture, mesh, _reference(real)))
    return found


def identity_of(video: PersonVideo) -> tuple[Pixels, Floats]:
    """Return the training frame whose face is nearest to rest, (S, S, 3), and its mesh."""
    landmarks = np.concatenate([part.clip.landmarks for part in video.train])
    nearest = identity_frame(landmarks)
    mesh = np.asarray(landmarks[nearest])
    for part in video.train:
        if nearest < len(part):
            break
        nearest -= len(part)
    return part.clip.frame(nearest, None).copy(), mesh


def _reference(real: EvalClip) -> Reference:
    points = np.stack(list(detect_points(map(to_crop_size, real.frames()))))
    count, rate = len(real.clip), float(real.fps)
    quiet = np.zeros(count, np.bool_)
    if len(real.waveform):
        quiet = quiet_frames(frame_levels(real.waveform, count, rate))
    return Reference(real.frames, points, real.clip.landmarks, rate, quiet, [])


def score_person(
    pipeline: FacePipeline, clips: Sequence[HeldOutClip], seed: int = 0
) -> Iterator[dict[str, float]]:
    """Score a pipeline's frames from the true landmarks.

    Yields:
        After each clip, the means so far over frames, by the keys of `MEASURES`.

    Raises:
        TalkheadError: the frames cannot be scored.
    """
    sums: dict[str, float] = {}
    weights: dict[str, int] = {}
    for clip in clips:
        scorer = VideoScorer(
            mouth_scorer=MouthScorer(shares_landmarks=True), landmarks=clip.reference.landmarks
        )
        frames = in_batches(chain.from_iterable(_render(pipeline, clip, seed)))
        result = score_together({"": frames}, {"": scorer}, clip.reference)[""]
        if isinstance(result, TalkheadError):
            raise result
        for name in MEASURES:
            if name in result.values:
                count = len(clip.real.clip)
                sums[name] = sums.get(name, 0.0) + count * result.values[name]
                weights[name] = weights.get(name, 0) + count
        yield {name: round(total / weights[name], 4) for name, total in sums.items()}


def _render(pipeline: FacePipeline, clip: HeldOutClip, seed: int) -> Iterator[Pixels]:
    square = clip.real.square
    return render_frames(
        pipeline.renderer(),
        clip.picture,
        square.to_picture(clip.mesh),
        map(square.to_picture, split_windows(clip.reference.landmarks)),
        SamplerOptions(seed=seed),
    )

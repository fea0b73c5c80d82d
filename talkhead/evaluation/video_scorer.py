"""Score the videos of a clip, and the faces in them, against the real frames.

The same detector runs on all of them, in order, as on a video.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from talkhead.errors import TalkheadError
from talkhead.evaluation.frames import (
    MAX_LENGTH_DIFFERENCE,
    NO_FRAMES,
    RealBatch,
    Reference,
    detect_face,
    frame_sharpness,
    frames_with_face,
    real_batches,
    to_crop_size,
)
from talkhead.evaluation.identity import IdentityScorer
from talkhead.evaluation.image_metrics import (
    flicker,
    frame_errors,
    psnr_of,
    squared_errors,
    ssim_map,
    temporal_mse,
    whole_windows,
)
from talkhead.evaluation.landmark_metrics import idle_motion_values, landmark_values
from talkhead.evaluation.mouth_scorer import MouthScorer
from talkhead.evaluation.scores import Arrays
from talkhead.tracking.face_detector import FaceDetector

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

MIN_MOUTH_PIXELS = 40
"""Mouths with fewer visible pixels inside are not scored there."""


class PairScorer(Protocol):
    """An additional scorer of frame pairs: a network of `talkhead.evaluation.networks`."""

    def add(self, generated: Pixels, real: Pixels) -> None:
        """Score a batch of frames, (T, 256, 256, 3) each."""

    def finish(self) -> tuple[dict[str, float], dict[str, Floats]]:
        """Return the clip's values, and features for measures of whole sets."""


@dataclass(frozen=True)
class FrameScores:
    """Scores of one video, from a `VideoScorer`.

    Attributes:
        values: scores by the measure's key.
        points: float32 (T, 478, 3), the detected faces, nan in frames without one.
        arrays: features for measures of whole sets, by network name, and patches of mouths.
    """

    values: dict[str, float]
    points: Floats
    arrays: Arrays


class VideoScorer:
    """Scores one video, batch by batch.

    Args:
        pair_scorers: networks that score the frames as well.
        mouth_scorer: scores the frames at the size at which they are stored.
        identity_scorer: compares the faces with the real ones.
        landmarks: the faces that the frames were rendered from, (T, 478, 3), crop pixels; None if
            they are not known, so that detected ones locate the mouths.
    """

    def __init__(
        self,
        pair_scorers: Sequence[PairScorer] = (),
        mouth_scorer: MouthScorer | None = None,
        identity_scorer: IdentityScorer | None = None,
        landmarks: Floats | None = None,
    ) -> None:
        self._pair_scorers, self._mouth_scorer = pair_scorers, mouth_scorer
        self._identity_scorer = identity_scorer
        self._landmarks = landmarks
        self._rows: dict[str, list[float]] = {}
        self._faces: list[Floats] = []
        self._num_generated = self._num_real = 0
        self._before = NO_FRAMES
        self._detector = FaceDetector(video=True)

    def close(self) -> None:
        """Free the face detector."""
        self._detector.close()

    def add(self, generated: Pixels, real: RealBatch | None) -> None:
        """Score a batch, (T, S, S, 3); `real` is None for frames beyond the real clip's end."""
        self._num_generated += len(generated)
        if real is None:
            return
        self._num_real += len(real.frames)
        count = min(len(generated), len(real.frames))
        if not count:
            return
        stored, generated = generated[:count], to_crop_size(generated[:count])
        for frame in generated:
            self._faces.append(detect_face(self._detector, frame))
        faces = slice(len(self._faces) - count, len(self._faces))
        points = np.stack(self._faces[faces])
        if self._mouth_scorer is not None:
            own = points if self._landmarks is None else self._landmarks[faces]
            self._mouth_scorer.add(stored, own, real.mouths)
        if self._identity_scorer is not None:
            self._identity_scorer.add(generated, points, real.frames, real.points)
        self._score_frames(generated, real)
        self._score_changes(generated, real)
        self._before = generated[-1:]
        for pair_scorer in self._pair_scorers:
            pair_scorer.add(generated, real.frames[:count])

    def _record(self, name: str, values: Iterable[float]) -> None:
        self._rows.setdefault(name, []).extend(values)

    def _score_frames(self, generated: Pixels, real: RealBatch) -> None:
        count = len(generated)
        errors = squared_errors(generated, real.frames[:count])
        whole = frame_errors(errors)
        self._record("mse", whole)
        self._record("psnr", psnr_of(whole))
        windows = whole_windows(generated.shape[1:3])
        for index in range(count):
            similar = ssim_map(generated[index], real.frames[index])
            self._record("ssim", [similar[windows].mean()])
            if real.face[index].any():
                self._record("lower_ssim", [similar[real.face[index]].mean()])
        for name, mask in (("lower", real.face), ("lips", real.lips), ("mouth", real.inside)):
            enough = MIN_MOUTH_PIXELS if name == "mouth" else 1
            there = mask[:count].sum((1, 2)) >= enough
            self._record(f"{name}_psnr", psnr_of(frame_errors(errors, mask[:count])[there]))
        for name, mask in (("lips", real.lips), ("face", real.face)):
            own = [
                frame_sharpness(generated, mask, index)
                for index in frames_with_face(real.face[:count])
            ]
            self._record(f"{name}_sharpness", own)
            self._record(f"real_{name}_sharpness", real.sharpness[name][: len(own)])

    def _score_changes(self, generated: Pixels, real: RealBatch) -> None:
        ours = np.concatenate([self._before, generated])
        theirs = np.concatenate([real.before, real.frames[: len(generated)]])
        face = np.concatenate([real.face_before, real.face[: len(generated)]])
        for index in range(1, len(ours)):
            two = slice(index - 1, index + 1)
            if face[two].all(0).any():
                self._record("flicker", [flicker(ours[two], theirs[two], face[two])])
            if real.flow is not None:
                moved = temporal_mse(ours[two], real.flow[index - 1 : index])
                self._record("pixel_mse", [moved])

    def finish(self, reference: Reference, *, is_aligned: bool = True) -> FrameScores:
        """Return the scores.

        Args:
            reference: the real clip.
            is_aligned: whether the head poses match; if not, landmarks are centred first.

        Raises:
            TalkheadError: the lengths differ by more than two frames.
        """
        if abs(self._num_generated - self._num_real) > MAX_LENGTH_DIFFERENCE or not self._faces:
            raise TalkheadError(
                f"it has {self._num_generated} frames, but the real clip has {self._num_real}"
            )
        points = np.stack(self._faces)
        values = {name: float(np.mean(row)) for name, row in self._rows.items() if row}
        for name in ("lips_sharpness", "face_sharpness"):
            real, own = values.pop(f"real_{name}", 0.0), values.pop(name, None)
            if own is not None and real > 0:
                values[name] = own / real
        if same := self._rows["mse"].count(0.0):
            values["identical_frames"] = float(same)
        count = len(points)
        values |= landmark_values(
            points,
            reference.points[:count],
            reference.moments_s,
            reference.quiet[:count],
            reference.rate_hz,
            is_aligned=is_aligned,
        )
        values |= idle_motion_values(points, reference.rate_hz)
        arrays: dict[str, npt.NDArray[Any]] = {}
        if self._mouth_scorer is not None:
            more, patches = self._mouth_scorer.finish()
            values |= more
            arrays |= patches
        if self._identity_scorer is not None:
            values |= self._identity_scorer.finish()
        for pair_scorer in self._pair_scorers:
            more, features = pair_scorer.finish()
            values |= more
            arrays |= features
        return FrameScores(values, points, arrays)


def score_together(
    videos: Mapping[str, Iterator[Pixels]],
    scorers: Mapping[str, VideoScorer],
    reference: Reference,
    *,
    is_aligned: bool = True,
) -> dict[str, FrameScores | TalkheadError]:
    """Score several videos of one clip together, so that the real clip is measured only once.

    Args:
        videos: by system, uint8 crops, (T, S, S, 3) in all, in the reference's batches.
        scorers: by system; this function closes them.
        reference: the real clip.
        is_aligned: see `VideoScorer.finish`.

    Returns:
        The scores by system, or the error that prevented them.
    """
    results: dict[str, FrameScores | TalkheadError] = {}

    def add(system: str, real: RealBatch | None) -> bool:
        """Score a video's next batch; return whether there was one."""
        if system in results:
            return False
        try:
            generated = next(videos[system], NO_FRAMES)
            scorers[system].add(generated, real)
        except TalkheadError as error:
            results[system] = error
            return False
        return len(generated) > 0

    try:
        for real in real_batches(reference):
            for system in videos:
                add(system, real)
        for system in videos:
            while add(system, None):
                pass
            if system not in results:
                try:
                    results[system] = scorers[system].finish(reference, is_aligned=is_aligned)
                except TalkheadError as error:
                    results[system] = error
    finally:
        for scorer in scorers.values():
            scorer.close()
    return results

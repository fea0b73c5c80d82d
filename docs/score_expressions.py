"""Tell the emotions of rendered faces apart with a classifier of real faces, and print JSON.

Usage: python docs/score_expressions.py DATA WEIGHTS PICTURE... --exclude PERSON...

DATA is a prepared folder whose list names emotions. A linear classifier learns them from the faces
in it, except those of the excluded people, and is tried on the real clips of these. Every picture
is rendered with every emotion: with expression and class, with the expression alone, and with the
class alone, and the faces detected in the frames are classified: what they differ by from the same
picture without an emotion, added to a neutral face. Chance is one in eight. The class alone changes
less than emotions of real faces do, so there the direction of the change is classified; chance is
one in seven. The last figure is how much the class changes the pixels around the mouth.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from talkhead.audio2landmarks.expressions import express
from talkhead.data.clips import read_clip, read_manifest
from talkhead.emotions import EMOTIONS, NEUTRAL, one_hot
from talkhead.geometry.mesh import OUTER_LIPS
from talkhead.geometry.motion_basis import close_lips, opening_direction
from talkhead.geometry.pose import fit_head_pose
from talkhead.landmarks2video.renderer import render_frames
from talkhead.landmarks2video.sampling import SamplerOptions
from talkhead.media.picture import read_picture
from talkhead.pipelines import MaskNoisePipeline
from talkhead.tracking.face_detector import FaceDetector
from talkhead.weights import resolve_weights

Floats = npt.NDArray[np.float32]
OPENINGS = np.array([0.0, 0.04], np.float32)
"""Lips of the rendered frames, eye distances."""
NUM_COMPONENTS, SHRINKAGE = 24, 0.1


DIRECTION = "class alone, by direction"


class Classifier:
    """Linear discriminant of upright faces, (N, 478, 3); every clip counts as much."""

    def __init__(self, faces: list[Floats], labels: list[int]) -> None:
        means = np.stack([own.mean(0).reshape(-1) for own in faces])
        self._mean = means.mean(0)
        self._axes = np.linalg.svd(means - self._mean, full_matrices=False)[2][:NUM_COMPONENTS]
        reduced = [self._reduce(own) for own in faces]
        known = sorted(set(labels))
        centres = {
            k: np.mean([r.mean(0) for r, n in zip(reduced, labels, strict=True) if n == k], 0)
            for k in known
        }
        within = np.mean(
            [np.cov((r - centres[n]).T, bias=True) for r, n in zip(reduced, labels, strict=True)], 0
        )
        spread = np.trace(within) / len(within)
        within = (1 - SHRINKAGE) * within + SHRINKAGE * spread * np.eye(len(within))
        self._known = np.array(known)
        self._centres = np.stack([centres[k] for k in known])
        self._precision = np.linalg.inv(within)

    def _reduce(self, faces: Floats) -> Any:
        return (faces.reshape(len(faces), -1) - self._mean) @ self._axes.T

    def direction(self, change: Floats) -> int:
        """Return the emotion whose change of a neutral face a change, (478, 3), is most alike."""
        centre = self._centres[self._known == EMOTIONS.index(NEUTRAL)][0]
        root = np.linalg.cholesky(self._precision)
        moved = (change.reshape(-1) @ self._axes.T) @ root
        others = self._known != EMOTIONS.index(NEUTRAL)
        goals = (self._centres[others] - centre) @ root
        alike = goals @ moved / np.linalg.norm(goals, axis=1)
        return int(self._known[others][alike.argmax()])

    def __call__(self, faces: Floats) -> int:
        """Return the emotion of a clip."""
        away = self._reduce(faces).mean(0) - self._centres
        return int(self._known[np.einsum("ki,ij,kj->k", away, self._precision, away).argmin()])


def upright(meshes: Floats) -> Floats:
    """Return faces in eye distances, facing the camera."""
    return fit_head_pose(meshes).to_face(meshes)


def mouth_box(mesh: Floats) -> tuple[slice, slice]:
    """Return the rows and columns around the lips of a picture."""
    lips = mesh[OUTER_LIPS, :2]
    low, high = lips.min(0), lips.max(0)
    margin = (high - low).max() / 2
    (left, top), (right, bottom) = np.maximum(low - margin, 0), high + margin
    return slice(round(top), round(bottom)), slice(round(left), round(right))


def speaking(pipeline: MaskNoisePipeline, mesh: Floats) -> Floats:
    """Return meshes of a picture's face that opens its lips."""
    pose = fit_head_pose(mesh)
    basis = pipeline.landmark_generator.motion_basis()
    direction = opening_direction(basis.components)
    shares = OPENINGS[:, None] * direction / (direction @ direction)
    still = np.zeros(len(OPENINGS), np.float32)
    shut = close_lips(pose.to_face(mesh), basis)
    return pose.to_picture(shut + basis.deform(shares.astype(np.float32), still))


def main() -> int:
    """Print the confusions and accuracies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights")
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--exclude", nargs="+", default=[])
    given = parser.parse_args()
    rows = [row for row in read_manifest(given.data) if row.emotion and row.num_frames > 1]
    faces = [upright(read_clip(given.data, row.clip, frames=False).landmarks) for row in rows]
    labels = [EMOTIONS.index(row.emotion) for row in rows]
    taught = [k for k, row in enumerate(rows) if row.person not in given.exclude]
    classify = Classifier([faces[k] for k in taught], [labels[k] for k in taught])
    confusions = {
        name: np.zeros((len(EMOTIONS), len(EMOTIONS)), int)
        for name in ("real clips", "expression and class", "expression alone", DIRECTION)
    }
    for k, row in enumerate(rows):
        if row.person in given.exclude:
            confusions["real clips"][labels[k], classify(faces[k])] += 1
    neutral = np.mean([faces[k].mean(0) for k in taught if rows[k].emotion == NEUTRAL], 0)
    pipeline = MaskNoisePipeline.from_folder(
        resolve_weights(given.weights), device=torch.device("cpu"), dtype=torch.float32
    )
    changes = []
    with FaceDetector() as detector:
        for path in given.pictures:
            picture = read_picture(path).pixels
            mesh = detector.detect(picture)[0]
            talking = speaking(pipeline, mesh)

            def frames(
                shape: str,
                emotion: str,
                picture: Any = picture,
                mesh: Any = mesh,
                talking: Any = talking,
            ) -> npt.NDArray[np.uint8]:
                offset = pipeline.expressions.shape_of(one_hot(shape))
                made = render_frames(
                    pipeline.renderer(),
                    picture,
                    mesh,
                    express(iter([talking]), offset),
                    SamplerOptions(),
                    emotion=one_hot(emotion),
                )
                return np.concatenate(list(made))

            without = frames("", "")
            usual = upright(np.stack([detector.detect(frame)[0] for frame in without])).mean(0)
            for number, name in enumerate(EMOTIONS):
                ways = {
                    "expression and class": (name, name),
                    "expression alone": (name, ""),
                    DIRECTION: ("", name),
                }
                for way, asked in ways.items():
                    made = frames(*asked)
                    seen = np.stack([detector.detect(frame)[0] for frame in made])
                    change = upright(seen) - usual
                    if way != DIRECTION:
                        confusions[way][number, classify(change + neutral)] += 1
                    elif name != NEUTRAL:
                        around = mouth_box(mesh)
                        moved = np.abs(made.astype(int) - without)[:, around[0], around[1]]
                        changes.append(float(moved.max(-1).mean()))
                        confusions[way][number, classify.direction(change.mean(0))] += 1
    result = {
        "emotions": list(EMOTIONS),
        "people": sorted({rows[k].person for k in taught}),
        "accuracy": {
            name: float(matrix.trace() / max(matrix.sum(), 1))
            for name, matrix in confusions.items()
        },
        "told_apart": {
            name: float(np.count_nonzero(matrix.any(0))) for name, matrix in confusions.items()
        },
        "confusions": {name: matrix.tolist() for name, matrix in confusions.items()},
        "class_change": float(np.mean(changes)),
    }
    json.dump(result, sys.stdout, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())

from importlib.util import find_spec
from pathlib import Path

import dlib
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageFilter

from talkhead.evaluation.identity import STRIDE, IdentityScorer, embedding, reason_for_absence
from talkhead.tracking.face_detector import FaceDetector
from tests.pages import TOP

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

SAME_PERSON = 0.6


@pytest.fixture(scope="module")
def face() -> tuple[Pixels, Floats]:
    """The example portrait and its mesh."""
    picture = np.asarray(Image.open(TOP / "examples" / "face.png").convert("RGB"))
    return picture, mesh_of(picture)


def mesh_of(picture: Pixels) -> Floats:
    with FaceDetector() as detector:
        return detector.detect(picture)[0]


def repeated(face: tuple[Pixels, Floats], count: int) -> tuple[Pixels, Floats]:
    return np.stack([face[0]] * count), np.stack([face[1]] * count)


def test_agrees_with_dlibs_own_alignment(face: tuple[Pixels, Floats]) -> None:
    spec = find_spec("face_recognition_models")
    assert spec is not None
    assert spec.origin is not None
    models = Path(spec.origin).parent / "models"
    predictor = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
    network = dlib.face_recognition_model_v1(
        str(models / "dlib_face_recognition_resnet_model_v1.dat")
    )
    picture, mesh = face
    box = max(dlib.get_frontal_face_detector()(picture, 1), key=lambda found: found.area())
    theirs = np.array(network.compute_face_descriptor(picture, predictor(picture, box)))
    assert np.linalg.norm(embedding(picture, mesh) - theirs) < 0.35


def test_the_face_itself_is_at_no_distance(face: tuple[Pixels, Floats]) -> None:
    scorer = IdentityScorer()
    frames, points = repeated(face, 3)
    scorer.add(frames, points, frames, points)
    assert scorer.finish() == {"identity_distance": 0}


def test_a_blurred_face_is_nearer_than_a_reshaped_one(face: tuple[Pixels, Floats]) -> None:
    picture = Image.fromarray(face[0])
    blurred = np.asarray(picture.filter(ImageFilter.GaussianBlur(2)))
    narrow = np.asarray(picture.resize((picture.width * 5 // 8, picture.height)))
    own = embedding(*face)
    near = np.linalg.norm(embedding(blurred, face[1]) - own)
    far = np.linalg.norm(embedding(narrow, mesh_of(narrow)) - own)
    assert near < far
    assert near < SAME_PERSON


def test_every_eighth_frame_counts_however_frames_are_batched(
    face: tuple[Pixels, Floats],
) -> None:
    frames, points = repeated(face, STRIDE + 1)
    generated = frames.copy()
    generated[[0, STRIDE]] = np.asarray(
        Image.fromarray(face[0]).filter(ImageFilter.GaussianBlur(4))
    )
    found = []
    for sizes in ((STRIDE + 1,), (1, STRIDE), (5, 3, 1)):
        scorer, start = IdentityScorer(), 0
        for size in sizes:
            part = slice(start, start + size)
            scorer.add(generated[part], points[part], frames[part], points[part])
            start += size
        found.append(scorer.finish()["identity_distance"])
    assert found[0] > 0.05
    assert found[1:] == found[:1] * 2


def test_frames_without_a_face_are_left_out(face: tuple[Pixels, Floats]) -> None:
    frames, points = repeated(face, 1)
    nothing = np.full_like(points, np.nan)
    scorer = IdentityScorer()
    scorer.add(frames, nothing, frames, points)
    scorer.add(frames, points, frames, nothing)
    assert scorer.finish() == {}


def test_is_available_here() -> None:
    assert reason_for_absence() is None

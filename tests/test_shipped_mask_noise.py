"""Tests of the shipped mask-noise networks, with examples/face.png and voices."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from talkhead.audio2landmarks.expressions import express
from talkhead.emotions import one_hot
from talkhead.geometry.mesh import (
    LEFT_MOUTH_CORNER,
    LOWER_LIP_CENTRE,
    RIGHT_MOUTH_CORNER,
    UPPER_LIP_CENTRE,
    mouth_opening,
    mouth_width,
)
from talkhead.geometry.motion_basis import close_lips, opening_direction
from talkhead.geometry.pose import fit_head_pose
from talkhead.landmarks2video.canvas import prepare_canvas
from talkhead.landmarks2video.conditioning import draw_maps, warp_identity
from talkhead.landmarks2video.mask_noise.renderer import generate_window, shrink, small_points
from talkhead.landmarks2video.renderer import render_frames
from talkhead.landmarks2video.sampling import SamplerOptions
from talkhead.media.picture import read_picture
from talkhead.pipelines import MaskNoisePipeline
from talkhead.tracking.face_detector import FaceDetector
from talkhead.weights import resolve_weights

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
MIN_CHANGE = 1.0
"""How much another class changes the mouth, and the eyes, at least, of 255 in the mean."""
FACE = Path(__file__).resolve().parents[1] / "examples" / "face.png"


@pytest.fixture(scope="module")
def pipeline() -> MaskNoisePipeline:
    return MaskNoisePipeline.from_folder(
        resolve_weights("mask-noise"), device=torch.device("cpu"), dtype=torch.bfloat16
    )


@pytest.fixture(scope="module")
def picture() -> Pixels:
    return read_picture(FACE).pixels


@pytest.fixture(scope="module")
def mesh(picture: Pixels, detector_is_here: None) -> Floats:
    with FaceDetector() as detector:
        return detector.detect(picture)[0]


def seen(frames: Pixels) -> Floats:
    """Return the faces detected in frames, made upright, in eye distances."""
    with FaceDetector() as detector:
        meshes = np.stack([detector.detect(frame)[0] for frame in frames])
    return fit_head_pose(meshes).to_face(meshes)


def speaking(pipeline: MaskNoisePipeline, mesh: Floats, openings: Floats) -> Floats:
    """Return meshes with the given lip openings, in eye distances."""
    pose = fit_head_pose(mesh)
    basis = pipeline.landmark_generator.motion_basis()
    shut = close_lips(pose.to_face(mesh), basis)
    direction = opening_direction(basis.components)
    coefficients = openings[:, None] * direction / (direction @ direction)
    still = np.zeros(len(openings), np.float32)
    return pose.to_picture(shut + basis.deform(coefficients.astype(np.float32), still))


def test_the_mouth_in_the_picture_opens_as_the_landmarks_do(
    pipeline: MaskNoisePipeline, picture: Pixels, mesh: Floats
) -> None:
    openings = np.array([0, 0.05, 0.1, 0.15, 0.1, 0.05, 0], np.float32)
    windows = iter([speaking(pipeline, mesh, openings)])
    frames = np.concatenate(list(render_frames(pipeline.renderer(), picture, mesh, windows)))
    found = mouth_opening(seen(frames))
    assert np.corrcoef(found, openings)[0, 1] > 0.9
    assert found.max() - found.min() > 0.06


def test_happy_and_sad_faces_pull_the_corners_of_the_mouth_apart(
    pipeline: MaskNoisePipeline, picture: Pixels, mesh: Floats
) -> None:
    openings = np.array([0, 0.03, 0.06, 0.03], np.float32)
    shapes = {}
    for name in ("happy", "sad", "neutral"):
        emotion = one_hot(name)
        windows = express(
            iter([speaking(pipeline, mesh, openings)]), pipeline.expressions.shape_of(emotion)
        )
        options = SamplerOptions(seed=3)
        made = render_frames(pipeline.renderer(), picture, mesh, windows, options, emotion=emotion)
        shapes[name] = seen(np.concatenate(list(made))).mean(0)
    corners = [RIGHT_MOUTH_CORNER, LEFT_MOUTH_CORNER]
    height = {name: float(shape[corners, 1].mean()) for name, shape in shapes.items()}
    # y points down
    assert height["happy"] < height["neutral"] - 0.02
    assert height["sad"] > height["happy"] + 0.04
    assert float(mouth_width(shapes["happy"])) > float(mouth_width(shapes["neutral"])) + 0.05


def test_no_expression_keeps_closed_lips_from_closing(pipeline: MaskNoisePipeline) -> None:
    offsets = pipeline.expressions.offsets.float().cpu().numpy()
    gaps = offsets[:, LOWER_LIP_CENTRE, 1] - offsets[:, UPPER_LIP_CENTRE, 1]
    assert np.abs(gaps).max() < 0.002  # eye distances; lips that speak open by 0.1


def test_the_class_alone_changes_the_frames(
    pipeline: MaskNoisePipeline, picture: Pixels, mesh: Floats
) -> None:
    openings = np.array([0, 0.05, 0.1, 0.05], np.float32)
    renderer = pipeline.renderer()
    canvas = prepare_canvas(picture, mesh, renderer.device)
    meshes = torch.from_numpy(canvas.crop.to_crop(speaking(pipeline, mesh, openings)))
    size = renderer.video_denoiser.config.size_px
    grid, maps = draw_maps(canvas.mesh, meshes)
    base = shrink(warp_identity(canvas.small.expand(len(meshes), -1, -1, -1), grid, maps), size)
    points = torch.from_numpy(small_points(meshes.numpy(), size))
    noise = torch.zeros(base.shape[1:])

    def frames(name: str) -> torch.Tensor:
        emotion = torch.from_numpy(one_hot(name))
        given = renderer.video_denoiser, renderer.scheduler, base, points, emotion, noise, noise
        with torch.inference_mode():
            return generate_window(*given, SamplerOptions()).float() * 127.5

    eyes, mouth = (
        points[:, part].flatten(0, 1).mean(0).round().int()
        for part in (slice(36, 48), slice(48, 68))
    )
    for one, other in pairwise(("angry", "happy", "sad", "surprised")):
        change = (frames(one) - frames(other)).abs().amax(1)
        for x, y in (eyes.tolist(), mouth.tolist()):
            assert float(change[:, y - 8 : y + 8, x - 16 : x + 16].mean()) > MIN_CHANGE

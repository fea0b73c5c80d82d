from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, ImageDraw

from talkhead.geometry.crop import face_crop
from talkhead.geometry.mesh import INNER_LIPS
from talkhead.landmarks2video.closed_mouth import (
    CLOSED_OPENING,
    fill_amount,
    fill_closing_mouth,
    spread_colours,
)
from talkhead.landmarks2video.dubbing import DubbedFace, dub_frames
from talkhead.pipelines import TalkheadPipeline
from tests.meshes import mean_mesh, opened

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
CPU = torch.device("cpu")
EYES_PX = 100.0
MEAN_OPENING = 0.070  # of the mean mesh
OPENED_SHARE = 0.9  # of the jaw's motion that the gap grows by, averaged along the lips
LIPS = (200, 90, 90)
TEETH = (255, 255, 255)


def face(opening: float) -> Floats:
    """Return a mesh whose lips are apart by a mean gap, in eye distances."""
    points = opened(mean_mesh(EYES_PX), (opening - MEAN_OPENING) * EYES_PX / OPENED_SHARE)
    return np.asarray(points + np.array([200, 180, 0], np.float32), np.float32)


def toothy(mesh: Floats) -> Pixels:
    """Draw a picture that is teeth inside the inner lips, and lips everywhere else."""
    picture = Image.new("RGB", (400, 400), LIPS)
    ImageDraw.Draw(picture).polygon([tuple(p) for p in mesh[INNER_LIPS, :2].tolist()], fill=TEETH)
    return np.array(picture)


def test_teeth_between_closing_lips_get_the_colour_of_the_lips() -> None:
    wide = face(0.3)
    picture = toothy(wide)
    assert (picture == 255).all(-1).sum() > 300
    filled = fill_closing_mouth(picture, wide, face(0.0), CPU)
    assert np.abs(filled.astype(int) - LIPS).max() < 12
    assert (picture == 255).all(-1).sum() > 300, "the picture itself is left as it was"


def test_what_is_far_from_the_mouth_is_left_as_it_was() -> None:
    wide = face(0.3)
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    filled = fill_closing_mouth(noise, wide, face(0.0), CPU)
    changed = (filled != noise).any(-1)
    ys, xs = changed.nonzero()
    lips = wide[INNER_LIPS, :2]
    assert changed.any()
    assert np.all([xs.min(), ys.min()] > lips.min(0) - 8)
    assert np.all([xs.max(), ys.max()] < lips.max(0) + 8)


@pytest.mark.parametrize(("before", "after"), [(0.3, 0.3), (0.3, 0.1), (0.0, 0.0), (0.0, 0.3)])
def test_a_mouth_that_does_not_close_is_not_filled(before: float, after: float) -> None:
    picture = toothy(face(before))
    assert fill_closing_mouth(picture, face(before), face(after), CPU) is picture


def test_the_fill_fades_in_as_the_lips_meet() -> None:
    gaps = np.linspace(1.2 * CLOSED_OPENING[1], 0, 9)
    amounts = [fill_amount(face(0.3), face(float(gap))) for gap in gaps]
    assert amounts[0] == 0
    assert amounts[-1] == 1
    assert np.all(np.diff(amounts) >= 0)
    assert np.diff(amounts).max() < 0.4


def test_the_size_of_the_face_does_not_matter() -> None:
    large, small = face(0.1), face(0.03)
    assert fill_amount(large, small) == pytest.approx(fill_amount(large * 3, small * 3), abs=1e-4)


def test_colours_spread_into_a_hole_between_those_at_its_edges() -> None:
    image = torch.full((1, 1, 37, 50), -1.0)
    image[..., 20:, :] = 1
    known = torch.ones(1, 1, 37, 50)
    known[..., 12:26, 10:40] = 0
    hidden = torch.where(known > 0, image, torch.tensor(99.0))
    filled = spread_colours(hidden, known)
    assert torch.equal(filled[known > 0], image[known > 0])
    inside = filled[0, 0, 12:26, 25]
    assert inside.abs().max() <= 1
    assert inside[0] < -0.3
    assert inside[-1] > 0.3


def test_no_bright_line_remains_where_a_dub_closes_a_mouth(tiny_weights: Path) -> None:
    pipeline = TalkheadPipeline.from_folder(tiny_weights, device=CPU, dtype=torch.float32)
    renderer = pipeline.renderer()
    wide, shut = face(0.3), face(0.0)
    x, y = shut[INNER_LIPS, :2].mean(0).astype(int)
    edit = DubbedFace(wide, shut, face_crop(wide), 1.0)

    def seam(picture: Pixels) -> Floats:
        (frame,) = dub_frames(renderer, [(picture, edit)])
        return frame[y - 6 : y + 7, x - 12 : x + 13].astype(np.float32)

    with_teeth, without = seam(toothy(wide)), seam(np.full((400, 400, 3), LIPS, np.uint8))
    assert np.abs(with_teeth - without).max() < 12

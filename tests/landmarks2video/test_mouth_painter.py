from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from talkhead.geometry.mesh import LOWER_INNER_LIP, UPPER_INNER_LIP
from talkhead.landmarks2video.mouth_denoiser import (
    LATENT_SIZE,
    NUM_COARSE,
    MouthDenoiser,
    detail_of,
)
from talkhead.landmarks2video.mouth_painter import MouthPainter
from talkhead.landmarks2video.sampling import SamplerOptions, default_scheduler
from tests.meshes import mean_mesh, opened
from tests.tiny import tiny_mouth_denoiser

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
CPU = torch.device("cpu")
SIZE = (240, 260)


@pytest.fixture(scope="module")
def painter() -> MouthPainter:
    return MouthPainter(tiny_mouth_denoiser(), default_scheduler(), CPU, torch.float32)


def meshes(*openings: float) -> Floats:
    closed = mean_mesh(80, SIZE[1] / 2, SIZE[0] / 2 - 30)
    return np.stack([opened(closed, by) for by in openings])


def pictures(count: int) -> Pixels:
    one = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3)).astype(np.uint8)
    return np.repeat(one, count, axis=0)


def painted(
    painter: MouthPainter, points: Floats, *, seed: int = 0, steps: int = 2, gain: float = 1.0
) -> tuple[Pixels, Pixels]:
    """Return frames before and after painting."""
    before = pictures(len(points))
    after = before.copy()
    reference = painter.reference(before[:1], points[:1])
    options = SamplerOptions(steps, seed=seed)
    painter.paint(after, points, reference, painter.draw_noise(seed), options, gain)
    return before, after


def test_only_the_inside_of_opened_mouths_is_painted(painter: MouthPainter) -> None:
    points = meshes(0.0, 4.0)  # even the mean face has its mouth a little open
    points[0, LOWER_INNER_LIP] = points[0, UPPER_INNER_LIP]
    before, after = painted(painter, points)
    changed = (before != after).any(-1)
    assert not changed[0].any(), "closed lips"
    rows, columns = changed[1].nonzero()
    lips = points[1, [78, 308, 13, 14], :2]
    assert 0 < rows.size < 0.05 * changed[1].size
    assert rows.min() > lips[2, 1] - 8
    assert rows.max() < lips[3, 1] + 8
    assert columns.min() > lips[0, 0] - 8
    assert columns.max() < lips[1, 0] + 8


def test_the_seed_changes_the_teeth_and_the_same_seed_does_not(painter: MouthPainter) -> None:
    points = meshes(14.0)
    _, first = painted(painter, points)
    _, again = painted(painter, points)
    _, other = painted(painter, points, seed=1)
    assert np.array_equal(first, again)
    assert (first != other).any()


def test_the_number_of_steps_matters(painter: MouthPainter) -> None:
    points = meshes(14.0)
    assert (painted(painter, points, steps=1)[1] != painted(painter, points, steps=4)[1]).any()


def test_fine_components_can_be_amplified(painter: MouthPainter) -> None:
    ratio = painter.denoiser.residual_scale(1.5) / painter.denoiser.residual_scale()
    count = len(ratio) - NUM_COARSE
    assert count > 0
    assert ratio.flatten().tolist() == [1.0] * NUM_COARSE + [1.5] * count
    points = meshes(14.0)
    assert (painted(painter, points)[1] != painted(painter, points, gain=1.5)[1]).any()


def test_frames_do_not_depend_on_their_batch(painter: MouthPainter) -> None:
    points = meshes(5.0, 14.0, 9.0)
    _, together = painted(painter, points)
    for number in range(len(points)):
        before = pictures(1)
        reference = painter.reference(before, points[:1])
        painter.paint(
            before, points[number : number + 1], reference, painter.draw_noise(0), SamplerOptions(2)
        )
        assert np.abs(before[0].astype(int) - together[number]).max() <= 1


def test_noise_travels_with_the_head(painter: MouthPainter) -> None:
    points = meshes(14.0)
    moved = points + np.array([9, 5, 0], np.float32)
    shade = np.full((1, *SIZE, 3), 90, np.uint8)
    frames = []
    for mesh in (points, moved):
        frame = shade.copy()
        reference = painter.reference(frame, mesh)
        painter.paint(frame, mesh, reference, painter.draw_noise(0), SamplerOptions(2))
        frames.append(frame[0].astype(int))
    shifted = np.roll(frames[0], (5, 9), (0, 1))
    assert (frames[0] != 90).any()
    assert np.abs(frames[1] - shifted).max() <= 1


def test_a_mouth_at_the_edge_of_the_picture_is_painted_as_far_as_it_shows(
    painter: MouthPainter,
) -> None:
    points = meshes(14.0) + np.array([SIZE[1] / 2, 0, 0], np.float32)
    before, after = painted(painter, points)
    assert (before != after).any()


def test_encoding_and_decoding_keep_what_the_components_span() -> None:
    model = tiny_mouth_denoiser()
    latents = torch.randn(
        1, model.config.latent_channels, *LATENT_SIZE, generator=torch.Generator().manual_seed(0)
    )
    assert torch.allclose(model.encode(model.decode(latents)), latents, atol=1e-4)


def test_a_denoiser_is_saved_and_loaded_with_its_components(tmp_path: Path) -> None:
    model = tiny_mouth_denoiser()
    model.save_pretrained(tmp_path)
    loaded = MouthDenoiser.from_pretrained(tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert loaded.config.sharpness == model.config.sharpness


def test_enlarged_pictures_have_less_detail() -> None:
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    small = torch.nn.functional.avg_pool2d(noise, 4)
    soft = torch.nn.functional.interpolate(small, scale_factor=4.0, mode="bicubic")
    assert float(detail_of(soft)) < 0.5 * float(detail_of(noise))
    assert float(detail_of(0.2 * noise)) == pytest.approx(float(detail_of(noise)), abs=0.01)

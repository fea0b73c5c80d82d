import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from talkhead.errors import TalkheadError
from talkhead.geometry.crop import CROP_SIDE_PX, STAGE_SIDE_PX, face_crop
from talkhead.landmarks2video.batching import BatchLimit
from talkhead.landmarks2video.denoiser import Denoiser
from talkhead.landmarks2video.renderer import LatentRenderer, render_frames
from talkhead.landmarks2video.sampling import SamplerOptions
from talkhead.networks import public_config
from talkhead.pipelines import TalkheadPipeline
from tests.meshes import floats, mean_mesh, opened

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def renderer(tiny_weights: Path) -> LatentRenderer:
    return TalkheadPipeline.from_folder(tiny_weights, device=CPU, dtype=torch.float32).renderer()


def picture(width: int = 201, height: int = 177) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def identity(width: int = 201, height: int = 177) -> Floats:
    """Return a mesh whose crop lies inside the picture."""
    return mean_mesh(40, width / 2, height / 2)


def frames(
    renderer: LatentRenderer, points: Floats, *, seed: int = 0, num_steps: int = 1
) -> Pixels:
    options = SamplerOptions(num_steps, seed=seed)
    return np.concatenate(
        list(render_frames(renderer, picture(), identity(), iter([points]), options))
    )


@pytest.fixture
def talking() -> Floats:
    """Return four meshes of the identity with an increasingly open mouth."""
    return np.stack([opened(identity(), by) for by in (0.0, 2.0, 4.0, 6.0)])


def test_frames_have_the_size_of_the_picture(renderer: LatentRenderer, talking: Floats) -> None:
    made = frames(renderer, talking)
    assert made.shape == (4, 177, 201, 3)
    assert made.dtype == np.uint8
    assert (made[3] != made[0]).any()


def test_the_background_is_the_pictures(renderer: LatentRenderer, talking: Floats) -> None:
    pixels, face = picture(301, 277), identity(301, 277)
    crop = face_crop(face)
    half = STAGE_SIDE_PX / CROP_SIDE_PX * crop.side / 2 + 16  # crops are aligned to whole pixels
    rows, columns = (slice(int(at - half), int(at + half)) for at in (crop.y, crop.x))
    assert 0 < rows.start < rows.stop < 277
    assert 0 < columns.start < columns.stop < 301
    outside = np.ones((277, 301), bool)
    outside[rows, columns] = False
    moved = talking + floats([50, 50, 0])
    for window in render_frames(renderer, pixels, face, iter([moved])):
        assert (window[-1] != pixels).any()
        for frame in window:
            np.testing.assert_array_equal(frame[outside], pixels[outside])


def test_the_same_input_and_seed_give_the_same_frames(
    renderer: LatentRenderer, talking: Floats
) -> None:
    one = frames(renderer, talking, seed=3, num_steps=3)
    np.testing.assert_array_equal(frames(renderer, talking, seed=3, num_steps=3), one)
    assert (frames(renderer, talking, seed=4, num_steps=3) != one).any()


def test_a_window_of_frames_is_made_as_each_of_it(
    renderer: LatentRenderer, talking: Floats
) -> None:
    together = frames(renderer, talking)
    made = render_frames(renderer, picture(), identity(), (p[None] for p in talking))
    alone = np.concatenate(list(made))
    assert np.abs(alone.astype(int) - together).max() <= 2


def test_rendering_in_half_precision_differs_by_little(
    renderer: LatentRenderer, talking: Floats
) -> None:
    half = dataclasses.replace(renderer, dtype=torch.bfloat16)
    difference = np.abs(frames(half, talking).astype(int) - frames(renderer, talking))
    assert np.percentile(difference, 99) <= 4


@pytest.mark.parametrize("num_steps", [1, 2])
def test_the_frames_are_the_same_for_any_number_of_workers(
    renderer: LatentRenderer, talking: Floats, num_steps: int
) -> None:
    windows = [talking + floats([shift, 0, 0]) for shift in range(6)]
    options = SamplerOptions(num_steps)
    made = [
        np.concatenate(
            list(
                render_frames(
                    renderer, picture(), identity(), iter(windows), options, num_workers=number
                )
            )
        )
        for number in (1, 2, 4)
    ]
    assert len(made[0]) == 24
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_array_equal(made[0], made[2])


def test_rendering_leaves_the_number_of_threads_as_it_was(
    renderer: LatentRenderer, talking: Floats
) -> None:
    def threads_elsewhere() -> int:
        with ThreadPoolExecutor() as pool:
            return pool.submit(torch.get_num_threads).result()

    before = torch.get_num_threads(), threads_elsewhere()
    made = render_frames(renderer, picture(), identity(), iter([talking] * 5), num_workers=2)
    next(made)  # the workers are there
    assert (torch.get_num_threads(), threads_elsewhere()) == before
    made.close()
    assert (torch.get_num_threads(), threads_elsewhere()) == before


def test_an_error_in_the_first_window_ends_them_all(
    renderer: LatentRenderer, talking: Floats
) -> None:
    broken = dataclasses.replace(renderer, denoiser=full(renderer.denoiser, 0))
    made = render_frames(broken, picture(), identity(), iter([talking] * 5), num_workers=2)
    with pytest.raises(TalkheadError, match="too little memory"):
        next(made)


def test_frames_are_made_one_window_at_a_time(renderer: LatentRenderer, talking: Floats) -> None:
    taken = []

    def windows() -> Iterator[Floats]:
        for index in range(1000):
            taken.append(index)
            yield talking[:1]

    made = render_frames(renderer, picture(), identity(), windows(), num_workers=2)
    next(made)
    next(made)
    assert len(taken) == 5


class Full(Denoiser):
    """A denoiser on a device with memory for a limited number of frames."""

    room = 0

    def forward(
        self, noisy: torch.Tensor, time: torch.Tensor, warped: torch.Tensor, maps: torch.Tensor
    ) -> torch.Tensor:
        if len(noisy) > self.room:
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(noisy, time, warped, maps)


def full(denoiser: Denoiser, room: int) -> Full:
    model = Full(**public_config(denoiser))
    model.load_state_dict(denoiser.state_dict())
    model.room = room
    return model.eval()


def test_on_a_full_device_fewer_frames_are_made_at_a_time_and_the_same(
    renderer: LatentRenderer, caplog: pytest.LogCaptureFixture
) -> None:
    meshes = np.stack([opened(identity(), by % 7) for by in range(13)])

    def frames(renderer: LatentRenderer) -> Pixels:
        windows = iter([meshes[:8], meshes[8:]])
        return np.concatenate(list(render_frames(renderer, picture(), identity(), windows)))

    whole = frames(renderer)
    small = dataclasses.replace(renderer, denoiser=full(renderer.denoiser, 3), limit=BatchLimit())
    np.testing.assert_allclose(frames(small).astype(int), whole.astype(int), atol=1)
    assert small.limit.num_frames == 2
    assert [record.getMessage() for record in caplog.records] == [
        "cpu is out of memory: continuing with 8 frames at a time",
        "cpu is out of memory: continuing with 4 frames at a time",
        "cpu is out of memory: continuing with 2 frames at a time",
    ]
    none = dataclasses.replace(small, denoiser=full(renderer.denoiser, 0))
    with pytest.raises(TalkheadError, match="too little memory for a single frame"):
        frames(none)

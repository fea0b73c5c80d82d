"""Several faces move in one picture, each in its own area."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from talkhead.geometry.crop import Crop
from talkhead.geometry.face_areas import face_areas
from talkhead.landmarks2video.dubbing import DubbedFace, DubbedPerson, dub_frames, dub_people
from talkhead.landmarks2video.renderer import MovingFace, Renderer, render_faces, render_frames
from talkhead.landmarks2video.sampling import SamplerOptions
from talkhead.pipelines import FacePipeline
from tests.meshes import mean_mesh, opened

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
WIDTH, HEIGHT = 300, 170
ANN, BEN = mean_mesh(36, 85, 80), mean_mesh(34, 205, 90)
"""So close that each would move the other's hair."""
AREAS = face_areas([ANN, BEN], (WIDTH, HEIGHT))


def picture() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def load(folder: Path) -> Renderer:
    return FacePipeline.from_folder(
        folder, device=torch.device("cpu"), dtype=torch.float32
    ).renderer()


@pytest.fixture(scope="module", params=["tiny_weights", "tiny_mask_noise"])
def renderer(request: pytest.FixtureRequest) -> Renderer:
    return load(request.getfixturevalue(request.param))


def talking(face: Floats, phase: float, num_frames: int = 12) -> list[Floats]:
    """Return windows of a face that moves and opens its mouth."""
    meshes = [
        opened(face, 2 + 2 * float(np.sin(k + phase))) + np.float32(k / 4)
        for k in range(num_frames)
    ]
    return [np.stack(meshes[start : start + 8]) for start in range(0, num_frames, 8)]


def moving(number: int, seed: int = 0) -> MovingFace:
    face = (ANN, BEN)[number]
    return MovingFace(
        face, iter(talking(face, number)), SamplerOptions(seed=seed), area=AREAS[number]
    )


def rendered(renderer: Renderer, faces: list[MovingFace], num_workers: int | None = 0) -> Pixels:
    return np.concatenate(list(render_faces(renderer, picture(), faces, num_workers=num_workers)))


def test_together_each_face_looks_as_it_does_alone(renderer: Renderer) -> None:
    both = rendered(renderer, [moving(0), moving(1, seed=5)])
    for number, seed in ((0, 0), (1, 5)):
        alone = rendered(renderer, [moving(number, seed)])
        left, top, right, bottom = AREAS[number]
        own = slice(None), slice(top, bottom), slice(left, right)
        assert np.array_equal(both[own], alone[own])
        outside = np.ones(alone.shape, bool)
        outside[own] = False
        assert np.array_equal(alone[outside], np.stack([picture()] * 12)[outside])
        assert (alone[own] != picture()[own[1:]]).any()


def test_without_areas_a_face_moves_its_neighbour(renderer: Renderer) -> None:
    alone = rendered(renderer, [replace(moving(0), area=None)])
    assert (alone[:, :, AREAS[0].right :] != picture()[:, AREAS[0].right :]).any()


def test_the_number_of_threads_changes_no_byte(renderer: Renderer) -> None:
    made = [rendered(renderer, [moving(0), moving(1)], count) for count in (0, 1, 2)]
    assert np.array_equal(made[0], made[1])
    assert np.array_equal(made[0], made[2])


def test_one_face_is_what_render_frames_makes(renderer: Renderer) -> None:
    one = render_frames(
        renderer, picture(), ANN, iter(talking(ANN, 0)), SamplerOptions(), area=AREAS[0]
    )
    assert np.array_equal(np.concatenate(list(one)), rendered(renderer, [moving(0)]))


def edit(face: Floats, k: int, area: int | None) -> DubbedFace:
    x, y = face[:, :2].mean(0).tolist()
    where = None if area is None else AREAS[area]
    return DubbedFace(face, opened(face, 3.0 + k % 3), Crop(x, y, 100.0), 1.0, where)


def test_dubbed_people_look_as_they_do_alone_and_may_be_missing(tiny_weights: Path) -> None:
    renderer = load(tiny_weights)
    edits = [
        (edit(ANN, k, 0) if k < 9 else None, edit(BEN, k + 1, 1) if k > 2 else None)
        for k in range(12)
    ]
    people = [DubbedPerson(), DubbedPerson(SamplerOptions(seed=3))]
    both = list(dub_people(renderer, ((picture(), pair) for pair in edits), people))  # type: ignore[arg-type]
    for number, person in enumerate(people):
        items = [(picture(), pair[number]) for pair in edits]
        alone = list(dub_frames(renderer, items, person.options))  # type: ignore[arg-type]
        left, top, right, bottom = AREAS[number]
        for one, two in zip(alone, both, strict=True):
            assert np.array_equal(one[top:bottom, left:right], two[top:bottom, left:right])

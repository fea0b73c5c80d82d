from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from talkhead.geometry.crop import face_crop
from talkhead.geometry.mesh import LOWER_INNER_LIP, UPPER_INNER_LIP
from talkhead.geometry.windows import WINDOW_FRAMES
from talkhead.landmarks2video.batching import MIN_WINDOW_FRAMES, window_frames
from talkhead.landmarks2video.dubbing import FADE_FRAMES, DubbedFace, Dubber, dub_frames
from talkhead.landmarks2video.mouth_denoiser import MouthDenoiser
from talkhead.landmarks2video.mouth_painter import MouthPainter
from talkhead.landmarks2video.renderer import LatentRenderer
from talkhead.landmarks2video.sampling import SamplerOptions
from talkhead.pipelines import TalkheadPipeline
from talkhead.tracking.face_track import FaceTrack, Stretch
from tests.meshes import hand_made_basis, mean_mesh, opened, turning
from tests.tiny import TINY_MOUTH_DENOISER, tiny_mouth_denoiser

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
EYES_PX = 90.0
NUM_FRAMES = 20
SIZE = (400, 380)


@pytest.fixture(scope="module")
def renderer(tiny_weights: Path) -> LatentRenderer:
    pipeline = TalkheadPipeline.from_folder(
        tiny_weights, device=torch.device("cpu"), dtype=torch.float32
    )
    return pipeline.renderer()


def filmed() -> Floats:
    """Return meshes of a head that turns and talks, (T, 478, 3)."""
    meshes = []
    for k in range(NUM_FRAMES):
        opening = EYES_PX * 0.05 * (1 + np.sin(k))
        mesh = turning(0.15 * np.sin(k / 5), opened(mean_mesh(EYES_PX), opening))
        meshes.append(mesh + np.array([190 + k, 180, 0], np.float32))
    return np.asarray(np.stack(meshes), np.float32)


def track(*stretches: Stretch) -> FaceTrack:
    return FaceTrack(Fraction(25), SIZE, 1, list(stretches), "test", filmed())


WHOLE = track(Stretch(0, NUM_FRAMES, fades_in=False, fades_out=False))


def gap(points: Floats) -> Floats:
    return np.asarray(points[LOWER_INNER_LIP, 1] - points[UPPER_INNER_LIP, 1])


@pytest.mark.parametrize("frame", [0, 4, 11, 19])
def test_who_says_nothing_closes_the_mouth_and_keeps_the_rest_of_the_face(frame: int) -> None:
    face = Dubber(WHOLE, hand_made_basis()).speak(frame, np.zeros(4, np.float32))
    assert face is not None
    assert gap(face.target).max() < 0.02 * EYES_PX
    above = face.mesh[:, 1] < face.mesh[[33, 133, 362, 263], 1].max()
    np.testing.assert_allclose(face.target[above], face.mesh[above], atol=0.05)
    assert face.share == 1


def test_the_head_is_smoothed_but_the_lips_are_where_they_were_detected() -> None:
    for frame in (4, 11):
        face = Dubber(WHOLE, hand_made_basis()).speak(frame, np.zeros(4, np.float32))
        assert face is not None
        smooth, detected = WHOLE.points_at(frame), filmed()[frame]
        assert abs(gap(smooth) - gap(detected)).max() > 0.01 * EYES_PX
        np.testing.assert_allclose(gap(face.mesh), gap(detected), atol=0.005 * EYES_PX)
        head = [10, 33, 133, 263, 362, 168]
        np.testing.assert_allclose(face.mesh[head], smooth[head], atol=0.01)


def test_what_is_said_opens_the_mouth_by_its_strength() -> None:
    said = np.array([1.5, 0, 0, 0], np.float32)
    openings = []
    for strength in (0.0, 1.0, 2.0):
        face = Dubber(WHOLE, hand_made_basis(), strength).speak(7, said)
        assert face is not None
        openings.append(float(gap(face.target)[4]))
    assert openings[0] < 0.02 * EYES_PX
    assert openings[1] > 0.05 * EYES_PX
    assert openings[2] - openings[0] == pytest.approx(2 * (openings[1] - openings[0]), rel=0.06)


def test_lips_take_over_and_give_back_gently_where_the_face_comes_and_goes() -> None:
    seen = track(Stretch(3, 17, fades_in=True, fades_out=True))
    dubber = Dubber(seen, hand_made_basis())
    faces = [dubber.speak(k, np.zeros(4, np.float32)) for k in range(NUM_FRAMES)]
    assert [k for k, face in enumerate(faces) if face is None] == [0, 1, 2, 17, 18, 19]
    shares = [face.share for face in faces if face is not None]
    step = 1 / (FADE_FRAMES + 1)
    np.testing.assert_allclose(shares[:6], [step, 2 * step, 3 * step, 4 * step, 1, 1])
    assert shares == shares[::-1]


def test_a_given_mesh_is_followed() -> None:
    goal = mean_mesh(EYES_PX, 190, 180)
    dubber = Dubber(track(Stretch(5, 15, fades_in=False, fades_out=False)), hand_made_basis())
    assert dubber.follow(4, goal) is None
    face = dubber.follow(5, goal)
    assert face is not None
    np.testing.assert_array_equal(face.target, goal)


def picture(seed: int) -> Pixels:
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    waves = [np.sin(x / 30 + seed + p) + np.cos(y / 40 - p) for p in (0, 1, 2)]
    return np.asarray(np.stack(waves, -1) * 45 + 127).astype(np.uint8)


def items(faces: list[DubbedFace | None]) -> Iterator[tuple[Pixels, DubbedFace | None]]:
    return ((picture(k), face) for k, face in enumerate(faces))


def talking(count: int) -> list[DubbedFace | None]:
    dubber = Dubber(WHOLE, hand_made_basis())
    return [dubber.speak(k, np.array([1.0, 0, 0, 0], np.float32)) for k in range(count)]


def test_frames_stay_in_order_and_those_without_a_face_as_they_are(
    renderer: LatentRenderer,
) -> None:
    faces = [face if k % 3 else None for k, face in enumerate(talking(NUM_FRAMES))]
    made = list(dub_frames(renderer, items(faces)))
    assert len(made) == NUM_FRAMES > WINDOW_FRAMES
    for k, (frame, face) in enumerate(zip(made, faces, strict=True)):
        assert frame.shape == (SIZE[1], SIZE[0], 3)
        assert frame.dtype == np.uint8
        if face is None:
            np.testing.assert_array_equal(frame, picture(k))
            continue
        changed = np.abs(frame.astype(int) - picture(k)).max(-1) > 0
        rows = np.flatnonzero(changed.any(1))
        eyes = face.mesh[[33, 133, 362, 263], 1].min()
        assert rows.min() > eyes - 0.3 * EYES_PX  # brows and forehead come from the video
        mouth = face.mesh[[61, 291, 0, 17], :2].mean(0).astype(int)
        assert changed[mouth[1] - 5 : mouth[1] + 5, mouth[0] - 5 : mouth[0] + 5].mean() > 0.5


def test_eyes_stay_as_they_were_filmed(tiny_weights: Path) -> None:
    pipeline = TalkheadPipeline.from_folder(
        tiny_weights, device=torch.device("cpu"), dtype=torch.float32
    )
    renderer = pipeline.renderer()
    # A model of the skin that moves the whole face when the mouth opens.
    renderer.denoiser.registration_basis.copy_(torch.ones(4, 478, 3) / 478)
    renderer.denoiser.registration_weights.fill_(0.5)
    (face,) = talking(1)
    assert face is not None
    mesh, target = face.mesh, face.target
    moved = renderer.denoiser.registration().apply(mesh, target[None])[0]
    eyes = [33, 133, 159, 145, 263, 362, 386, 374]
    assert np.abs(moved - target)[eyes, :2].min() > 1
    frame = next(dub_frames(renderer, [(picture(0), face)]))
    left, top = mesh[eyes, :2].min(0).astype(int)
    right, bottom = mesh[eyes, :2].max(0).astype(int) + 1
    np.testing.assert_array_equal(frame[top:bottom, left:right], picture(0)[top:bottom, left:right])


def test_a_frame_does_not_depend_on_its_neighbours(renderer: LatentRenderer) -> None:
    faces = talking(6)
    together = list(dub_frames(renderer, items(faces)))
    for k in (0, 5):
        alone = next(dub_frames(renderer, [(picture(k), faces[k])]))
        difference = np.abs(alone.astype(int) - together[k])
        assert difference.max() <= 2
        assert difference.mean() < 0.01


def test_a_single_step_amplifies_painted_teeth(renderer: LatentRenderer) -> None:
    plain = tiny_mouth_denoiser()
    sharp = MouthDenoiser(**(TINY_MOUTH_DENOISER | {"dubbing_gain": 2.0})).eval()
    sharp.load_state_dict(plain.state_dict())
    (face,) = talking(1)

    def dubbed(denoiser: MouthDenoiser, steps: int) -> Pixels:
        painter = MouthPainter(denoiser, renderer.scheduler, renderer.device, renderer.dtype)
        painting = replace(renderer, painter=painter)
        return next(dub_frames(painting, [(picture(0), face)], SamplerOptions(steps)))

    assert (dubbed(plain, 1) != dubbed(sharp, 1)).any()
    np.testing.assert_array_equal(dubbed(plain, 2), dubbed(sharp, 2))


def test_windows_of_large_frames_are_short() -> None:
    device = torch.device("cpu")
    assert window_frames(device, 512 * 512 * 3) == WINDOW_FRAMES
    assert window_frames(device, 1920 * 1080 * 3) == 5
    assert window_frames(device, 3840 * 2160 * 3) == MIN_WINDOW_FRAMES


def test_half_a_share_changes_half_as_much(renderer: LatentRenderer) -> None:
    (face,) = talking(1)
    assert face is not None
    full, half = (
        list(dub_frames(renderer, [(picture(0), DubbedFace(face.mesh, face.target, face.crop, s))]))
        for s in (1.0, 0.5)
    )
    middle = (full[0].astype(float) + picture(0)) / 2
    assert np.abs(half[0] - middle).max() <= 1


def test_faces_at_the_border_of_the_picture_are_dubbed(renderer: LatentRenderer) -> None:
    mesh = mean_mesh(EYES_PX, 30, 360)
    face = DubbedFace(mesh, opened(mesh / EYES_PX, 0.1) * EYES_PX, face_crop(mesh), 1.0)
    face = DubbedFace(mesh, face.target.astype(np.float32), face.crop, 1.0)
    other = talking(1)[0]
    made = list(dub_frames(renderer, [(picture(0), face), (picture(0), other)]))
    for frame in made:
        assert (frame != picture(0)).any()
    # Every frame has its own crop: the one at the border does not affect the other.
    alone = next(dub_frames(renderer, [(picture(0), other)]))
    assert np.abs(alone.astype(int) - made[1]).max() <= 2

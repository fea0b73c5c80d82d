from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from talkhead.errors import NoFaceError, TalkheadError
from talkhead.media.video import VideoWriter
from talkhead.tracking.cuts import CutFinder
from talkhead.tracking.shots import FaceTrack, Stretch, track_face
from tests.drawn_face import BACKGROUND, draw_face
from tests.meshes import mean_mesh

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
SIZE = (420, 256)
FPS = Fraction(25)
pytestmark = pytest.mark.usefixtures("detector_is_here")


def empty(colour: tuple[int, int, int] = BACKGROUND) -> Pixels:
    return np.full((SIZE[1], SIZE[0], 3), colour, np.uint8)


def scene(*faces: tuple[int, int], colour: tuple[int, int, int] = BACKGROUND) -> Pixels:
    """Return a frame with faces, each given by the left edge and the side of its square."""
    picture = empty(colour)
    for left, side in faces:
        face = draw_face(side)
        shown = (face != BACKGROUND).any(-1)
        picture[:side, left : left + side][shown] = face[shown]
    return picture


def tracked(tmp_path: Path, frames: Sequence[Pixels], choose: str = "largest") -> FaceTrack:
    with VideoWriter(tmp_path / "v.mp4", size=SIZE, fps=FPS, sound=None, crf=8) as writer:
        writer.write(np.stack(frames))
    return track_face(tmp_path / "v.mp4", choose=choose)


def middle(track: FaceTrack, frame: int) -> float:
    return float(track.points_at(frame)[:, 0].mean())


def test_a_face_is_followed_through_a_shot(tmp_path: Path) -> None:
    track = tracked(tmp_path, [scene((10 + 3 * k, 200)) for k in range(8)])
    assert (track.num_frames, track.num_shots, track.num_faceless) == (8, 1, 0)
    assert track.stretches == [Stretch(0, 8, fades_in=False, fades_out=False)]
    moved = np.diff([middle(track, k) for k in range(1, 7)])
    np.testing.assert_allclose(moved, 3, atol=1.0)
    assert {track.crop_at(k).side for k in range(8)} == {track.crop_at(0).side}
    assert track.crop_at(7).x > track.crop_at(0).x


def test_a_cut_begins_a_shot_and_the_face_is_chosen_anew(tmp_path: Path) -> None:
    one, other = scene((10, 200)), scene((200, 180), colour=(30, 20, 90))
    track = tracked(tmp_path, [one] * 5 + [other] * 5)
    assert track.num_shots == 2
    assert [(s.start, s.end) for s in track.stretches] == [(0, 5), (5, 10)]
    assert not any(s.fades_in or s.fades_out for s in track.stretches)
    assert middle(track, 4) < 130
    assert middle(track, 5) > 250


def test_frames_without_the_face_are_counted_and_fade(tmp_path: Path) -> None:
    frames = [empty()] * 2 + [scene((100, 200))] * 6 + [empty()] * 6 + [scene((104, 200))] * 4
    track = tracked(tmp_path, frames)
    assert track.num_shots == 1  # a missing face is not a cut, unless the whole picture changes
    assert track.num_faceless == 8
    assert [track.stretch_at(k) for k in (0, 1, 2, 7, 8, 13, 14, 17)] == [
        *(None, None, 0, 0, None, None, 1, 1)
    ]
    assert [(s.fades_in, s.fades_out) for s in track.stretches] == [(True, True), (True, False)]


def test_a_face_that_is_lost_for_a_moment_is_bridged(tmp_path: Path) -> None:
    frames = [scene((100 + 2 * k, 200)) for k in range(9)]
    frames[4] = empty()
    track = tracked(tmp_path, frames)
    assert track.num_faceless == 0
    assert middle(track, 3) < middle(track, 4) < middle(track, 5)


def test_nobody_else_is_taken_for_the_person_who_left(tmp_path: Path) -> None:
    both, alone = scene((0, 200), (215, 190)), scene((215, 190))
    track = tracked(tmp_path, [both] * 5 + [alone] * 6)
    assert track.num_faceless == 6
    assert middle(track, 4) < 150


@pytest.mark.parametrize(("choose", "is_left"), [("left", True), ("right", False), ("2", False)])
def test_the_person_is_chosen(tmp_path: Path, choose: str, is_left: bool) -> None:
    track = tracked(tmp_path, [scene((0, 190), (215, 200))] * 4, choose)
    assert (middle(track, 2) < SIZE[0] / 2) == is_left


def test_a_person_who_is_never_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TalkheadError, match=r"^no face 2: "):
        tracked(tmp_path, [scene((0, 200))] * 3, "2")


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (empty(), "shows no face"),
        (scene((50, 40)), "shows no frontal face that is large enough to dub"),
    ],
    ids=["nobody", "too small"],
)
def test_a_video_without_a_face_that_serves_is_an_error(
    tmp_path: Path, picture: Pixels, message: str
) -> None:
    with pytest.raises(NoFaceError, match=message):
        tracked(tmp_path, [picture] * 3)


def test_cuts_are_told_from_motion_and_from_flicker() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (5, 5, 3)).astype(np.uint8)
    large = np.array(Image.fromarray(noise).resize((256, 256), Image.Resampling.BICUBIC))
    finder = CutFinder()
    rolled = [np.asarray(np.roll(large, 3 * k, axis=1), np.uint8) for k in range(10)]
    moving = [finder.is_cut(frame) for frame in rolled]
    assert moving == [True] + 9 * [False]
    brighter = [finder.is_cut((large * (0.6 + 0.04 * k)).astype(np.uint8)) for k in range(10)]
    assert not any(brighter[1:])
    negative = np.bitwise_not(large)
    assert finder.is_cut(negative)
    assert not finder.is_cut(negative)


def test_meshes_are_smoothed_within_a_stretch_only() -> None:
    rng = np.random.default_rng(1)
    still = mean_mesh(100.0, 200, 100)
    points = np.stack([still + (300 if k >= 10 else 0) for k in range(20)])
    points += rng.normal(0, 1, points.shape).astype(np.float32)
    halves = [Stretch(0, 10, False, False), Stretch(10, 20, False, False)]
    track = FaceTrack(FPS, (900, 600), 2, halves, "test", points.astype(np.float32))
    smooth = np.stack([track.points_at(k) for k in range(20)])
    assert np.abs(smooth[:10] - still).mean() < 0.75 * np.abs(points[:10] - still).mean()
    assert np.abs(smooth[:10] - still).max() < 6
    assert np.abs(smooth[10:] - still - 300).max() < 6

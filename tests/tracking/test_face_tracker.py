from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from talkhead.errors import NoFaceError, TalkheadError
from talkhead.geometry.mesh import NUM_POINTS
from talkhead.media.video import VideoWriter
from talkhead.tracking.cuts import CutFinder
from talkhead.tracking.face_track import FaceTrack, Stretch, find_stretches
from talkhead.tracking.face_tracker import track_any_face, track_face, track_video
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


def written(tmp_path: Path, frames: Sequence[Pixels]) -> Path:
    with VideoWriter(tmp_path / "v.mp4", size=SIZE, fps=FPS, sound=None, crf=8) as writer:
        writer.write(np.stack(frames))
    return tmp_path / "v.mp4"


def tracked(tmp_path: Path, frames: Sequence[Pixels], choose: str = "largest") -> FaceTrack:
    return track_face(written(tmp_path, frames), choose=choose)


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
    video = written(tmp_path, frames)
    track = track_face(video)
    assert (track.num_faceless, track.num_undetected) == (0, 1)
    assert middle(track, 3) < middle(track, 4) < middle(track, 5)
    points, num_without = track_video(video)
    assert num_without == 1
    np.testing.assert_allclose(points.points[4], points.points[[3, 5]].mean(0), atol=1e-3)


def test_a_landmark_track_has_no_holes(tmp_path: Path) -> None:
    frames = [empty()] * 2 + [scene((100, 200))] * 3 + [empty()] * 5 + [scene((104, 200))] * 3
    track, num_without = track_video(written(tmp_path, [*frames, *[empty()] * 2]))
    assert (track.num_frames, num_without) == (15, 9)
    np.testing.assert_array_equal(track.points[:2], track.points[[2, 2]])
    np.testing.assert_array_equal(track.points[-2:], track.points[[-3, -3]])
    steps = np.diff(track.points[4:11, 0, 0])  # a straight line through the gap
    np.testing.assert_allclose(steps, steps[0], atol=1e-3)


def test_a_jump_splits_a_shot_without_losing_a_frame(tmp_path: Path) -> None:
    track = tracked(tmp_path, [scene((60, 200))] * 6 + [scene((120, 200))] * 6)
    assert (track.num_shots, track.num_faceless) == (1, 0)
    assert track.stretches == [Stretch(0, 6, False, False), Stretch(6, 12, False, False)]
    assert middle(track, 6) - middle(track, 5) == pytest.approx(60, abs=6)


def test_a_person_who_comes_back_elsewhere_is_found(tmp_path: Path) -> None:
    frames = [scene((0, 200))] * 5 + [empty()] * 7 + [scene((215, 190))] * 8
    video = written(tmp_path, frames)
    for track in (track_face(video), track_any_face(video)):
        assert track.num_shots == 1
        assert (track.stretches[0].start, track.stretches[0].end) == (0, 5)
        assert track.stretches[1].end == 20
        assert middle(track, 19) > 250
    assert track_video(video)[0].points[-1, :, 0].mean() > 250


def test_nobody_else_is_taken_for_the_person_who_left(tmp_path: Path) -> None:
    both, alone = scene((0, 200), (215, 190)), scene((215, 190))
    video = written(tmp_path, [both] * 5 + [alone] * 9)
    track = track_face(video)
    assert track.num_faceless == 9
    assert middle(track, 4) < 150
    points, num_without = track_video(video)
    assert num_without == 9
    assert points.points[:, :, 0].mean(1).max() < 150


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


@pytest.mark.parametrize(
    ("picture", "stretches", "num_undetected"),
    [(empty(), [], 3), (scene((50, 40)), [Stretch(0, 3, False, False)], 0)],
    ids=["nobody", "too small to dub"],
)
def test_for_training_a_small_face_is_tracked_and_a_missing_one_is_no_error(
    tmp_path: Path, picture: Pixels, stretches: list[Stretch], num_undetected: int
) -> None:
    track = track_any_face(written(tmp_path, [picture] * 3))
    assert (track.num_frames, track.num_undetected) == (3, num_undetected)
    assert track.stretches == stretches


def stretches(text: str, *part_starts: int) -> list[str]:
    """Return the frames of each stretch; `text` has a `-` for each frame without the face."""
    seen = np.array([frame != "-" for frame in text])
    points = np.zeros((len(text), NUM_POINTS, 3), np.float32)
    return [text[s.start : s.end] for s in find_stretches(points, seen, [0, *part_starts])]


def test_stretches_end_at_long_gaps_cuts_and_jumps() -> None:
    assert stretches("--abcd-") == ["abcd"]
    assert stretches("-----") == []
    assert stretches("abc---def----ghi") == ["abc---def", "ghi"]
    assert stretches("abcdefghi", 3, 7) == ["abc", "defg", "hi"]
    assert stretches("abc-def", 3) == ["abc", "def"]
    assert stretches("ab----cd-e") == ["cd-e"]  # too short, unless it is the whole shot


def test_gaps_are_bridged_in_a_straight_line() -> None:
    points = np.zeros((6, NUM_POINTS, 3), np.float32)
    points[5] = 8.0
    points[2:5] = 100.0
    seen = np.array([True, True, False, False, False, True])
    assert list(find_stretches(points, seen, [0])) == [Stretch(0, 6, False, False)]
    np.testing.assert_allclose(points[:, 0, 0], [0, 0, 2, 4, 6, 8], atol=1e-5)


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

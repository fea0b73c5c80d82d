import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from talkhead.data.clips import Clip, encode_frames
from talkhead.errors import NoFaceError, TalkheadError
from talkhead.evaluation.predicted import find_predicted, predicted_frames, video_of
from talkhead.evaluation.systems import EvalClip
from talkhead.geometry.crop import CROP_SIDE_PX, FACE_MARGIN, Crop
from talkhead.geometry.mesh import NUM_SURFACE_POINTS
from talkhead.media.picture import read_picture
from talkhead.media.video import VideoWriter, read_frames
from talkhead.tracking.face_detector import FaceDetector
from tests.evaluation.talking_video import FACE
from tests.prepared import describe_clip, moving_mesh

Pixels = npt.NDArray[np.uint8]

NUM_FRAMES = 20
WIDTH, HEIGHT = 320, 240


@pytest.fixture(scope="module")
def eval_clip() -> EvalClip:
    """Twenty frames from 0.4 s on of a video of 320 x 240 px, cut by crops that wander."""
    steps = np.arange(NUM_FRAMES)
    crops = np.stack([140 + 2.5 * steps, 110 + steps, np.full(NUM_FRAMES, 150)], 1)
    grey = np.full((CROP_SIDE_PX, CROP_SIDE_PX, 3), 128, np.uint8)
    jpeg, offsets = encode_frames([grey] * NUM_FRAMES)
    clip = Clip(
        landmarks=moving_mesh(np.zeros(NUM_FRAMES, np.float32), 0),
        crops=crops.astype(np.float32),
        waveform=np.zeros(0, np.int16),
        jpeg=jpeg,
        jpeg_offsets=offsets,
    )
    info = describe_clip("talk.1", clip)
    named = {"video": "talk.mp4", "start_s": 0.4, "width": WIDTH, "height": HEIGHT}
    return EvalClip(dataclasses.replace(info, **named), clip)  # type: ignore[arg-type]


def named(eval_clip: EvalClip, **facts: object) -> EvalClip:
    return EvalClip(dataclasses.replace(eval_clip.info, **facts), eval_clip.clip)  # type: ignore[arg-type]


def scenery(count: int, width: int, height: int) -> Pixels:
    """Blurred noise whose brightness grows from frame to frame: (T, H, W, 3)."""
    noise = np.random.default_rng(0).uniform(0, 255, (height, width, 3))
    smooth = gaussian_filter(noise, (4, 4, 0))
    still = 200 * (smooth - smooth.min()) / np.ptp(smooth)
    return np.asarray([still + index / 2 for index in range(count)], np.uint8)


def write(path: Path, frames: Pixels, fps: int = 25) -> Path:
    path.parent.mkdir(exist_ok=True)
    size = (frames.shape[2], frames.shape[1])
    with VideoWriter(path, size=size, fps=Fraction(fps), sound=None) as writer:
        writer.write(frames)
    return path


def all_of(eval_clip: EvalClip, path: Path, start_s: float | None = None) -> Pixels:
    return np.concatenate(list(predicted_frames(eval_clip, path, start_s)))


def test_videos_are_found_by_their_names_whatever_their_kind(tmp_path: Path) -> None:
    for name in ("anna.mp4", "bert.1.MKV", "cleo.webm", ".dora.mp4", "notes.txt", "anna.wav"):
        (tmp_path / name).touch()
    assert find_predicted(tmp_path) == {
        "anna": tmp_path / "anna.mp4",
        "bert.1": tmp_path / "bert.1.MKV",
        "cleo": tmp_path / "cleo.webm",
    }


def test_folders_without_videos_or_with_two_of_a_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TalkheadError, match="nowhere is not a folder of videos"):
        find_predicted(tmp_path / "nowhere")
    with pytest.raises(TalkheadError, match=r"has no videos \(\.3g2, "):
        find_predicted(tmp_path)
    for name in ("anna.avi", "anna.mp4"):
        (tmp_path / name).touch()
    with pytest.raises(TalkheadError, match=r"anna.avi and .*anna.mp4 have the same name"):
        find_predicted(tmp_path)


def test_a_video_has_the_clips_name_or_that_of_its_video(eval_clip: EvalClip) -> None:
    own, whole = Path("talk.1.mp4"), Path("talk.mkv")
    assert video_of(eval_clip, {"talk": whole, "talk.1": own}) == (own, None)
    assert video_of(eval_clip, {"talk": whole, "other": own}) == (whole, 0.4)
    with pytest.raises(TalkheadError, match=r"^no video named talk\.1$"):
        video_of(eval_clip, {"talk.2": own})


@pytest.mark.parametrize(("count", "start_s"), [(20, None), (22, None), (17, None), (40, 0.4)])
def test_of_one_name_for_both_the_longer_video_is_the_whole_one(
    eval_clip: EvalClip, tmp_path: Path, count: int, start_s: float | None
) -> None:
    first = named(eval_clip, clip="talk")
    path = write(tmp_path / "talk.mp4", scenery(count, 64, 64))
    assert video_of(first, {"talk": path}) == (path, start_s)


def test_crops_of_256_px_are_taken_as_they_are(eval_clip: EvalClip, tmp_path: Path) -> None:
    path = write(tmp_path / "talk.1.mp4", scenery(NUM_FRAMES, CROP_SIDE_PX, CROP_SIDE_PX))
    batches = list(predicted_frames(eval_clip, path))
    assert [len(batch) for batch in batches] == [16, 4]
    np.testing.assert_array_equal(np.concatenate(batches), np.stack(list(read_frames(path))))


def stored_at_512(eval_clip: EvalClip, **facts: object) -> EvalClip:
    grey = np.full((2 * CROP_SIDE_PX, 2 * CROP_SIDE_PX, 3), 128, np.uint8)
    jpeg, offsets = encode_frames([grey] * NUM_FRAMES)
    clip = dataclasses.replace(eval_clip.clip, jpeg=jpeg, jpeg_offsets=offsets)
    return named(EvalClip(eval_clip.info, clip), **facts)


def test_crops_have_the_size_at_which_the_clip_is_stored(
    eval_clip: EvalClip, tmp_path: Path
) -> None:
    large = stored_at_512(eval_clip)
    shape = (NUM_FRAMES, 2 * CROP_SIDE_PX, 2 * CROP_SIDE_PX, 3)
    path = write(tmp_path / "a.mp4", scenery(NUM_FRAMES, CROP_SIDE_PX, CROP_SIDE_PX))
    small = np.stack(list(read_frames(path)))
    enlarged = all_of(large, path)
    assert enlarged.shape == shape
    halved = enlarged[:, ::2, ::2].astype(np.int32)
    assert np.abs(halved - small).mean() < 2
    path = write(tmp_path / "b.mp4", scenery(NUM_FRAMES, 2 * CROP_SIDE_PX, 2 * CROP_SIDE_PX))
    np.testing.assert_array_equal(all_of(large, path), np.stack(list(read_frames(path))))
    path = write(tmp_path / "c.mp4", scenery(NUM_FRAMES, WIDTH, HEIGHT))
    assert all_of(large, path).shape == shape


def test_a_source_of_512_px_is_cut_unless_the_video_is_known_to_hold_crops(
    eval_clip: EvalClip, tmp_path: Path
) -> None:
    side = 2 * CROP_SIDE_PX
    large = stored_at_512(eval_clip, width=side, height=side)
    path = write(tmp_path / "talk.1.mp4", scenery(NUM_FRAMES, side, side))
    whole = np.stack(list(read_frames(path)))
    crops = np.concatenate(list(predicted_frames(large, path, has_crops=True)))
    np.testing.assert_array_equal(crops, whole)
    assert (all_of(large, path) != whole).any()


def test_another_rate_is_brought_to_the_clips_own(eval_clip: EvalClip, tmp_path: Path) -> None:
    frames = scenery(2 * NUM_FRAMES, CROP_SIDE_PX, CROP_SIDE_PX)
    path = write(tmp_path / "talk.1.mp4", frames, fps=50)
    assert all_of(eval_clip, path).shape == (NUM_FRAMES, CROP_SIDE_PX, CROP_SIDE_PX, 3)


@pytest.mark.parametrize(("count", "num_read"), [(17, 17), (22, 22), (23, 23), (60, 23)])
def test_a_video_of_one_clip_is_read_as_far_as_it_takes_to_see_that_it_is_too_long(
    eval_clip: EvalClip, tmp_path: Path, count: int, num_read: int
) -> None:
    path = write(tmp_path / "talk.1.mp4", scenery(count, CROP_SIDE_PX, CROP_SIDE_PX))
    assert len(all_of(eval_clip, path)) == num_read


def test_a_whole_video_of_the_originals_size_is_cut_where_the_clip_was(
    eval_clip: EvalClip, tmp_path: Path
) -> None:
    path = write(tmp_path / "talk.mp4", scenery(60, WIDTH, HEIGHT))
    found = all_of(eval_clip, *video_of(eval_clip, {"talk": path}))
    frames = list(read_frames(path))
    wanted = [
        Crop(140 + 2.5 * step, 110 + step, 150).extract(frames[10 + step])  # 0.4 s are 10 frames
        for step in range(NUM_FRAMES)
    ]
    np.testing.assert_array_equal(found, np.stack(wanted))


def test_frames_beyond_the_clips_last_crop_are_cut_like_it(
    eval_clip: EvalClip, tmp_path: Path
) -> None:
    path = write(tmp_path / "talk.1.mp4", scenery(22, WIDTH, HEIGHT))
    last = Crop(140 + 2.5 * 19, 110 + 19, 150)
    frames = list(read_frames(path))
    found = all_of(eval_clip, path)
    assert len(found) == 22
    np.testing.assert_array_equal(found[21], last.extract(frames[21]))


def test_a_whole_video_that_ends_before_the_clip_cannot_be_read(
    eval_clip: EvalClip, tmp_path: Path
) -> None:
    path = write(tmp_path / "talk.mp4", scenery(5, WIDTH, HEIGHT))
    with pytest.raises(TalkheadError, match=r"has no frame at 0\.4 s"):
        all_of(eval_clip, path, 0.4)


@pytest.mark.usefixtures("detector_is_here")
def test_in_a_video_of_another_size_the_face_itself_is_tracked(
    eval_clip: EvalClip, tmp_path: Path
) -> None:
    picture = Image.fromarray(read_picture(FACE).pixels).convert("RGB")
    picture.thumbnail((300, 300))
    small = np.asarray(picture)
    canvas = np.full((320, 440, 3), 90, np.uint8)  # the face is left of the middle
    canvas[: small.shape[0], : small.shape[1]] = small
    path = write(tmp_path / "talk.1.mp4", np.repeat(canvas[None], NUM_FRAMES, 0))
    found = all_of(eval_clip, path)
    assert found.shape == (NUM_FRAMES, CROP_SIDE_PX, CROP_SIDE_PX, 3)
    with FaceDetector() as detector:
        (mesh,) = detector.detect(found[10])
    box = mesh[:NUM_SURFACE_POINTS, :2]
    middle, side = (box.max(0) + box.min(0)) / 2, float(np.ptp(box, axis=0).max())
    assert side == pytest.approx(CROP_SIDE_PX / FACE_MARGIN, rel=0.05)
    assert middle == pytest.approx([128, 118], abs=6)  # crops lie a little lower than faces


@pytest.mark.usefixtures("detector_is_here")
def test_of_an_unknown_size_of_the_original_the_face_is_tracked_too(
    eval_clip: EvalClip, tmp_path: Path
) -> None:
    # Folders of earlier versions do not say how large videos were.
    path = write(tmp_path / "talk.1.mp4", scenery(NUM_FRAMES, WIDTH, HEIGHT))
    with pytest.raises(NoFaceError, match=f"^no face was found in {path}$"):
        all_of(named(eval_clip, width=0, height=0), path)


def test_what_is_no_video_cannot_be_read(eval_clip: EvalClip, tmp_path: Path) -> None:
    path = tmp_path / "talk.1.mp4"
    path.write_text("no video")
    with pytest.raises(TalkheadError, match="cannot be decoded as a video"):
        all_of(eval_clip, path)

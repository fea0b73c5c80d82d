import numpy as np
import numpy.typing as npt
import pytest

from talkhead.audio2landmarks.idle_motion import HeadStyle, natural_head_motion
from talkhead.data.clips import Clip, ClipInfo
from talkhead.geometry.crop import face_crop
from talkhead.geometry.pose import HeadPose
from talkhead.training.fit_head_motion import fit_head_style, head_axes
from tests.meshes import mean_mesh
from tests.prepared import FPS, describe_clip, make_clip, voice

Floats = npt.NDArray[np.float32]

SPREAD = np.array([0.06, 0.08, 0.05, 0.1, 0.05], np.float32)
STYLE = HeadStyle(np.diag(SPREAD), np.diag(SPREAD) / 2, slow_s=0.7, fast_s=0.14, pause=1.0)


def moving_clip(count: int, seed: int, style: HeadStyle = STYLE) -> tuple[Clip, ClipInfo]:
    """The mean face, moved by a head style, as prepared from a video."""
    activity = np.ones(count, np.float32)
    motion = natural_head_motion(style, activity, FPS, np.random.default_rng(seed))
    shapes = motion.apply(np.repeat(mean_mesh(1.0)[None], count, 0))
    eyes_px = np.float32(80)
    pose = HeadPose(
        np.full(count, eyes_px, np.float32),
        np.repeat(np.eye(3, dtype=np.float32)[None], count, 0),
        np.repeat(np.array([[300, 200, 0]], np.float32), count, 0),
    )
    points = pose.to_picture(shapes)
    crops = [face_crop(mesh) for mesh in points]  # one per frame, following the head
    template = make_clip(10, 0)
    clip = Clip(
        landmarks=np.stack([c.to_crop(p) for c, p in zip(crops, points, strict=True)]),
        crops=np.array([(c.x, c.y, c.side) for c in crops], np.float32),
        waveform=(voice(np.ones(count, np.float32) * 0.1, seed) * 32767).astype(np.int16),
        jpeg=template.jpeg,
        jpeg_offsets=template.jpeg_offsets,
    )
    return clip, describe_clip(f"clip-{seed}", clip)


def test_motion_is_measured_in_the_videos_pixels_though_the_crops_follow_the_head() -> None:
    clip, _ = moving_clip(400, 0)
    activity = np.ones(400, np.float32)
    motion = natural_head_motion(STYLE, activity, FPS, np.random.default_rng(0))
    expected = np.concatenate([motion.angles_rad, motion.shift[:, :2]], axis=1)
    measured = head_axes(clip, FPS)
    for axis in range(5):
        assert np.corrcoef(measured[:, axis], expected[:, axis])[0, 1] > 0.97
        assert measured[:, axis].std() == pytest.approx(expected[:, axis].std(), rel=0.15)


def test_a_style_is_found_again_in_clips_that_were_moved_by_it() -> None:
    clips, rows = zip(*(moving_clip(1500, seed) for seed in range(3)), strict=True)
    found = fit_head_style(clips, rows)
    # Clips move by a scaled-down style: images show only part of a head's motion.
    total = np.diag(found.slow @ found.slow.T + found.fast @ found.fast.T)
    expected = np.square(0.45 * SPREAD) * 1.25
    np.testing.assert_allclose(np.sqrt(total), np.sqrt(expected), rtol=0.35)
    assert found.slow_s == pytest.approx(0.7, rel=0.4)
    assert found.fast_s == pytest.approx(0.14, rel=0.6)


def test_a_head_that_is_still_gives_a_style_that_is_still() -> None:
    clip, row = moving_clip(200, 0, HeadStyle(0 * STYLE.slow, 0 * STYLE.fast, 0.7, 0.1, 1.0))
    found = fit_head_style([clip], [row])
    assert np.abs(found.slow).max() < 0.01
    assert np.isfinite([*found.slow.ravel(), *found.fast.ravel(), found.slow_s, found.fast_s]).all()

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from talkhead.data.clips import read_clip, read_manifest, write_clip, write_manifest
from talkhead.data.layouts import list_sources
from talkhead.data.prepare import (
    MAX_CLIP_FRAMES,
    find_stretches,
    prepare,
    read_face_counts,
    track_crops,
)
from talkhead.errors import TalkheadError
from talkhead.geometry.mesh import NUM_SURFACE_POINTS
from talkhead.media import ffmpeg
from talkhead.media.audio import write_waveform
from talkhead.media.audio_clip import AudioClip
from talkhead.media.video import VideoWriter
from tests.drawn_face import draw_face
from tests.prepared import describe_clip, lip_motion, make_clip, moving_mesh, voice

Track = list[npt.NDArray[np.float32] | None]


def still_face(count: int, x: float = 0.0) -> Track:
    mesh = moving_mesh(np.zeros(1, np.float32), seed=0)[0]
    shift = np.array([x, 0, 0], np.float32)
    return [mesh + shift for _ in range(count)]


def lengths(track: Track) -> list[tuple[int, int]]:
    return [(start, len(points)) for start, points in find_stretches(track)]


def test_a_face_that_stays_is_one_stretch() -> None:
    assert lengths([None, None, *still_face(40), None]) == [(2, 40)]
    assert lengths([]) == []
    assert lengths([None] * 50) == []


def test_short_stretches_are_left_out() -> None:
    assert lengths(still_face(19)) == []
    assert lengths(still_face(20)) == [(0, 20)]


def test_short_gaps_are_bridged_in_a_straight_line() -> None:
    track = [*still_face(10), None, None, None, *still_face(10, x=8.0)]
    ((start, points),) = find_stretches(track)
    assert (start, len(points)) == (0, 23)
    steps = points[9:14, 0, 0] - points[9, 0, 0]
    np.testing.assert_allclose(steps, [0, 2, 4, 6, 8], atol=1e-4)


def test_long_gaps_and_jumps_cut() -> None:
    gap: Track = [None] * 4
    assert lengths([*still_face(30), *gap, *still_face(25)]) == [(0, 30), (34, 25)]
    assert lengths([*still_face(30), *still_face(25, x=40.0)]) == [(0, 30), (30, 25)]
    # Jumps are detected across gaps too.
    assert lengths([*still_face(30), None, *still_face(25, x=40.0)]) == [(0, 30), (31, 25)]


def test_long_stretches_are_cut_without_losing_a_frame() -> None:
    (first, second) = lengths(still_face(MAX_CLIP_FRAMES + 30))
    assert first == (0, MAX_CLIP_FRAMES)
    assert second == (MAX_CLIP_FRAMES, 30)


def test_crops_hold_the_face_and_follow_it_smoothly() -> None:
    points = np.stack([mesh for x in range(60) for mesh in still_face(1, x) if mesh is not None])
    noise = np.random.default_rng(0).normal(0, 3, (60, 1, 3)).astype(np.float32)
    crops = track_crops(points + noise, fps=25.0)
    assert len(crops) == 60
    assert len({crop.side for crop in crops}) == 1
    steps = np.diff([crop.x for crop in crops])
    assert np.abs(steps[10:-10] - 1).max() < 1  # a third of the noise, and no drift
    for crop, mesh in zip(crops, points, strict=True):
        inside = crop.to_crop(mesh)[:NUM_SURFACE_POINTS, :2]
        assert inside.min() > 20
        assert inside.max() < 236
        # A dropping jaw needs room below the face.
        assert 256 - inside[:, 1].max() > inside[:, 1].min() - 25


def test_a_folder_keeps_the_rate_that_it_was_prepared_at(tmp_path: Path) -> None:
    clip = make_clip(3, seed=0)
    write_clip(tmp_path, describe_clip("a", clip), clip)
    write_manifest(tmp_path)
    (tmp_path / "b.mp4").touch()
    sources = list(list_sources(tmp_path).sources)
    with pytest.raises(TalkheadError, match="was prepared at 25 frames per second, not 30"):
        next(prepare(sources, tmp_path, fps=Fraction(30)))


def test_frames_without_a_face_are_known_where_they_were_counted(tmp_path: Path) -> None:
    assert read_face_counts(tmp_path) == {}
    (tmp_path / "done").mkdir()
    new = {"clips": ["a"], "dropped": "", "frames": 50, "frames_without_face": 3}
    (tmp_path / "done" / "a.json").write_text(json.dumps(new))
    (tmp_path / "done" / "old.json").write_text(json.dumps({"clips": [], "dropped": "no face"}))
    assert read_face_counts(tmp_path) == {"a": (50, 3)}
    (tmp_path / "done" / "b.json").write_text(json.dumps({"frames": 50}))
    with pytest.raises(TalkheadError, match=r"b\.json is damaged"):
        read_face_counts(tmp_path)


def test_what_an_older_talkhead_has_prepared_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "data" / "done").mkdir(parents=True)
    record = {"clips": ["a", "a.1"], "dropped": ""}
    (tmp_path / "data" / "done" / "a.json").write_text(json.dumps(record))
    (outcome,) = prepare(list(list_sources(tmp_path).sources), tmp_path / "data", num_workers=1)
    assert outcome.clips == ("a", "a.1")
    assert (outcome.num_frames, outcome.num_without_face) == (None, None)
    assert read_face_counts(tmp_path / "data") == {}


@pytest.mark.usefixtures("detector_is_here")
def test_a_video_of_mead_is_prepared_with_the_sound_beside_it(tmp_path: Path) -> None:
    video = tmp_path / "M030/video/front/happy/level_2/001.mp4"
    audio = tmp_path / "M030/audio/happy/level_2/001.m4a"
    video.parent.mkdir(parents=True)
    audio.parent.mkdir(parents=True)
    opening = lip_motion(30, seed=0)
    write_waveform(tmp_path / "voice.wav", voice(opening, seed=0))
    status, _, messages = ffmpeg.run_ffmpeg(["-i", str(tmp_path / "voice.wav"), str(audio)])
    assert status == 0, messages
    write_waveform(tmp_path / "hum.wav", np.full(30 * 640, 0.01, np.float32))
    drawing = draw_face(256)
    wall = np.full_like(drawing, 120)
    with VideoWriter(
        video, size=(256, 256), fps=Fraction(25), sound=tmp_path / "hum.wav"
    ) as writer:
        for index in range(35):
            writer.write(drawing if index < 30 else wall)

    sources = list(list_sources(tmp_path).sources)
    (outcome,) = prepare(sources, tmp_path / "data", num_workers=1)
    name = "M030-front-happy-level_2-001"
    assert outcome.clips == (name,)
    assert read_face_counts(tmp_path / "data") == {name: (35, 5)}
    assert (outcome.num_frames, outcome.num_without_face) == (35, 5)
    (row,) = read_manifest(tmp_path / "data")
    assert (row.clip, row.person, row.emotion, row.level, row.view) == (
        name,
        "M030",
        "happy",
        2,
        "front",
    )
    assert (row.split, row.has_sound, row.num_frames) == ("test", True, 30)
    heard = read_clip(tmp_path / "data", name, frames=False).waveform_float()
    assert len(heard) == 30 * 640
    expected = AudioClip.open(audio).waveform()[: len(heard)]
    np.testing.assert_allclose(heard, expected.clip(-1, 1), atol=1e-4)
    assert heard.std() > 0.05  # not the hum
    # The video's own audio is used if the layout names no separate file.
    (plain,) = list_sources(tmp_path / "M030" / "video", "folder").sources
    (outcome,) = prepare([plain], tmp_path / "plain", num_workers=1)
    assert read_clip(tmp_path / "plain", outcome.clips[0]).waveform_float().std() < 0.01

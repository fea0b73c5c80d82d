import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from talkhead.data.clips import read_clip, read_manifest, write_clip, write_manifest
from talkhead.data.layouts import list_sources
from talkhead.data.prepare import (
    MAX_CLIP_FRAMES,
    clip_ranges,
    prepare,
    read_face_counts,
)
from talkhead.data.selection import split_rows
from talkhead.errors import TalkheadError
from talkhead.geometry.crop import Crop
from talkhead.media import ffmpeg
from talkhead.media.audio import write_waveform
from talkhead.media.audio_clip import AudioClip
from talkhead.media.video import VideoWriter
from talkhead.tracking.face_track import Stretch
from tests.drawn_face import draw_face
from tests.prepared import describe_clip, lip_motion, make_clip, voice


def ranges(*stretches: tuple[int, int]) -> list[tuple[int, int]]:
    return list(clip_ranges([Stretch(start, end, False, False) for start, end in stretches]))


def test_short_stretches_are_left_out() -> None:
    assert ranges() == []
    assert ranges((2, 21), (30, 50), (50, 53)) == [(30, 50)]


def test_long_stretches_are_cut_without_losing_a_frame() -> None:
    end = MAX_CLIP_FRAMES + 33
    assert ranges((3, end)) == [(3, MAX_CLIP_FRAMES + 3), (MAX_CLIP_FRAMES + 3, end)]
    assert ranges((0, MAX_CLIP_FRAMES + 19)) == [(0, MAX_CLIP_FRAMES)]


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


@pytest.mark.usefixtures("detector_is_here")
def test_a_picture_becomes_a_clip_of_one_frame_that_only_some_tasks_see(tmp_path: Path) -> None:
    Image.fromarray(draw_face(600, 0.05)).save(tmp_path / "smile.png")
    (tmp_path / "list.csv").write_text("file,person,split\nsmile.png,ada,dev\n")
    sources = list(list_sources(tmp_path / "list.csv").sources)
    (outcome,) = prepare(sources, tmp_path / "data", side_px=512, num_workers=1)
    assert outcome.clips == ("smile",)
    (row,) = read_manifest(tmp_path / "data")
    assert (row.person, row.split, row.num_frames, row.has_sound) == ("ada", "dev", 1, False)
    assert (row.width, row.height) == (600, 600)
    clip = read_clip(tmp_path / "data", "smile")
    assert clip.frame(0, None).shape == (512, 512, 3)
    assert clip.frame(0).shape == (256, 256, 3)
    # Landmarks are in pixels of the smaller crop, whatever is stored.
    crop = Crop(*clip.crops[0].tolist())
    mouth = crop.to_picture(clip.landmarks[0, [13, 14], :2]).mean(0)
    assert mouth == pytest.approx([0.5 * 600, 0.655 * 600], abs=12)
    assert split_rows(tmp_path / "data") == ([], [], [])
    assert split_rows(tmp_path / "data", with_stills=True) == ([], [row], [])


@pytest.mark.usefixtures("detector_is_here")
def test_a_picture_without_a_face_is_dropped(tmp_path: Path) -> None:
    Image.new("RGB", (300, 300), (120, 90, 40)).save(tmp_path / "wall.png")
    (tmp_path / "list.csv").write_text("file\nwall.png\n")
    sources = list(list_sources(tmp_path / "list.csv").sources)
    (outcome,) = prepare(sources, tmp_path / "data", num_workers=1)
    assert (outcome.clips, outcome.dropped) == ((), "no face")


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

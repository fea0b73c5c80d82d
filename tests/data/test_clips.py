import dataclasses
import io
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from talkhead.data.clips import (
    MANIFEST,
    read_clip,
    read_manifest,
    write_clip,
    write_manifest,
)
from talkhead.errors import TalkheadError
from tests.drawn_face import draw_face
from tests.prepared import describe_clip, make_clip


def test_a_clip_comes_back_as_it_was_written(tmp_path: Path) -> None:
    clip = make_clip(12, seed=3)
    info = describe_clip("eva.1", clip)
    write_clip(tmp_path, info, clip)
    assert sorted(path.name for path in (tmp_path / "clips").iterdir()) == [
        "eva.1.json",
        "eva.1.npz",
    ]
    again = read_clip(tmp_path, "eva.1")
    for field in dataclasses.fields(clip):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(clip, field.name))
        assert getattr(again, field.name).dtype == getattr(clip, field.name).dtype
    assert len(again) == 12
    assert write_manifest(tmp_path) == [info]
    assert read_manifest(tmp_path) == [info]


def test_frames_lose_little_in_the_file(tmp_path: Path) -> None:
    clip = make_clip(3, seed=0)
    write_clip(tmp_path, describe_clip("a", clip), clip)
    frame = read_clip(tmp_path, "a").frame(2)
    assert frame.shape == (256, 256, 3)
    assert frame.dtype == np.uint8
    errors = [
        np.abs(frame.astype(int) - draw_face(256, float(level))).mean()
        for level in np.linspace(0, 0.08, 6)
    ]
    assert min(errors) < 1


def test_a_clip_can_be_read_without_its_frames(tmp_path: Path) -> None:
    clip = make_clip(5, seed=0)
    write_clip(tmp_path, describe_clip("a", clip), clip)
    bare = read_clip(tmp_path, "a", frames=False)
    assert len(bare.jpeg) == 0
    np.testing.assert_array_equal(bare.landmarks, clip.landmarks)


def test_the_beginning_of_a_clip_has_its_first_frames_and_their_sound(tmp_path: Path) -> None:
    clip = make_clip(10, 0)
    first = clip.beginning(4, Fraction(25))
    assert (len(first), len(first.crops), len(first.waveform)) == (4, 4, 4 * 640)
    np.testing.assert_array_equal(first.frame(3), clip.frame(3))
    write_clip(tmp_path, describe_clip("first", first), first)
    assert len(read_clip(tmp_path, "first")) == 4
    bare = read_clip(tmp_path, "first", frames=False).beginning(2, Fraction(25))
    assert (len(bare), len(bare.jpeg)) == (2, 0)
    assert clip.beginning(10, Fraction(25)) is clip


def test_the_waveform_is_in_full_scale() -> None:
    clip = make_clip(3, seed=0)
    waveform = clip.waveform_float()
    assert waveform.dtype == np.float32
    np.testing.assert_allclose(waveform * 32768, clip.waveform)


@pytest.mark.parametrize("damage", ["missing", "cut", "text", "another schema", "a key less"])
def test_a_damaged_clip_is_refused_with_what_to_do(tmp_path: Path, damage: str) -> None:
    clip = make_clip(3, seed=0)
    write_clip(tmp_path, describe_clip("a", clip), clip)
    path = tmp_path / "clips" / "a.npz"
    with np.load(path) as file:
        arrays = dict(file)
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
    elif damage == "text":
        path.write_text("not a clip")
    elif damage == "another schema":
        np.savez(path, **(arrays | {"schema": np.int64(99)}))
    else:
        del arrays["crops"]
        np.savez(path, **arrays)
    with pytest.raises(TalkheadError, match="run talkhead prepare again") as caught:
        read_clip(tmp_path, "a")
    assert str(path) in str(caught.value)


def test_a_folder_that_was_not_prepared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TalkheadError, match="run talkhead prepare VIDEOS -o"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("line", ["{", '{"clip": "a"}', "[]", '{"clip": "a", "colour": "red"}'])
def test_a_manifest_that_does_not_fit_is_refused_with_the_line(tmp_path: Path, line: str) -> None:
    clip = make_clip(3, seed=0)
    good = json.dumps(dataclasses.asdict(describe_clip("a", clip)))
    (tmp_path / MANIFEST).write_text(f"{good}\n{line}\n")
    with pytest.raises(TalkheadError, match="line 2 is invalid"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"clip": "../../escape"}, "cannot be the name of a clip"),
        ({"clip": "/dev/zero"}, "cannot be the name of a clip"),
        ({"clip": "a\0b"}, "cannot be the name of a clip"),
        ({"clip": ".."}, "cannot be the name of a clip"),
        ({"clip": ""}, "cannot be the name of a clip"),
        ({"clip": "x" * 300}, "cannot be the name of a clip"),
        ({"num_frames": "many"}, "num_frames is 'many', but must be int"),
        ({"num_frames": 0}, "num_frames is 0"),
        ({"fps": "0"}, "out of range"),
        ({"fps": "1/0"}, "not a number"),
        ({"fps": "9" * 5000}, "9"),
        ({"agreement": float("nan")}, "agreement is nan, but must be a finite number"),
        ({"clip": "a"}, "a appears twice"),
    ],
)
def test_a_row_that_no_clip_has_is_refused(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    good = dataclasses.asdict(describe_clip("a", make_clip(3, seed=0)))
    other = good | {"clip": "b"} | changes
    (tmp_path / MANIFEST).write_text(f"{json.dumps(good)}\n{json.dumps(other)}\n")
    with pytest.raises(TalkheadError, match="line 2 is invalid") as caught:
        read_manifest(tmp_path)
    assert reason in str(caught.value)


def test_a_manifest_that_is_no_text_is_refused(tmp_path: Path) -> None:
    for content in (b"\xff\xfe\x00", b"[" * 100_000):
        (tmp_path / MANIFEST).write_bytes(content)
        with pytest.raises(TalkheadError, match=MANIFEST):
            read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"landmarks": np.zeros((3, 477, 3), np.float32)}, "landmarks is float32"),
        ({"landmarks": np.full((3, 478, 3), np.nan, np.float32)}, "landmarks are not finite"),
        ({"landmarks": np.zeros((0, 478, 3), np.float32)}, "0 meshes"),
        ({"crops": np.zeros((2, 3), np.float32)}, "3 meshes with 2 crops"),
        ({"waveform": np.zeros((5, 2), np.int16)}, "waveform is int16"),
        ({"waveform": np.zeros(5, np.complex64)}, "waveform is complex64"),
        ({"jpeg_offsets": np.array([0, 5, 3, 9])}, "jpeg_offsets do not fit 3 frames"),
        ({"schema": np.array([1, 2])}, "scalar"),
        ({"jpeg": np.array([{"a": 1}], dtype=object)}, "a pickle"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    clip = make_clip(3, seed=0)
    write_clip(tmp_path, describe_clip("a", clip), clip)
    path = tmp_path / "clips" / "a.npz"
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **(arrays | changes))
    with pytest.raises(TalkheadError, match="cannot read the clip") as caught:
        read_clip(tmp_path, "a")
    assert reason in str(caught.value)


def test_a_picture_of_a_clip_that_is_damaged_or_of_another_size_is_refused() -> None:
    clip = make_clip(3, seed=0)
    large = io.BytesIO()
    Image.new("RGB", (9000, 9000)).save(large, "JPEG", quality=1)
    for content in (b"no picture", large.getvalue()):
        jpeg = np.frombuffer(content, np.uint8)
        offsets = np.array([0, len(jpeg), len(jpeg), len(jpeg)])
        damaged = dataclasses.replace(clip, jpeg=jpeg, jpeg_offsets=offsets)
        with pytest.raises(TalkheadError, match="frame 0 of a clip is damaged"):
            damaged.frame(0)

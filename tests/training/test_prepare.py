from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from talkhead.errors import TalkheadError
from talkhead.face.mesh import NUM_SURFACE_POINTS
from talkhead.training.clips import write_clip, write_manifest
from talkhead.training.prepare import (
    MAX_CLIP_FRAMES,
    find_stretches,
    list_sources,
    prepare,
    track_crops,
)
from tests.prepared import describe_clip, make_clip, moving_mesh

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
    # A jump is seen across a gap, too.
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
        # A dropping jaw needs its room below.
        assert 256 - inside[:, 1].max() > inside[:, 1].min() - 25


def test_a_folder_is_listed_with_its_sub_folders(tmp_path: Path) -> None:
    (tmp_path / "day 1").mkdir()
    for name in ("b.mp4", "a.MOV", "notes.txt", "day 1/c.v2.webm"):
        (tmp_path / name).touch()
    sources = list_sources(tmp_path)
    assert [source.name for source in sources] == ["a", "b", "day_1-c_v2"]
    assert {source.split for source in sources} == {"train"}
    assert [source.person for source in sources] == [source.name for source in sources]


def test_a_list_gives_splits_and_people(tmp_path: Path) -> None:
    listing = tmp_path / "list.csv"
    listing.write_text(
        "\ufefffile,split,person,sound,licence,id,transcript\n"
        "v/a.mp4,dev,anna,good,CC0,first,lay white at z\n"
        "/far/b.mp4,,,,,,\n",
        encoding="utf-8",
    )
    one, two = list_sources(listing)
    assert (one.name, one.path, one.split, one.person) == (
        "first",
        tmp_path / "v" / "a.mp4",
        "dev",
        "anna",
    )
    assert (one.sound, one.licence, one.transcript) == ("good", "CC0", "lay white at z")
    assert two.transcript == ""
    assert (two.path, two.split, two.sound) == (Path("/far/b.mp4"), "train", "unknown")
    assert "/" not in two.name
    assert two.person == two.name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "needs a column named file"),
        ("path\na.mp4\n", "needs a column named file"),
        ("file\n", "needs a column named file, and a row for every video"),
        ("id,file\na,a.mp4\nb,\n", "video 2 of the list has no file"),
        ("file\nx/a.mp4\nx-a.mp4\n", "are both named x-a"),
        ("file\na.mp4\na.mov\n", "are both named a"),
    ],
)
def test_a_list_that_does_not_serve_is_refused(tmp_path: Path, content: str, message: str) -> None:
    listing = tmp_path / "list.csv"
    listing.write_text(content)
    with pytest.raises(TalkheadError, match=message):
        list_sources(listing)


def test_what_is_no_list_and_no_folder_of_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TalkheadError, match="holds no videos"):
        list_sources(tmp_path)
    with pytest.raises(TalkheadError, match="does not exist"):
        list_sources(tmp_path / "missing")
    (tmp_path / "film.mp4").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(TalkheadError, match="is not a CSV list"):
        list_sources(tmp_path / "film.mp4")


def test_a_folder_keeps_the_rate_that_it_was_prepared_at(tmp_path: Path) -> None:
    clip = make_clip(3, seed=0)
    write_clip(tmp_path, describe_clip("a", clip), clip)
    write_manifest(tmp_path)
    (tmp_path / "b.mp4").touch()
    sources = list_sources(tmp_path)
    with pytest.raises(TalkheadError, match="was prepared at 25 frames a second, not at 30"):
        next(prepare(sources, tmp_path, fps=Fraction(30)))

import json
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from talkhead.errors import TalkheadError
from talkhead.tracking.landmark_track import (
    MAX_COORDINATE_PX,
    MAX_FRAMES,
    MAX_JSON_BYTES,
    LandmarkTrack,
)


def make_track(num_frames: int = 5, fps: Fraction = Fraction(25)) -> LandmarkTrack:
    points = np.random.default_rng(0).uniform(-50, 900, (num_frames, 478, 3)).astype(np.float32)
    return LandmarkTrack(points, fps, (640, 480), "some detector")


def fields_of(track: LandmarkTrack) -> dict[str, Any]:
    """The contents of an .npz."""
    return {
        "schema": np.int64(1),
        "detector": np.str_(track.detector),
        "fps": np.array([track.fps.numerator, track.fps.denominator]),
        "size": np.array(track.size),
        "points": track.points,
    }


def error_of(path: Path) -> str:
    with pytest.raises(TalkheadError) as caught:
        LandmarkTrack.read(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


@pytest.mark.parametrize("suffix", [".npz", ".json", ".NPZ", ".Json"])
@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30_000, 1001)])
def test_a_track_comes_back_as_it_was_written(tmp_path: Path, suffix: str, fps: Fraction) -> None:
    track = make_track(fps=fps)
    path = tmp_path / f"track{suffix}"
    track.write(path)
    back = LandmarkTrack.read(path)
    assert back.points.dtype == np.float32
    np.testing.assert_array_equal(back.points, track.points)
    assert (back.fps, back.size, back.detector) == (fps, (640, 480), "some detector")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_windows_make_the_same_file_as_the_whole(tmp_path: Path, suffix: str) -> None:
    track = make_track(7)
    one, other = tmp_path / f"one{suffix}", tmp_path / f"other{suffix}"
    track.write(one)
    windows = iter([track.points[:3], track.points[3:4], track.points[4:]])
    LandmarkTrack.write_windows(other, windows, 7, track.fps, track.size, track.detector)
    assert one.read_bytes() == other.read_bytes()
    with pytest.raises(ValueError, match="expected 8 frames, got 7"):
        LandmarkTrack.write_windows(one, [track.points], 8, track.fps, track.size, "d")
    broken = np.full((1, 478, 3), np.nan, np.float32)
    with pytest.raises(ValueError, match="not finite"):
        LandmarkTrack.write_windows(one, [track.points, broken], 8, track.fps, track.size, "d")
    assert one.read_bytes() == other.read_bytes()
    assert set(tmp_path.iterdir()) == {one, other}


def test_extreme_floats_survive_json_exactly(tmp_path: Path) -> None:
    points = np.zeros((1, 478, 3), np.float32)
    info = np.finfo(np.float32)
    points[0, 0] = 0.1, MAX_COORDINATE_PX, info.smallest_subnormal
    points[0, 1] = -1 / 3, -MAX_COORDINATE_PX, 1e-7
    points[0, 2] = 16_777.217, 0, 0
    LandmarkTrack(points, Fraction(25), (8, 8), "d").write(tmp_path / "track.json")
    np.testing.assert_array_equal(LandmarkTrack.read(tmp_path / "track.json").points, points)


def test_the_json_is_made_for_hands(tmp_path: Path) -> None:
    points = np.full((3, 478, 3), 0.1, np.float32)
    LandmarkTrack(points, Fraction(25), (64, 48), "d").write(tmp_path / "track.json")
    lines = (tmp_path / "track.json").read_text().splitlines()
    assert lines[:6] == [
        *("{", '"schema": 1,', '"detector": "d",', '"fps": [25, 1],', '"size": [64, 48],'),
        '"points": [',
    ]
    assert lines[6].startswith("[[0.1,0.1,0.1],[0.1,")
    assert len(lines) == 6 + 3 + 2  # one line per frame
    assert set(json.loads("".join(lines))) == {"schema", "detector", "fps", "size", "points"}


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_the_same_track_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        make_track().write(tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_an_archive_holds_no_dates(tmp_path: Path) -> None:
    make_track().write(tmp_path / "track.npz")
    with zipfile.ZipFile(tmp_path / "track.npz") as archive:
        assert {info.date_time[0] for info in archive.infolist()} == {1980}


def test_a_written_track_replaces_the_old_one_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "track.npz"
    make_track(2).write(path)
    make_track(3).write(path)
    assert LandmarkTrack.read(path).num_frames == 3
    broken = make_track(4)
    object.__setattr__(broken, "size", ("not", "numbers"))
    with pytest.raises(ValueError, match="invalid literal"):
        broken.write(path)
    assert LandmarkTrack.read(path).num_frames == 3
    assert list(tmp_path.iterdir()) == [path]


def test_an_output_that_cannot_be_is_refused(tmp_path: Path) -> None:
    for name in ("track.txt", "track", "missing/track.npz", "missing/track.json"):
        with pytest.raises(TalkheadError, match=name.split("/")[0]):
            make_track().write(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": None}, "'points' is missing"),
        ({"fps": None, "size": None}, "'fps', 'size' is missing"),
        ({"extra": np.int64(1)}, "'extra' is unknown"),
        ({"schema": np.int64(2)}, "schema is 2"),
        ({"schema": np.float64(1)}, "schema has the wrong type"),
        ({"detector": np.int64(3)}, "detector has the wrong type"),
        ({"detector": np.str_("")}, "detector must be named"),
        ({"fps": np.array([25.0, 1.0])}, "fps has the wrong type"),
        ({"fps": np.array([25])}, "fps must be two whole numbers"),
        ({"fps": np.array([25, 0])}, "fps must be two whole numbers"),
        ({"fps": np.array([0, 1])}, "fps must be above 0"),
        ({"size": np.array([640, 0])}, "size must be"),
        ({"size": np.array([640, 480, 3])}, "size must be"),
        ({"points": np.zeros((5, 478, 3), np.float64)}, "float64"),
        ({"points": np.zeros((5, 468, 3), np.float32)}, "468"),
        ({"points": np.zeros((478, 3), np.float32)}, "points must be float32"),
        ({"points": np.zeros((0, 478, 3), np.float32)}, "no frames"),
        ({"points": np.full((5, 478, 3), np.nan, np.float32)}, "not finite"),
        ({"points": np.full((5, 478, 3), np.inf, np.float32)}, "not finite"),
        ({"points": np.full((5, 478, 3), -2e6, np.float32)}, "within 1,000,000 px"),
        ({"points": np.full((5, 478, 3), 7, np.float32)}, "span less than 1 px"),
        ({"fps": np.array([1, 1000])}, "fps must be from 1/60 to 1000"),
        ({"fps": np.array([2**62, 2**61 - 1])}, "fps must be two whole numbers"),
        ({"detector": np.str_("x" * 1000)}, "200 characters"),
    ],
)
def test_a_wrong_npz_is_refused_with_what_is_wrong(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    fields = {**fields_of(make_track()), **change}
    path = tmp_path / "track.npz"
    np.savez(path, **{key: value for key, value in fields.items() if value is not None})
    assert message in error_of(path)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "track.npz"
    fields = {**fields_of(make_track()), "points": np.array([{"a": 1}], dtype=object)}
    np.savez(path, **fields)
    assert "pickle" in error_of(path)
    path.write_bytes(make_track().points.dumps())
    assert "archive" in error_of(path)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "track.npz"
    make_track().write(path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:20_000] + b"\0\1" * 50 + whole[20_100:]):
        path.write_bytes(damaged)
        error_of(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("points.npy", b"not an array")
    error_of(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": None}, "'points' is missing"),
        ({"note": "mine"}, "'note' is unknown"),
        ({"schema": 2}, "schema is 2"),
        ({"schema": True}, "schema is True"),
        ({"schema": "1"}, "schema is '1'"),
        ({"detector": 3}, "detector must be a string"),
        ({"fps": 25}, "fps must be two whole numbers"),
        ({"fps": [25.0, 1]}, "fps must be two whole numbers"),
        ({"size": [640, True]}, "size must be two whole numbers"),
        ({"size": [-640, 480]}, "size must be"),
        ({"points": []}, "points must be float32"),
        ({"points": [[[1.0, 2.0]]]}, "points must be float32"),
        ({"points": [[[1.0, 2.0], [1.0]]]}, "inhomogeneous"),
        ({"points": [[["1.0"] * 3] * 478]}, "numbers only"),
        ({"points": [[[None] * 3] * 478]}, "numbers only"),
        ({"points": [[[1e300] * 3] * 478]}, "not finite"),
        ({"points": [[[float("nan")] * 3] * 478]}, "NaN is not a number"),
        ({"points": {"a": 1}}, "missing"),
        ({"points": [[[0.5, 1, 10**400]] * 478]}, "numbers only"),
        ({"points": [[]] * 1000}, "more lists than numbers"),
    ],
)
def test_a_wrong_json_is_refused_with_what_is_wrong(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "track.json"
    make_track(1).write(path)
    fields = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({key: value for key, value in fields.items() if value is not None}))
    assert message in error_of(path)


def test_json_is_refused_by_its_size_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "track.json"
    with path.open("wb") as file:
        file.truncate(MAX_JSON_BYTES + 1)  # a sparse file, which takes no space
    assert "use .npz" in error_of(path)


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_does(tmp_path: Path) -> None:
    path = tmp_path / "track.npz"
    frame = bytes(478 * 3 * 4)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("points.npy", "w", force_zip64=True) as file,
    ):
        for _ in range(MAX_FRAMES // 100 + 1):
            file.write(frame * 100)
    assert path.stat().st_size < 10_000_000
    assert "unpacks to 1,2" in error_of(path)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "3", "null", "talk", '{"schema": 1, "schema": 1}', "[" * 100_000, "\ud83d"],
)
def test_text_that_is_no_track_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "track.json"
    path.write_bytes(text.encode("utf-16-le", "surrogatepass") if text > "z{" else text.encode())
    error_of(path)


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "track.json"
    make_track(1).write(path)
    path.write_text(path.read_text().replace('"schema": 1,', '"schema": 1,\n"schema": 1,'))
    assert "'schema' is duplicated" in error_of(path)


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    assert "does not exist" in error_of(tmp_path / "track.npz")
    (tmp_path / "folder.json").mkdir()
    assert "directory" in error_of(tmp_path / "folder.json")
    (tmp_path / "empty.npz").touch()
    assert "empty" in error_of(tmp_path / "empty.npz")
    assert ".npz or .json" in error_of(tmp_path / "track.mp4")


def ramp(num_frames: int, fps: Fraction) -> LandmarkTrack:
    """Return a track whose coordinates are all 100 times the time in seconds."""
    times_s = (np.arange(num_frames) + 0.5) / float(fps)
    points = np.broadcast_to(100 * times_s[:, None, None], (num_frames, 478, 3))
    return LandmarkTrack(points.astype(np.float32), fps, (64, 64), "d")


def test_resampling_by_hand() -> None:
    track = ramp(3, Fraction(10))  # 5, 15, 25 at 0.05, 0.15, 0.25 s; ends at 0.3 s
    faster = track.resample(Fraction(20))
    np.testing.assert_allclose(faster.points[:, 0, 0], [5, 7.5, 12.5, 17.5, 22.5, 25], atol=1e-5)
    assert faster.fps == 20
    slower = track.resample(Fraction(4))  # 0.125 and 0.375 s: it stands still past the last frame
    np.testing.assert_allclose(slower.points[:, 5, 1], [12.5, 25], atol=1e-5)
    np.testing.assert_allclose(
        track.resample(Fraction(15), num_frames=2).points[:, 7, 2], [5, 10], atol=1e-5
    )
    np.testing.assert_allclose(
        track.resample(Fraction(10), num_frames=5).points[:, 0, 0], [5, 15, 25, 25, 25]
    )


def test_the_same_rate_changes_nothing() -> None:
    track = make_track(7, Fraction(30_000, 1001))
    same = track.resample(Fraction(30_000, 1001))
    np.testing.assert_array_equal(same.points, track.points)
    assert (same.fps, same.size, same.detector) == (track.fps, track.size, track.detector)


def test_resampling_back_and_forth_keeps_the_shared_frames() -> None:
    track = make_track(9, Fraction(25))
    there = track.resample(Fraction(75))
    assert there.num_frames == 27
    np.testing.assert_array_equal(there.points[1::3], track.points)
    np.testing.assert_array_equal(there.resample(Fraction(25)).points, track.points)


@pytest.mark.parametrize("fps", [Fraction(240, 1001), Fraction(3, 5), Fraction(1, 7)])
def test_time_stamps_do_not_drift_over_an_hour(fps: Fraction) -> None:
    seen = ramp(60, Fraction(1, 60)).resample(fps, num_frames=int(3500 * fps))
    middles_s = [float((index + Fraction(1, 2)) / fps) for index in range(seen.num_frames)]
    times_s = np.clip(middles_s, 30, 3570)  # the middles of the first and the last frame
    np.testing.assert_allclose(seen.points[:, 0, 0], np.multiply(100, times_s), rtol=1e-6)


def test_resampling_leaves_its_track_alone() -> None:
    track = make_track()
    before = track.points.copy()
    track.resample(Fraction(60)).points[:] = 0
    track.resample(track.fps).points[:] = 0
    np.testing.assert_array_equal(track.points, before)


def test_duration_is_exact_and_covers_the_last_frame() -> None:
    assert make_track(5).duration_s == Fraction(1, 5)
    assert make_track(30, Fraction(30_000, 1001)).duration_s == Fraction(1001, 1000)


def test_a_track_that_cannot_be_is_a_bug() -> None:
    good = make_track()
    with pytest.raises(ValueError, match="float32"):
        LandmarkTrack(good.points.astype(np.float64), good.fps, good.size, "d")
    with pytest.raises(ValueError, match="fps"):
        LandmarkTrack(good.points, Fraction(0), good.size, "d")
    with pytest.raises(ValueError, match="num_frames"):
        good.resample(Fraction(25), num_frames=0)

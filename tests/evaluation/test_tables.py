import csv
from pathlib import Path
from typing import Any

import pytest

from talkhead.evaluation.intervals import Interval
from talkhead.evaluation.tables import (
    NEVER_SEEN,
    SEEN,
    summarise,
    write_csv,
)


def row(clip: str, system: str = "ours", /, **values: float) -> dict[str, Any]:
    return {
        "clip": clip,
        "person": clip.partition("-")[0],
        "is_seen_person": clip.startswith("seen"),
        "system": system,
        "frames": 75,
        "frames_without_face": 1 if system == "ours" else 0,
        "values": values,
    }


def test_means_are_over_the_clips_that_have_the_value() -> None:
    clips = [row("anna-1", psnr=20, lag=3), row("anna-2", psnr=30), row("bert-1", psnr=40)]
    groups = summarise(clips, ["psnr", "lag", "ssim"])
    assert list(groups) == [NEVER_SEEN]
    group = groups[NEVER_SEEN]
    assert (group["clips"], group["people"], group["frames"]) == (3, 2, 225)
    ours = group["systems"]["ours"]
    assert (ours["frames"], ours["frames_without_face"]) == (225, 3)
    assert list(ours["values"]) == ["psnr", "lag"]
    assert ours["values"]["lag"] == {"mean": 3, "clips": 1}
    assert ours["values"]["psnr"]["mean"] == 30
    assert ours["values"]["psnr"]["clips"] == 3
    assert 20 <= ours["values"]["psnr"]["low"] < 30 < ours["values"]["psnr"]["high"] <= 40


def test_people_seen_in_training_are_a_group_of_their_own() -> None:
    groups = summarise([row("seen-1", psnr=50), row("anna-1", psnr=20)], ["psnr"])
    assert list(groups) == [NEVER_SEEN, SEEN]
    assert groups[NEVER_SEEN]["systems"]["ours"]["values"]["psnr"]["mean"] == 20
    assert groups[SEEN]["systems"]["ours"]["values"]["psnr"]["mean"] == 50


def test_frames_of_a_group_are_counted_once_however_many_systems_there_are() -> None:
    clips = [row("anna-1", psnr=1), row("anna-1", "plain warp", psnr=1)]
    group = summarise(clips, ["psnr"])[NEVER_SEEN]
    assert (group["clips"], group["frames"]) == (1, 75)
    assert list(group["systems"]) == ["ours", "plain warp"]
    assert group["systems"]["plain warp"]["frames_without_face"] == 0


def test_values_of_whole_sets_have_no_interval() -> None:
    clips = [row("anna-1", psnr=20), row("anna-2", psnr=20)]
    of_set = {NEVER_SEEN: {"ours": {"fid": 12.5}}}
    values = summarise(clips, ["fid", "psnr"], of_set)[NEVER_SEEN]["systems"]["ours"]["values"]
    assert values == {
        "fid": {"mean": 12.5, "clips": 2},
        "psnr": {"mean": 20, "low": 20, "high": 20, "clips": 2},
    }


def test_the_order_of_clips_changes_no_number() -> None:
    clips = [row(f"anna-{index}", psnr=index**1.5) for index in range(20)]
    assert summarise(clips, ["psnr"]) == summarise(clips[::-1], ["psnr"])


@pytest.mark.parametrize(
    ("clips", "reason"),
    [
        ([row("a", psnr=float("nan"))], "a mean needs numbers"),
        ([row("a", other=1)], "without a description"),
        ([row("a", psnr=1), row("a", psnr=2)], "scored a clip twice"),
    ],
)
def test_what_is_no_table_is_refused(clips: list[dict[str, Any]], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        summarise(clips, ["psnr"])


def scores(clips: list[dict[str, Any]]) -> dict[str, Any]:
    described = {"title": "PSNR", "unit": "dB", "better": "higher", "digits": 2}
    return {
        "schema": 2,
        "stage": "both",
        "protocol": {},
        "measures": {"psnr": described, "opening_lag": described},
        "groups": {},
        "clips": clips,
    }


def test_every_clip_and_system_is_a_line_and_every_measure_a_column(tmp_path: Path) -> None:
    clips = [
        row("anna-1", psnr=20.25, opening_lag=-2),
        row("anna-1", "plain warp", psnr=0.1 + 0.2),
        row("seen-1"),
    ]
    write_csv(scores(clips), tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.reader(file))
    assert lines == [
        [
            *("clip", "person", "is_seen_person", "system", "frames", "frames_without_face"),
            *("psnr", "opening_lag"),
        ],
        ["anna-1", "anna", "false", "ours", "75", "1", "20.25", "-2"],
        ["anna-1", "anna", "false", "plain warp", "75", "0", "0.30000000000000004", ""],
        ["seen-1", "seen", "true", "ours", "75", "1", "", ""],
    ]


def test_the_same_scores_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        write_csv(scores([row("anna-1", psnr=20)]), tmp_path / name)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_text_is_no_formula(tmp_path: Path, text: str) -> None:
    write_csv(scores([row(text, text, psnr=-1.5)]), tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        line = list(csv.reader(file))[1]
    assert line[0] == line[3] == f"'{text}"
    assert line[6] == "-1.5"  # a number stays one


def test_names_of_any_script_are_written(tmp_path: Path) -> None:
    name = 'Зоя, "größer"\n表 \udcff'
    write_csv(scores([row(name)]), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_bytes().startswith(b"\xef\xbb\xbfclip,")
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file))[1][0] == 'Зоя, "größer"\n表 \\udcff'


def test_a_value_of_a_whole_set_may_have_an_interval() -> None:
    rows = [row("anna-1"), row("anna-2")]
    found: dict[str, float | Interval] = {"fid": 7.0, "two_sample": Interval(60.0, 50.0, 70.0, 9)}
    groups = summarise(rows, ["fid", "two_sample"], {NEVER_SEEN: {"ours": found}})
    assert groups[NEVER_SEEN]["systems"]["ours"]["values"] == {
        "fid": {"mean": 7.0, "clips": 2},
        "two_sample": {"mean": 60.0, "low": 50.0, "high": 70.0, "clips": 2},
    }

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from talkhead.errors import TalkheadError
from talkhead.evaluation import scores_io
from talkhead.evaluation.compare import compare
from talkhead.evaluation.scores_io import check_scores, read_scores
from talkhead.evaluation.tables import NEVER_SEEN, summarise

MEASURES = {
    "psnr": {"title": "PSNR", "unit": "dB", "better": "higher", "digits": 2},
    "fid": {"title": "FID", "unit": "", "better": "lower", "digits": 1},
}
CLIP = {
    **{"clip": "anna-1", "person": "anna", "is_seen_person": False, "system": "default"},
    **{"frames": 75, "frames_without_face": 1, "values": {"psnr": 20}},
}


def scores() -> dict[str, Any]:
    return {
        **{"schema": 2, "stage": "both", "protocol": {"networks": {"alexnet-lpips": "aa"}}},
        **{"measures": copy.deepcopy(MEASURES), "clips": [copy.deepcopy(CLIP)]},
        "groups": summarise([CLIP], MEASURES, {NEVER_SEEN: {"default": {"fid": 9.0}}}),
    }


def test_scores_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(scores()), encoding="utf-8")
    assert read_scores(path) == scores()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not a scores.json"),
        ('{"groups": {}}', "schema 1, not 2"),
        ('{"groups": {}, "schema": 3}', "schema 3, not 2"),
        ('{"groups": {}, "schema": 2, "clips": []}', "lacks stage, protocol, measures"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "scores.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(TalkheadError) as caught:
        read_scores(path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    with pytest.raises(TalkheadError, match="does not exist"):
        read_scores(tmp_path / "none.json")


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    with path.open("wb") as file:
        file.truncate(scores_io.MAX_BYTES + 1)
    with pytest.raises(TalkheadError, match="is over 50 MB"):
        read_scores(path)


def test_the_side_of_a_comparison_is_named() -> None:
    with pytest.raises(TalkheadError, match="the first file is not a scores"):
        check_scores({}, "the first file")


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (("stage",), ["both"], "stage is"),
        (("protocol",), [], "protocol and its networks"),
        (("protocol", "networks"), "aa", "protocol and its networks"),
        (("measures",), [], "measures is"),
        (("measures", "psnr"), {"title": "PSNR"}, "3 keys missing (measures.psnr.better,"),
        (("measures", "psnr", "better"), "up", "measures.psnr.better is"),
        (("measures", "psnr", "digits"), 10**9, "measures.psnr.digits is 1000000000"),
        (("clips",), {}, "clips is"),
        (("clips", 0, "clip"), [], "clips[0].clip is"),
        (("clips", 0, "values"), {"psnr": "high"}, "clips[0].values.psnr is"),
        (("groups", NEVER_SEEN, "systems"), {"default": {}}, "keys missing"),
        (
            ("groups", NEVER_SEEN, "systems", "default", "values", "fid"),
            {"mean": None, "clips": 1},
            "fid.mean is",
        ),
    ],
)
def test_a_damaged_part_is_named_before_anything_is_compared(
    place: tuple[str | int, ...], value: Any, reason: str
) -> None:
    damaged = scores()
    part: Any = damaged
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    with pytest.raises(TalkheadError) as caught:
        compare(scores(), damaged)
    assert str(caught.value).startswith("the second file")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)

import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest

from talkhead.errors import TalkheadError
from talkhead.evaluation.compare import compare, verdict
from talkhead.evaluation.intervals import Interval
from talkhead.evaluation.scores import WARP
from talkhead.evaluation.tables import NEVER_SEEN, SEEN, summarise

MEASURES = {
    "psnr": {"title": "PSNR", "unit": "dB", "better": "higher", "digits": 2},
    "m_ld": {"title": "M-LD", "unit": "px", "better": "lower", "digits": 2},
    "lag": {"title": "lag", "unit": "frames", "better": "neither", "digits": 1},
    "fid": {"title": "FID", "unit": "", "better": "lower", "digits": 1},
}
CLIPS = ("anna-1", "anna-2", "bert-1", "cleo-1")


def report(
    systems: Mapping[str, Mapping[str, Mapping[str, float]]], *, seen: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Scores: system, clip, measure."""
    clips = [
        {
            "clip": clip,
            "person": clip.partition("-")[0],
            "is_seen_person": clip in seen,
            "system": system,
            "frames": 75,
            "frames_without_face": 0,
            "values": dict(values),
        }
        for system, by_clip in systems.items()
        for clip, values in by_clip.items()
    ]
    return {
        "schema": 2,
        "talkhead": "0.1",
        "stage": "both",
        "protocol": {
            "name": "speaker",
            "seed": 0,
            "fps": "25",
            "codec": "h264, crf 18",
            "crop": "256 px",
            "detector": "mediapipe",
            "networks": {"alexnet-lpips": "aa"},
        },
        "weights": {},
        "measures": copy.deepcopy(MEASURES),
        "groups": summarise(clips, MEASURES),
        "not_computed": {},
        "warnings": [],
        "broken": [],
        "clips": clips,
    }


def constant(**values: float) -> dict[str, dict[str, float]]:
    return {
        clip: {key: value + index for key, value in values.items()}
        for index, clip in enumerate(CLIPS)
    }


def first_values(result: dict[str, Any], group: str = NEVER_SEEN) -> Any:
    return result["groups"][group]["pairs"][0]["values"]


def test_a_steady_gain_shows_although_clips_differ_more_than_it() -> None:
    before, after = (
        report({"default": constant(psnr=30 + gain, m_ld=5 - gain, lag=gain)}) for gain in (0, 0.25)
    )
    result = compare(before, after)
    assert first_values(result) == {
        "psnr": {
            **{"before": 31.5, "after": 31.75, "mean": 0.25, "low": 0.25, "high": 0.25},
            **{"clips": 4, "verdict": "better"},
        },
        "m_ld": {
            **{"before": 6.5, "after": 6.25, "mean": -0.25, "low": -0.25, "high": -0.25},
            **{"clips": 4, "verdict": "better"},
        },
        "lag": {
            **{"before": 1.5, "after": 1.75, "mean": 0.25, "low": 0.25, "high": 0.25},
            **{"clips": 4, "verdict": "different"},
        },
    }
    back = first_values(compare(after, before))
    assert back["psnr"]["verdict"] == back["m_ld"]["verdict"] == "worse"
    assert back["psnr"]["mean"] == -0.25
    json.dumps(result, allow_nan=False)


def test_a_file_against_itself_shows_no_difference() -> None:
    one = report({"default": constant(psnr=30, m_ld=1, lag=0)})
    values = first_values(compare(one, one))
    assert {entry["verdict"] for entry in values.values()} == {"no difference shown"}
    assert {entry["mean"] for entry in values.values()} == {0}


def test_gains_and_losses_that_balance_show_nothing() -> None:
    before = report({"default": {clip: {"psnr": 30} for clip in CLIPS}})
    changed = zip(CLIPS, (28, 31, 29, 32.5), strict=True)
    after = report({"default": {clip: {"psnr": value} for clip, value in changed}})
    entry = first_values(compare(before, after))["psnr"]
    assert entry["mean"] == pytest.approx(0.125)
    assert entry["low"] < 0 < entry["high"]
    assert entry["verdict"] == "no difference shown"


@pytest.mark.parametrize(
    ("low", "high", "better", "said"),
    [
        (0.1, 0.3, "higher", "better"),
        (0.1, 0.3, "lower", "worse"),
        (-0.3, -0.1, "higher", "worse"),
        (-0.3, -0.1, "lower", "better"),
        (-0.3, -0.1, "neither", "different"),
        (0.0, 0.3, "higher", "no difference shown"),
        (-0.3, 0.0, "lower", "no difference shown"),
        (None, None, "higher", "no difference shown"),
    ],
)
def test_verdicts_follow_the_interval(
    low: float | None, high: float | None, better: str, said: str
) -> None:
    assert verdict(Interval(0.2, low, high, 3), better) == said


def test_one_clip_shows_nothing() -> None:
    before, after = (report({"default": {"anna-1": {"psnr": value}}}) for value in (20, 30))
    assert first_values(compare(before, after))["psnr"] == {
        **{"before": 20, "after": 30, "mean": 10, "clips": 1},
        "verdict": "no difference shown",
    }


def test_systems_of_the_same_name_are_pairs_and_baselines_too() -> None:
    systems = {"one": constant(psnr=1), "two": constant(psnr=2), WARP: constant(psnr=0)}
    both = report(systems)
    pairs = compare(both, both)["groups"][NEVER_SEEN]["pairs"]
    assert [(pair["before"], pair["after"]) for pair in pairs] == [
        ("one", "one"),
        ("two", "two"),
        (WARP, WARP),
    ]


def test_the_only_scored_systems_are_a_pair_whatever_their_names() -> None:
    before = report({"old": constant(psnr=30), WARP: constant(psnr=20)})
    after = report({"new": constant(psnr=31), WARP: constant(psnr=20)})
    pairs = compare(before, after)["groups"][NEVER_SEEN]["pairs"]
    assert [(pair["before"], pair["after"]) for pair in pairs] == [("old", "new"), (WARP, WARP)]
    assert [pair["values"]["psnr"]["mean"] for pair in pairs] == [1, 0]


def test_names_decide_where_several_systems_were_scored() -> None:
    before = report({"old": constant(psnr=30)})
    after = report({"new": constant(psnr=31), "newer": constant(psnr=31)})
    with pytest.raises(TalkheadError, match="no system in common"):
        compare(before, after)


def test_clips_of_one_file_alone_are_counted_and_named() -> None:
    before, after = constant(psnr=30), constant(psnr=31)
    del before["anna-2"], after["cleo-1"]
    result = compare(report({"default": before}), report({"default": after}))
    assert (result["only_before"], result["only_after"]) == (["cleo-1"], ["anna-2"])
    assert result["clips"] == 2
    group = result["groups"][NEVER_SEEN]
    assert (group["clips"], group["people"]) == (2, 2)
    # Means are of the two clips in both: 30 and 32.
    assert first_values(result)["psnr"]["before"] == 31
    with pytest.raises(TalkheadError, match="no clip in common"):
        compare(
            report({"default": {"anna-1": {"psnr": 1}}}),
            report({"default": {"bert-1": {"psnr": 1}}}),
        )


def test_a_clip_without_the_value_on_one_side_is_left_out() -> None:
    before, after = constant(psnr=30), constant(psnr=31)
    del after["bert-1"]["psnr"]
    entry = first_values(compare(report({"default": before}), report({"default": after})))["psnr"]
    assert (entry["clips"], entry["before"], entry["after"]) == (3, 94 / 3, 97 / 3)


def test_a_person_seen_on_either_side_is_seen() -> None:
    before = report({"default": constant(psnr=30)}, seen=("anna-1", "anna-2"))
    after = report({"default": constant(psnr=31)}, seen=("cleo-1",))
    groups = compare(before, after)["groups"]
    assert {name: group["clips"] for name, group in groups.items()} == {NEVER_SEEN: 1, SEEN: 3}


def test_values_of_whole_sets_are_compared_without_a_verdict() -> None:
    before, after = (report({"default": constant(psnr=30)}) for _ in range(2))
    for side, value in ((before, 20.0), (after, 12.5)):
        values = side["groups"][NEVER_SEEN]["systems"]["default"]["values"]
        values["fid"] = {"mean": value, "clips": 4}
    assert first_values(compare(before, after))["fid"] == {
        **{"before": 20, "after": 12.5, "mean": -7.5, "clips": 4},
        "verdict": "no difference shown",
    }
    fewer = constant(psnr=30)
    del fewer["anna-1"]
    smaller = report({"default": fewer})
    smaller["groups"][NEVER_SEEN]["systems"]["default"]["values"]["fid"] = {"mean": 9, "clips": 3}
    assert "fid" not in first_values(compare(before, smaller))


@pytest.mark.parametrize("fact", ["fps", "crop", "detector", "codec"])
def test_another_protocol_is_refused_and_the_fact_named(fact: str) -> None:
    before, after = (report({"default": constant(psnr=30)}) for _ in range(2))
    after["protocol"][fact] = "other"
    with pytest.raises(TalkheadError, match=f"their {fact} differs: .* and other; score both"):
        compare(before, after)
    del after["protocol"][fact]
    with pytest.raises(TalkheadError, match=f"their {fact} differs: .* and not stated;"):
        compare(before, after)
    del before["protocol"][fact]
    compare(before, after)


def test_another_stage_schema_network_or_person_is_refused_in_one_line() -> None:
    def refuse(message: str, after: dict[str, Any]) -> None:
        with pytest.raises(TalkheadError, match=message) as caught:
            compare(report({"default": constant(psnr=30)}), after)
        assert "\n" not in str(caught.value)

    other = report({"default": constant(psnr=30)})
    refuse("their stage differs: both and render", {**other, "stage": "render"})
    refuse("the second file has scores of schema 1, not 2", {**other, "schema": 1})
    networks = {**other["protocol"], "networks": {"alexnet-lpips": "bb"}}
    refuse("network alexnet-lpips differs: aa and bb", {**other, "protocol": networks})
    clips = [{**clip, "person": "dora"} for clip in other["clips"]]
    refuse("clip anna-1 shows anna in the first file, but dora", {**other, "clips": clips})


def test_what_else_changed_is_said() -> None:
    before, after = (report({"default": constant(psnr=30)}) for _ in range(2))
    after["protocol"]["seed"] = 1
    after["measures"]["new"] = MEASURES["psnr"]
    after["measures"]["m_ld"]["unit"] = "eye distances"
    del after["measures"]["lag"]
    result = compare(before, after)
    assert result["changed_facts"] == {"seed": [0, 1]}
    assert result["not_compared"] == {
        "m_ld": "its unit or its better direction differs",
        "lag": "only in the first file",
        "new": "only in the second file",
    }
    assert list(result["measures"]) == ["psnr", "fid"]

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from talkhead.data.clips import MANIFEST, ClipInfo
from talkhead.data.selection import is_scored
from talkhead.errors import TalkheadError
from talkhead.evaluation.protocols import ChosenClips, Protocol, choose_rows, draw_share


def row(
    clip: str,
    person: str,
    split: str = "train",
    *,
    video: str = "",
    num_frames: int = 100,
    has_sound: bool = True,
    emotion: str = "",
    level: int = 0,
    view: str = "",
) -> ClipInfo:
    return ClipInfo(
        clip=clip,
        video=video or f"{clip}.mp4",
        split=split,
        person=person,
        sound="good",
        licence="CC0",
        num_frames=num_frames,
        fps="25",
        start_s=0.0,
        has_sound=has_sound,
        eye_distance_px=90.0,
        yaw_deg=2.0,
        offset_frames=0,
        agreement=0.8,
        agreement_method="generator",
        emotion=emotion,
        level=level,
        view=view,
    )


def write(folder: Path, rows: Sequence[ClipInfo]) -> Path:
    """A manifest is all that protocols read; its lines are in no order."""
    lines = [json.dumps(asdict(row)) + "\n" for row in reversed(rows)]
    (folder / MANIFEST).write_text("".join(lines))
    return folder


def names(chosen: ChosenClips) -> list[str]:
    return [row.clip for row in chosen.rows]


MIXED = [
    row("anna-1", "anna"),
    row("anna-2", "anna", "dev"),
    row("bert-1", "bert"),
    row("cleo-1", "cleo", "dev", has_sound=False),
    row("cleo-2", "cleo", "dev", num_frames=30),
    row("cleo-3", "cleo", "dev"),
    row("dora-1", "dora", "test"),
]


def test_a_split_is_chosen_as_the_manifest_has_it(tmp_path: Path) -> None:
    data = write(tmp_path, MIXED)
    chosen = choose_rows(data)
    assert names(chosen) == ["anna-2", "cleo-1", "cleo-2", "cleo-3"]
    assert chosen.seen_people == {"anna", "bert"}
    assert [row.person in chosen.seen_people for row in chosen.rows] == [True, False, False, False]
    assert chosen.note == "the split dev"
    assert names(choose_rows(data, splits=["test"])) == ["dora-1"]
    both = choose_rows(data, splits=["test", "dev", "test"])
    assert both.note == "the splits test and dev"
    assert names(both) == sorted([*names(chosen), "dora-1"])
    assert names(choose_rows(data, people=["c*", "dora"])) == ["cleo-1", "cleo-2", "cleo-3"]
    assert names(choose_rows(data, limit=2)) == ["anna-2", "cleo-1"]
    assert names(choose_rows(data, fits=lambda row: row.has_sound, limit=2)) == ["anna-2", "cleo-2"]


def test_seen_people_are_left_out_only_where_there_are_others_and_nobody_is_named(
    tmp_path: Path,
) -> None:
    data = write(tmp_path, MIXED)
    assert names(choose_rows(data, unseen_only=True)) == ["cleo-1", "cleo-2", "cleo-3"]
    assert names(choose_rows(data, unseen_only=True, limit=1)) == ["cleo-1"]
    assert names(choose_rows(data, unseen_only=True, people=["anna"])) == ["anna-2"]
    assert names(choose_rows(data, unseen_only=True, splits=["train"])) == ["anna-1", "bert-1"]
    # Others that do not fit the stage are no others.
    short = choose_rows(data, unseen_only=True, fits=lambda row: row.person != "cleo")
    assert names(short) == ["anna-2"]


def test_a_stage_says_which_clips_fit_it(tmp_path: Path) -> None:
    data = write(tmp_path, MIXED)
    heard = choose_rows(data, fits=is_scored, needs="sound that fits")
    assert names(heard) == ["anna-2", "cleo-3"]  # one has no sound, one is short
    long = choose_rows(data, unseen_only=True, fits=lambda row: row.num_frames >= 36)
    assert names(long) == ["cleo-1", "cleo-3"]


@pytest.mark.parametrize("protocol", ["split", "mead-official", "seed-90-10", "speaker"])
def test_without_clips_there_is_one_line_with_the_reason(
    tmp_path: Path, protocol: Protocol
) -> None:
    with pytest.raises(TalkheadError, match="talkhead prepare"):
        choose_rows(tmp_path, protocol=protocol)
    with pytest.raises(TalkheadError, match="has no clip to score: it is empty"):
        choose_rows(write(tmp_path, []), protocol=protocol)
    data = write(tmp_path, MIXED)
    with pytest.raises(TalkheadError, match="no clip to score: no person matches emil or f"):
        choose_rows(data, protocol=protocol, people=["emil", "f*"])
    with pytest.raises(TalkheadError, match=r"none of .* with sound that fits") as caught:
        choose_rows(
            data,
            protocol=protocol,
            people=["dora"],
            fits=lambda row: False,
            needs="sound that fits",
        )
    assert "\n" not in str(caught.value)


def test_a_tenth_is_drawn_by_the_seed() -> None:
    # numpy.random.default_rng(0) begins .637 .270 .041 .017 .813 .913 .607 .730 .544 .935, and
    # goes on .816 .003 .857 .034 .730 .176 .863 .541 .300 .423: the smallest are drawn.
    assert draw_share(range(10), 0) == [3]
    assert draw_share(range(20), 0) == [3, 11]
    assert draw_share("abcdefghijklmnopqrst", 0) == ["d", "l"]
    assert draw_share(range(20), 1) != [3, 11]
    assert [len(draw_share(range(count), 0)) for count in (1, 9, 14, 16, 480)] == [1, 1, 1, 2, 48]


def test_one_persons_clips_are_divided_by_the_seed(tmp_path: Path) -> None:
    clips = [f"s1-{index:02d}" for index in range(30)]
    data = write(tmp_path, [row(clip, "s1") for clip in clips])
    chosen = choose_rows(data, protocol="seed-90-10", seed=3)
    assert names(chosen) == draw_share(clips, 3)
    assert "s1" in chosen.seen_people
    assert chosen.note == (
        "3 of 30 clips of s1, drawn with seed 3; 3 of these clips are in the split train:"
        " weights trained on this folder may have seen them"
    )
    assert names(choose_rows(data, protocol="seed-90-10", seed=4)) != names(chosen)
    # What a stage cannot score is not replaced.
    first = names(chosen)[0]
    short = choose_rows(data, protocol="seed-90-10", seed=3, fits=lambda row: row.clip != first)
    assert names(short) == names(chosen)[1:]
    assert names(choose_rows(data, protocol="seed-90-10", seed=3, limit=1)) == names(chosen)[:1]


def test_the_seed_draws_from_what_the_manifest_holds_out(tmp_path: Path) -> None:
    clips = [f"s1-{index:02d}" for index in range(20)]
    rows = [row(clip, "s1", "dev" if index < 5 else "train") for index, clip in enumerate(clips)]
    data = write(tmp_path, [*rows, row("anna", "anna", "dev")])
    chosen = choose_rows(data, protocol="seed-90-10", people=["s?"])
    assert names(chosen) == draw_share(clips[:5], 0, 2)
    assert chosen.note == (
        "2 of 20 clips of s1, drawn with seed 0 from the 5 outside the split train"
    )
    assert "s1" in chosen.seen_people
    data = write(tmp_path, [row("a", "s1", "dev"), row("b", "s1", "test")])
    note = choose_rows(data, protocol="seed-90-10").note
    assert note == "1 of 2 clips of s1, drawn with seed 0"


def test_the_division_of_one_person_wants_one_person(tmp_path: Path) -> None:
    data = write(tmp_path, MIXED)
    with pytest.raises(TalkheadError, match=r"4 \(anna, bert, cleo, \.\.\.\): choose one of them"):
        choose_rows(data, protocol="seed-90-10")
    with pytest.raises(TalkheadError, match=r"2 \(anna, cleo\): choose one of them"):
        choose_rows(data, protocol="seed-90-10", people=["anna", "cleo"])
    assert len(choose_rows(data, protocol="seed-90-10", people=["cleo"]).rows) == 1


def test_speakers_are_those_that_no_training_clip_shows(tmp_path: Path) -> None:
    data = write(tmp_path, MIXED)
    chosen = choose_rows(data, protocol="speaker", splits=["train"], seed=5)
    # anna has a clip outside train, but she is in train, too.
    assert names(chosen) == ["cleo-1", "cleo-2", "cleo-3", "dora-1"]
    assert chosen.seen_people == {"anna", "bert"}
    assert chosen.note == "people with no clip in the split train"
    assert names(choose_rows(data, protocol="speaker", people=["d*"])) == ["dora-1"]
    with pytest.raises(TalkheadError, match="none of people with no clip in the split train"):
        choose_rows(data, protocol="speaker", people=["anna"])


def test_where_everybody_is_to_train_on_a_tenth_of_the_people_is_drawn(tmp_path: Path) -> None:
    people = [f"p{index:02d}" for index in range(20)]
    rows = [row(f"{person}-{clip}", person) for person in people for clip in "ab"]
    data = write(tmp_path, rows)
    chosen = choose_rows(data, protocol="speaker", seed=7)
    drawn = draw_share(people, 7)
    assert len(drawn) == 2
    assert names(chosen) == [f"{person}-{clip}" for person in drawn for clip in "ab"]
    assert chosen.seen_people == set(people) - set(drawn)
    assert chosen.note == (
        "2 of 20 people, drawn with seed 7; 4 of these clips are in the split train: weights"
        " trained on this folder may have seen them"
    )
    few = choose_rows(data, protocol="speaker", seed=7, people=["p0[0-3]"])
    assert {row.person for row in few.rows} == set(draw_share(people[:4], 7))


def mead_rows(view: str, level: int, emotion: str, numbers: Sequence[int]) -> list[ClipInfo]:
    return [
        row(
            f"M030-{view}-{emotion}-level_{level}-{number:03d}",
            "M030",
            video=f"{number:03d}.mp4",
            emotion=emotion,
            level=level,
            view=view,
        )
        for number in numbers
    ]


def test_meads_test_set_is_the_last_of_every_view_and_level(tmp_path: Path) -> None:
    rows = [
        *mead_rows("front", 1, "neutral", range(1, 13)),  # 3 to 12
        *mead_rows("front", 1, "happy", [1, 2, 3, 9, 10, 11, 12, 100]),  # 3 9 10 11 12 100
        *mead_rows("front", 2, "happy", [1, 2]),  # both
        *mead_rows("top", 1, "happy", range(1, 8)),  # 2 to 7
    ]
    # A second stretch of one video is of its number; what has no emotion or number is not MEAD's.
    (old,) = mead_rows("front", 1, "happy", [2])
    (new,) = mead_rows("front", 1, "happy", [100])
    others = [
        row(f"{old.clip}.1", "M030", video=old.video, emotion="happy", level=1, view="front"),
        row(f"{new.clip}.1", "M030", video=new.video, emotion="happy", level=1, view="front"),
        row("plain-1", "anna"),
        row("unnumbered", "anna", emotion="happy"),
        row("W009-1", "W009", video="mead-W009-001.mp4", emotion="sad", level=1, view="front"),
    ]
    data = write(tmp_path, rows + others)
    chosen = choose_rows(data, protocol="mead-official")
    expected = [
        "W009-1",
        *(f"M030-front-neutral-level_1-{number:03d}" for number in range(3, 13)),
        *(f"M030-front-happy-level_1-{number:03d}" for number in (3, 9, 10, 11, 12, 100)),
        "M030-front-happy-level_1-100.1",
        *(f"M030-front-happy-level_2-{number:03d}" for number in (1, 2)),
        *(f"M030-top-happy-level_1-{number:03d}" for number in range(2, 8)),
    ]
    assert names(chosen) == sorted(expected)
    assert "M030" in chosen.seen_people  # in other clips
    assert "W009" not in chosen.seen_people
    assert chosen.note.startswith("the official test set of MEAD (clips with an emotion and a")
    assert chosen.note.endswith(
        f"; {len(expected)} of these clips are in the split train: weights trained on this folder"
        " may have seen them"
    )
    assert names(choose_rows(data, protocol="mead-official", people=["W*"])) == ["W009-1"]
    # Leaving clips out does not move the set.
    short = choose_rows(data, protocol="mead-official", fits=lambda row: row.clip != new.clip)
    assert names(short) == [clip for clip in sorted(expected) if clip != new.clip]
    with pytest.raises(TalkheadError, match="none of the official test set of MEAD"):
        choose_rows(data, protocol="mead-official", people=["anna"])


def test_a_test_video_that_was_dropped_is_not_replaced_by_one_to_train_on(tmp_path: Path) -> None:
    def marked(number: int, split: str) -> ClipInfo:
        video, clip = f"{number:03d}.mp4", f"M030-{number:03d}"
        return row(clip, "M030", split, video=video, emotion="sad", level=1, view="front")

    rows = [marked(number, "train" if number <= 4 else "test") for number in range(1, 11)]
    rows = [row for row in rows if row.clip != "M030-008"]
    chosen = choose_rows(write(tmp_path, rows), protocol="mead-official")
    assert names(chosen) == ["M030-005", "M030-006", "M030-007", "M030-009", "M030-010"]
    assert "M030" in chosen.seen_people
    assert "split train" not in chosen.note


def test_the_order_of_the_manifest_changes_nothing(tmp_path: Path) -> None:
    rows = [row(f"c{index:02d}", f"p{index % 12}") for index in range(60)]
    protocols: tuple[Protocol, ...] = ("split", "speaker")
    one = [choose_rows(write(tmp_path, rows), protocol=p, splits=["train"]) for p in protocols]
    two = [
        choose_rows(write(tmp_path, rows[::-1]), protocol=p, splits=["train"]) for p in protocols
    ]
    assert one == two

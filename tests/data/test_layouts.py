from pathlib import Path
from typing import get_args

import pytest

from talkhead.cli.prepare import Layout as CommandLayout
from talkhead.data.layouts import Layout, in_short, list_sources
from talkhead.errors import TalkheadError
from tests.data.dataset_files import touch


def test_the_command_knows_the_same_layouts() -> None:
    assert get_args(CommandLayout) == get_args(Layout)


def test_a_folder_is_listed_with_its_sub_folders(tmp_path: Path) -> None:
    touch(tmp_path, "b.mp4", "a.MOV", "notes.txt", "day 1/c.v2.webm", "day 1/00001.MTS")
    listing = list_sources(tmp_path)
    names = ["a", "b", "day_1-00001", "day_1-c_v2"]
    assert [source.name for source in listing.sources] == names
    assert {source.split for source in listing.sources} == {"train"}
    assert [source.person for source in listing.sources] == names
    assert {(source.audio, source.emotion, source.level) for source in listing.sources} == {
        (None, "", 0)
    }
    assert (listing.layout, listing.notes) == ("folder", ())


def test_a_list_gives_splits_and_people(tmp_path: Path) -> None:
    listing = tmp_path / "list.csv"
    listing.write_text(
        "\ufefffile,split,person,sound,licence,id,transcript\n"
        "v/a.mp4,dev,anna,good,CC0,first,lay white at z\n"
        "/far/b.mp4,,,,,,\n",
        encoding="utf-8",
    )
    one, two = list_sources(listing).sources
    assert (one.name, one.path, one.split, one.person) == (
        "first",
        tmp_path / "v" / "a.mp4",
        "dev",
        "anna",
    )
    assert (one.sound, one.licence, one.transcript) == ("good", "CC0", "lay white at z")
    assert (two.transcript, two.audio, two.emotion, two.level, two.view) == ("", None, "", 0, "")
    assert (two.path, two.split, two.sound) == (Path("/far/b.mp4"), "train", "unknown")
    assert "/" not in two.name
    assert two.person == two.name


def test_a_list_gives_sounds_and_emotions(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(
        "file,audio,emotion,level,view\n"
        "a.mp4,sound/a.m4a,Happy,3,left_30\n"
        "b.mp4,/far/b.wav,calm,,\n"
        "c.mp4,,,,\n"
    )
    listing = list_sources(path)
    one, two, three = listing.sources
    assert (one.audio, one.emotion) == (tmp_path / "sound" / "a.m4a", "happy")
    assert (one.level, one.view) == (3, "left_30")
    assert (two.audio, two.emotion, two.level) == (Path("/far/b.wav"), "calm", 0)
    assert three.audio is None
    (note,) = listing.notes
    assert note == (
        "emotions other than angry, contempt, disgusted, fear, happy, neutral, sad,"
        " surprised: 1 (calm)"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("path\na.mp4\n", "needs a column named file"),
        ("file\n", "needs a column named file and one row per video"),
        ("id,file\na,a.mp4\nb,\n", "video 2 has no file name"),
        ("file\nx/a.mp4\nx-a.mp4\n", "would both be named x-a"),
        ("file\na.mp4\na.mov\n", "would both be named a"),
        ("file,level\na.mp4,\nb.mp4,strong\n", "video 2 has level 'strong', which is not a number"),
        (f"file,level\na.mp4,{'9' * 5000}\n", r"video 1 has level '9{20}', which is not a number"),
        (f"file,id\na.mp4,{'x' * 201}\n", "a.mp4 would get a name longer than 200 bytes"),
        ("file\n" + "\u00e9" * 101 + ".mp4\n", "would get a name longer than 200 bytes"),
    ],
)
def test_a_list_that_does_not_serve_is_refused(tmp_path: Path, content: str, message: str) -> None:
    listing = tmp_path / "list.csv"
    listing.write_text(content)
    with pytest.raises(TalkheadError, match=message):
        list_sources(listing)


def test_what_is_no_list_and_no_folder_of_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TalkheadError, match="contains no videos"):
        list_sources(tmp_path)
    with pytest.raises(TalkheadError, match="does not exist"):
        list_sources(tmp_path / "missing", "mead")
    (tmp_path / "film.mp4").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(TalkheadError, match="is not a CSV list"):
        list_sources(tmp_path / "film.mp4")
    with pytest.raises(TalkheadError, match="is not a folder, so the layout hdtf does not fit"):
        list_sources(tmp_path / "film.mp4", "hdtf")
    with pytest.raises(TalkheadError, match="is a folder, so the layout csv does not fit"):
        list_sources(tmp_path, "csv")
    for layout, example in (("mead", "level_1/001.mp4"), ("hdtf", "Radio11_0"), ("grid", "bbaf")):
        with pytest.raises(TalkheadError, match=example):
            list_sources(tmp_path, layout)  # type: ignore[arg-type]


def test_a_few_names_of_a_data_set_do_not_make_a_folder_one(tmp_path: Path) -> None:
    touch(tmp_path, "s1/bbaf2n.mpg", "a.mp4", "b.mp4")
    listing = list_sources(tmp_path)
    assert (listing.layout, len(listing.sources)) == ("folder", 3)
    assert listing.notes == (
        "read as a plain folder, although these are named like GRID videos: 1 (s1/bbaf2n.mpg)",
    )
    listing = list_sources(tmp_path, "grid")
    assert [source.name for source in listing.sources] == ["s1-bbaf2n"]
    assert listing.notes == (
        "skipped because they are not named like GRID videos: 2 (a.mp4, b.mp4)",
    )


def test_names_are_shortened_after_the_first_few() -> None:
    assert in_short(["a"]) == "1 (a)"
    assert in_short(["a", "b", "c"]) == "3 (a, b, c)"
    assert in_short(["a", "b", "c", "d"]) == "4 (a, b, c, ...)"

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from talkhead.cli.prepare import Layout as CommandLayout
from talkhead.data.dataset_names import (
    grid_transcript,
    hdtf_clip,
    mead_video,
    official_test,
    read_hdtf_lists,
)
from talkhead.data.layouts import Layout, in_short, list_sources
from talkhead.errors import TalkheadError
from talkhead.media.audio import write_waveform
from talkhead.media.video import VideoWriter

MEAD_VIDEO = "{person}/video/{view}/{emotion}/level_{level}/{number:03d}.mp4"
MEAD_SOUND = "{person}/audio/{emotion}/level_{level}/{number:03d}.m4a"


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def write_mead(
    folder: Path, person: str, emotion: str, numbers: Sequence[int], *, views: Sequence[str]
) -> None:
    """Write the videos and audio files of one person and emotion, level 1."""
    for number in numbers:
        facts = {"person": person, "emotion": emotion, "level": 1, "number": number}
        touch(folder, MEAD_SOUND.format(**facts))
        touch(folder, *(MEAD_VIDEO.format(view=view, **facts) for view in views))


def write_video(path: Path, *, has_sound: bool) -> None:
    """Write a video of two grey frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = path.with_suffix(".wav")
    write_waveform(sound, np.full(1280, 0.1, np.float32))
    with VideoWriter(
        path, size=(32, 32), fps=Fraction(25), sound=sound if has_sound else None
    ) as writer:
        writer.write(np.full((2, 32, 32, 3), 120, np.uint8))
    sound.unlink()


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


def test_mead_is_recognised_and_its_folders_are_read(tmp_path: Path) -> None:
    write_mead(tmp_path, "M030", "happy", [1, 2], views=["front", "left_30"])
    write_mead(tmp_path, "W017", "neutral", [3], views=["front", "left_30"])
    listing = list_sources(tmp_path)
    assert listing.layout == "mead"
    assert [source.name for source in listing.sources] == [
        "M030-front-happy-level_1-001",
        "M030-front-happy-level_1-002",
        "M030-left_30-happy-level_1-001",
        "M030-left_30-happy-level_1-002",
        "W017-front-neutral-level_1-003",
        "W017-left_30-neutral-level_1-003",
    ]
    source = listing.sources[3]
    assert source.path == tmp_path / "M030/video/left_30/happy/level_1/002.mp4"
    assert source.audio == tmp_path / "M030/audio/happy/level_1/002.m4a"
    assert (source.person, source.emotion, source.level) == ("M030", "happy", 1)
    assert (source.view, source.licence) == ("left_30", "research only")
    assert listing.notes == (
        "read as MEAD because of the file names: if that is wrong, choose the layout folder",
    )


def test_holes_of_mead_are_left_out_and_told(tmp_path: Path) -> None:
    write_mead(tmp_path, "M011", "sad", range(1, 7), views=["front"])
    write_mead(tmp_path, "M030", "sad", range(1, 4), views=["front", "top"])
    for number in range(1, 6):  # keep the videos
        (
            tmp_path / MEAD_SOUND.format(person="M011", emotion="sad", level=1, number=number)
        ).unlink()
    (tmp_path / "M030/video/front/sad/level_1/002.mp4").unlink()  # the audio still has another view
    (tmp_path / "M030/video/front/sad/level_1/003.mp4").unlink()
    (tmp_path / "M030/video/top/sad/level_1/003.mp4").unlink()
    touch(tmp_path, "M030/video/front/bored/level_1/001.mp4", "M030/video/readme.mp4")
    listing = list_sources(tmp_path)
    assert [source.name for source in listing.sources] == [
        "M011-front-sad-level_1-006",
        "M030-front-sad-level_1-001",
        "M030-top-sad-level_1-001",
        "M030-top-sad-level_1-002",
    ]
    names = "M011-front-sad-level_1-001, M011-front-sad-level_1-002, M011-front-sad-level_1-003"
    assert listing.notes[1:] == (
        f"videos skipped because their audio is missing: 5 ({names}, ...)",
        "audio files skipped because their video is missing: 1 (M030-sad-level_1-003)",
        "views missing for some people: 1 (M011 top)",
        "skipped because they are not named like MEAD videos:"
        " 2 (M030/video/front/bored/level_1/001.mp4, M030/video/readme.mp4)",
    )


@pytest.mark.parametrize(
    ("video", "sound", "inside"),
    [
        ("MEAD/M030/video/front/sad/level_2/001.mp4", "MEAD/M030/audio/sad/level_2/001.m4a", "."),
        ("M030/v/video/x/front/y/sad/level_2/001.mp4", "M030/a/audio/x/sad/level_2/001.m4a", "."),
        ("M030/video/M030/front/sad/level_2/001.mp4", "audio/M030/audio/sad/level_2/001.m4a", "."),
        ("M030/video/front/sad/level_2/001.mp4", "M030/audio/sad/level_2/001.m4a", "M030"),
        ("M030/video/front/sad/level_2/001.mp4", "M030/audio/sad/level_2/001.m4a", "M030/video"),
        (
            "M030/video/front/sad/level_2/001.mp4",
            "M030/audio/sad/level_2/1.wav",
            "M030/video/front",
        ),
    ],
)
def test_mead_is_found_however_deep_it_lies(
    tmp_path: Path, video: str, sound: str, inside: str
) -> None:
    touch(tmp_path, video, sound)
    (source,) = list_sources(tmp_path / inside).sources
    assert source.name == f"M030-{source.view}-sad-level_2-001"
    assert source.audio == tmp_path / sound
    assert source.split == "test"


def test_a_mead_tree_without_any_sound_is_refused_but_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "M030/video/front/happy/level_1/001.mp4")
    with pytest.raises(TalkheadError, match=r"because their audio is missing: 1 .*another layout"):
        list_sources(tmp_path)
    (source,) = list_sources(tmp_path, "folder").sources
    assert source.audio is None


def test_of_two_kinds_of_one_sound_the_published_one_is_taken(tmp_path: Path) -> None:
    write_mead(tmp_path, "M030", "fear", [1], views=["front"])
    touch(tmp_path, "M030/audio/fear/level_1/001.wav", "A/M030/audio/fear/level_1/001.flac")
    (source,) = list_sources(tmp_path).sources
    assert source.audio == tmp_path / "M030/audio/fear/level_1/001.m4a"


def test_paths_that_are_not_meads_are_told_apart() -> None:
    assert mead_video(Path("M030/video/front/happy/level_1/001.mp4")) is not None
    for path in (
        "M030/front/happy/level_1/001.mp4",  # no video/
        "M030/video/side/happy/level_1/001.mp4",
        "M030/video/front/joy/level_1/001.mp4",
        "M030/video/front/happy/001.mp4",
        "M030/video/front/happy/level_1/intro.mp4",
        "/001.mp4",
        "001.mp4",
    ):
        assert mead_video(Path(path)) is None


def test_the_official_test_set_is_the_last_ten_or_six(tmp_path: Path) -> None:
    assert official_test("neutral", range(1, 13)) == {3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
    assert official_test("happy", [9, 2, 2, 3, 4, 5, 30, 7]) == {3, 4, 5, 7, 9, 30}
    assert official_test("sad", [1, 2]) == {1, 2}
    assert official_test("sad", []) == frozenset()
    write_mead(tmp_path, "M030", "neutral", range(1, 13), views=["front"])
    write_mead(tmp_path, "M030", "angry", range(1, 9), views=["front", "top"])
    # Without audio, 008 does not count, so 002 is among the last six.
    (tmp_path / "M030/audio/angry/level_1/008.m4a").unlink()
    sources = list_sources(tmp_path).sources
    tests = [source.name for source in sources if source.split == "test"]
    assert tests == [
        *(f"M030-front-angry-level_1-{number:03d}" for number in range(2, 8)),
        *(f"M030-front-neutral-level_1-{number:03d}" for number in range(3, 13)),
        *(f"M030-top-angry-level_1-{number:03d}" for number in range(2, 8)),
    ]
    assert {source.split for source in sources} == {"train", "test"}


def test_both_namings_of_hdtf_give_the_same_speakers() -> None:
    for path, video, speaker in (
        ("Radio11_0.mp4", "Radio11", "Radio11"),
        ("RD_Radio11_000.mp4", "Radio11", "Radio11"),
        ("WDA_BenCardin1_002.mp4", "BenCardin1", "BenCardin"),
        ("BenCardin0_0.mp4", "BenCardin0", "BenCardin"),
        ("WDA_LucilleRoybal-Allard_000.mp4", "LucilleRoybal-Allard", "LucilleRoybal-Allard"),
        ("WhipJimClyburn_0.mp4", "WhipJimClyburn", "JamesClyburn"),
        ("WDA_JamesClyburn1_000.mp4", "JamesClyburn1", "JamesClyburn"),
    ):
        clip = hdtf_clip(Path(path))
        assert clip is not None
        assert (clip.video, clip.speaker) == (video, speaker)
    assert hdtf_clip(Path("_videos_raw/RD_Radio11.mp4")) is None
    assert hdtf_clip(Path("holiday.mp4")) is None


def test_hdtf_without_its_lists_is_recognised(tmp_path: Path) -> None:
    touch(tmp_path, "WDA_BenCardin0_000.mp4", "WDA_BenCardin1_000.mp4", "RD_Radio11_000.mp4")
    touch(tmp_path, "_videos_raw/RD_Radio11.mp4", "_videos_raw/WDA_BenCardin0.mp4")
    touch(tmp_path, "_videos_raw/WDA_BenCardin1.mp4", "_videos_raw/WDA_BobCasey0.mp4")
    listing = list_sources(tmp_path)
    assert listing.layout == "hdtf"
    assert {source.name: source.person for source in listing.sources} == {
        "RD_Radio11_000": "Radio11",
        "WDA_BenCardin0_000": "BenCardin",
        "WDA_BenCardin1_000": "BenCardin",
    }
    assert listing.notes[-1].startswith(
        "skipped because they are not named like HDTF videos: 4 (_videos_raw/RD_Radio11.mp4, "
    )
    touch(tmp_path / "authors", "Radio11_0.mp4", "KellyAyotte_0.mp4")
    listing = list_sources(tmp_path / "authors")
    assert [source.person for source in listing.sources] == ["KellyAyotte", "Radio11"]


def test_names_that_anybody_gives_are_hdtfs_only_with_its_lists(tmp_path: Path) -> None:
    folder = touch(tmp_path / "clips", "KellyAyotte_0.mp4", "Tim_0.mp4")
    assert list_sources(folder).layout == "folder"
    assert list_sources(folder, "hdtf").layout == "hdtf"
    (tmp_path / "WRA_annotion_time.txt").write_text("AllenWest.mp4 00:20-04:55\n")
    assert list_sources(folder).layout == "folder"
    (tmp_path / "WRA_annotion_time.txt").write_text("KellyAyotte.mp4 00:12-05:35\n")
    assert list_sources(folder).layout == "hdtf"
    assert list_sources(folder, "folder").layout == "folder"


def test_lists_of_hdtf_with_a_bom_and_trailing_spaces_tell_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "WDA_video_url.txt").write_text(
        "\ufeffCarolynMaloney2 https://example.org/a\nBarackObama https://example.org/b \n\n"
        "KatieHill https://example.org/c&t=3s\n",
        encoding="utf-8",
    )
    (tmp_path / "WDA_annotion_time.txt").write_text(
        "\ufeffCarolynMaloney2.mp4 00:40-01:20 02:00-02:40 03:30-03:50 \r\n"
        "KatieHill.mp4 00:05-00:20 \n",
        encoding="utf-8",
    )
    (tmp_path / "WDA_crop_wh.txt").write_text("CarolynMaloney2_0.mp4 412 599 0 599\n")
    touch(tmp_path, "CarolynMaloney2_0.mp4", "CarolynMaloney2_2.mp4", "KatieHill_0.mp4")
    assert read_hdtf_lists(tmp_path) == {"CarolynMaloney2": 3, "BarackObama": None, "KatieHill": 1}
    listing = list_sources(tmp_path)
    assert len(listing.sources) == 3
    assert listing.notes[1:] == (
        "videos with fewer clips than listed: 1 (CarolynMaloney2 2 of 3)",
        "listed videos without clips: 1 (BarackObama)",
    )
    (tmp_path / "RD_video_url.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TalkheadError, match=r"RD_video_url\.txt is not a list of HDTF"):
        list_sources(tmp_path)


def test_clips_of_hdtf_without_a_sound_track_are_kept_and_told(tmp_path: Path) -> None:
    write_video(tmp_path / "RD_Radio11_000.mp4", has_sound=False)
    write_video(tmp_path / "RD_Radio11_001.mp4", has_sound=True)
    listing = list_sources(tmp_path)
    assert [(source.name, source.sound) for source in listing.sources] == [
        ("RD_Radio11_000", "none"),
        ("RD_Radio11_001", "unknown"),
    ]
    assert listing.notes[1:] == (
        "clips without an audio track, kept for their frames: 1 (RD_Radio11_000)",
    )


def test_where_both_namings_lie_together_the_authors_are_kept(tmp_path: Path) -> None:
    touch(tmp_path, "Radio11_0.mp4", "RD_Radio11_000.mp4", "RD_Radio11_001.mp4")
    touch(tmp_path, "WDA_BobCasey0_000.mp4")
    listing = list_sources(tmp_path)
    assert [source.name for source in listing.sources] == ["Radio11_0", "WDA_BobCasey0_000"]
    assert listing.notes[1:] == (
        "clips skipped because the authors' clips of the same video exist:"
        " 2 (RD_Radio11_000, RD_Radio11_001)",
    )


def test_the_name_of_a_grid_video_is_its_transcript() -> None:
    assert grid_transcript("bbaf2n") == "bin blue at f two now"
    assert grid_transcript("lwwzzs") == "lay white with z zero soon"
    assert grid_transcript("pgbk9a") == "place green by k nine again"
    assert grid_transcript("sriq1p") == "set red in q one please"
    for code in ("bbaw2n", "bbaf0n", "xbaf2n", "bbaf2", "bbaf2nn", ""):  # GRID has no w and no 0
        assert grid_transcript(code) is None


def test_grid_is_recognised_and_read(tmp_path: Path) -> None:
    touch(tmp_path, "s1/bbaf2n.mpg", "s2/video/mpg_6000/LWWZZS.MPG", "s2/align/bbaf2n.align")
    touch(tmp_path, "s34/sriq1p.mpg", "s34/intro.mpg", "bbaf2n.mpg")
    listing = list_sources(tmp_path)
    assert listing.layout == "grid"
    assert [(s.name, s.person, s.transcript) for s in listing.sources] == [
        ("s1-bbaf2n", "s1", "bin blue at f two now"),
        ("s2-LWWZZS", "s2", "lay white with z zero soon"),
        ("s34-sriq1p", "s34", "set red in q one please"),
    ]
    assert {(s.split, s.licence) for s in listing.sources} == {("train", "CC BY 4.0")}
    assert listing.notes == (
        "read as GRID because of the file names: if that is wrong, choose the layout folder",
        "skipped because they are not named like GRID videos: 2 (bbaf2n.mpg, s34/intro.mpg)",
    )
    (source,) = list_sources(tmp_path / "s1").sources
    assert source.person == "s1"


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

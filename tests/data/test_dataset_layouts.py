from pathlib import Path

import pytest

from talkhead.data.dataset_names import (
    grid_transcript,
    hdtf_clip,
    mead_video,
    official_test,
    read_hdtf_lists,
)
from talkhead.data.layouts import list_sources
from talkhead.errors import TalkheadError
from tests.data.dataset_files import MEAD_SOUND, touch, write_mead, write_video


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

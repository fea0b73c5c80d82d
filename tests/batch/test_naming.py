from pathlib import Path

import pytest

from talkhead.batch.naming import NameTemplate, expand_sounds, is_pattern, is_template
from talkhead.errors import TalkheadError


def test_patterns_find_files_in_order_and_names_stay_as_they_are(tmp_path: Path) -> None:
    for name in ("b.wav", "a.wav", "c.mp3"):
        (tmp_path / name).touch()
    (tmp_path / "folder.wav").mkdir()
    found = expand_sounds([f"{tmp_path}/*.wav", "absent.wav"])
    assert found == [tmp_path / "a.wav", tmp_path / "b.wav", Path("absent.wav")]


def test_a_file_with_brackets_in_its_name_is_no_pattern(tmp_path: Path) -> None:
    path = tmp_path / "take[1].wav"
    assert is_pattern(str(path))
    path.touch()
    assert not is_pattern(str(path))
    assert expand_sounds([str(path)]) == [path]


def test_a_pattern_that_finds_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TalkheadError, match=r"no file matches .*\*\.wav"):
        expand_sounds([f"{tmp_path}/*.wav"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("out", "out/voice.mp4"),
        ("out/", "out/voice.mp4"),
        ("out/{face}/{audio}-{n:03}.mp4", "out/eve/voice-007.mp4"),
        ("{n}.MOV", "7.MOV"),
        ("{{x}}-{audio}.m4v", "{x}-voice.m4v"),
    ],
)
def test_names_are_filled_in(text: str, expected: str) -> None:
    named = NameTemplate.read(text).name(Path("faces/eve.png"), Path("s/voice.wav"), 7)
    assert named == Path(expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{speaker}.mp4", "unknown field {speaker}"),
        ("{}.mp4", "unknown field {}"),
        ("{audio!r}.mp4", "unknown field {audio!r}"),
        ("{audio.parent}.mp4", "unknown field {audio.parent}"),
        ("{audio:>99999999}.mp4", "only {n} takes a format"),
        ("{n:999999999}.mp4", "only {n} takes a format"),
        ("{n:{face}}.mp4", "only {n} takes a format"),
        ("{audio.mp4", "is not a valid name template"),
        ("{audio}.wav", "must end in .gif, .m4v, .mkv, .mov, .mp4, .webm, .webp"),
        ("{audio}", "must end in"),
        ("{audio}/%05d.png", "numbers the frames of one video"),
    ],
)
def test_bad_templates_are_refused(text: str, words: str) -> None:
    with pytest.raises(TalkheadError) as caught:
        NameTemplate.read(text)
    assert words in str(caught.value)


def test_only_known_fields_make_a_template_of_a_single_name() -> None:
    assert is_template("{audio}.mp4")
    assert not is_template("take{1}.mp4")
    assert not is_template("broken{.mp4")


def test_a_folder_may_have_braces_or_the_suffix_of_a_video(tmp_path: Path) -> None:
    for name in ("{x}", "clips.mp4"):
        (tmp_path / name).mkdir()
        named = NameTemplate.read(str(tmp_path / name)).name(Path("f.png"), Path("a.wav"), 1)
        assert named == tmp_path / name / "a.mp4"
    assert NameTemplate.read("{face}/").name(Path("f.png"), Path("a.wav"), 1) == Path("f/a.mp4")

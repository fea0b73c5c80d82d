import dataclasses
from fractions import Fraction
from pathlib import Path

import pytest

from talkhead.batch.naming import NameTemplate
from talkhead.batch.table import COLUMNS, read_table
from talkhead.errors import TalkheadError
from talkhead.jobs.render_job import RenderJob
from talkhead.jobs.speakers import Speaker

BASE = RenderJob(Path(), Path(), Path(), seed=3, crf=20)


def write_list(folder: Path, text: str) -> Path:
    path = folder / "list.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_names_start_at_the_lists_folder_and_empty_cells_leave_the_options(tmp_path: Path) -> None:
    path = write_list(
        tmp_path,
        "face,audio,output,seed,blink,fps,pose,landmarks,pose-strength\n"
        "a.png,a.wav,a.mp4,7,off,29.97,still,track.npz,0.5\n"
        "\n"
        '"b, c.png",/far/b.wav,sub/b.mp4,,,,walk.npz,,\n',
    )
    first, second = read_table(path, BASE, None, None)
    assert first == dataclasses.replace(
        BASE,
        face=tmp_path / "a.png",
        audio=tmp_path / "a.wav",
        output=tmp_path / "a.mp4",
        seed=7,
        blink_per_minute=0.0,
        fps=Fraction(30_000, 1001),
        pose="still",
        landmarks=tmp_path / "track.npz",
        pose_strength=0.5,
    )
    assert (second.face, second.audio) == (tmp_path / "b, c.png", Path("/far/b.wav"))
    assert second.output == tmp_path / "sub" / "b.mp4"
    assert (second.seed, second.crf, second.pose) == (3, 20, str(tmp_path / "walk.npz"))


def test_a_folder_and_a_face_of_the_command_line_serve_rows_without(tmp_path: Path) -> None:
    path = write_list(tmp_path, "\ufeffaudio,output\na.wav,\nb.wav,named.mp4\n")
    jobs = read_table(path, BASE, Path("me.png"), NameTemplate.read("videos"))
    assert [job.output for job in jobs] == [Path("videos/a.mp4"), Path("videos/named.mp4")]
    assert {job.face for job in jobs} == {Path("me.png")}


def test_every_column_is_an_option_of_a_job() -> None:
    fields = {field.name for field in dataclasses.fields(RenderJob)}
    assert {name for name, _ in COLUMNS.values()} <= fields


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column audio"),
        ("face,output\n", "no column audio"),
        ("face,audio,output\n", "has no rows"),
        ("face,audio,output,speed\n", "unknown column 'speed'"),
        ("face,audio,output,audio\n", "column audio twice"),
        ("face,audio,output\na.png,a.wav,a.mp4,1\n", "line 2: 4 cells"),
        ("face,audio,output\na.png,,a.mp4\n", "line 2: the column audio is empty"),
        ("face,audio,output\n,a.wav,a.mp4\n", "line 2: the column face is empty"),
        ("face,audio,output\na.png,a.wav,\n", "line 2: the column output is empty"),
        ("face,audio,output,seed\na,b,c.mp4,-1\n", "line 2: seed takes a whole number from 0 up"),
        ("face,audio,output,seed\na,b,c.mp4,1e3\n", "seed takes"),
        ("face,audio,output,steps\na,b,c.mp4,51\n", "steps takes a whole number from 1 to 50"),
        ("face,audio,output,start-step\na,b,c.mp4,0\n", "start-step takes a whole number from 1"),
        (
            "face,audio,output,emotion\na,b,c.mp4,bored\n",
            "line 2: the emotion must be one of auto, angry",
        ),
        ("face,audio,output,blink\na,b,c.mp4,often\n", "blink takes a number from 0 to 60"),
        ("face,audio,output,blink\na,b,c.mp4,nan\n", "blink takes"),
        ("face,audio,output,fps\na,b,c.mp4,0\n", "line 2: frame rate '0' is out of range"),
        ("face,audio,output,loop\na,b,c.mp4,on\n", "loop takes pingpong"),
        ('face,audio,output\na,"b,c\n', "cannot be read as CSV"),
        ("face,audio,output\na.png,a\0.wav,a.mp4\n", "list.csv"),
    ],
)
def test_bad_lists_are_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = write_list(tmp_path, text)
    if text:
        with pytest.raises(TalkheadError) as caught:
            read_table(path, BASE, None, None)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
    else:
        with pytest.raises(TalkheadError, match="is empty"):
            read_table(path, BASE, None, None)


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(b"face,audio,output\n\xff\xfe\x00,b,c\n")
    with pytest.raises(TalkheadError, match="cannot be read as CSV in UTF-8"):
        read_table(path, BASE, None, None)


def test_a_cell_has_several_speakers_in_place_of_a_sound(tmp_path: Path) -> None:
    path = write_list(
        tmp_path, "face,speaker,output\nfamily.png,left=a.wav; 2=/far/b.wav,out.mp4\n"
    )
    (job,) = read_table(path, BASE, None, None)
    assert job.audio == tmp_path / "a.wav"
    assert job.speakers == (
        Speaker("left", tmp_path / "a.wav"),
        Speaker("2", Path("/far/b.wav")),
    )
    both = write_list(tmp_path, "face,speaker,audio,output\nf.png,left=a.wav,b.wav,out.mp4\n")
    with pytest.raises(TalkheadError, match="line 2: audio and speaker are both given"):
        read_table(both, BASE, None, None)

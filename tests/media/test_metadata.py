from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from talkhead.errors import TalkheadError
from talkhead.media import ffmpeg
from talkhead.media.metadata import MAX_NOTES_BYTES, parse_notes, probe_streams, read_notes
from talkhead.media.video import VideoWriter
from tests.tiny import write_voice

NASTY = "a;b=c#d\\e [x]\n\x1b[31mred\n[STREAM]\ntitle=none \u202e end\\"


def write(path: Path, metadata: dict[str, str], sound: Path | None = None) -> Path:
    with VideoWriter(
        path, size=(64, 64), fps=Fraction(25), sound=sound, metadata=metadata
    ) as video:
        video.write(np.full((3, 64, 64, 3), 90, np.uint8))
    return path


def test_notes_come_back_as_they_were_written(tmp_path: Path) -> None:
    written = {"comment": NASTY, "description": '{"a": "ü"}', "title": "=x"}
    notes = read_notes(write(tmp_path / "a.mp4", written))
    assert {key: notes[key] for key in written} == written


def test_notes_of_a_stream_or_chapter_are_not_those_of_the_file(tmp_path: Path) -> None:
    text = ";FFMETADATA1\nTITLE=one\ntitle=two\n[STREAM]\ncomment=three\n"
    assert parse_notes(text) == {"title": "one"}
    write(tmp_path / "a.mp4", {"title": "whole"})
    args = ["-i", str(tmp_path / "a.mp4"), "-c", "copy", "-metadata:s:v", "comment=of the stream"]
    assert ffmpeg.run_ffmpeg([*args, str(tmp_path / "b.mkv")])[0] == 0
    notes = read_notes(tmp_path / "b.mkv")
    assert notes["title"] == "whole"
    assert "comment" not in notes


def test_lines_that_are_no_notes_are_passed_over() -> None:
    assert parse_notes(";=x\nno equals sign\n=empty key\na=b\ncut off=at the en") == {
        "": "empty key",
        "a": "b",
    }


def test_notes_of_any_size_take_bounded_time_and_memory(tmp_path: Path) -> None:
    listing = tmp_path / "notes.txt"
    listing.write_text(";FFMETADATA1\ntitle=first\n" + f"comment={'x' * 3 * MAX_NOTES_BYTES}\n")
    write(tmp_path / "a.mp4", {})
    args = ["-i", str(tmp_path / "a.mp4"), "-i", str(listing), "-map_metadata", "1", "-c", "copy"]
    assert ffmpeg.run_ffmpeg([*args, str(tmp_path / "b.mkv")])[0] == 0
    assert (tmp_path / "b.mkv").stat().st_size > 3 * MAX_NOTES_BYTES
    assert sum(map(len, read_notes(tmp_path / "b.mkv").values())) <= MAX_NOTES_BYTES


def test_codecs_and_length_are_read(tmp_path: Path) -> None:
    voice = write_voice(tmp_path / "voice.wav", 0.5)
    info = probe_streams(write(tmp_path / "a.mp4", {"title": "Stream #0:9: Audio: x"}, voice))
    assert (info.video_codec, info.audio_codec) == ("h264", "aac")
    assert info.duration_s == pytest.approx(0.5, abs=0.07)
    sound = probe_streams(voice)
    assert (sound.video_codec, sound.audio_codec) == (None, "pcm_s16le")


@pytest.mark.parametrize("read", [read_notes, probe_streams])
def test_what_is_no_container_is_refused(read: object, tmp_path: Path) -> None:
    assert callable(read)
    (tmp_path / "a.mp4").write_bytes(b"no video " * 100)
    with pytest.raises(TalkheadError, match=r"a\.mp4 cannot be read as audio or video"):
        read(tmp_path / "a.mp4")
    with pytest.raises(TalkheadError, match="does not exist"):
        read(tmp_path / "b.mp4")

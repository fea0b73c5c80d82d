"""What a dubbed video keeps is found by reading it back."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from talkhead.media.containers import MATROSKA, MP4, container_of
from talkhead.media.encoding import BackgroundSound
from talkhead.media.kept_streams import KeptStreams, plan_kept
from talkhead.media.tracks import list_tracks
from talkhead.media.video import VideoWriter, probe_video
from tests.tracks import CUES, TONES_HZ, film_with_tracks, loudness, run, tags_of

VOICE_HZ = 900
MARK = {"comment": "Synthetic: a test"}


def voice(folder: Path, *options: str, seconds: float = 2.5) -> Path:
    path = folder / "voice.mka"
    run("-f", "lavfi", "-i", f"sine={VOICE_HZ}:r=48000:d={seconds}", *options, str(path))
    return path


def plan(source: Path, target: Path, spoken: Path, replaced: int | None = 1) -> KeptStreams:
    container = container_of(target)
    assert container is not None
    return plan_kept(
        source,
        container,
        replaced=replaced,
        voice=(spoken, 0),
        duration_s=2.5,
        written_tags=("comment", "description"),
    )


def dub(
    target: Path,
    spoken: Path,
    kept: KeptStreams | None,
    background: BackgroundSound | None = None,
) -> Path:
    writer = VideoWriter(
        target,
        size=(64, 64),
        fps=Fraction(10),
        sound=spoken,
        kept=kept,
        background=background,
        metadata=MARK,
    )
    with writer:
        writer.write(np.zeros((25, 64, 64, 3), np.uint8))
    return target


@pytest.mark.parametrize(
    ("source", "target"), [("in.mkv", "out.mp4"), ("in.mp4", "out.mp4"), ("in.mp4", "out.mkv")]
)
def test_tracks_chapters_and_metadata_survive(source: str, target: str, tmp_path: Path) -> None:
    film = film_with_tracks(tmp_path / source)
    spoken = voice(tmp_path, "-metadata:s:a", "language=fra", "-metadata:s:a", "title=Doublage")
    kept = plan(film, tmp_path / target, spoken)
    assert kept.left_out == ()
    made = dub(tmp_path / target, spoken, kept)
    # The chapters of an mp4 are a track of text, too.
    tracks = [track for track in list_tracks(made) if track.kind != "Data"]
    assert [(track.kind, track.language) for track in tracks] == [
        ("Audio", "eng"),
        ("Video", ""),
        ("Audio", "fra"),
        ("Subtitle", "eng"),
        ("Audio", ""),
        ("Subtitle", "ger"),
    ]
    flags = [track.flags & {"default", "forced", "comment"} for track in tracks]
    assert flags[0] == set()
    assert flags[2:] == [{"default"}, {"forced"}, {"comment"}, {"default"}]
    assert [track.start_s for track in tracks] == pytest.approx(
        [0, 0, 0, tracks[3].start_s, 1, tracks[5].start_s], abs=0.03
    )
    notes, tags, chapters = tags_of(made)
    assert (notes["title"], notes["artist"], notes["comment"]) == (
        "Holiday",
        "Ann",
        MARK["comment"],
    )
    titles = [each.get("title") or each.get("name") for each in tags[:6]]
    assert titles == ["Original: one", None, "Doublage", None, "Remarks", "Untertitel"]
    assert [chapter[0] for chapter in chapters] == ["Arrival", "Beach"]
    assert chapters[0][2] == chapters[1][1] == pytest.approx(1.5)
    assert loudness(made, 1, TONES_HZ[0], 0.2, 2.4) > 0.1
    assert loudness(made, 2, VOICE_HZ, 0.2, 2.4) > 0.1
    assert loudness(made, 2, TONES_HZ[1], 0.2, 2.4) < 0.001
    assert loudness(made, 3, TONES_HZ[2], 1.1, 2.4) > 0.1
    assert loudness(made, 3, TONES_HZ[2], 0, 0.9) < 0.001
    for number, language in ((3, "eng"), (5, "ger")):
        text = run("-i", str(made), "-map", f"0:{number}", "-f", "srt", "-").decode()
        assert CUES[language] in text.replace("\r", "")


@pytest.mark.parametrize(
    ("name", "codecs", "left_out", "languages"),
    [
        ("out.webm", {"opus", "vp9", "webvtt"}, ("the flag comment of track 5",), ("swe", "ger")),
        (
            "out.mov",
            {"pcm_s24le", "aac", "prores", "mov_text"},
            (
                "the flag forced of track 4",
                "the flag comment of track 5",
                "the language swe of track 6",
            ),
            ("", "ger"),
        ),
    ],
)
def test_webm_and_mov_keep_what_they_can_and_say_the_rest(
    name: str,
    codecs: set[str],
    left_out: tuple[str, ...],
    languages: tuple[str, str],
    tmp_path: Path,
) -> None:
    whole, film = film_with_tracks(tmp_path / "in.mp4"), tmp_path / "film.mkv"
    run("-i", str(whole), "-map", "0", "-c", "copy", "-c:s", "srt", "-dn",
        "-metadata:s:5", "language=swe", str(film))  # fmt: skip
    spoken = voice(tmp_path, "-metadata:s:a", "language=deu", "-metadata:s:a", "title=Doublage")
    kept = plan(film, tmp_path / name, spoken)
    assert kept.left_out == left_out
    made = dub(tmp_path / name, spoken, kept)
    tracks = [track for track in list_tracks(made) if track.kind != "Data"]
    assert {track.codec for track in tracks} == codecs
    assert [track.kind for track in tracks] == [
        *("Audio", "Video", "Audio", "Subtitle", "Audio", "Subtitle")
    ]
    assert tracks[5].language == languages[0]
    assert tracks[2].language in ("deu", languages[1])
    notes, _, chapters = tags_of(made)
    assert (notes["title"], notes["comment"]) == ("Holiday", MARK["comment"])
    assert [chapter[0] for chapter in chapters] == ["Arrival", "Beach"]
    assert loudness(made, 2, VOICE_HZ, 0.2, 2.4) > 0.1
    assert loudness(made, 1, TONES_HZ[0], 0.2, 2.4) > 0.1
    text = run("-i", str(made), "-map", "0:3", "-f", "srt", "-").decode()
    assert CUES["eng"] in text.replace("\r", "")


def test_what_comes_after_the_end_is_cut_and_the_same_input_gives_the_same_bytes(
    tmp_path: Path,
) -> None:
    film = film_with_tracks(tmp_path / "in.mkv")
    spoken = voice(tmp_path)
    kept = plan(film, tmp_path / "a.mkv", spoken)
    one, two = dub(tmp_path / "a.mkv", spoken, kept), dub(tmp_path / "b.mkv", spoken, kept)
    assert one.read_bytes() == two.read_bytes()
    title, start_s, end_s = tags_of(one)[2][1]
    assert (title, start_s, end_s) == ("Beach", 1.5, 2.5)
    assert probe_video(one).duration_s == pytest.approx(2.5, abs=0.06)


@pytest.mark.parametrize("has_sound", [True, False])
def test_a_plain_video_is_written_as_ever(tmp_path: Path, *, has_sound: bool) -> None:
    spoken = voice(tmp_path)
    sound = ("-f", "lavfi", "-i", "sine=300:d=1", "-c:a", "aac") if has_sound else ()
    film = tmp_path / "plain.mp4"
    run("-f", "lavfi", "-i", "color=gray:s=64x64:r=10:d=1", *sound, str(film))
    kept = plan(film, tmp_path / "out.mp4", spoken, 0 if has_sound else None)
    assert (kept.is_plain, kept.left_out) == (True, ())
    made = dub(tmp_path / "out.mp4", spoken, kept)
    assert made.read_bytes() == dub(tmp_path / "none.mp4", spoken, None).read_bytes()


def picture_subtitles(path: Path) -> Path:
    """Write subtitles as on a Blu-ray: one empty screen of 64 x 64."""
    screen = bytes((0, 64, 0, 64, 0x10, 0, 0, 0x80, 0, 0, 0))
    parts = ((0x16, screen), (0x80, b""))
    path.write_bytes(
        b"".join(
            b"PG" + bytes(8) + bytes((kind,)) + len(body).to_bytes(2, "big") + body
            for kind, body in parts
        )
    )
    return path


def test_what_an_mp4_cannot_hold_is_said_and_an_mkv_holds_it(tmp_path: Path) -> None:
    film, font = tmp_path / "in.mkv", tmp_path / "a.ttf"
    font.write_bytes(b"not quite a font")
    shown = picture_subtitles(tmp_path / "a.sup")
    run(
        *("-f", "lavfi", "-i", "color=gray:s=64x64:r=10:d=3", "-i", str(shown)),
        *("-map", "0", "-map", "1", "-c:s", "copy", "-metadata:s:1", "language=ger"),
        *("-attach", str(font), "-metadata:s:2", "mimetype=font/ttf"),
        *("-metadata", "comment=mine", "-metadata", "mood=calm", str(film)),
    )
    spoken = voice(tmp_path)
    assert plan(film, tmp_path / "out.mp4", spoken, None).left_out == (
        "subtitles 1 (ger, hdmv_pgs_subtitle)",
        "1 attachment",
        "the tags comment, mood",
    )
    kept = plan(film, tmp_path / "out.mkv", spoken, None)
    assert kept.left_out == ("the tag comment",)
    made = dub(tmp_path / "out.mkv", spoken, kept)
    tracks = list_tracks(made)
    assert [track.kind for track in tracks] == ["Video", "Audio", "Subtitle", "Attachment"]
    assert tracks[2].codec == "hdmv_pgs_subtitle"
    assert font.read_bytes() in made.read_bytes()
    assert tags_of(made)[1][3]["filename"] == "a.ttf"


def test_streams_kept_for_another_container_are_refused(tmp_path: Path) -> None:
    film, spoken = film_with_tracks(tmp_path / "in.mkv"), voice(tmp_path)
    kept = plan(film, tmp_path / "out.mkv", spoken)
    assert (kept.container, MP4.name) == (MATROSKA.name, "mp4")
    with pytest.raises(ValueError, match="do not fit"):
        dub(tmp_path / "out.mp4", spoken, kept)


def test_the_old_sound_is_lowered_under_the_voice_which_decides_the_length(tmp_path: Path) -> None:
    film, spoken = tmp_path / "in.mp4", voice(tmp_path, "-ac", "2", "-c:a", "pcm_s16le")
    # `sine` has an amplitude of 1/8; a stereo sound of 1 s under a mono voice, and the reverse.
    run(
        *("-f", "lavfi", "-i", "color=gray:s=64x64:r=10:d=1"),
        *("-f", "lavfi", "-i", f"sine={TONES_HZ[0]}:d=1", "-c:a", "aac", "-b:a", "192k", str(film)),
    )
    for spoken_mono in (False, True):
        if spoken_mono:
            spoken = voice(tmp_path, "-c:a", "pcm_s16le")
        background = BackgroundSound(film, 0, 12.0, is_mono=True, voice_is_mono=spoken_mono)
        made = dub(tmp_path / f"{spoken_mono}.mp4", spoken, None, background)
        before = loudness(film, 1, TONES_HZ[0], 0.2, 0.8)
        assert 20 * np.log10(loudness(made, 1, TONES_HZ[0], 0.2, 0.8) / before) == pytest.approx(
            -12, abs=0.3
        )
        assert loudness(made, 1, TONES_HZ[0], 1.2, 2.4) < 0.001
        same = loudness(made, 1, VOICE_HZ, 0.2, 2.3) / loudness(spoken, 1, VOICE_HZ, 0.2, 2.3)
        assert 20 * np.log10(same) == pytest.approx(0, abs=0.3)
        assert probe_video(made).duration_s == pytest.approx(2.5, abs=0.06)

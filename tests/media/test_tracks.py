"""Which sound track is used: the default one, or the one that is asked for."""

from pathlib import Path

import pytest

from talkhead.media.audio_clip import AudioClip
from talkhead.media.tracks import Track, choose_sound, list_tracks, parse_tracks
from tests.conftest import Refusal
from tests.tracks import TONES_HZ, film_with_tracks, loudness

LISTING = """Input #0, matroska,webm, from 'a.mkv':
  Stream #0:0[0x1](ger): Video: h264 (High) (avc1 / 0x31637661), yuv420p, 128x96, 25 fps (default)
  Stream #0:1: Audio: pcm_s16le, 44100 Hz, mono, s16, 705 kb/s, start 1.500000 (comment)
    Metadata:
      title           : Stream #0:7: Audio: aac
  Stream #0:2(und): Subtitle: subrip (srt) (hearing impaired) (captions)
Stream mapping:
  Stream #0:0 -> #0:0 (copy)
Output #0, ffmetadata, to 'pipe:':
  Stream #0:3: Audio: aac
"""


def test_the_list_of_an_input_is_understood() -> None:
    assert parse_tracks(LISTING) == [
        Track(0, "Video", "h264", "ger", frozenset({"default"})),
        Track(1, "Audio", "pcm_s16le", "", frozenset({"comment"}), 1.5, 44_100, True),
        Track(2, "Subtitle", "subrip", "", frozenset({"hearing_impaired", "captions"})),
    ]


SOUNDS = [
    Track(0, "Video", "h264"),
    Track(1, "Audio", "aac", "eng"),
    Track(2, "Audio", "aac", "deu"),
    Track(3, "Audio", "aac", "eng", frozenset({"default"})),
    Track(4, "Audio", "aac"),
]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [(None, 2), ("1", 0), ("02", 1), ("DEU", 1), ("eng", 2), ("4", 3)],
)
def test_a_sound_is_chosen_by_number_language_or_default(wanted: str | None, index: int) -> None:
    assert choose_sound(SOUNDS, wanted, Path("a.mkv")) == index


def test_without_a_default_the_first_is_chosen() -> None:
    assert choose_sound(SOUNDS[:3], None, Path("a.mkv")) == 0


@pytest.mark.parametrize("wanted", ["0", "5", "fra", "", "-1"])
def test_a_wrong_choice_lists_the_tracks(wanted: str, refused: Refusal) -> None:
    with refused(Path("a.mkv"), "choose from 1 (eng), 2 (deu), 3 (eng), 4 (no language)"):
        choose_sound(SOUNDS, wanted, Path("a.mkv"))


def test_the_default_sound_of_a_film_is_decoded_unless_another_is_wanted(
    tmp_path: Path, wav: Path, refused: Refusal
) -> None:
    film = film_with_tracks(tmp_path / "film.mkv")
    assert [track.language for track in list_tracks(film) if track.kind == "Audio"][:2] == [
        "eng",
        "ger",
    ]
    with AudioClip.open(film) as clip, AudioClip.open(film, "2") as second:
        assert clip.track == second.track == 1
        assert (clip.waveform() == second.waveform()).all()
    for track, hz in enumerate(TONES_HZ, 1):
        assert loudness(film, track, hz, 1.2, 2.8) > 0.1
    assert loudness(film, 3, TONES_HZ[2], 0.0, 0.9) < 0.001
    with refused(wav, "has no sound track 2: choose from 1 (no language)"):
        AudioClip.open(wav, "2")

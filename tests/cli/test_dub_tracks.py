"""Dub a film with several sounds, subtitles and chapters."""

import json
from pathlib import Path

import pytest

from talkhead.media.tracks import list_tracks
from tests.cli.conftest import RunHere, refused
from tests.tiny import write_voice
from tests.tracks import TONES_HZ, film_of_a_face, loudness, tags_of

pytestmark = pytest.mark.usefixtures("detector_is_here")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return film_of_a_face(tmp_path)


def test_a_film_keeps_its_tracks_and_what_is_lost_is_said_in_one_line(
    film: Path, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    write_voice(tmp_path / "voice.wav", 1.4)  # the last sound begins at 1 s
    ended = run_here(
        *("render", "film.mkv", "voice.wav", "-o", "out.mp4", "--json", "--audio-track", "eng"),
        *("--background-sound", "6", "--weights", str(tiny_weights)),
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == "talkhead: mp4 cannot keep the tag mood of film.mkv\n"
    assert json.loads(ended.stdout)["not_kept"] == ["the tag mood"]
    made = tmp_path / "out.mp4"
    kinds = ["Audio", "Video", "Audio", "Subtitle", "Audio", "Subtitle"]
    assert [track.kind for track in list_tracks(made) if track.kind != "Data"] == kinds
    notes, _, chapters = tags_of(made)
    assert (notes["title"], [each[0] for each in chapters]) == ("Holiday", ["Arrival"])
    assert notes["comment"].startswith("Synthetic:")
    # The voice took the place of the first sound, which is under it.
    lowered = loudness(made, 1, TONES_HZ[0], 0.1, 0.6) / loudness(film, 1, TONES_HZ[0], 0.1, 0.6)
    assert lowered == pytest.approx(0.5, abs=0.06)
    assert loudness(made, 2, TONES_HZ[1], 0.1, 0.6) > 0.1


@pytest.mark.parametrize(
    ("face", "audio", "options", "words"),
    [
        *(
            ("film.mkv", audio, ("--audio-track", "fra"), "film.mkv has no sound track fra: choose")
            for audio in ("voice.wav", "film.mkv")
        ),
        ("film.mkv", "voice.wav", ("--audio-track", "4"), "1 (eng), 2 (ger), 3 (no language)"),
        ("picture.mp4", "voice.wav", ("--background-sound", "9"), "picture.mp4 has no sound to"),
        ("film.mkv", "voice.wav", ("--background-sound", "99"), "--background-sound"),
    ],
)
def test_tracks_that_are_not_there_are_named_at_once(
    face: str,
    audio: str,
    options: tuple[str, ...],
    words: str,
    film: Path,
    run_here: RunHere,
    tiny_weights: Path,
    tmp_path: Path,
) -> None:
    write_voice(tmp_path / "voice.wav", 0.5)
    arguments = ("render", face, audio, "-o", "out.mp4", "--weights", str(tiny_weights))
    refused(run_here(*arguments, *options), 2, words)
    assert film.exists()
    assert not (tmp_path / "out.mp4").exists()


def test_a_list_chooses_tracks_and_writes_mkv(
    film: Path, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    write_voice(tmp_path / "voice.wav", 1.3)
    rows = ["face,audio,output,audio-track,background-sound", "film.mkv,voice.wav,a.mkv,3,20"]
    (tmp_path / "list.csv").write_text("\n".join([*rows, "film.mkv,voice.wav,b.mkv,fra,\n"]))
    arguments = ("render", "--list", "list.csv", "--json", "--weights", str(tiny_weights))
    ended = run_here(*arguments)
    assert ended.returncode == 5, ended.stderr
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    failed, done = sorted(lines[:2], key=lambda line: line["state"] == "done")
    assert "has no sound track fra" in failed["error"]
    assert done["output"] == "a.mkv"
    assert "not_kept" not in done
    assert film.exists()
    tracks = list_tracks(tmp_path / "a.mkv")
    assert [track.kind for track in tracks[:2]] == ["Audio", "Video"]
    assert len(tracks) == 6
    assert tags_of(tmp_path / "a.mkv")[0]["mood"] == "calm"
    again = [json.loads(line) for line in run_here(*arguments).stdout.splitlines()]
    assert "already rendered" in {line.get("reason") for line in again}


def test_landmarks_follow_the_sound_that_is_chosen(
    film: Path, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    arguments = ("landmarks", "film.mkv", "-o", "track.npz", "--preview", "look.mp4", "--fps", "2")
    with_weights = (*arguments, "--weights", str(tiny_weights), "--audio-track")
    refused(run_here(*with_weights, "fra"), 2, "film.mkv has no sound track fra: choose from")
    refused(run_here(*arguments, "--detect", "--audio-track", "4"), 2, "has no sound track 4")
    assert run_here(*with_weights, "3").returncode == 0
    assert loudness(tmp_path / "look.mp4", 1, TONES_HZ[2], 1.2, 2.8) > 0.1
    assert loudness(tmp_path / "look.mp4", 1, TONES_HZ[1], 1.2, 2.8) < 0.001
    assert film.exists()

"""A film that is dubbed from Python keeps its tracks."""

from pathlib import Path

import pytest

from talkhead.errors import TalkheadError
from talkhead.media.tracks import list_tracks
from talkhead.pipelines import TalkheadPipeline, export_to_video
from tests.tiny import voice
from tests.tracks import TONES_HZ, film_of_a_face, loudness

pytestmark = pytest.mark.usefixtures("detector_is_here")


def test_a_voice_takes_the_place_of_the_chosen_sound(
    pipeline: TalkheadPipeline, tmp_path: Path
) -> None:
    film = film_of_a_face(tmp_path)
    with pytest.raises(TalkheadError, match="has no sound track fra: choose from 1"):
        pipeline(film, voice(0.5), audio_track="fra")
    output = pipeline(film, voice(0.5), audio_track=1, output_type="generator")
    assert (output.video, output.audio_track) == (film, "1")
    path = tmp_path / "out.mp4"
    with pytest.warns(UserWarning, match="out.mp4 cannot keep the tag mood of .*film.mkv"):
        export_to_video(output, path, background_sound=6)
    tracks = [track for track in list_tracks(path) if track.kind != "Data"]
    assert [(track.kind, track.language) for track in tracks] == [
        ("Audio", ""),
        ("Video", ""),
        ("Audio", "ger"),
        ("Subtitle", "eng"),
        ("Subtitle", "ger"),
    ]
    lowered = loudness(path, 1, TONES_HZ[0], 0.1, 0.4) / loudness(film, 1, TONES_HZ[0], 0.1, 0.4)
    assert lowered == pytest.approx(0.5, abs=0.06)

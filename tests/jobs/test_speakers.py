from dataclasses import replace
from pathlib import Path

import pytest

from talkhead.errors import TalkheadError
from talkhead.jobs.render_job import RenderJob
from talkhead.jobs.speakers import Speaker, check_speakers, parse_speakers
from talkhead.limits import MAX_SPEAKERS


def test_a_speaker_is_a_face_and_a_sound() -> None:
    assert parse_speakers(["left=a.wav", "120,80 = sub/b=c.wav"], Path("in")) == (
        Speaker("left", Path("in/a.wav")),
        Speaker("120,80", Path("in/sub/b=c.wav")),
    )


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["left"], "WHICH=SOUND"),
        (["=a.wav"], "WHICH=SOUND"),
        (["left="], "WHICH=SOUND"),
        (["middle=a.wav"], "cannot choose a face by 'middle'"),
        (["left=-"], "name a file for each speaker"),
        (["left=a.wav", "LEFT=b.wav"], "speaks twice"),
        ([f"{n + 1}=a.wav" for n in range(MAX_SPEAKERS + 1)], "too many"),
    ],
)
def test_what_is_no_speaker_is_refused(texts: list[str], words: str) -> None:
    with pytest.raises(TalkheadError, match=r"^[^\n]*$") as caught:
        parse_speakers(texts)
    assert words in str(caught.value)


def test_options_for_one_face_are_refused_beside_speakers() -> None:
    job = RenderJob(Path("f.png"), Path("a.wav"), Path("o.mp4"))
    speakers = (Speaker("left", Path("a.wav")), Speaker("right", Path("b.wav")))
    check_speakers(replace(job, choose="left", landmarks=Path("t.npz")))
    check_speakers(replace(job, speakers=speakers))
    for changes in ({"choose": "left"}, {"landmarks": Path("t.npz")}):
        with pytest.raises(TalkheadError):
            check_speakers(replace(job, speakers=speakers, **changes))

from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from talkhead.app.request import Choices, face_of, job_of, result_name
from talkhead.app.shown import duration, message_of, progress_html, rows_html
from talkhead.app.work import Step
from talkhead.errors import TalkheadError
from talkhead.jobs.render_job import RenderJob

PATHS = (Path("face.png"), Path("voice.wav"), Path("out.mp4"))


def test_without_choices_the_job_is_that_of_the_command_line() -> None:
    assert job_of(*PATHS, "default", Choices()) == RenderJob(*PATHS)


def test_every_choice_reaches_the_job() -> None:
    choices = Choices("2", "Happy", 1.5, 0.5, 30, 7, "12.5", "640x360", "White")
    assert all(getattr(choices, one.name) != one.default for one in fields(choices))
    job = job_of(*PATHS, "default", choices)
    assert (job.choose, job.emotion, job.expression_strength) == ("2", "happy", 1.5)
    assert (job.pose_strength, job.blink_per_minute, job.seed) == (0.5, 30, 7)
    assert (job.fps, job.max_size.side_px) == (Fraction(25, 2), 640)
    assert job.background == "#ffffff"


@pytest.mark.parametrize(
    "values",
    [
        {"seed": 1.5},
        {"seed": -1},
        {"seed": None},
        {"blink": 61},
        {"pose_strength": float("nan")},
        {"expression_strength": 3.1},
        {"emotion": "hungry"},
        {"fps": "0"},
        {"max_size": "10"},
        {"background": "transparent"},
        {"background": "/etc/picture.png"},
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(TalkheadError):
        job_of(*PATHS, "default", replace(Choices(), **values))


def test_there_is_one_face() -> None:
    assert face_of("a.png", None) == Path("a.png")
    assert face_of(None, "b.mp4") == Path("b.mp4")
    with pytest.raises(TalkheadError, match="missing"):
        face_of(None, "")
    with pytest.raises(TalkheadError, match="remove one"):
        face_of("a.png", "b.mp4")


def test_a_result_is_named_after_its_sound() -> None:
    assert result_name(Path("/x/Grüße.mp3")) == "Grüße.mp4"
    assert len(result_name(Path("a" * 200))) == 64


def test_texts_are_escaped_and_paths_are_left_out() -> None:
    assert "<b>" not in rows_html([("<b>.wav", "done")])
    assert "<b>" not in progress_html(Step("<b>"))
    path = Path("/secret/place/face.png")
    assert message_of(TalkheadError(f"{path} is empty"), [path]) == "face.png is empty"
    assert message_of(ValueError("a bug"), [path]) is None
    assert message_of(MemoryError(), []) is not None


def test_times_are_short() -> None:
    assert (duration(7.2), duration(60), duration(125)) == ("8 s", "1 min 00 s", "2 min 05 s")
    line = progress_html(Step("rendering", 25, 100, 12))
    assert "25 of 100 frames, 12 s left" in line
    assert "width: 25.0%" in line

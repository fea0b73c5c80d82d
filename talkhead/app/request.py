"""What a visitor asks for: the values of the page's fields, checked, as a job."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageColor

from talkhead.emotions import check_emotion
from talkhead.errors import TalkheadError
from talkhead.jobs.render_job import RenderJob
from talkhead.limits import MAX_BLINKS, MAX_STRENGTH
from talkhead.media.rates import parse_fps
from talkhead.media.sizes import DEFAULT_SIZE, SizeLimit

NO_EMOTION = "none"
OWN_BACKGROUND = "as it is"
_MAX_NAME = 60  # characters of a result's name


@dataclass(frozen=True)
class Choices:
    """The options of the page, with the defaults of `talkhead render`."""

    choose: str = "largest"
    emotion: str = NO_EMOTION
    expression_strength: float = 1.0
    pose_strength: float = 1.0
    blink: float = 16.0
    """Per minute."""
    seed: float = 0
    """A whole number; a browser sends any."""
    fps: str = ""
    """Empty: the video's rate, or 25 for a picture."""
    max_size: str = DEFAULT_SIZE
    background: str = OWN_BACKGROUND
    """A colour, put behind people."""


def face_of(picture: str | None, video: str | None) -> Path:
    """Return the one file that shows the face.

    Raises:
        TalkheadError: there is none, or there are two.
    """
    if picture and video:
        raise TalkheadError("a picture and a video are given: remove one of them")
    if not picture and not video:
        raise TalkheadError("the face is missing: add a picture or a video")
    return Path(picture or video or "")


def sound_of(sound: str | None) -> Path:
    """Return the sound's file; raises TalkheadError if there is none."""
    if not sound:
        raise TalkheadError("the sound is missing: add a recording")
    return Path(sound)


def picture_of(picture: str | None) -> Path:
    """Return the picture's file; raises TalkheadError if there is none."""
    if not picture:
        raise TalkheadError("the picture is missing: add one")
    return Path(picture)


def track_of(track: str | None) -> Path:
    """Return the track's file; raises TalkheadError if there is none."""
    if not track:
        raise TalkheadError("the track is missing: add an .npz or .json file")
    return Path(track)


def job_of(
    face: Path,
    sound: Path,
    output: Path,
    weights: str,
    choices: Choices,
    landmarks: Path | None = None,
) -> RenderJob:
    """Return the job of a request.

    Args:
        face: a picture, or a video to dub.
        sound: the recording.
        output: the video to write.
        weights: their name, for the note in the video.
        choices: values from the page, or from a program.
        landmarks: a track to follow.

    Raises:
        TalkheadError: a value is out of range.
    """
    emotion = choices.emotion.strip().lower()
    if emotion not in ("", NO_EMOTION):
        check_emotion(emotion)
    return RenderJob(
        face=face,
        audio=sound,
        output=output,
        weights=weights,
        landmarks=landmarks,
        choose=choices.choose.strip() or "largest",
        emotion=None if emotion in ("", NO_EMOTION) else emotion,
        expression_strength=_within(
            choices.expression_strength, "expression strength", MAX_STRENGTH
        ),
        pose_strength=_within(choices.pose_strength, "pose strength", MAX_STRENGTH),
        blink_per_minute=_within(choices.blink, "blinks per minute", MAX_BLINKS),
        seed=_seed(choices.seed),
        fps=parse_fps(choices.fps) if choices.fps.strip() else None,
        max_size=SizeLimit.parse(choices.max_size or DEFAULT_SIZE),
        background=_background(choices.background.strip()),
    )


def result_name(sound: Path, suffix: str = ".mp4") -> str:
    """Return the name that a visitor's browser stores a result under."""
    return f"{sound.stem[:_MAX_NAME] or 'talkhead'}{suffix}"


def _background(text: str) -> str | None:
    """Return a colour as #rrggbb, never a text that could name a file of the server."""
    if text in ("", OWN_BACKGROUND):
        return None
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError:
        raise TalkheadError(
            f"background {text!r} is not a colour, such as white or #00b140"
        ) from None
    return f"#{red:02x}{green:02x}{blue:02x}"


def _within(value: float | None, name: str, most: float) -> float:
    number = math.nan if value is None else float(value)
    if not 0 <= number <= most:  # NaN too
        raise TalkheadError(f"{name} must be 0 to {most:g}, not {value}")
    return number


def _seed(value: float | None) -> int:
    if value is None or not 0 <= value < 2**53 or value != int(value):
        raise TalkheadError(f"the seed must be a whole number from 0 to 2**53 - 1, not {value}")
    return int(value)

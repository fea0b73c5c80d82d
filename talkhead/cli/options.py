"""Options that several commands share: the same words everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from talkhead.cli.output import frame_progress
from talkhead.errors import TalkheadError
from talkhead.media.files import VIDEO_SUFFIXES

if TYPE_CHECKING:
    from talkhead.face.track import LandmarkTrack

WeightsOption = Annotated[
    str, typer.Option("--weights", metavar="NAME|FOLDER", help="Weights, or a folder of your own.")
]
FpsOption = Annotated[
    str | None,
    typer.Option(
        "--fps",
        metavar="RATE",
        help="Frames a second: 25, 29.97, 30000/1001; else 25, or the rate of the video.",
        show_default=False,
    ),
]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, help="Of head motion, blinks and diffusion noise.")
]
ChooseOption = Annotated[
    str,
    typer.Option("--choose", metavar="WHICH", help="Face: largest, left, right, a number or X,Y."),
]
PoseOption = Annotated[
    str,
    typer.Option(
        "--pose",
        metavar="natural|still|FILE",
        help="Head motion; that of a FILE is taken over from a track or a video.",
    ),
]
PoseStrengthOption = Annotated[
    float, typer.Option("--pose-strength", min=0, max=3, help="Scale of the head motion.")
]
ExpressionStrengthOption = Annotated[
    float, typer.Option("--expression-strength", min=0, max=3, help="Scale of the mouth's motion.")
]
BlinkOption = Annotated[str, typer.Option("--blink", metavar="RATE|off", help="Blinks a minute.")]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace an output that exists.")
]

TRACK_SUFFIXES = {".npz", ".json"}


def parse_blink(text: str) -> float:
    """Return blinks a minute from an option's text.

    Raises:
        TalkheadError: it is neither `off` nor a rate from 0 to 60.
    """
    if text == "off":
        return 0.0
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= 60:
        raise TalkheadError(f"--blink takes off, or blinks a minute from 0 to 60, not {text!r}")
    return rate


def check_pose(text: str) -> None:
    """Refuse what cannot be a pose, before any slow work.

    Raises:
        TalkheadError: the text is neither a name nor a track or video that is there.
    """
    if text in ("natural", "still"):
        return
    from talkhead.media.files import check_input

    if Path(text).suffix.lower() not in {*TRACK_SUFFIXES, *VIDEO_SUFFIXES}:
        raise TalkheadError(
            f"--pose takes natural, still, a track (.npz, .json) or a video, not {text!r}"
        )
    check_input(Path(text))


def read_pose(text: str, *, quiet: bool) -> str | LandmarkTrack:
    """Return what the head's motion follows: a name, or the track of a file.

    Raises:
        TalkheadError: as for `check_pose`, or the file cannot be read.
        NoFaceError: the file is a video without a face.
    """
    check_pose(text)
    path = Path(text)
    suffix = path.suffix.lower()
    if suffix in TRACK_SUFFIXES:
        from talkhead.face.track import LandmarkTrack

        return LandmarkTrack.read(path)
    if suffix not in VIDEO_SUFFIXES:
        return text
    from talkhead.face.tracking import track_video

    return track_video(path, follow=frame_progress(quiet=quiet))[0]


def is_video(face: Path) -> bool:
    """Return whether a face is to be dubbed rather than brought to life."""
    return face.suffix.lower() in VIDEO_SUFFIXES


def refuse_video(face: Path) -> None:
    """Say clearly that a picture is wanted.

    Raises:
        TalkheadError: the face is a video.
    """
    if is_video(face) and face.is_file():
        raise TalkheadError(f"{face} is a video: give a picture, or render the video itself")

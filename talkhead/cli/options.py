"""Options that several commands share: the same words everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from talkhead.errors import TalkheadError
from talkhead.job import is_video

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
StartStepOption = Annotated[
    int | None,
    typer.Option(
        "--start-step",
        min=1,
        max=1000,
        help="Of mask-noise: where sampling starts, of 1000.",
        show_default="300",
    ),
]
EmotionOption = Annotated[
    str,
    typer.Option(
        "--emotion",
        metavar="NAME|auto",
        help="Of mask-noise: angry, happy, ...; auto is as the voice sounds.",
    ),
]
MaxSizeOption = Annotated[
    str,
    typer.Option(
        "--max-size",
        metavar="PX|WxH",
        help="Scale larger pictures down: to this longer side, or to WxH in either orientation.",
    ),
]
BlinkOption = Annotated[str, typer.Option("--blink", metavar="RATE|off", help="Blinks a minute.")]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace an output that exists.")
]
ProvenanceOption = Annotated[
    bool,
    typer.Option(
        "--provenance/--no-provenance",
        help="Say in the video that it is synthetic, made by what and of what.",
    ),
]
C2paCertificateOption = Annotated[
    Path | None,
    typer.Option(
        "--c2pa-certificate",
        metavar="PEM",
        help="Your certificate and those above it: signs content credentials (C2PA).",
        show_default=False,
    ),
]
C2paKeyOption = Annotated[
    Path | None,
    typer.Option("--c2pa-key", metavar="PEM", help="Key of that certificate.", show_default=False),
]


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


def refuse_video(face: Path) -> None:
    """Say clearly that a picture is wanted.

    Raises:
        TalkheadError: the face is a video.
    """
    if face.is_file() and is_video(face):
        raise TalkheadError(f"{face} is a video: give a picture, or render the video itself")

"""Options that several commands share, and the panels that group them in --help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from talkhead.errors import TalkheadError
from talkhead.jobs.pose_source import is_video
from talkhead.limits import (
    MAX_BACKGROUND_DB,
    MAX_BLINKS,
    MAX_CRF,
    MAX_START_STEP,
    MAX_STEPS,
    MAX_STRENGTH,
)

MOTION, QUALITY, OUTPUT, SOUND = "Motion", "Quality", "Output", "Sound"
BATCH, PROVENANCE, DEVICE, CLIPS = "Batch", "Provenance", "Device", "Clips"

WeightsOption = Annotated[
    str,
    typer.Option(
        "--weights",
        metavar="NAME",
        help="default, mask-noise, a folder, or OWNER/NAME[@REVISION] on the hub.",
        rich_help_panel=DEVICE,
    ),
]
FpsOption = Annotated[
    str | None,
    typer.Option(
        "--fps",
        metavar="RATE",
        help="Frames per second, such as 29.97 or 30000/1001.",
        show_default="25, or the video's",
        rich_help_panel=QUALITY,
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Random seed.")]
ChooseOption = Annotated[
    str,
    typer.Option(
        "--choose",
        metavar="WHICH",
        help="Face: largest, left, right, a number from the left, or X,Y.",
    ),
]
SpeakerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--speaker",
        metavar="WHICH=SOUND",
        help="Repeated: who says what, without AUDIO.",
        show_default=False,
    ),
]
PoseOption = Annotated[
    str,
    typer.Option(
        "--pose",
        metavar="POSE",
        help="Head motion: natural, still, or that of a track or video.",
    ),
]
PoseStrengthOption = Annotated[
    float,
    typer.Option(
        "--pose-strength",
        metavar="X",
        min=0,
        max=MAX_STRENGTH,
        help="Scale of the head motion.",
        rich_help_panel=MOTION,
    ),
]
ExpressionStrengthOption = Annotated[
    float,
    typer.Option(
        "--expression-strength",
        metavar="X",
        min=0,
        max=MAX_STRENGTH,
        help="Scale of the mouth motion.",
        rich_help_panel=MOTION,
    ),
]
BlinkOption = Annotated[
    str,
    typer.Option(
        "--blink", metavar="RATE", help="Blinks per minute, or off.", rich_help_panel=MOTION
    ),
]
EmotionOption = Annotated[
    str | None,
    typer.Option(
        "--emotion",
        metavar="NAME",
        help="Show an emotion: angry, happy, ...; auto follows the voice.",
        show_default=False,
        rich_help_panel=MOTION,
    ),
]
MaxSizeOption = Annotated[
    str,
    typer.Option(
        "--max-size",
        metavar="SIZE",
        help="Scale larger pictures down to WxH, or to a longer side.",
        rich_help_panel=QUALITY,
    ),
]
CrfOption = Annotated[
    int,
    typer.Option(
        "--crf",
        metavar="N",
        min=0,
        max=MAX_CRF,
        help="H.264 quality; lower is better.",
        rich_help_panel=QUALITY,
    ),
]
StepsOption = Annotated[
    int,
    typer.Option(
        "--steps",
        metavar="N",
        min=1,
        max=MAX_STEPS,
        help="Sampling steps.",
        rich_help_panel=QUALITY,
    ),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="NAME",
        help="With several steps: ddim, dpm++, euler or unipc.",
        show_default="the weights' own",
        rich_help_panel=QUALITY,
    ),
]
StartStepOption = Annotated[
    int | None,
    typer.Option(
        "--start-step",
        metavar="N",
        min=1,
        max=MAX_START_STEP,
        help="mask-noise: step to start sampling at, of 1000.",
        show_default="300",
        rich_help_panel=QUALITY,
    ),
]
AudioTrackOption = Annotated[
    str | None,
    typer.Option(
        "--audio-track",
        metavar="N|LANG",
        help="Sound track of a file with several, by number or language.",
        show_default="the one flagged as default",
        rich_help_panel=SOUND,
    ),
]
BackgroundSoundOption = Annotated[
    float | None,
    typer.Option(
        "--background-sound",
        metavar="DB",
        min=0,
        max=MAX_BACKGROUND_DB,
        help="Keep a video's whole old sound under the voice, lowered by DB.",
        show_default=False,
        rich_help_panel=SOUND,
    ),
]
BackgroundOption = Annotated[
    str | None,
    typer.Option(
        "--background",
        metavar="WHAT",
        help="Replace what is behind people: transparent, a colour, or a picture.",
        show_default=False,
    ),
]
FormatOption = Annotated[
    Literal["mp4", "rawvideo"],
    typer.Option(
        "--format", metavar="FORMAT", help="On stdout: mp4, or rawvideo, frames of rgb24."
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")]
ProvenanceOption = Annotated[
    bool,
    typer.Option(
        "--provenance/--no-provenance",
        help="Say in the video that it is synthetic, and what made it.",
        rich_help_panel=PROVENANCE,
    ),
]
C2paCertificateOption = Annotated[
    Path | None,
    typer.Option(
        "--c2pa-certificate",
        metavar="PEM",
        help="Sign content credentials with this certificate chain.",
        show_default=False,
        rich_help_panel=PROVENANCE,
    ),
]
C2paKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--c2pa-key",
        metavar="PEM",
        help="Key of that certificate.",
        show_default=False,
        rich_help_panel=PROVENANCE,
    ),
]


def parse_blink(text: str) -> float:
    """Parse the text of --blink as blinks per minute.

    Raises:
        TalkheadError: the text is neither `off` nor a rate from 0 to 60.
    """
    if text == "off":
        return 0.0
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= MAX_BLINKS:
        raise TalkheadError(
            f"--blink must be off or 0 to {MAX_BLINKS:g} blinks per minute, not {text!r}"
        )
    return rate


def refuse_video(face: Path) -> None:
    """Reject a video where only a picture will do.

    Raises:
        TalkheadError: the face is a video.
    """
    if face.is_file() and is_video(face):
        raise TalkheadError(f"{face} is a video: give a picture, or render the video itself")

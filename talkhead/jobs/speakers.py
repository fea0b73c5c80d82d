"""The people who speak in one picture or video, each with a sound of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talkhead.errors import TalkheadError
from talkhead.limits import MAX_SPEAKERS

if TYPE_CHECKING:
    from talkhead.jobs.render_job import RenderJob


@dataclass(frozen=True)
class Speaker:
    """Who speaks, and what."""

    which: str
    """A face, as in `choose_face`."""
    audio: Path
    """What this face says."""


def parse_speakers(texts: Sequence[str], folder: Path = Path()) -> tuple[Speaker, ...]:
    """Parse speakers.

    Args:
        texts: a face and a file each, as in ``left=a.wav``.
        folder: where relative names of files start.

    Raises:
        TalkheadError: a text is no such pair, a face is named twice, or there are too many.
    """
    speakers: list[Speaker] = []
    for text in texts:
        which, found, name = (part.strip() for part in text.partition("="))
        if not (found and which and name):
            raise TalkheadError(f"a speaker is WHICH=SOUND, as in left=voice.wav, not {text!r}")
        if name == "-":
            raise TalkheadError("- (stdin) is for one sound alone: name a file for each speaker")
        _check_word(which)
        if any(which.lower() == other.which.lower() for other in speakers):
            raise TalkheadError(f"{which} speaks twice: choose a different face for each speaker")
        speakers.append(Speaker(which, folder / name))
    if len(speakers) > MAX_SPEAKERS:
        raise TalkheadError(f"{len(speakers)} speakers are too many: the limit is {MAX_SPEAKERS}")
    return tuple(speakers)


def check_speakers(job: RenderJob) -> None:
    """Check what a job with several speakers cannot have; no file is read.

    Raises:
        TalkheadError: an option is for one speaker only.
    """
    if not job.speakers:
        return
    for given, what in (
        (job.landmarks is not None, "landmarks move one face"),
        (job.choose != "largest", "the choice of a face is for one speaker"),
    ):
        if given:
            raise TalkheadError(f"{what}: leave that out, or the speakers")


def name_speakers(facts: dict[str, Any], speakers: Sequence[Speaker]) -> None:
    """Add to the facts of each speaker who it is."""
    for known, speaker in zip(facts.get("speakers", ()), speakers, strict=False):
        known |= {"which": speaker.which, "audio": str(speaker.audio)}


def _check_word(which: str) -> None:
    """Check the form of a choice; whether a pixel lies in the picture is known later."""
    from talkhead.tracking.face_detector import check_choice

    check_choice(which, (_ENDLESS_PX, _ENDLESS_PX))


_ENDLESS_PX = 2**31

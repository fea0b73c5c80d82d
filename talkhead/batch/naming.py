"""Expand the audio arguments, and name the videos of a batch."""

from __future__ import annotations

import glob
import os
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from talkhead.errors import TalkheadError
from talkhead.media.containers import PNG, VIDEO_OUTPUTS

SUFFIX = ".mp4"
SUFFIXES = VIDEO_OUTPUTS
"""Containers that talkhead writes."""
FIELDS = ("face", "audio", "n")
MAX_NAME_BYTES = 255
_NUMBER_FORMAT = re.compile(r"0?[1-9]?[0-9]?d?")


def is_pattern(text: str) -> bool:
    """Return whether a text is a glob pattern rather than the name of an existing file."""
    return glob.has_magic(text) and not os.path.lexists(text)


def expand_sounds(texts: Sequence[str]) -> list[Path]:
    """Return the files that the arguments name: plain names unchanged, pattern matches sorted.

    Raises:
        TalkheadError: a pattern matches nothing.
    """
    paths: list[Path] = []
    for text in texts:
        if not is_pattern(text):
            paths.append(Path(text))
            continue
        # pathlib's glob does not accept absolute patterns.
        found = sorted(glob.glob(text, recursive=True))  # noqa: PTH207
        found = [name for name in found if not Path(name).is_dir()]
        if not found:
            raise TalkheadError(f"no file matches {text!r}; check the pattern and the folder")
        paths += [Path(name) for name in found]
    return paths


@dataclass(frozen=True)
class NameTemplate:
    """Template for video names with the fields {face}, {audio} (names without suffix) and {n}.

    {n} is the item's number, from 1; {n:03} pads it to three digits. Double a brace to get a
    literal one. A text that ends in a slash is a folder; its videos are named after their audio.
    """

    text: str

    @classmethod
    def read(cls, text: str) -> NameTemplate:
        """Parse an output argument: a folder or a template.

        Raises:
            TalkheadError: a field is unknown or malformed, or the template does not end in a
                video suffix.
        """
        if _is_folder(text):
            text = text.replace("{", "{{").replace("}", "}}") + os.sep
        if text.endswith(("/", os.sep)):
            text += f"{{audio}}{SUFFIX}"
        if Path(text).suffix.lower() in PNG.suffixes and not _is_folder(text):
            raise TalkheadError(
                f"{text!r} numbers the frames of one video; a batch writes each video as one file,"
                f" with a name that must end in {', '.join(sorted(SUFFIXES))}"
            )
        if not _fields(text) and Path(text).suffix.lower() not in SUFFIXES:
            return cls(str(Path(text) / f"{{audio}}{SUFFIX}"))
        for name, form in _fields(text):
            if name not in FIELDS:
                raise TalkheadError(
                    f"the name template {text!r} has the unknown field {{{name}}}: the fields are"
                    " {face}, {audio} and {n}"
                )
            if form and not (name == "n" and _NUMBER_FORMAT.fullmatch(form)):
                raise TalkheadError(
                    f"the name template {text!r} has {{{name}:{form}}}: only {{n}} takes a format,"
                    " a width as in {n:03}"
                )
        if Path(text).suffix.lower() not in SUFFIXES:
            raise TalkheadError(
                f"the name template {text!r} must end in {', '.join(sorted(SUFFIXES))}"
            )
        return cls(text)

    def name(self, face: Path, audio: Path, number: int) -> Path:
        """Return the output of one item."""
        return Path(self.text.format(face=face.stem, audio=audio.stem, n=number))


def is_template(text: str) -> bool:
    """Return whether a text contains a known field."""
    try:
        return any(name in FIELDS for name, _ in _fields(text))
    except TalkheadError:
        return False


def _is_folder(text: str) -> bool:
    try:
        return Path(text).is_dir()
    except OSError:  # the name is too long
        return False


def _fields(text: str) -> list[tuple[str, str]]:
    """Return the name and format of each field in a template."""
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise TalkheadError(f"{text!r} is not a valid name template: {error}") from error
    fields = []
    for _, name, form, conversion in parsed:
        if name is not None:
            fields.append((f"{name}!{conversion}" if conversion else name, form or ""))
    return fields

"""The note in a video: that it is synthetic, which talkhead made it, and of which files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from talkhead import __version__
from talkhead.checkpoint import TENSORS_NAME
from talkhead.errors import TalkheadError, WeightsError
from talkhead.fields import build_config
from talkhead.media.files import check_input
from talkhead.weights import installed_list, parts_of
from talkhead.weights.listing import measure_file

READABLE_KEY, STRUCTURED_KEY = "comment", "description"
"""Where the two parts are in the container: mp4, Matroska and WebM keep both in a stream copy,
QuickTime's mov the first. A key of our own would be lost in any."""
UNLISTED = "unlisted"
"""What weights are called that are not in weights.toml: a user's folder may have a telling name."""
MAX_NOTE_CHARACTERS = 16_384
"""About twenty times what a note takes."""

_PROGRAM = "talkhead "
_BEGINNING = re.compile(r'\s*\{\s*"generator"\s*:\s*"talkhead ')
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_DIGESTS = 32
_MAX_NAME = 200  # characters
_SHORT = 16  # hexadecimal digits that are shown of a digest
_BLOCK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Note:
    """The structured part of a note."""

    generator: str
    """talkhead and its version."""
    synthetic: bool
    weights: str
    """Their name in weights.toml, or `UNLISTED`."""
    digests: dict[str, str]
    """SHA-256 of every part's model.safetensors, by the part's name."""
    seed: int
    face: str
    """SHA-256 of the picture or video."""
    sound: str
    """SHA-256 of the sound."""


def provenance_note(
    face: Path, sound: Path, *, weights_name: str, digests: Mapping[str, str], seed: int
) -> dict[str, str]:
    """Make the note of a video, as metadata for its container.

    The same input gives the same note: it holds no date, and no name of a file or folder.

    Args:
        face: the picture or video.
        sound: what is said.
        weights_name: written where weights.toml lists it, else they are called `UNLISTED`.
        digests: of the weights' files, from `weights_digests`.
        seed: of the sampling.

    Returns:
        A sentence for people, which starts with "Synthetic:", and a JSON text.

    Raises:
        TalkheadError: a file cannot be read.
    """
    listed = weights_name in installed_list().entries
    note = Note(
        generator=_PROGRAM + __version__,
        synthetic=True,
        weights=weights_name if listed else UNLISTED,
        digests=dict(sorted(digests.items())),
        seed=seed,
        face=sha256_of(face),
        sound=sha256_of(sound),
    )
    sentence = (
        f"Synthetic: made by {note.generator}, weights {note.weights}"
        f" ({_combined(note.digests)[:_SHORT]}), seed {seed}"
    )
    structured = json.dumps(dataclasses.asdict(note), separators=(",", ":"))
    return {READABLE_KEY: sentence, STRUCTURED_KEY: structured}


def find_note(notes: Mapping[str, str]) -> Note | None:
    """Find talkhead's note among the notes of a container.

    Args:
        notes: from `talkhead.media.notes.read_notes`, or from `provenance_note`.

    Returns:
        The note; None where there is none, or another program's.

    Raises:
        TalkheadError: it is damaged; the message says how, and quotes what a stranger may have
            written.
    """
    text = notes.get(STRUCTURED_KEY, "")
    is_ours = _BEGINNING.match(text) is not None
    if len(text) > MAX_NOTE_CHARACTERS:
        if is_ours:
            raise TalkheadError(
                f"the note is damaged: it is longer than {MAX_NOTE_CHARACTERS} characters"
            )
        return None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if is_ours:
            raise TalkheadError(f"the note is damaged: it is no JSON ({error})") from error
        return None
    if not isinstance(content, dict):
        return None
    generator = content.get("generator")
    if not isinstance(generator, str) or not generator.startswith(_PROGRAM):
        return None
    return _checked(content)


def _checked(values: Mapping[str, Any]) -> Note:
    names = {field.name for field in dataclasses.fields(Note)}
    # A newer talkhead may say more.
    known = {name: value for name, value in values.items() if name in names}
    note = build_config(Note, known, source="the note is damaged")
    for name, value in {"face": note.face, "sound": note.sound, **note.digests}.items():
        if _SHA256.fullmatch(value) is None:
            raise TalkheadError(f"the note is damaged: {name[:_MAX_NAME]} is no SHA-256")
    texts = (note.generator, note.weights, *note.digests)
    if len(note.digests) > _MAX_DIGESTS or max(map(len, texts)) > _MAX_NAME:
        raise TalkheadError("the note is damaged: it has more or longer entries than any of ours")
    return note


def weights_digests(folder: Path) -> dict[str, str]:
    """Digest the networks of a pipeline, as `talkhead weights list --json` gives them.

    A file is read once in a process, unless it changes.

    Args:
        folder: with a sub-folder for each of its parts.

    Returns:
        SHA-256 in hexadecimal digits of every part's model.safetensors, by the part's name.

    Raises:
        WeightsError: a file is missing or cannot be read.
    """
    return {part: _tensors_digest(where) for part, where in parts_of(folder.resolve()).items()}


def _tensors_digest(folder: Path) -> str:
    path = folder / TENSORS_NAME
    try:
        state = path.stat()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error
    return _measured(folder, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _measured(folder: Path, _num_bytes: int, _changed_ns: int) -> str:
    return measure_file(folder, TENSORS_NAME).sha256


def sha256_of(path: Path) -> str:
    """Digest a file, a block at a time, as hexadecimal digits.

    Raises:
        TalkheadError: it cannot be read.
    """
    check_input(path)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise TalkheadError(f"{path} cannot be read ({error.strerror}); copy it again") from error
    return digest.hexdigest()


def _combined(digests: Mapping[str, str]) -> str:
    """Digest a table of digests, whatever its order."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()

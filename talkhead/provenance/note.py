"""The note in a video: marks it as synthetic, and names the talkhead version and the inputs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from talkhead import __version__
from talkhead.config import build_config
from talkhead.errors import TalkheadError, WeightsError
from talkhead.media.files import check_input
from talkhead.weights import installed_list
from talkhead.weights.listing import measure_file
from talkhead.weights.names import parse_hub_address
from talkhead.weights.systems import (
    SCHEDULER,
    SCHEDULER_CONFIG_NAME,
    TENSORS_NAME,
    component_folder,
    network_folders,
)

NOTE_KEYS = READABLE_KEY, STRUCTURED_KEY = "comment", "description"
"""Metadata keys of the note's two parts. A stream copy keeps both in mp4, Matroska and WebM, but
only the first in QuickTime's mov. No container would keep a key of our own."""
UNLISTED = "unlisted"
"""Stands for weights in a folder, whose name may reveal something."""
MAX_NOTE_CHARACTERS = 16_384
"""About twenty times the length of a real note."""

_PROGRAM = "talkhead "
_BEGINNING = re.compile(r'\s*\{\s*"generator"\s*:\s*"talkhead ')
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_DIGESTS = 32
_MAX_NAME = 200  # characters
_SHORT = 16  # hexadecimal digits of an abbreviated digest
_BLOCK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Note:
    """The structured part of a note."""

    generator: str
    """talkhead and its version."""
    synthetic: bool
    weights: str
    """From `public_name`."""
    digests: dict[str, str]
    """SHA-256 of each part's tensors, by component."""
    seed: int
    face: str
    """SHA-256 of the picture or video."""
    sound: str
    """SHA-256 of the audio; empty for a live voice, which ends after the note was written."""
    other_sounds: tuple[str, ...] = ()
    """SHA-256 of each further audio, if several people speak."""

    def values(self) -> dict[str, Any]:
        """Return the fields as they stand in a file: without other sounds if there are none."""
        values = dataclasses.asdict(self)
        if not self.other_sounds:
            del values["other_sounds"]
        return values


def provenance_note(
    face: Path,
    sound: Path | None,
    *,
    weights_name: str,
    digests: Mapping[str, str],
    seed: int,
    other_sounds: Sequence[Path] = (),
) -> dict[str, str]:
    """Return the note of a video, as metadata for its container.

    The same input gives the same note: it holds no date and no file or folder names.

    Args:
        face: the picture or video.
        sound: the audio; None for a live voice.
        weights_name: written as `public_name` gives it.
        digests: digests of the weight files, from `weights_digests`.
        seed: random seed of the sampling.
        other_sounds: further audio, if several people speak.

    Returns:
        A readable sentence that starts with "Synthetic:", and a JSON text.

    Raises:
        TalkheadError: a file cannot be read.
    """
    note = Note(
        generator=_PROGRAM + __version__,
        synthetic=True,
        weights=public_name(weights_name),
        digests=dict(sorted(digests.items())),
        seed=seed,
        face=sha256_of(face),
        sound="" if sound is None else sha256_of(sound),
        other_sounds=tuple(sha256_of(other) for other in other_sounds),
    )
    sentence = (
        f"Synthetic: made by {note.generator}, weights {note.weights}"
        f" ({_combined(note.digests)[:_SHORT]}), seed {seed}"
    )
    structured = json.dumps(note.values(), separators=(",", ":"))
    return {READABLE_KEY: sentence, STRUCTURED_KEY: structured}


def public_name(weights: str) -> str:
    """Return the name of weights for a video's note.

    That is a name in weights.toml, or a hub repository at a commit; `UNLISTED` stands in for a
    folder.
    """
    address = parse_hub_address(weights)
    is_pinned = address is not None and address.is_pinned
    return weights if is_pinned or weights in installed_list().entries else UNLISTED


def find_note(notes: Mapping[str, str]) -> Note | None:
    """Find talkhead's note in the metadata of a container.

    Args:
        notes: from `talkhead.media.metadata.read_notes`, or from `provenance_note`.

    Returns:
        The note; None if there is none, or it is another program's.

    Raises:
        TalkheadError: the note is damaged; the message gives the fault, and may quote untrusted
            text.
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
            raise TalkheadError(f"the note is damaged: it is not valid JSON ({error})") from error
        return None
    if not isinstance(content, dict):
        return None
    generator = content.get("generator")
    if not isinstance(generator, str) or not generator.startswith(_PROGRAM):
        return None
    return _checked(content)


def _checked(values: Mapping[str, Any]) -> Note:
    names = {field.name for field in dataclasses.fields(Note)}
    # A newer talkhead may add keys.
    known = {name: value for name, value in values.items() if name in names}
    note = build_config(Note, known, source="the note is damaged")
    sounds = {"sound": note.sound} if note.sound else {}
    sounds |= {f"other_sounds {n}": digest for n, digest in enumerate(note.other_sounds, 1)}
    for name, value in {"face": note.face, **sounds, **note.digests}.items():
        if _SHA256.fullmatch(value) is None:
            raise TalkheadError(f"the note is damaged: {name[:_MAX_NAME]} is not a SHA-256 digest")
    texts = (note.generator, note.weights, *note.digests)
    if (
        max(len(note.digests), len(note.other_sounds)) > _MAX_DIGESTS
        or max(map(len, texts)) > _MAX_NAME
    ):
        raise TalkheadError("the note is damaged: it has too many entries, or too long ones")
    return note


def weights_digests(folder: Path) -> dict[str, str]:
    """Return the digests of a pipeline's networks and scheduler, as in `talkhead weights list`.

    Each process reads a file only once, unless the file changes.

    Args:
        folder: the pipeline's folder, with one sub-folder per part.

    Returns:
        SHA-256, in hexadecimal, of networks' tensors and the scheduler's settings, by component.

    Raises:
        WeightsError: a file is missing or cannot be read.
    """
    folder = folder.resolve()
    paths = {
        component: where / TENSORS_NAME for component, where in network_folders(folder).items()
    }
    paths[SCHEDULER] = component_folder(folder, SCHEDULER) / SCHEDULER_CONFIG_NAME
    return {component: _digest(path) for component, path in paths.items()}


def _digest(path: Path) -> str:
    try:
        state = path.stat()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error
    return _measured(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _measured(path: Path, _num_bytes: int, _changed_ns: int) -> str:
    return measure_file(path.parent, path.name).sha256


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, reading one block at a time.

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
    """Return one digest for a table of digests, independent of its order."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()

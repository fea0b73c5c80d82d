"""C2PA content credentials of a video: sign with the user's certificate, and read back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from talkhead.errors import TalkheadError
from talkhead.media.files import check_input
from talkhead.provenance.library import SETTINGS, c2pa_library
from talkhead.provenance.manifest import ACTIONS_LABEL, NOTE_LABEL, manifest_of
from talkhead.provenance.note import STRUCTURED_KEY, Note, find_note
from talkhead.provenance.signer import Signer

MIME_TYPE = "video/mp4"
_OLD_ACTIONS_LABEL = "c2pa.actions"
_MAX_ENTRIES = 100


@dataclasses.dataclass(frozen=True)
class Action:
    """An action performed on the content, as the signer states it."""

    action: str
    software_agent: str
    digital_source_type: str


@dataclasses.dataclass(frozen=True)
class Credentials:
    """The content credentials of a file. All texts are untrusted."""

    state: str
    """Valid; Trusted if the signer is known as well; Invalid if the content was changed."""
    faults: tuple[str, ...]
    """C2PA's codes; ``signingCredential.untrusted`` if no trust list names the signer."""
    signer: str
    issuer: str
    algorithm: str
    signed_at: str
    """Time stated by the time-stamp authority; empty without one."""
    generator: str
    actions: tuple[Action, ...]
    note: Note | None
    """talkhead's own note, if present and intact."""


def sign(source: Path, target: Path, signer: Signer, note: Mapping[str, str] | None = None) -> None:
    """Copy an mp4 and add content credentials bound to its content.

    Args:
        source: the finished video.
        target: another file, which is overwritten; incomplete after an error.
        signer: from `check_signer`.
        note: from `provenance_note`, signed as well.

    Raises:
        TalkheadError: a file cannot be read or written, or the signer no longer works.
    """
    try:
        with source.open("rb") as reading, target.open("w+b") as writing:
            signer.sign(manifest_of(note), MIME_TYPE, reading, writing)
    except OSError as error:
        raise TalkheadError(f"the video cannot be signed ({error.strerror or error})") from error
    except TalkheadError as error:
        raise TalkheadError(
            f"the video cannot be signed ({error}); free some disk space, or render without"
            " content credentials"
        ) from error


def read_credentials(path: Path) -> Credentials | None:
    """Read the content credentials of a file and verify them against its content.

    Never uses the network: references to remote credentials are not followed.

    Returns:
        The credentials; None if the file has none.

    Raises:
        TalkheadError: c2pa-python is missing, does not support this kind of file, or cannot read
            the credentials.
    """
    check_input(path)
    c2pa = c2pa_library()
    try:
        with (
            path.open("rb") as file,
            c2pa.Context.from_dict(SETTINGS) as context,
            c2pa.Reader("", file, context=context) as reader,
        ):
            text = reader.json()
    except c2pa.C2paError.ManifestNotFound:
        return None
    except c2pa.C2paError.NotSupported as error:
        raise TalkheadError("content credentials are not supported in this kind of file") from error
    except (c2pa.C2paError, OSError) as error:
        reason = " ".join(str(error).split())
        raise TalkheadError(f"its content credentials cannot be read ({reason})") from error
    try:
        return _parse(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise TalkheadError(f"its content credentials cannot be read ({error})") from error


def _parse(store: Any) -> Credentials:
    label = _text(_in(store, "active_manifest"))
    manifest = _in(_in(store, "manifests"), label)
    signature = _in(manifest, "signature_info")
    assertions = [
        (_text(_in(each, "label")), _in(each, "data"))
        for each in _list(_in(manifest, "assertions"))
    ]
    generators = _list(_in(manifest, "claim_generator_info"))
    return Credentials(
        state=_text(_in(store, "validation_state")) or "Invalid",
        faults=tuple(_text(_in(each, "code")) for each in _list(_in(store, "validation_status"))),
        signer=_text(_in(signature, "common_name")),
        issuer=_text(_in(signature, "issuer")),
        algorithm=_text(_in(signature, "alg")),
        signed_at=_text(_in(signature, "time")),
        generator=_agent(generators[0]) if generators else "",
        actions=tuple(_actions(assertions)),
        note=_note(assertions),
    )


def _actions(assertions: list[tuple[str, Any]]) -> Iterator[Action]:
    for label, data in assertions:
        if label in (ACTIONS_LABEL, _OLD_ACTIONS_LABEL):
            for each in _list(_in(data, "actions")):
                yield Action(
                    action=_text(_in(each, "action")),
                    software_agent=_agent(_in(each, "softwareAgent")),
                    digital_source_type=_text(_in(each, "digitalSourceType")),
                )


def _note(assertions: list[tuple[str, Any]]) -> Note | None:
    for label, data in assertions:
        if label == NOTE_LABEL:
            try:
                return find_note({STRUCTURED_KEY: json.dumps(data)})
            except TalkheadError:  # not a note of ours
                return None
    return None


def _agent(value: Any) -> str:
    """Return a program's name, given as a text or as a table with name and version."""
    if isinstance(value, str):
        return value
    return " ".join(text for key in ("name", "version") if (text := _text(_in(value, key))))


def _in(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _list(value: Any) -> list[Any]:
    return value[:_MAX_ENTRIES] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

"""C2PA content credentials of a video: written with the user's certificate, and read back."""

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
    """What was done to the content, according to who signed."""

    action: str
    software_agent: str
    digital_source_type: str


@dataclasses.dataclass(frozen=True)
class Credentials:
    """What the content credentials of a file say. A stranger may have written any text in them."""

    state: str
    """Valid, Trusted where the signer is known too, or Invalid: the content was changed."""
    faults: tuple[str, ...]
    """C2PA's codes; of a signer whom no trust list names: ``signingCredential.untrusted``."""
    signer: str
    issuer: str
    algorithm: str
    signed_at: str
    """As the time-stamp authority states it; empty where none was asked."""
    generator: str
    actions: tuple[Action, ...]
    note: Note | None
    """talkhead's own, where it is there and whole."""


def sign(source: Path, target: Path, signer: Signer, note: Mapping[str, str] | None = None) -> None:
    """Copy an mp4 and add content credentials that are bound to its content.

    Args:
        source: the video, whole.
        target: another file, which is overwritten; after an error it is not whole.
        signer: from `check_signer`.
        note: from `provenance_note`, to be signed as well.

    Raises:
        TalkheadError: a file cannot be read or written, or the signer does not work any more.
    """
    try:
        with source.open("rb") as reading, target.open("w+b") as writing:
            signer.sign(manifest_of(note), MIME_TYPE, reading, writing)
    except OSError as error:
        raise TalkheadError(f"the video cannot be signed ({error.strerror or error})") from error
    except TalkheadError as error:
        raise TalkheadError(
            f"the video cannot be signed ({error}); check the disk's space, or leave"
            " content credentials out"
        ) from error


def read_credentials(path: Path) -> Credentials | None:
    """Read the content credentials in a file and compare them with its content.

    Nothing is fetched: credentials that lie elsewhere are not followed.

    Returns:
        None where there are none.

    Raises:
        TalkheadError: c2pa-python is missing, knows no credentials in this kind of file, or cannot
            read them.
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
        raise TalkheadError("this kind of file has no content credentials that we read") from error
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
            except TalkheadError:  # whatever it is, it is not ours
                return None
    return None


def _agent(value: Any) -> str:
    """Name a program, given by name and version or as a text."""
    if isinstance(value, str):
        return value
    return " ".join(text for key in ("name", "version") if (text := _text(_in(value, key))))


def _in(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _list(value: Any) -> list[Any]:
    return value[:_MAX_ENTRIES] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

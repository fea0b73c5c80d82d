"""`talkhead inspect`: show what a file is, and what it says about how it was made."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from talkhead.cli.output import JsonOption, print_columns
from talkhead.errors import TalkheadError

if TYPE_CHECKING:
    from talkhead.provenance import Note

Facts = dict[str, Any]
Rows = list[tuple[str, str]]

SHOWN_CHARACTERS = 300
"""Limit for an untrusted text."""
PICTURE_SUFFIXES = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".gif"),
        *(".ppm", ".pgm", ".jp2"),
    }
)


def inspect(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A video, picture, sound or track.", show_default=False
        ),
    ],
    face: Annotated[
        Path | None,
        typer.Option(
            "--face",
            metavar="FILE",
            help="Check whether FILE was made from this picture or video.",
            show_default=False,
        ),
    ] = None,
    audio: Annotated[
        Path | None,
        typer.Option(
            "--audio",
            metavar="FILE",
            help="Check whether FILE was made from this sound.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what FILE is, how it was made, and its content credentials.

    A file without such marks may still be synthetic: anyone can remove them.
    """
    from talkhead.media.files import check_input

    for path in (file, face, audio):
        if path is not None:
            check_input(path)
    facts: Facts = {"file": str(file), **_content(file)}
    notes, note, fault = _note(file, facts["kind"])
    facts["comment"] = notes.get("comment")
    facts["note"] = _values(note)
    facts["note_fault"] = fault
    facts |= _credentials(file)
    hashes = facts["note"] or (facts["credentials"] or {}).get("note") or {}
    facts |= _comparison("face", face, hashes) | _comparison("sound", audio, hashes)
    if as_json:
        # ASCII only: a terminal may take other bytes for commands.
        typer.echo(json.dumps(facts, indent=2, allow_nan=False))
        return
    typer.echo(in_print(str(file)))
    print_columns([(f"  {in_print(name)}", in_print(text)) for name, text in _rows(facts)])


def in_print(text: str) -> str:
    """Make an untrusted text safe to print: one line, bounded, no terminal control characters."""
    shown = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in shown
    )


def _content(path: Path) -> Facts:
    """Describe the content of a file."""
    from talkhead.jobs.pose_source import TRACK_SUFFIXES

    suffix = path.suffix.lower()
    if suffix in TRACK_SUFFIXES:
        from talkhead.tracking.landmark_track import LandmarkTrack

        track = LandmarkTrack.read(path)
        return {
            "kind": "track",
            "width": track.size[0],
            "height": track.size[1],
            "fps": str(track.fps),
            "duration_s": round(float(track.duration_s), 3),
            "frames": track.num_frames,
            "detector": track.detector,
        }
    from talkhead.jobs.pose_source import is_video
    from talkhead.media.picture import animation, read_picture

    if animation(path) is False or (suffix in PICTURE_SUFFIXES and not is_video(path)):
        width, height = read_picture(path).original_size
        return {"kind": "picture", "width": width, "height": height}
    from talkhead.media.metadata import probe_streams

    streams = probe_streams(path)
    codecs = {"video_codec": streams.video_codec, "audio_codec": streams.audio_codec}
    if streams.video_codec is None:
        return {"kind": "sound", "duration_s": streams.duration_s, **codecs}
    from talkhead.media.video import probe_video

    video = probe_video(path)
    return {
        "kind": "video",
        "width": video.width,
        "height": video.height,
        "fps": str(video.fps),
        "duration_s": video.duration_s,
        **codecs,
    }


def _note(path: Path, kind: str) -> tuple[dict[str, str], Note | None, str | None]:
    """Return the container's metadata, talkhead's note in it, and what is wrong with that note."""
    from talkhead.media.metadata import read_notes
    from talkhead.media.picture_notes import read_picture_notes
    from talkhead.provenance import find_note

    if kind == "track":
        return {}, None, None
    notes = (read_picture_notes(path) or {}) if kind == "picture" else read_notes(path)
    try:
        return notes, find_note(notes), None
    except TalkheadError as error:
        return notes, None, str(error)


def _credentials(path: Path) -> Facts:
    from talkhead.provenance import read_credentials

    try:
        credentials = read_credentials(path)
    except TalkheadError as error:
        return {"credentials": None, "credentials_fault": str(error)}
    found = None
    if credentials is not None:
        found = dataclasses.asdict(credentials) | {"note": _values(credentials.note)}
    return {"credentials": found, "credentials_fault": None}


def _values(note: Note | None) -> Facts | None:
    return None if note is None else note.values()


def _comparison(name: str, path: Path | None, hashes: Facts) -> Facts:
    """Compare a file with the hash in the note; the answer is None without a hash."""
    from talkhead.provenance import sha256_of

    if path is None:
        return {}
    expected = [hashes.get(name), *hashes.get(f"other_{name}s", ())]
    return {f"{name}_matches": sha256_of(path) in expected if any(expected) else None}


def _rows(facts: Facts) -> Rows:
    rows = [("content", _in_words(facts)), *_note_rows(facts), *_credential_rows(facts)]
    for name in ("face", "sound"):
        if f"{name}_matches" in facts:
            answer = {True: "the same file", False: "a different file", None: "no hash to compare"}
            rows.append((f"{name} given", answer[facts[f"{name}_matches"]]))
    return rows


def _in_words(facts: Facts) -> str:
    parts = [facts["kind"]]
    if "width" in facts:
        parts.append(f"{facts['width']} x {facts['height']} px")
    if "fps" in facts:
        parts.append(f"{facts['fps']} frames per second")
    if facts.get("duration_s"):
        parts.append(f"{facts['duration_s']:.2f} s")
    parts += [facts[name] for name in ("video_codec", "audio_codec", "detector") if facts.get(name)]
    return ", ".join(parts)


def _note_rows(facts: Facts) -> Rows:
    note, fault, comment = facts["note"], facts["note_fault"], facts["comment"]
    if note is None:
        rows = [("note", fault or "no talkhead note")]
        return [*rows, ("comment", comment)] if comment else rows
    says = "synthetic" if note["synthetic"] else "not synthetic"
    return [
        ("note", f"{says}, made by {note['generator']}"),
        ("weights", note["weights"]),
        *((f"  {part}", digest) for part, digest in note["digests"].items()),
        ("seed", str(note["seed"])),
        ("face", note["face"]),
        ("sound", note["sound"] or "a live voice"),
        *(("other sound", digest) for digest in note.get("other_sounds", ())),
    ]


def _credential_rows(facts: Facts) -> Rows:
    found = facts["credentials"]
    if found is None:
        return [("credentials", facts["credentials_fault"] or "none (C2PA)")]
    by = ", ".join(text for text in (found["signer"], found["issuer"]) if text)
    rows = [
        ("credentials", ", ".join([f"{found['state']} (C2PA)", *found["faults"]])),
        ("signed by", f"{by or 'an unnamed signer'} {found['signed_at']}".rstrip()),
        ("made with", found["generator"]),
    ]
    for each in found["actions"]:
        parts = (each["action"], each["software_agent"], each["digital_source_type"])
        rows.append(("action", ", ".join(part for part in parts if part)))
    if facts["note"] and found["note"] and facts["note"] != found["note"]:
        rows.append(("signed note", "differs from the note in the container"))
    return rows

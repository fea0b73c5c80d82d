"""Texts in animated pictures and in the pictures of a sequence, such as their origin.

ffmpeg writes no text into these formats. A GIF has one comment, a WebP an XMP packet, and a PNG
named texts. The two keys are those of a video's note.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from PIL import Image, PngImagePlugin

from talkhead.errors import TalkheadError

COMMENT, DESCRIPTION = "comment", "description"
PNG_KEYS = {COMMENT: "Comment", DESCRIPTION: "Description"}
"""The keys that the PNG specification names."""
MAX_CHARACTERS = 100_000
"""Longer texts are not read."""

_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
    ' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:exif="http://ns.adobe.com/exif/1.0/">'
    '<exif:UserComment><rdf:Alt><rdf:li xml:lang="x-default">{comment}</rdf:li></rdf:Alt>'
    '</exif:UserComment><dc:description><rdf:Alt><rdf:li xml:lang="x-default">{description}'
    "</rdf:li></rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"
)
_XMP_TEXT = re.compile(
    r"<(exif:UserComment|dc:description)>\s*<rdf:Alt>\s*<rdf:li[^>]*>([^<]*)</rdf:li>"
)
_GIF_COMMENT = b"\x21\xfe"
_GIF_LOOP = b"\x21\xff\x0bNETSCAPE2.0"
_GIF_LOOP_BYTES = 19
_WEBP_HAS_XMP = 0x04
_WEBP_HAS_ALPHA = 0x10


def png_notes(notes: Mapping[str, str]) -> PngImagePlugin.PngInfo:
    """Return notes as Pillow writes them into a PNG."""
    info = PngImagePlugin.PngInfo()
    for key, value in notes.items():
        info.add_itxt(PNG_KEYS[key], value)
    return info


def write_picture_notes(path: Path, notes: Mapping[str, str]) -> None:
    """Add notes to a GIF or WebP that has none, in place.

    Args:
        path: the file.
        notes: values of `comment` and `description`.

    Raises:
        ValueError: the file is damaged, or another picture.
    """
    if not notes:
        return
    with path.open("r+b") as file:
        content = file.read()
        if content.startswith(b"GIF89a"):
            text = "\n".join(notes[key] for key in (COMMENT, DESCRIPTION) if key in notes)
            start = _end_of_gif_header(content)
            changed = content[:start] + _gif_comment(text.encode()) + content[start:]
        elif content.startswith(b"RIFF") and content[8:12] == b"WEBP":
            texts = {key: html.escape(notes.get(key, "")) for key in (COMMENT, DESCRIPTION)}
            changed = _with_xmp(content, _XMP.format(**texts).encode())
        else:
            raise ValueError(f"{path} is no complete GIF or WebP")
        file.seek(0)
        file.write(changed)


def _end_of_gif_header(content: bytes) -> int:
    """Return where the palette ends, and the number of loops, which has to be next to it."""
    flags = content[10]
    end = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    return end + (_GIF_LOOP_BYTES if content.startswith(_GIF_LOOP, end) else 0)


def _gif_comment(text: bytes) -> bytes:
    blocks = [text[start : start + 255] for start in range(0, len(text), 255)]
    return _GIF_COMMENT + b"".join(bytes((len(block),)) + block for block in blocks) + b"\0"


def _with_xmp(content: bytes, packet: bytes) -> bytes:
    """Return a WebP with an XMP packet, which only the extended form of the file can hold."""
    chunks = content[12:]
    if chunks[:4] == b"VP8X":
        extended = chunks[:8] + bytes((chunks[8] | _WEBP_HAS_XMP,)) + chunks[9:]
    else:
        with Image.open(io.BytesIO(content), formats=("WEBP",)) as image:
            width, height = image.size
            flags = _WEBP_HAS_XMP | (_WEBP_HAS_ALPHA if image.mode == "RGBA" else 0)
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        extended = _chunk(b"VP8X", bytes((flags, 0, 0, 0)) + sides) + chunks
    body = b"WEBP" + extended + _chunk(b"XMP ", packet)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + len(data).to_bytes(4, "little") + data + b"\0" * (len(data) % 2)


def read_picture_notes(path: Path) -> dict[str, str] | None:
    """Read the notes of a GIF, WebP or PNG; None for any other file.

    Returns:
        Values of `comment` and `description`. Do not trust them: anyone may have written them.
    """
    with suppress(OSError, ValueError, SyntaxError, TalkheadError):
        with Image.open(path, formats=("GIF", "WEBP", "PNG")) as image:
            found = _texts(image)
        return {key: text for key, text in found.items() if 0 < len(text) <= MAX_CHARACTERS}
    return None


def _texts(image: Image.Image) -> dict[str, str]:
    if image.format == "PNG":
        texts = getattr(image, "text", {})  # loads the rest of the file
        return {key: str(texts.get(name, "")) for key, name in PNG_KEYS.items()}
    if image.format == "WEBP":
        packet = image.info.get("xmp", b"")[:MAX_CHARACTERS].decode("utf-8", "replace")
        names = {"exif:UserComment": COMMENT, "dc:description": DESCRIPTION}
        return {names[name]: html.unescape(text) for name, text in _XMP_TEXT.findall(packet)}
    comment = image.info.get("comment", b"").decode("utf-8", "replace")
    sentence, _, structured = comment.partition("\n")
    return {COMMENT: sentence, DESCRIPTION: structured}

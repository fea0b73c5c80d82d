"""Tell pictures from videos by content; the name decides only if the content is unclear.

A few bytes identify the common containers, Pillow recognises pictures by their headers, and ffmpeg
handles the rest. Nothing is decoded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from talkhead.media import ffmpeg
from talkhead.media.files import VIDEO_SUFFIXES

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2"}
)
AVIF_BRANDS = frozenset({b"avif", b"avis"})

_HEAD_BYTES = 512
_CONTAINERS = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"FLV\x01",
    b"OggS",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF: .wmv
    b"\x00\x00\x01\xba",  # MPEG program stream: .mpg, .vob
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01",  # MXF
)
"""First bytes of video containers. A file with audio alone is rejected when the video is probed."""
# ffmpeg also takes single pictures, lists of other files, and any text (as a terminal's output).
_NO_VIDEO_DEMUXERS = frozenset({"image2", "ico", "tty", "concat", "hls", "dash", "imf"})
_PATTERN_CHARACTERS = re.compile(r"[%*?{]")


def is_video(path: Path) -> bool:
    """Return whether a file is a video; animated GIF, WebP and PNG files are.

    Multi-page files and AVIF sequences are pictures, of which only the first is used. If a file is
    unreadable or not recognised, its suffix decides.
    """
    by_name = path.suffix.lower() in VIDEO_SUFFIXES
    head = _head(path)
    if not head:
        return by_name
    brand = brand_of(head)
    if brand is not None:
        return brand not in HEIF_BRANDS | AVIF_BRANDS
    if head.startswith(_CONTAINERS) or _is_avi(head) or _is_transport_stream(head):
        return True
    from talkhead.media.picture import animation

    moves = animation(path)
    if moves is not None:
        return moves
    _, _, messages = ffmpeg.run_ffmpeg(ffmpeg.list_streams_args(path))
    demuxer = ffmpeg.demuxer(messages)
    if demuxer is None:
        return by_name
    is_picture = demuxer.endswith("_pipe") or demuxer in _NO_VIDEO_DEMUXERS
    return not is_picture and ("Video" in ffmpeg.stream_kinds(messages) or by_name)


def brand_of(head: bytes) -> bytes | None:
    """Return the major brand of an ISO media file (mp4, mov, 3gp, HEIC, AVIF) from its first bytes.

    None for any other file.
    """
    return head[8:12] if head[4:8] == b"ftyp" else None


def demuxer_of(path: Path) -> str | None:
    """Return the demuxer to force for a video, or None if ffmpeg chooses the right one.

    ffmpeg takes an animated PNG for a still one. It takes a name that has a percent sign or a star
    and ends like a picture's for a pattern that matches many files.
    """
    head = _head(path)
    if head.startswith(PNG_SIGNATURE) and is_animated_png(path):
        return "apng"
    if not _PATTERN_CHARACTERS.search(str(path.absolute())):
        return None
    if head.startswith(b"GIF8"):
        return "gif"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp_anim"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "matroska"
    return None if brand_of(head) is None else "mov"


def is_animated_png(path: Path) -> bool:
    """Return whether a PNG file declares an animation, which it does before its pixels."""
    with suppress(OSError), path.open("rb") as file:
        for kind in _png_chunks(file):
            if kind in (b"acTL", b"IDAT"):
                return kind == b"acTL"
    return False


def _png_chunks(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(len(PNG_SIGNATURE))
    while len(header := file.read(8)) == 8:
        yield header[4:]
        file.seek(int.from_bytes(header[:4], "big") + 4, os.SEEK_CUR)  # data and checksum


def _head(path: Path) -> bytes:
    """Return the first bytes of a regular file, and none of anything else, which might block."""
    with suppress(OSError, ValueError):  # ValueError: a null character in the name
        if path.is_file():
            with path.open("rb") as file:
                return file.read(_HEAD_BYTES)
    return b""


def _is_avi(head: bytes) -> bool:
    return head.startswith(b"RIFF") and head[8:12] == b"AVI "


def _is_transport_stream(head: bytes) -> bool:
    """Recognise MPEG-TS: packets of 188 bytes (192 in .m2ts and .MTS), each with a sync byte."""
    return any(
        len(head) > start + size and head[start] == head[start + size] == 0x47
        for start, size in ((0, 188), (4, 192))
    )

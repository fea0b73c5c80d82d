"""Marks that a video is synthetic: a note in its container, and content credentials (C2PA).

`talkhead inspect` reads both. Rewriting the file can remove them.
"""

from talkhead.provenance.credentials import read_credentials, sign
from talkhead.provenance.note import (
    NOTE_KEYS,
    Note,
    find_note,
    provenance_note,
    public_name,
    sha256_of,
    weights_digests,
)
from talkhead.provenance.signer import Signer, check_signer

__all__ = [
    "NOTE_KEYS",
    "Note",
    "Signer",
    "check_signer",
    "find_note",
    "provenance_note",
    "public_name",
    "read_credentials",
    "sha256_of",
    "sign",
    "weights_digests",
]

"""The C2PA manifest of a rendered video."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from talkhead import __version__
from talkhead.provenance.note import STRUCTURED_KEY

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's term for media created by a trained model."""
ACTIONS_LABEL = "c2pa.actions.v2"
NOTE_LABEL = "talkhead.note"
"""The assertion with the same contents as the container's note."""


def manifest_of(note: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the manifest of a rendered video.

    Args:
        note: from `provenance_note`; None leaves out the hashes.
    """
    agent = {"name": "talkhead", "version": __version__}
    created = {
        "action": "c2pa.created",
        "digitalSourceType": SOURCE_TYPE,
        "softwareAgent": agent,
    }
    assertions: list[dict[str, Any]] = [{"label": ACTIONS_LABEL, "data": {"actions": [created]}}]
    if note is not None:
        assertions.append({"label": NOTE_LABEL, "data": json.loads(note[STRUCTURED_KEY])})
    return {"claim_generator_info": [agent], "assertions": assertions}

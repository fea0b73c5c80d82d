"""The C2PA manifest of a video that talkhead makes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from talkhead import __version__
from talkhead.provenance.note import STRUCTURED_KEY

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""What IPTC's vocabulary calls media made by a trained model."""
ACTIONS_LABEL = "c2pa.actions.v2"
NOTE_LABEL = "talkhead.note"
"""The assertion that holds what the note in the container holds."""


def manifest_of(note: Mapping[str, str] | None) -> dict[str, Any]:
    """Make the manifest of a video that talkhead makes.

    Args:
        note: from `provenance_note`; None leaves the hashes out.
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

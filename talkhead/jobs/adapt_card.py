"""Model cards of weights that were adapted to one person."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from talkhead.weights.systems import CARD_NAME

_ROWS = {
    "inside_psnr": "inside opened lips, PSNR, dB ↑",
    "lips_psnr": "around the lips, PSNR, dB ↑",
    "lower_psnr": "lower face, PSNR, dB ↑",
    "inside_sharpness": "sharpness inside opened lips, relative to real",
    "lips_sharpness": "lip sharpness, relative to real",
    "opening_r": "opening, correlation, from true landmarks ↑",
    "spoken_opening_r": "opening, correlation, from sound ↑",
}

_CARD = """\
---
{metadata}
---

# {name}

The person of one or more videos, for [talkhead](https://pypi.org/project/talkhead/):

```sh
talkhead render face.png speech.wav -o out.mp4 --weights {name}
```

**Made from.** The weights `{base}`, by `talkhead adapt` of talkhead {version}: {adapted}.
The other components are those of `{base}`, with their cards.

**Data.** {train_s:.0f} s of video of one person. These weights know how this person looks and
speaks: use and share them only with that person's consent.

**Scores.** On the last {held_out_s:.0f} s of the videos, which were not learned from, from a frame
of the rest:

| | before | after |
|---|---|---|
{scores}

**Limits.** Those of `{base}`. Faces of other people may look worse than before.

**Licence.** That of the weights they were made from{licence}.
"""


def write_cards(
    folder: Path, base: Path, name: str, result: Mapping[str, Any], components: Sequence[str]
) -> None:
    """Write the card of a pipeline, and those of its adapted components.

    Args:
        folder: the pipeline's.
        base: the folder of the weights that it was made from.
        name: of the new weights.
        result: of the adaptation.
        components: those that were adapted.
    """
    licence = licence_of(base)
    metadata = [
        *([f"license: {licence}"] if licence else []),
        "library_name: diffusers",
        "pipeline_tag: image-to-video",
        "tags: [talkhead, talking-head, lip-sync]",
    ]
    text = _CARD.format(
        metadata="\n".join(metadata),
        name=name,
        base=_public_name(result["base"]),
        version=result["talkhead"],
        adapted=", ".join(f"`{component}`" for component in components),
        train_s=result["train_s"],
        held_out_s=result["held_out_s"],
        scores=score_rows(result["scores"]),
        licence=f", {licence}" if licence else "",
    )
    (folder / CARD_NAME).write_text(text, encoding="utf-8")
    for component in components:
        licence = licence_of(base / component) or licence
        head = f"---\nlicense: {licence}\nlibrary_name: talkhead\n---\n\n" if licence else ""
        (folder / component / CARD_NAME).write_text(
            f"{head}# {component} of {name}\n\nAdapted to one person: see [the pipeline's card]"
            f"(../{CARD_NAME}).\n",
            encoding="utf-8",
        )


def _public_name(weights: str) -> str:
    """Return the name of weights; of a folder only the last part, as the rest may be private."""
    return Path(weights).resolve().name if Path(weights).is_dir() else weights


def score_rows(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Return the rows of a Markdown table with the scores before and after."""
    before, after = scores["before"], scores["after"]
    return "\n".join(
        f"| {label} | {before[key]:.2f} | {after[key]:.2f} |"
        for key, label in _ROWS.items()
        if key in before and key in after
    )


def licence_of(folder: Path) -> str | None:
    """Return the licence that the card in a folder states, or None."""
    card = folder / CARD_NAME
    if not card.is_file():
        return None
    found = re.search(r"^license: *(\S+)", card.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None

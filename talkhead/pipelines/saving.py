"""Save networks to the folder format that ``--weights`` takes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talkhead.errors import TalkheadError
from talkhead.networks import save_checkpoint

if TYPE_CHECKING:
    import torch

CARD_NAME = "README.md"


def save_components(
    folder: Path,
    components: Mapping[str, Any],
    *,
    cards_from: Path | None,
    dtype: torch.dtype | None,
) -> None:
    """Save networks, each in a sub-folder named after it.

    All files are written before the first is moved into place, so a full disk damages nothing.

    Args:
        folder: created if missing; networks in it are replaced.
        components: networks with their `config`, by name.
        cards_from: a folder to copy model cards from.
        dtype: the stored precision; None keeps the tensors' own.

    Raises:
        TalkheadError: the folder cannot be written; its old contents are kept.
        ValueError: a tensor is not finite.
    """
    if folder.exists() and not folder.is_dir():
        raise TalkheadError(f"{folder} is not a folder: choose another")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".talkhead-", dir=folder.parent) as made:
            for name, model in components.items():
                part = Path(made, name)
                save_checkpoint(
                    part,
                    architecture=name,
                    config=model.config,
                    state=model.state_dict(),
                    dtype=dtype,
                )
                card = None if cards_from is None else cards_from / name / CARD_NAME
                if card is not None and card.is_file():
                    shutil.copyfile(card, part / CARD_NAME)
            for file in sorted(Path(made).glob("*/*")):
                target = folder / file.relative_to(made)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
    except OSError as error:
        raise TalkheadError(f"{folder} cannot be written ({error.strerror})") from error

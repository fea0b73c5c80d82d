"""The weighted mean of several checkpoints of one network."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from talkhead.atomic import replacing
from talkhead.errors import TalkheadError, WeightsError
from talkhead.weights.strict_files import opened_tensors, read_json
from talkhead.weights.systems import CONFIG_NAME, TENSORS_NAME


def parse_shares(items: Sequence[str]) -> list[tuple[Path, float]]:
    """Parse checkpoints with their shares, such as ``runs/a/checkpoint=0.35``.

    Returns:
        Folders and shares; shares that are not given are equal.

    Raises:
        TalkheadError: fewer than two folders, or a share is not a positive number.
    """
    if len(items) < 2:
        raise TalkheadError("a mean needs at least two checkpoints")
    found = []
    for item in items:
        folder, _, share = item.rpartition("=") if "=" in item else (item, "", "1")
        try:
            value = float(share)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise TalkheadError(f"{item}: {share!r} is not a positive number")
        found.append((Path(folder), value))
    return found


def average(checkpoints: Sequence[tuple[Path, float]], output: Path) -> None:
    """Write the weighted mean of checkpoints.

    Args:
        checkpoints: folders of networks of one configuration, and their shares, whose sum need not
            be 1.
        output: folder of the mean, created if missing.

    Raises:
        TalkheadError: the folder cannot be written.
        WeightsError: a checkpoint is missing or corrupt, or they are of different networks.
    """
    from safetensors.torch import save

    first, _ = checkpoints[0]
    config = read_json(first / CONFIG_NAME)
    total = sum(share for _, share in checkpoints)
    means: dict[str, Any] = {}
    kinds: dict[str, Any] = {}
    for folder, share in checkpoints:
        if read_json(folder / CONFIG_NAME) != config:
            raise WeightsError(f"{folder} and {first} have different configurations")
        with opened_tensors(folder / TENSORS_NAME) as file:
            names = set(file.keys())
            if kinds and names != kinds.keys():
                raise WeightsError(f"{folder} and {first} have different tensors")
            for name in sorted(names):
                tensor = file.get_tensor(name)
                if name in means and tensor.shape != means[name].shape:
                    raise WeightsError(f"{folder} and {first} have another shape of {name}")
                kinds.setdefault(name, tensor.dtype)
                means[name] = means.get(name, 0) + tensor.double() * (share / total)
    tensors = {name: mean.to(kinds[name]).contiguous() for name, mean in means.items()}
    try:
        output.mkdir(parents=True, exist_ok=True)
        with replacing(output / TENSORS_NAME) as partial:
            partial.write_bytes(save(tensors, metadata={"format": "pt"}))
        with replacing(output / CONFIG_NAME) as partial:
            shutil.copyfile(first / CONFIG_NAME, partial)
    except OSError as error:
        raise TalkheadError(f"{output} cannot be written ({error.strerror})") from error

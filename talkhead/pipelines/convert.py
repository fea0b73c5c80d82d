"""Convert weights folders of talkhead 0.2 to the layout of diffusers; tensors stay as they are."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from talkhead.errors import TalkheadError, WeightsError
from talkhead.landmarks2video.sampling import default_scheduler
from talkhead.pipelines.base import FacePipeline
from talkhead.pipelines.loading import LIBRARY
from talkhead.weights.strict_files import read_json
from talkhead.weights.systems import (
    CARD_NAME,
    CONFIG_NAME,
    INDEX_NAME,
    MASK_NOISE,
    SCHEDULER,
    TALKHEAD,
    TENSORS_NAME,
    System,
)

OLD_TENSORS_NAME = "model.safetensors"
_COMPONENTS = {
    "autoencoder": "autoencoder",
    "denoiser": "denoiser",
    "emotion": "emotion_classifier",
    "landmarks": "landmark_generator",
    "video-denoiser": "video_denoiser",
}
_RENAMED = {"speech": "speech_encoder", "reads": "num_features", "dual": "dual_domain"}
_EXPRESSIONS = {"expressions": "offsets", "shown": "known"}
"""Tensors of the old video denoiser that have a network of their own now."""


def convert_pipeline(old: Path, new: Path) -> None:
    """Convert a pipeline of talkhead 0.2.

    Args:
        old: has one sub-folder per network; it stays as it is.
        new: created, once the result was loaded strictly.

    Raises:
        TalkheadError: the new folder exists or cannot be written.
        WeightsError: the old one is not such a pipeline, or is damaged.
    """
    if new.exists():
        raise TalkheadError(f"{new} exists: choose another folder")
    is_mask_noise = (old / "video-denoiser").is_dir()
    system = MASK_NOISE if is_mask_noise else TALKHEAD
    names = _networks_of(old, system)
    try:
        with tempfile.TemporaryDirectory(prefix=".talkhead-", dir=new.absolute().parent) as place:
            folder = Path(place, "pipeline")
            index: dict[str, Any] = {"_class_name": system.pipeline}
            for name in names:
                for component in _convert_network(old / name, folder):
                    index[component] = [LIBRARY, system.networks[component]]
            scheduler = default_scheduler("sample" if is_mask_noise else "v_prediction")
            scheduler.save_pretrained(folder / SCHEDULER)
            index[SCHEDULER] = ["diffusers", type(scheduler).__name__]
            (folder / INDEX_NAME).write_text(json.dumps(index, indent=2), encoding="utf-8")
            try:
                FacePipeline.from_folder(folder, device=torch.device("cpu"), dtype=torch.float32)
            except WeightsError as error:
                fault = str(error).replace(str(folder), str(new))
                raise WeightsError(f"{old} cannot be converted: {fault}") from error
            folder.rename(new)
    except OSError as error:
        raise TalkheadError(f"{new} cannot be written ({error.strerror})") from error


def _networks_of(old: Path, system: System) -> list[str]:
    """Return the names of an old pipeline's networks; raises WeightsError if one is missing."""
    names = [name for name, component in _COMPONENTS.items() if component in system.networks]
    found = [name for name in names if (old / name).is_dir()]
    for name in names:
        if name not in found and _COMPONENTS[name] not in system.optional:
            raise WeightsError(f"{old} is not a pipeline of talkhead 0.2: it has no folder {name}")
    return found


def _convert_network(old: Path, folder: Path) -> list[str]:
    """Write the networks that an old folder becomes, and return their components."""
    settings = read_json(old / CONFIG_NAME)
    component = _COMPONENTS[old.name]
    found = settings.pop("architecture", None)
    if found != old.name:
        raise WeightsError(f"{old} does not hold the {old.name} of talkhead 0.2, but {found!r}")
    settings.pop("schema", None)
    if settings.pop("speech_channels", 0):
        raise WeightsError(f"{old} is driven by audio instead of landmarks: it has no successor")
    try:
        tensors = load((old / OLD_TENSORS_NAME).read_bytes())
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{old / OLD_TENSORS_NAME} cannot be read: {error}") from error
    moved = {_EXPRESSIONS[name]: tensors.pop(name) for name in _EXPRESSIONS if name in tensors}
    renamed = {_RENAMED.get(name, name): value for name, value in settings.items()}
    _write(folder / component, renamed, tensors)
    if (old / CARD_NAME).is_file():
        shutil.copyfile(old / CARD_NAME, folder / component / CARD_NAME)
    if not moved:
        return [component]
    _write(folder / "expressions", {}, moved)
    return [component, "expressions"]


def _write(folder: Path, settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    folder.mkdir(parents=True)
    classes = {**TALKHEAD.networks, **MASK_NOISE.networks}
    config = {"_class_name": classes[folder.name], **settings}
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2), encoding="utf-8")
    (folder / TENSORS_NAME).write_bytes(save(tensors, metadata={"format": "pt"}))

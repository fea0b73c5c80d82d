"""Load the components of a pipeline's folder: classes from a fixed table, strict tensors only."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import numpy.typing as npt
import torch

from talkhead.audio2landmarks.emotion_classifier import EmotionClassifier
from talkhead.audio2landmarks.expressions import Expressions, express
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.audio2landmarks.speech_emotion import emotion_of
from talkhead.errors import WeightsError
from talkhead.landmarks2video.autoencoder import Autoencoder
from talkhead.landmarks2video.denoiser import Denoiser
from talkhead.landmarks2video.mask_noise.video_denoiser import VideoDenoiser
from talkhead.landmarks2video.mouth_denoiser import MouthDenoiser
from talkhead.landmarks2video.sampling import SamplerOptions, sample
from talkhead.media.audio_clip import AudioClip
from talkhead.networks import Network
from talkhead.weights.strict_files import read_json
from talkhead.weights.systems import (
    CARD_NAME,
    DUAL_DOMAIN_ALONE,
    INDEX_NAME,
    SCHEDULER,
    SCHEDULER_CONFIG_NAME,
    SCHEDULERS,
    component_folder,
    network_folders,
    system_of,
)

LIBRARY = "talkhead"
"""What model_index.json names as the library of talkhead's classes."""
NETWORKS: dict[str, type[Network]] = {
    network.__name__: network
    for network in (
        Autoencoder,
        Denoiser,
        EmotionClassifier,
        Expressions,
        LandmarkGenerator,
        MouthDenoiser,
        VideoDenoiser,
    )
}
MAX_TIMESTEPS = 65_536

Floats = npt.NDArray[np.float32]


def load_components(folder: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Load the components of a pipeline, and its switches.

    Args:
        folder: has a model_index.json.
        given: components to use instead of the folder's.

    Raises:
        WeightsError: a file is missing, corrupt or does not fit, or a class is not in the table.
    """
    system = system_of(folder)
    path = folder / INDEX_NAME
    index = {name: value for name, value in read_json(path).items() if not name.startswith("_")}
    switches = {name: index.pop(name) for name in system.switches if name in index}
    unknown = sorted(index.keys() - set(system.components))
    missing = sorted(set(system.components) - index.keys() - set(system.optional))
    if unknown or missing:
        fault = f"unknown component {unknown[0]!r}" if unknown else f"no {missing[0]}"
        raise WeightsError(f"{path} has {fault[:100]}")
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise WeightsError(f"{path}: {name} is {str(value)[:80]}, but must be true or false")
    components = {**switches, **given}
    for name, entry in index.items():
        if name in given or (entry in ([None, None], None) and name in system.optional):
            continue
        if name == SCHEDULER:
            _check_class(path, name, entry, "diffusers", SCHEDULERS)
            components[name] = _load_scheduler(component_folder(folder, name), entry[1])
        else:
            class_name = system.networks[name]
            _check_class(path, name, entry, LIBRARY, (class_name,))
            network = NETWORKS[class_name].from_pretrained(component_folder(folder, name))
            components[name] = network.requires_grad_(False)
    return components


def load_landmark_generator(folder: Path, device: torch.device) -> LandmarkGenerator:
    """Load only the landmark generator, from a pipeline or from a folder of its own.

    Raises:
        WeightsError: it is missing, corrupt or does not fit.
    """
    name = "landmark_generator"
    is_alone = False
    inside = folder
    if (folder / INDEX_NAME).is_file():
        inside = component_folder(folder, name)
        is_alone = read_json(folder / INDEX_NAME).get(DUAL_DOMAIN_ALONE) is True
    generator = LandmarkGenerator.from_pretrained(inside)
    if is_alone:
        generator = generator.dual_domain_alone()
    return generator.to(device).requires_grad_(False)


def show_emotion(
    windows: Iterator[Floats], folder: Path, audio: AudioClip, emotion: str
) -> Iterator[Floats]:
    """Add an emotion to landmarks, with the emotions of a pipeline's folder.

    Args:
        windows: meshes, (T, 478, 3).
        folder: a pipeline.
        audio: the recording, for the emotion auto.
        emotion: a name, or auto.

    Raises:
        WeightsError: the folder has no such emotion, or is damaged.
    """
    found = network_folders(folder) if (folder / INDEX_NAME).is_file() else {}
    if "emotion_classifier" not in found or "expressions" not in found:
        raise WeightsError(f"{folder} has no emotions: leave the emotion out")
    expressions = Expressions.from_pretrained(found["expressions"])
    classifier = EmotionClassifier.from_pretrained(found["emotion_classifier"])
    probabilities = expressions.mask_unknown(emotion_of(classifier, audio, emotion), emotion)
    return express(windows, expressions.shape_of(probabilities))


def _check_class(path: Path, name: str, entry: Any, library: str, classes: tuple[str, ...]) -> None:
    is_pair = isinstance(entry, list) and len(entry) == 2
    if not is_pair or entry[0] != library or entry[1] not in classes:
        raise WeightsError(
            f"{path}: {name} is {str(entry)[:80]}, but must be a {' or '.join(classes)} of"
            f" {library}"
        )


def _load_scheduler(folder: Path, class_name: str) -> Any:
    path = folder / SCHEDULER_CONFIG_NAME
    settings = read_json(path)
    scheduler: Any = getattr(diffusers, class_name)
    count, betas = settings.get("num_train_timesteps"), settings.get("trained_betas")
    if type(count) is not int or not 0 < count <= MAX_TIMESTEPS:
        raise WeightsError(f"{path}: num_train_timesteps must be from 1 to {MAX_TIMESTEPS}")
    if betas is not None and (not isinstance(betas, list) or len(betas) != count):
        raise WeightsError(f"{path}: trained_betas must have one number per timestep")
    try:
        loaded = scheduler.from_config(settings)
        # Schedulers check most of their settings when they are used.
        for num_steps in (1, 2):
            clean = sample(
                lambda noisy, _: noisy, torch.ones(1, 1, 1, 1), loaded, SamplerOptions(num_steps)
            )
            if not bool(clean.isfinite().all()):
                raise ArithmeticError("its samples are not finite")
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise WeightsError(
            f"{path} cannot be used: {' '.join(str(error).split())[:200]}"
        ) from error
    return loaded


def copy_card(old: Path, new: Path) -> None:
    """Copy a folder's model card, if it has one, to another folder."""
    if (old / CARD_NAME).is_file():
        shutil.copyfile(old / CARD_NAME, new / CARD_NAME)

"""Build a training task from a TOML file, and check the file's settings."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from talkhead.audio2landmarks.emotion_classifier import EmotionClassifier
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.audio2landmarks.speech_encoder import SpeechEncoder
from talkhead.config import build_config, check_arguments
from talkhead.errors import TalkheadError
from talkhead.landmarks2video.autoencoder import Autoencoder
from talkhead.landmarks2video.denoiser import Denoiser
from talkhead.landmarks2video.mask_noise.video_denoiser import VideoDenoiser
from talkhead.landmarks2video.mouth_denoiser import MouthDenoiser
from talkhead.networks import Network
from talkhead.training.autoencoder import AutoencoderTask, AutoencoderTaskConfig
from talkhead.training.config import LoopConfig, check_loop, read_toml
from talkhead.training.denoiser import DenoiserTask
from talkhead.training.emotion import EmotionTask, EmotionTaskConfig
from talkhead.training.encoders import (
    find_network,
    find_weights,
    is_published,
    published_config,
)
from talkhead.training.landmark_samples import LandmarksTaskConfig
from talkhead.training.landmarks import LandmarksPaths, LandmarksTask
from talkhead.training.loop import Task
from talkhead.training.mouth_denoiser import MouthDenoiserTask
from talkhead.training.mouth_samples import MouthDenoiserTaskConfig
from talkhead.training.pairs import DenoiserTaskConfig
from talkhead.training.speech import SpeechTask
from talkhead.training.speech_samples import SpeechTaskConfig
from talkhead.training.video_denoiser import VideoDenoiserTask
from talkhead.training.video_samples import VideoDenoiserTaskConfig


@dataclass(frozen=True)
class Settings:
    """The checked settings of a TOML file; paths are relative to its folder."""

    loop: LoopConfig
    model: dict[str, Any]
    """Arguments of the network: the table [model]."""
    task: Any
    """The table [task]."""
    folder: Path
    encoder: Path | None = None
    """The folder of the speech encoder that [task] names, once it is fetched."""

    @property
    def encoder_commit(self) -> str | None:
        """The commit of a speech encoder from the hub, whose folder is named after it."""
        name = "" if self.encoder is None else self.encoder.name
        return name if re.fullmatch(r"[0-9a-f]{40}", name) else None

    @property
    def data(self) -> Path:
        """The prepared folder."""
        return self.folder / self.loop.data

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.folder / self.loop.run

    def path(self, name: str) -> Path | None:
        """Return the path that an entry of [task] names, None if it is empty."""
        value = getattr(self.task, name)
        return self.folder / value if value else None


@dataclass(frozen=True)
class _Kind:
    """The classes behind a task's name."""

    network: type[Network]
    task_type: type[Any]
    build: Callable[[Settings], Task]


def _autoencoder(settings: Settings) -> Task:
    return AutoencoderTask(settings.data, settings.model, settings.task, settings.loop.seed)


def _denoiser(settings: Settings) -> Task:
    autoencoder = settings.folder / settings.task.autoencoder
    return DenoiserTask(
        settings.data,
        settings.model,
        settings.task,
        settings.loop.seed,
        autoencoder,
        settings.path("initial"),
    )


def _landmarks(settings: Settings) -> Task:
    encoder, model = settings.encoder, settings.model
    if encoder is not None and "speech_encoder" not in model and is_published(encoder):
        model = model | {"speech_encoder": published_config(encoder)}
        model = _arguments(LandmarkGenerator, model, source=f"[model] with {encoder}")
    return LandmarksTask(
        settings.data,
        model,
        settings.task,
        settings.loop.seed,
        LandmarksPaths(
            speech=encoder,
            **{name: settings.path(name) for name in ("initial", "dual", "basis", "teacher")},
            recordings=settings.path("recordings"),
        ),
    )


def _speech(settings: Settings) -> Task:
    return SpeechTask(
        settings.data, settings.model, settings.task, settings.loop.seed, settings.path("initial")
    )


def _emotion(settings: Settings) -> Task:
    return EmotionTask(settings.data, settings.model, settings.task, settings.loop.seed)


def _video_denoiser(settings: Settings) -> Task:
    return VideoDenoiserTask(
        settings.data,
        settings.model,
        settings.task,
        settings.loop.seed,
        settings.path("initial"),
        settings.path("registration"),
        settings.path("expressions"),
    )


def _mouth_denoiser(settings: Settings) -> Task:
    return MouthDenoiserTask(
        settings.data,
        settings.model,
        settings.task,
        settings.loop.seed,
        find_weights(settings.task.weights, settings.folder),
        settings.folder / settings.task.pairs,
        settings.path("initial"),
        find_network(settings.task.features, settings.folder) if settings.task.features else None,
    )


TASKS = {
    "autoencoder": _Kind(Autoencoder, AutoencoderTaskConfig, _autoencoder),
    "denoiser": _Kind(Denoiser, DenoiserTaskConfig, _denoiser),
    "emotion": _Kind(EmotionClassifier, EmotionTaskConfig, _emotion),
    "landmarks": _Kind(LandmarkGenerator, LandmarksTaskConfig, _landmarks),
    "mouth-denoiser": _Kind(MouthDenoiser, MouthDenoiserTaskConfig, _mouth_denoiser),
    "speech": _Kind(SpeechEncoder, SpeechTaskConfig, _speech),
    "video-denoiser": _Kind(VideoDenoiser, VideoDenoiserTaskConfig, _video_denoiser),
}


def read_settings(name: str, path: Path) -> Settings:
    """Read the settings of a task.

    Args:
        name: name of the task, a key of `TASKS`.
        path: a TOML file with the tables [train], [model] and [task]. Settings with a default may
            be left out, and so may tables without any.

    Raises:
        TalkheadError: the file cannot be read, or a key is missing, unknown, or has an invalid
            value.
    """
    tables = read_toml(path)

    def table(key: str) -> dict[str, Any]:
        values = tables.pop(key, {})
        if not isinstance(values, dict):
            raise TalkheadError(f"{path}: {key} must be a table, [{key}]")
        return values

    kind = TASKS[name]
    settings = Settings(
        loop=build_config(LoopConfig, table("train"), source=f"{path}, [train]"),
        model=_arguments(kind.network, table("model"), source=f"{path}, [model]"),
        task=build_config(kind.task_type, table("task"), source=f"{path}, [task]"),
        folder=path.parent,
    )
    if tables:
        raise TalkheadError(
            f"{path} has {', '.join(tables)} besides the tables [train], [model] and [task]"
        )
    check_loop(settings.loop, source=f"{path}, [train]")
    return settings


def _arguments(network: type[Network], table: dict[str, Any], *, source: str) -> dict[str, Any]:
    arguments = check_arguments(
        network.__init__, table, source=source, nested=network.nested_configs
    )
    try:
        network.sketch(arguments)
    except ValueError as error:
        raise TalkheadError(f"{source} is not a valid network: {error}") from error
    return arguments


def build_task(name: str, path: Path) -> tuple[Task, Settings]:
    """Read the settings of a task and prepare it for training.

    Raises:
        TalkheadError: as for `read_settings`, or the data does not suit the task.
        WeightsError: a checkpoint that the task needs or starts from is missing or corrupt.
    """
    settings = read_settings(name, path)
    if speech := getattr(settings.task, "speech", ""):
        settings = replace(settings, encoder=find_network(speech, settings.folder))
    return TASKS[name].build(settings), settings

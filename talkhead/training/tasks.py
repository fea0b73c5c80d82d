"""Build a training task from a TOML file, and check the file's settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talkhead.audio2landmarks.emotion_classifier import EmotionConfig
from talkhead.audio2landmarks.generator import LandmarkGeneratorConfig
from talkhead.audio2landmarks.speech_encoder import SpeechConfig
from talkhead.errors import TalkheadError
from talkhead.landmarks2video.autoencoder import AutoencoderConfig
from talkhead.landmarks2video.denoiser import DenoiserConfig
from talkhead.landmarks2video.mask_noise.video_denoiser import VideoDenoiserConfig
from talkhead.networks import build_config, check_sizes
from talkhead.training.autoencoder import AutoencoderTask, AutoencoderTaskConfig
from talkhead.training.config import LoopConfig, check_loop, read_toml
from talkhead.training.denoiser import DenoiserTask
from talkhead.training.emotion import EmotionTask, EmotionTaskConfig
from talkhead.training.encoders import find_encoder
from talkhead.training.landmarks import LandmarksTask, LandmarksTaskConfig
from talkhead.training.loop import Task
from talkhead.training.pairs import DenoiserTaskConfig
from talkhead.training.speech import SpeechTask, SpeechTaskConfig
from talkhead.training.video_denoiser import VideoDenoiserTask, VideoDenoiserTaskConfig


@dataclass(frozen=True)
class Settings:
    """The checked settings of a TOML file; paths are relative to its folder."""

    loop: LoopConfig
    model: Any
    """The configuration of the network: the table [model]."""
    task: Any
    """The table [task]."""
    folder: Path

    @property
    def data(self) -> Path:
        """The prepared folder."""
        return self.folder / self.loop.data

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.folder / self.loop.run

    @property
    def initial(self) -> Path | None:
        """The checkpoint that the run starts from, if any."""
        return self.folder / self.task.initial if self.task.initial else None


@dataclass(frozen=True)
class _Kind:
    """The classes behind a task's name."""

    model_type: type[Any]
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
        settings.initial,
        settings.folder / settings.task.speech if settings.task.speech else None,
    )


def _landmarks(settings: Settings) -> Task:
    speech = settings.task.speech
    encoder = find_encoder(speech, settings.folder) if speech else None
    return LandmarksTask(
        settings.data,
        settings.model,
        settings.task,
        settings.loop.seed,
        settings.initial,
        encoder,
        settings.folder / settings.task.dual if settings.task.dual else None,
    )


def _speech(settings: Settings) -> Task:
    return SpeechTask(
        settings.data, settings.model, settings.task, settings.loop.seed, settings.initial
    )


def _emotion(settings: Settings) -> Task:
    return EmotionTask(settings.data, settings.model, settings.task, settings.loop.seed)


def _video_denoiser(settings: Settings) -> Task:
    registration = settings.task.registration
    return VideoDenoiserTask(
        settings.data,
        settings.model,
        settings.task,
        settings.loop.seed,
        settings.initial,
        settings.folder / registration if registration else None,
    )


TASKS = {
    "autoencoder": _Kind(AutoencoderConfig, AutoencoderTaskConfig, _autoencoder),
    "denoiser": _Kind(DenoiserConfig, DenoiserTaskConfig, _denoiser),
    "emotion": _Kind(EmotionConfig, EmotionTaskConfig, _emotion),
    "landmarks": _Kind(LandmarkGeneratorConfig, LandmarksTaskConfig, _landmarks),
    "speech": _Kind(SpeechConfig, SpeechTaskConfig, _speech),
    "video-denoiser": _Kind(VideoDenoiserConfig, VideoDenoiserTaskConfig, _video_denoiser),
}


def read_settings(name: str, path: Path) -> Settings:
    """Read the settings of a task.

    Args:
        name: name of the task, a key of `TASKS`.
        path: a TOML file with the tables [train], [model] and [task]; [task] is optional if all
            of its settings have defaults.

    Raises:
        TalkheadError: the file cannot be read, or a key is missing, unknown, or has an invalid
            value.
    """
    tables = read_toml(path)

    def table(key: str, config_type: type[Any]) -> Any:
        values = tables.pop(key, {})
        if not isinstance(values, dict):
            raise TalkheadError(f"{path}: {key} must be a table, [{key}]")
        return build_config(config_type, values, source=f"{path}, [{key}]")

    kind = TASKS[name]
    settings = Settings(
        loop=table("train", LoopConfig),
        model=table("model", kind.model_type),
        task=table("task", kind.task_type),
        folder=path.parent,
    )
    if tables:
        raise TalkheadError(
            f"{path} has {', '.join(tables)} besides the tables [train], [model] and [task]"
        )
    check_sizes(settings.model, source=f"{path}, [model]")
    check_loop(settings.loop, source=f"{path}, [train]")
    return settings


def build_task(name: str, path: Path) -> tuple[Task, Settings]:
    """Read the settings of a task and prepare it for training.

    Raises:
        TalkheadError: as for `read_settings`, or the data does not suit the task.
        WeightsError: a checkpoint that the task needs or starts from is missing or corrupt.
    """
    settings = read_settings(name, path)
    try:
        return TASKS[name].build(settings), settings
    except ValueError as error:
        raise TalkheadError(f"{path}: [model] is not a valid network: {error}") from error

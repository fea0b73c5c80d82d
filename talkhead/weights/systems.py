"""The two systems: what their pipelines can do, and what their folders hold.

A pipeline's folder has a model_index.json, as diffusers writes it, and one sub-folder per
component. Class names are looked up in these tables before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from talkhead.emotions import AUTO, check_emotion
from talkhead.errors import TalkheadError, WeightsError
from talkhead.weights.strict_files import read_json

INDEX_NAME = "model_index.json"
CONFIG_NAME = "config.json"
TENSORS_NAME = "diffusion_pytorch_model.safetensors"
SCHEDULER = "scheduler"
SCHEDULER_CONFIG_NAME = "scheduler_config.json"
DUAL_DOMAIN_ALONE = "dual_domain_alone"
"""Entry of model_index.json: whether landmarks come from the dual-domain generator alone."""
CARD_NAME = "README.md"
NETWORK_FILES = (CONFIG_NAME, TENSORS_NAME)
PUBLISHED_FILES = (CONFIG_NAME, "model.safetensors")
"""What the folder of a network that others published holds, such as a speech encoder."""
PIPELINE_FILES = (INDEX_NAME, f"{SCHEDULER}/{SCHEDULER_CONFIG_NAME}")
"""What a pipeline's folder holds besides its networks."""

PACKAGE = Path(__file__).resolve().parents[1]
CHECKPOINTS = PACKAGE / "checkpoints"
"""Folder of the shipped pipelines."""
SHIPPED_DEFAULT = "talkhead"
"""Its folder there, which also holds what the other pipelines share with it."""

SCHEDULERS = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DPMSolverMultistepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "LCMScheduler",
    "TCDScheduler",
    "UniPCMultistepScheduler",
)
"""Schedulers of diffusers that can be loaded."""
SCHEDULER_NAMES = {
    "ddim": "DDIMScheduler",
    "dpm++": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "unipc": "UniPCMultistepScheduler",
}
"""Those that users can choose by name: they draw no noise of their own, which would flicker."""


def check_scheduler(name: str) -> None:
    """Refuse an unknown name of a scheduler; raises TalkheadError."""
    if name not in SCHEDULER_NAMES:
        raise TalkheadError(f"scheduler must be one of {', '.join(SCHEDULER_NAMES)}, not {name!r}")


@dataclass(frozen=True)
class System:
    """A kind of pipeline."""

    pipeline: str
    """Name of the pipeline's class."""
    label: str
    """Its name in messages and tables."""
    networks: Mapping[str, str]
    """Names of the networks' classes by component."""
    optional: tuple[str, ...] = ()
    """Components that may be missing."""
    switches: tuple[str, ...] = ()
    """Entries of model_index.json, besides the components, that are true or false."""
    can_dub: bool = False
    """Whether it renders into the frames of a video."""
    can_stream: bool = False
    """Whether it renders each frame by itself, as soon as its landmarks are known."""
    has_start_step: bool = False
    """Whether sampling may start at a middle step."""
    default_emotion: str | None = None
    """The emotion shown unless the user names one; None leaves the face as it is."""

    @property
    def components(self) -> tuple[str, ...]:
        """Names of all components."""
        return (*self.networks, SCHEDULER)

    def check_request(
        self,
        *,
        dubs: bool = False,
        emotion: str | None = None,
        start_step: int | None = None,
        has_track: bool = False,
    ) -> None:
        """Refuse what the system cannot do, before anything is loaded.

        Args:
            dubs: whether the face is a video.
            emotion: name of the emotion to show.
            start_step: where sampling starts.
            has_track: whether a landmark track is followed.

        Raises:
            TalkheadError: the emotion is unknown, or would change nothing.
            WeightsError: the weights do not support it.
        """
        if emotion is not None:
            check_emotion(emotion)
        if dubs and not self.can_dub:
            raise WeightsError(
                f"{self.label} animates pictures only: use the default weights to dub a video"
            )
        if start_step is not None and not self.has_start_step:
            raise WeightsError(f"{self.label} always starts from noise: leave out the start step")
        if emotion is not None and dubs:
            raise TalkheadError("a video keeps its own expression: leave out the emotion")
        if emotion is not None and has_track and self.default_emotion is None:
            raise TalkheadError("a landmark track has its own expression: leave out the emotion")


TALKHEAD = System(
    pipeline="TalkheadPipeline",
    label="lgd",
    networks={
        "landmark_generator": "LandmarkGenerator",
        "autoencoder": "Autoencoder",
        "denoiser": "Denoiser",
        "mouth_denoiser": "MouthDenoiser",
        "emotion_classifier": "EmotionClassifier",
        "expressions": "Expressions",
    },
    optional=("mouth_denoiser", "emotion_classifier", "expressions"),
    can_dub=True,
    can_stream=True,
)
MASK_NOISE = System(
    pipeline="MaskNoisePipeline",
    label="mask-noise",
    networks={
        "landmark_generator": "LandmarkGenerator",
        "video_denoiser": "VideoDenoiser",
        "emotion_classifier": "EmotionClassifier",
        "expressions": "Expressions",
    },
    switches=(DUAL_DOMAIN_ALONE,),
    has_start_step=True,
    default_emotion=AUTO,
)
SYSTEMS = {system.pipeline: system for system in (TALKHEAD, MASK_NOISE)}


def system_of(folder: Path) -> System:
    """Return the system of a pipeline's folder.

    Raises:
        WeightsError: its model_index.json is missing, cannot be read, or names another class.
    """
    path = folder / INDEX_NAME
    if not path.is_file():
        raise WeightsError(
            f"{folder} is not a pipeline: it has no {INDEX_NAME}"
            + (_OLD if (folder / "landmarks").is_dir() else "")
        )
    name = read_json(path).get("_class_name")
    if not isinstance(name, str) or name not in SYSTEMS:
        raise WeightsError(
            f"{path} describes {str(name)[:80]!r}: talkhead reads {' and '.join(SYSTEMS)}"
        )
    return SYSTEMS[name]


_OLD = " (folders of talkhead 0.2 and older can be converted: `talkhead weights convert`)"


def component_folder(folder: Path, component: str) -> Path:
    """Return the sub-folder of a component; shipped pipelines share those of the default."""
    inside = folder / component
    if folder.parent == CHECKPOINTS and not inside.is_dir():
        return CHECKPOINTS / SHIPPED_DEFAULT / component
    return inside


def network_folders(folder: Path) -> dict[str, Path]:
    """Return the folders of a pipeline's networks by component.

    Raises:
        WeightsError: the folder is not a pipeline, or a network is missing.
    """
    system = system_of(folder)
    index = read_json(folder / INDEX_NAME)
    found = {}
    for component in system.networks:
        if component in system.optional and index.get(component) in (None, [None, None]):
            continue
        inside = component_folder(folder, component)
        if (inside / TENSORS_NAME).is_file():
            found[component] = inside
        elif component not in system.optional:
            raise WeightsError(f"{folder} is not whole: {component}/{TENSORS_NAME} is missing")
    return found


def pipeline_files(present: Collection[str]) -> tuple[str, ...]:
    """Return the paths of a pipeline's files, relative to its folder, whether present or not.

    Args:
        present: the paths of the folder or repository. They tell which system it is, and which
            optional components and cards it has.
    """
    system = MASK_NOISE if f"video_denoiser/{CONFIG_NAME}" in present else TALKHEAD
    paths = [*PIPELINE_FILES]
    for component in system.networks:
        if component not in system.optional or f"{component}/{CONFIG_NAME}" in present:
            paths += [f"{component}/{name}" for name in NETWORK_FILES]
    cards = [CARD_NAME, *(f"{component}/{CARD_NAME}" for component in system.networks)]
    return (*paths, *(card for card in cards if card in present))


def paths_in(folder: Path) -> frozenset[str]:
    """Return the paths of a folder's files, relative to it, two levels deep."""
    files = (path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_file())
    return frozenset(path.relative_to(folder).as_posix() for path in files)

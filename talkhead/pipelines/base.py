"""What both pipelines share: loading, saving, moving, and the call."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from diffusers import DiffusionPipeline

from talkhead.audio2landmarks.animation import MotionOptions
from talkhead.device import resolve_device
from talkhead.errors import TalkheadError, WeightsError
from talkhead.landmarks2video.renderer import Renderer
from talkhead.landmarks2video.sampling import SamplerOptions
from talkhead.media.in_memory import pixels_of, sound_file
from talkhead.media.rates import SAMPLE_RATE_HZ
from talkhead.media.sizes import DEFAULT_SIZE, SizeLimit
from talkhead.networks import Network
from talkhead.pipelines import arguments
from talkhead.pipelines.frames import collected, counted
from talkhead.pipelines.loading import LIBRARY, load_components
from talkhead.pipelines.output import TalkheadPipelineOutput
from talkhead.pipelines.stages import animate
from talkhead.tracking.face_detector import MAX_FACES, FaceDetector, choose_in_picture
from talkhead.tracking.landmark_track import LandmarkTrack
from talkhead.weights import DEFAULT, resolve_weights
from talkhead.weights.systems import CARD_NAME, System, component_folder, system_of

if TYPE_CHECKING:
    from talkhead.audio2landmarks.emotion_classifier import EmotionClassifier
    from talkhead.audio2landmarks.generator import LandmarkGenerator

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
PipelineT = TypeVar("PipelineT", bound="FacePipeline")


class FacePipeline(DiffusionPipeline):  # type: ignore[misc]  # diffusers ships no types
    """A `diffusers.DiffusionPipeline` that makes a face speak.

    Loading and saving differ from diffusers in what they refuse: digests of published weights are
    compared, classes come from a fixed table, and only safetensors are read and written. Networks
    keep float32 tensors; a lower `dtype` is the precision of the computation.
    """

    system: ClassVar[System]
    landmark_generator: LandmarkGenerator
    emotion_classifier: EmotionClassifier | None
    expressions: Any

    def __init__(self) -> None:
        super().__init__()
        self.weights = "unnamed"
        self._folder: Path | None = None
        self._compute_dtype = torch.float32
        self.set_progress_bar_config(disable=True, desc="frames")

    def renderer(self) -> Renderer:
        """Return the second stage, with the present components."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls: type[PipelineT],
        name_or_folder: str | Path = DEFAULT,
        *,
        device: str | torch.device = "auto",
        torch_dtype: str | torch.dtype | None = None,
        revision: str | None = None,
        offline: bool = False,
        **components: Any,
    ) -> PipelineT:
        """Load published weights, a hub repository, or a folder that `save_pretrained` wrote.

        Args:
            name_or_folder: a name that `talkhead weights list` shows, a folder, or ``owner/name``
                or ``owner/name@revision`` on the hub.
            device: where to compute; auto uses a GPU if present.
            torch_dtype: precision; None is float32, auto the fastest safe one.
            revision: branch, tag or commit of a hub repository.
            offline: never use the network.
            components: components to use in place of the stored ones, such as ``scheduler=``.

        Raises:
            WeightsError: the weights do not exist, are corrupt, or belong to another pipeline.
            TalkheadError: the device or precision is not available.
            TypeError: an argument is unknown.
        """
        where = resolve_device(str(device))
        dtype = arguments.dtype_of(torch_dtype, where)
        address = str(name_or_folder) if revision is None else f"{name_or_folder}@{revision}"
        folder = resolve_weights(address, offline=offline)
        pipeline = cls.from_folder(folder, device=where, dtype=dtype, **components)
        pipeline.weights = str(name_or_folder)
        return pipeline

    @classmethod
    def from_folder(
        cls: type[PipelineT],
        folder: Path,
        *,
        device: torch.device,
        dtype: torch.dtype,
        **components: Any,
    ) -> PipelineT:
        """Load the pipeline of a folder, of either system if called on `FacePipeline`.

        Args:
            folder: its files are strictly checked, but not compared with digests.
            device: where to compute.
            dtype: precision of the computation.
            components: components to use in place of the stored ones.

        Raises:
            WeightsError: a file is missing, corrupt or does not fit, or belongs to another
                pipeline.
            TypeError: a component is unknown.
        """
        from talkhead.pipelines import pipeline_class

        system = system_of(folder)
        chosen = pipeline_class(system)
        if not issubclass(chosen, cls):
            raise WeightsError(
                f"{folder} holds {system.label}, but {cls.system.label} is needed here"
            )
        if unknown := sorted(components.keys() - set(system.components)):
            raise TypeError(f"the pipeline has no component {unknown[0]!r}")
        pipeline: PipelineT = chosen(**load_components(folder, components))
        pipeline._folder = folder
        return pipeline.to(device, dtype)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        torch_dtype: torch.dtype | None = None,
        safe_serialization: bool = True,
        variant: str | None = None,
        push_to_hub: bool = False,
        **hub: Any,
    ) -> None:
        """Save the pipeline to a folder that `from_pretrained` and ``--weights`` read.

        All files are written before the first is moved into place, so a full disk damages nothing.
        The model cards of the original folder are copied: correct what no longer applies.

        Args:
            folder: created if missing; components in it are replaced.
            torch_dtype: the stored precision. None keeps float32; float16 halves the size and
                loses nothing of the published weights.
            safe_serialization: False is refused.
            variant: refused.
            push_to_hub: upload it, too; `hub` are the arguments of `push_to_hub`.
            hub: such as ``repo_id`` and ``private``.

        Raises:
            TalkheadError: the folder cannot be written; its old contents are kept.
            ValueError: a tensor is not finite, or another format is asked for.
        """
        if not safe_serialization or variant is not None:
            raise ValueError("talkhead writes safetensors only, without variants")
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise TalkheadError(f"{folder} is not a folder: choose another")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".talkhead-", dir=folder.parent) as place:
                self._save_components(Path(place), torch_dtype)
                files = sorted(path for path in Path(place).rglob("*") if path.is_file())
                targets = [folder / file.relative_to(place) for file in files]
                for target in targets:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    if target.is_dir():
                        raise TalkheadError(f"{target} is a folder: choose another")
                for file, target in zip(files, targets, strict=True):
                    file.replace(target)
        except OSError as error:
            raise TalkheadError(f"{folder} cannot be written ({error.strerror})") from error
        if push_to_hub:
            self.push_to_hub(hub.pop("repo_id", folder.name), **hub)

    def _save_components(self, folder: Path, dtype: torch.dtype | None) -> None:
        for name, component in self.components.items():
            if isinstance(component, Network):
                component.save_pretrained(folder / name, dtype=dtype)
            elif component is not None:
                component.save_pretrained(folder / name)
            if self._folder is not None:
                card = component_folder(self._folder, name) / CARD_NAME
                if card.is_file():
                    shutil.copyfile(card, folder / name / CARD_NAME)
        self.save_config(folder)

    def register_to_config(self, **values: Any) -> None:
        """Set entries of model_index.json; talkhead's classes are named without their modules."""
        # The name of a user's folder may reveal something private.
        values.pop("_name_or_path", None)
        for name, value in values.items():
            if isinstance(value, tuple) and str(value[0]).startswith(f"{LIBRARY}."):
                values[name] = (LIBRARY, value[1])
        super().register_to_config(**values)

    @property
    def dtype(self) -> torch.dtype:
        """The precision for rendering frames; the tensors stay in float32."""
        return self._compute_dtype

    def to(
        self: PipelineT,
        *places: str | torch.device | torch.dtype,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> PipelineT:
        """Move the networks, or change their precision: ``to("cuda")``, ``to(torch.bfloat16)``.

        Returns:
            The pipeline itself.

        Raises:
            TalkheadError: the device or precision is not available.
        """
        for place in places:
            if isinstance(place, torch.dtype):
                dtype = place
            else:
                device = place
        where = self.device if device is None else resolve_device(str(device))
        kind = self.dtype if dtype is None else arguments.dtype_of(dtype, where)
        super().to(where)
        self._compute_dtype = kind
        self._settle()
        return self

    def _settle(self) -> None:
        """Prepare the renderer's networks after a move."""

    def __call__(
        self,
        image: str | Path | PIL.Image.Image | Pixels,
        audio: str | Path | npt.NDArray[Any] | torch.Tensor,
        *,
        fps: float | str | Fraction = 25,
        num_inference_steps: int = 1,
        start_step: int | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = None,
        choose: str = "largest",
        pose: str | LandmarkTrack = "natural",
        pose_strength: float = 1.0,
        expression_strength: float = 1.0,
        blink_per_minute: float = 16.0,
        emotion: str | None = None,
        landmarks: LandmarkTrack | None = None,
        output_type: Literal["np", "pil", "generator"] = "np",
        sampling_rate: int = SAMPLE_RATE_HZ,
        max_size: int | str = DEFAULT_SIZE,
    ) -> TalkheadPipelineOutput:
        """Animate the person in a picture to speak a recording.

        Args:
            image: a file, a PIL image, or uint8 (H, W, 3), RGB.
            audio: a file, or a waveform: (N,) or (channels, N), numpy or torch.
            fps: frames per second: 25, 29.97, "30000/1001".
            num_inference_steps: sampling steps.
            start_step: where mask-noise starts sampling, out of 1000; None for its default.
            generator: source of the seed; the global generator is not touched.
            seed: random seed, in place of a generator; 0 without either.
            choose: which face: largest, left, right, a number, or "X,Y".
            pose: head motion: natural, still, or a track to take the head motion from.
            pose_strength: scale of the head motion.
            expression_strength: scale of the mouth's motion.
            blink_per_minute: 0 for none.
            emotion: name of the emotion to show; auto for that of the voice. None leaves the face
                as it is, or, with mask-noise, is auto.
            landmarks: a track of this picture to follow as it is, in place of predicted landmarks;
                its last frame is held.
            output_type: np, pil, or generator, which yields the frames one by one as they are
                rendered, in bounded memory. Frames have 8 bits: 0 to 255, where diffusers has
                floats in [0, 1].
            sampling_rate: samples per second of a waveform; ignored for a file.
            max_size: scale larger images down, with a warning: pixels of the longer side, or "WxH"
                in either orientation.

        Raises:
            TalkheadError: an input cannot be read, or a value is out of range.
            NoFaceError: the chosen face does not exist.
            TypeError: an argument has the wrong type.
        """
        # 1. Check the arguments
        arguments.check_word(output_type, "output_type", arguments.OUTPUT_TYPES)
        steps = arguments.whole(num_inference_steps, "num_inference_steps")
        arguments.check_range(steps, "num_inference_steps", 1, arguments.MAX_STEPS)
        self.system.check_request(
            emotion=emotion,
            start_step=start_step,
            has_track=landmarks is not None,
        )
        arguments.check_tracks(pose, landmarks)
        arguments.check_strengths(pose_strength, expression_strength, blink_per_minute)
        rate = arguments.rate_of(fps)
        sound = arguments.sound_of(audio, sampling_rate)
        picture = pixels_of(image, SizeLimit.parse(str(max_size)))
        size = picture.shape[1], picture.shape[0]
        if landmarks is not None and landmarks.size != size:
            raise TalkheadError(
                f"landmarks belong to a picture of {landmarks.size[0]} x {landmarks.size[1]} px,"
                f" but image has {size[0]} x {size[1]}: predict them with this picture"
            )
        # 2. Find the face
        with FaceDetector(max_faces=MAX_FACES) as detector:
            identity = choose_in_picture(detector, picture, choose)
        # 3. Predict landmarks, and set up the renderer
        chosen_seed = arguments.seed_of(generator, seed)
        windows: list[Floats] | None = None if output_type == "generator" else []
        with ExitStack() as stack:
            file = sound
            if not isinstance(file, Path):
                file = stack.enter_context(sound_file(file, sampling_rate))
            rendering = animate(
                self,
                picture,
                identity,
                file,
                fps=rate,
                track=landmarks,
                motion=MotionOptions(
                    pose, pose_strength, expression_strength, blink_per_minute, chosen_seed
                ),
                sampler=SamplerOptions(steps, start_step, chosen_seed),
                emotion=emotion,
                windows_seen=windows,
            )
        # 4. Render
        frames = collected(
            counted(rendering.frames, self.progress_bar(total=rendering.num_frames)),
            output_type,
            (rendering.num_frames, *picture.shape),
        )
        track = None
        if windows:
            track = LandmarkTrack(np.concatenate(windows), rate, size, detector.name)
        return TalkheadPipelineOutput(
            frames=frames,
            landmarks=track,
            fps=rate,
            audio=sound,
            sampling_rate=None if isinstance(sound, Path) else int(sampling_rate),
            num_frames=rendering.num_frames,
            size=size,
            seed=chosen_seed,
            weights=self.weights,
        )

"""What both pipelines share: loading, saving, moving, and the call."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from diffusers import DiffusionPipeline

from talkhead.device import one_thread, resolve_device
from talkhead.errors import TalkheadError, WeightsError
from talkhead.landmarks2video.renderer import Renderer
from talkhead.media.rates import SAMPLE_RATE_HZ
from talkhead.media.sizes import DEFAULT_SIZE
from talkhead.networks import Network
from talkhead.pipelines import arguments
from talkhead.pipelines.call import CallOptions, call
from talkhead.pipelines.loading import LIBRARY, copy_card, load_components
from talkhead.pipelines.output import TalkheadPipelineOutput
from talkhead.tracking.landmark_track import LandmarkTrack
from talkhead.weights import DEFAULT, locate_weights
from talkhead.weights.systems import System, component_folder, system_of

if TYPE_CHECKING:
    from talkhead.audio2landmarks.emotion_classifier import EmotionClassifier
    from talkhead.audio2landmarks.generator import LandmarkGenerator
    from talkhead.pipelines.live_stream import FaceStream

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
HALVES = (torch.float16, torch.bfloat16)
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
        dtype: str | torch.dtype | None = None,
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
            dtype: precision; None is float32, auto the fastest safe one.
            torch_dtype: older name of `dtype`.
            revision: branch, tag or commit of a hub repository.
            offline: never use the network.
            components: components to use in place of the stored ones, such as ``scheduler=``.

        Raises:
            WeightsError: the weights do not exist, are corrupt, or belong to another pipeline.
            TalkheadError: the device or precision is not available.
            TypeError: an argument is unknown.
        """
        where = resolve_device(str(device))
        precision = arguments.dtype_of(torch_dtype if dtype is None else dtype, where)
        address = str(name_or_folder) if revision is None else f"{name_or_folder}@{revision}"
        found = locate_weights(address, offline=offline)
        pipeline = cls.from_folder(found.folder, device=where, dtype=precision, **components)
        pipeline.weights = str(found)
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
        with one_thread():  # several would wait for each other longer than they compute
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
        self.save_config(folder)
        if self._folder is None:
            return
        copy_card(self._folder, folder)
        for name, component in self.components.items():
            if component is not None:
                copy_card(component_folder(self._folder, name), folder / name)

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

    def _keep_float32(self) -> None:
        """Compute in the precision that diffusers loaded the networks in, with float32 tensors."""
        for component in self.components.values():
            if isinstance(component, Network):
                stored: Any = component.dtype
                if stored in HALVES:
                    self._compute_dtype = stored
                    component.float()

    def _settle(self) -> None:
        """Prepare the renderer's networks after a move."""

    def __call__(
        self,
        image: str | Path | PIL.Image.Image | Pixels,
        audio: str | Path | npt.NDArray[Any] | torch.Tensor | Mapping[str, Any],
        *,
        fps: float | str | Fraction | None = None,
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
        loop: Literal["pingpong", "hold", "error"] = "pingpong",
        output_type: Literal["np", "pil", "generator"] = "np",
        sampling_rate: int = SAMPLE_RATE_HZ,
        max_size: int | str = DEFAULT_SIZE,
        audio_track: int | str | None = None,
        background: str | Path | None = None,
    ) -> TalkheadPipelineOutput:
        """Make people in a picture or a video speak recordings.

        Args:
            image: a picture: a file, a PIL image, or uint8 (H, W, 3), RGB; or a video file to dub.
            audio: a file, or a waveform: (N,) or (channels, N), numpy or torch; or, for several
                people, a dictionary: each face, as for `choose`, and its sound.
            fps: frames per second: 25, 29.97, "30000/1001"; None for 25, or the video's rate.
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
            loop: what to do when a video is shorter than the recording: play it back and forth,
                hold its last frame, or raise an error.
            output_type: np, pil, or generator, which yields the frames one by one as they are
                rendered, in bounded memory. Frames have 8 bits: 0 to 255, where diffusers has
                floats in [0, 1].
            sampling_rate: samples per second of a waveform; ignored for a file.
            max_size: scale larger images down, with a warning: pixels of the longer side, or "WxH"
                in either orientation.
            audio_track: as for `choose_tracks`: the sound track to use, a number or a language.
            background: what to put behind people: transparent, a colour, or a picture's file.

        Raises:
            TalkheadError: an input cannot be read, or a value is out of range.
            NoFaceError: the chosen face does not exist.
            TypeError: an argument has the wrong type.
        """
        options = CallOptions(
            fps=fps,
            num_inference_steps=num_inference_steps,
            start_step=start_step,
            generator=generator,
            seed=seed,
            choose=choose,
            pose=pose,
            pose_strength=pose_strength,
            expression_strength=expression_strength,
            blink_per_minute=blink_per_minute,
            emotion=emotion,
            landmarks=landmarks,
            loop=loop,
            output_type=output_type,
            sampling_rate=sampling_rate,
            max_size=max_size,
            audio_track=None if audio_track is None else str(audio_track),
            background=None if background is None else str(background),
        )
        return call(self, image, audio, options)

    def stream(
        self,
        image: str | Path | PIL.Image.Image | Pixels,
        *,
        sampling_rate: int = SAMPLE_RATE_HZ,
        fps: float | str | Fraction | None = None,
        seed: int = 0,
        num_inference_steps: int = 1,
        choose: str = "largest",
        pose: str = "natural",
        pose_strength: float = 1.0,
        expression_strength: float = 1.0,
        blink_per_minute: float = 16.0,
        emotion: str | None = None,
        loop: Literal["pingpong", "hold"] = "pingpong",
        max_size: int | str = DEFAULT_SIZE,
    ) -> FaceStream:
        """Make the person in a picture or a video speak a voice while it is heard.

        Use the result as a context manager: ``stream.push(samples)`` takes sound of any length and
        returns the frames that became due, ``stream.finish()`` the rest. Memory does not grow.

        Args:
            image: as for a call.
            sampling_rate: samples per second of the sound that will be pushed.
            fps: as for a call.
            seed: random seed.
            num_inference_steps: sampling steps.
            choose: as for a call.
            pose: head motion: natural or still.
            pose_strength: scale of the head motion.
            expression_strength: scale of the mouth's motion.
            blink_per_minute: 0 for none.
            emotion: name of the emotion to show; None leaves the face as it is.
            loop: what a video does at its end: turn back, or hold its last frame.
            max_size: as for a call.

        Raises:
            TalkheadError: an input cannot be read, or a value is out of range.
            NoFaceError: the chosen face does not exist.
            WeightsError: the pipeline renders windows of frames, as mask-noise does.
            TypeError: an argument has the wrong type.
        """
        from talkhead.pipelines.live_call import LiveOptions, open_stream

        options = LiveOptions(
            sampling_rate=sampling_rate,
            fps=fps,
            seed=seed,
            num_inference_steps=num_inference_steps,
            choose=choose,
            pose=pose,
            pose_strength=pose_strength,
            expression_strength=expression_strength,
            blink_per_minute=blink_per_minute,
            emotion=emotion,
            loop=loop,
            max_size=max_size,
        )
        return open_stream(self, image, options)

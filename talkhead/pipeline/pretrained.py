"""The pipeline itself: loaded, saved, moved and called."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from tqdm.auto import tqdm

from talkhead.device import resolve_device
from talkhead.errors import TalkheadError, WeightsError
from talkhead.face.detection import MAX_FACES, FaceDetector, choose_in_picture
from talkhead.face.track import LandmarkTrack
from talkhead.media.audio import scan_audio
from talkhead.media.in_memory import pixels_of, sound_file
from talkhead.media.rates import SAMPLE_RATE_HZ, num_frames
from talkhead.media.sizes import DEFAULT_SIZE, SizeLimit
from talkhead.pipeline import arguments
from talkhead.pipeline.frames import collected, counted, noting, windows_of
from talkhead.pipeline.output import TalkheadPipelineOutput
from talkhead.pipeline.saving import save_components
from talkhead.synthesis import Pipeline, load_pipeline, predict_landmarks, render_frames
from talkhead.synthesis.networks import BatchLimit
from talkhead.weights import DEFAULT, PIPELINE_PARTS, resolve_weights

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


class TalkheadPipeline:
    """A picture and a voice to frames, for who knows the pipelines of diffusers.

    It has their `from_pretrained`, `save_pretrained`, `to`, `device`, `dtype`, `components`,
    `progress_bar` and call, over `load_pipeline`, `predict_landmarks` and `render_frames`. It is no
    `diffusers.DiffusionPipeline`: that class finds its parts by a model_index.json, in folders that
    only its own models write, reads pickles where there is nothing else, and compares no digests. A
    folder that it saved would be none for ``--weights``, and one of ours none for it.

    Args:
        networks: from `load_pipeline`.
        weights: their name or folder, for the note in videos.
        folder: where they were loaded from; its cards go along when they are saved.

    Raises:
        WeightsError: the networks are an experiment, which follows no landmarks.
    """

    def __init__(
        self, networks: Pipeline, *, weights: str = "unnamed", folder: Path | None = None
    ) -> None:
        if networks.denoiser.config.speech_channels:
            raise WeightsError(
                "the denoiser hears the sound and follows no landmarks: only talkhead eval runs it"
            )
        self.networks = networks
        self.weights = weights
        self._folder = folder
        self._progress_bar_config: dict[str, Any] = {"disable": True, "desc": "frames"}

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path = DEFAULT,
        *,
        device: str | torch.device = "auto",
        torch_dtype: str | torch.dtype | None = None,
        offline: bool = False,
    ) -> TalkheadPipeline:
        """Load published weights, or a folder that `save_pretrained` wrote.

        Args:
            name_or_folder: as ``--weights`` takes it: a name that `talkhead weights list` shows, or
                a folder with autoencoder, denoiser and landmarks.
            device: where to compute; auto takes a GPU if there is one.
            torch_dtype: precision; None is float32, and auto the fastest that is safe.
            offline: never use the network.

        Raises:
            WeightsError: there are no such weights, or they are damaged.
            TalkheadError: there is no such device or precision.
        """
        where = resolve_device(str(device))
        dtype = arguments.dtype_of(torch_dtype, where)
        folder = resolve_weights(name_or_folder, offline=offline)
        return cls(load_pipeline(folder, where, dtype), weights=str(name_or_folder), folder=folder)

    def save_pretrained(
        self, folder: str | Path, *, torch_dtype: torch.dtype | None = None
    ) -> None:
        """Save the networks as a folder that `from_pretrained` and ``--weights`` read.

        Cards of the folder that they came from go along: correct them where they are not true any
        more.

        Args:
            folder: made if it is not there; networks in it are replaced.
            torch_dtype: what tensors are stored as. None stores them as they are, in float32;
                float16 is half of it, and all that the published ones have.

        Raises:
            TalkheadError: the folder cannot be written to; what was there is left.
            ValueError: a tensor is not finite.
        """
        save_components(Path(folder), self.components, cards_from=self._folder, dtype=torch_dtype)

    @property
    def components(self) -> dict[str, Any]:
        """The networks by their names: autoencoder, denoiser, landmarks."""
        networks = self.networks
        models = (networks.autoencoder, networks.denoiser, networks.generator)
        return dict(zip(PIPELINE_PARTS, models, strict=True))

    @property
    def device(self) -> torch.device:
        """Where the networks compute."""
        return self.networks.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision in which frames are computed; tensors are kept in float32."""
        return self.networks.dtype

    def to(
        self,
        *places: str | torch.device | torch.dtype,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> TalkheadPipeline:
        """Move the networks, or change their precision: ``to("cuda")``, ``to(torch.bfloat16)``.

        Returns:
            The pipeline itself.

        Raises:
            TalkheadError: there is no such device or precision.
        """
        for place in places:
            if isinstance(place, torch.dtype):
                dtype = place
            else:
                device = place
        where = self.device if device is None else resolve_device(str(device))
        kind = self.dtype if dtype is None else arguments.dtype_of(dtype, where)
        for model in self.components.values():
            model.to(where)
        limit = self.networks.limit if where == self.device else BatchLimit()
        self.networks = dataclasses.replace(self.networks, device=where, dtype=kind, limit=limit)
        return self

    def set_progress_bar_config(self, **options: Any) -> None:
        """Set options of the bar, those of tqdm: ``disable=False`` shows it."""
        self._progress_bar_config.update(options)

    def progress_bar(self, iterable: Iterable[Any] | None = None, total: int | None = None) -> Any:
        """Return a bar, which stays off until `set_progress_bar_config` turns it on."""
        return tqdm(iterable, total=total, **self._progress_bar_config)

    def __call__(
        self,
        image: str | Path | PIL.Image.Image | Pixels,
        audio: str | Path | npt.NDArray[Any] | torch.Tensor,
        *,
        fps: float | str | Fraction = 25,
        num_inference_steps: int = 1,
        generator: torch.Generator | None = None,
        seed: int | None = None,
        choose: str = "largest",
        pose: str | LandmarkTrack = "natural",
        pose_strength: float = 1.0,
        expression_strength: float = 1.0,
        blink_per_minute: float = 16.0,
        landmarks: LandmarkTrack | None = None,
        output_type: Literal["np", "pil", "generator"] = "np",
        sampling_rate: int = SAMPLE_RATE_HZ,
        max_size: int | str = DEFAULT_SIZE,
    ) -> TalkheadPipelineOutput:
        """Make the person of a picture say a recording.

        Args:
            image: a file, a PIL image, or uint8 (H, W, 3), RGB.
            audio: a file, or a waveform: (N,) or (channels, N), numpy or torch.
            fps: frames a second: 25, 29.97, "30000/1001".
            num_inference_steps: sampling steps.
            generator: a seed is drawn from it; the global generator is left alone.
            seed: of head motion, blinks and noise, in place of a generator; 0 without either.
            choose: which face: largest, left, right, a number, or "X,Y".
            pose: head motion: natural, still, or a track whose head motion is taken over.
            pose_strength: scale of the head motion.
            expression_strength: scale of the mouth's motion.
            blink_per_minute: 0 for none.
            landmarks: a track of this picture to follow in place of the voice; its end is held.
            output_type: np, pil, or generator: frames one by one while they are made, in bounded
                memory. They have 8 bits: 0 to 255 where diffusers has floats in [0, 1].
            sampling_rate: of a waveform, samples a second; a file has its own.
            max_size: larger images are scaled down, with a warning: pixels of the longer side, or
                "WxH" in either orientation.

        Raises:
            TalkheadError: something cannot be read, or a value is out of range.
            NoFaceError: the face is not there.
            TypeError: an argument is of another type.
        """
        arguments.check_word(output_type, "output_type", arguments.OUTPUT_TYPES)
        steps = arguments.whole(num_inference_steps, "num_inference_steps")
        arguments.check_range(steps, "num_inference_steps", 1, arguments.MAX_STEPS)
        arguments.check_range(pose_strength, "pose_strength", 0, arguments.MAX_STRENGTH)
        arguments.check_range(expression_strength, "expression_strength", 0, arguments.MAX_STRENGTH)
        arguments.check_range(blink_per_minute, "blink_per_minute", 0, arguments.MAX_BLINKS)
        arguments.check_tracks(pose, landmarks)
        rate = arguments.rate_of(fps)
        sound = arguments.sound_of(audio, sampling_rate)
        picture = pixels_of(image, SizeLimit.parse(str(max_size)))
        size = picture.shape[1], picture.shape[0]
        if landmarks is not None and landmarks.size != size:
            raise TalkheadError(
                f"landmarks are of a picture of {landmarks.size[0]} x {landmarks.size[1]} px, image"
                f" has {size[0]} x {size[1]}: make them with this picture"
            )
        with FaceDetector(max_faces=MAX_FACES) as detector:
            identity = choose_in_picture(detector, picture, choose)
        chosen_seed = arguments.seed_of(generator, seed)
        with ExitStack() as stack:
            file = sound
            if not isinstance(file, Path):
                file = stack.enter_context(sound_file(file, sampling_rate))
            if landmarks is not None:
                total = num_frames(scan_audio(file).duration_s, rate)
                windows = windows_of(landmarks.resample(rate, total).points)
            else:
                total, windows = predict_landmarks(
                    self.networks.generator,
                    file,
                    identity,
                    fps=rate,
                    seed=chosen_seed,
                    pose=pose,
                    pose_strength=pose_strength,
                    expression_strength=expression_strength,
                    blink_per_minute=blink_per_minute,
                )
        followed: list[Floats] = []
        if output_type != "generator":
            windows = noting(windows, followed)
        made = render_frames(
            self.networks, picture, identity, windows, num_steps=steps, seed=chosen_seed
        )
        one_by_one = counted(made, self.progress_bar(total=total))
        frames = collected(one_by_one, output_type, (total, *picture.shape))
        track = None
        if followed:
            track = LandmarkTrack(np.concatenate(followed), rate, size, detector.name)
        return TalkheadPipelineOutput(
            frames=frames,
            landmarks=track,
            fps=rate,
            audio=sound,
            sampling_rate=None if isinstance(sound, Path) else int(sampling_rate),
            num_frames=total,
            size=size,
            seed=chosen_seed,
            weights=self.weights,
        )

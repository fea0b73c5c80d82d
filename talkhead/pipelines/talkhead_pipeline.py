"""`TalkheadPipeline`: load, save, move and call it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from tqdm.auto import tqdm

from talkhead.audio2landmarks.animation import predict_landmarks
from talkhead.device import resolve_device
from talkhead.errors import TalkheadError, WeightsError
from talkhead.landmarks2video.batching import BatchLimit
from talkhead.landmarks2video.renderer import render_frames
from talkhead.limits import MAX_BLINKS, MAX_STEPS, MAX_STRENGTH
from talkhead.media.audio_clip import AudioClip
from talkhead.media.in_memory import pixels_of
from talkhead.media.rates import SAMPLE_RATE_HZ, num_frames
from talkhead.media.sizes import DEFAULT_SIZE, SizeLimit
from talkhead.pipelines import arguments
from talkhead.pipelines.frames import collected, counted, noting, windows_of
from talkhead.pipelines.networks import Pipeline, load_pipeline
from talkhead.pipelines.output import TalkheadPipelineOutput
from talkhead.pipelines.saving import save_components
from talkhead.tracking.face_detector import MAX_FACES, FaceDetector, choose_in_picture
from talkhead.tracking.landmark_track import LandmarkTrack
from talkhead.weights import DEFAULT, PIPELINE_PARTS, resolve_weights

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


class TalkheadPipeline:
    """Renders frames from a picture and a voice, with the interface of diffusers' pipelines.

    It offers their `from_pretrained`, `save_pretrained`, `to`, `device`, `dtype`, `components`,
    `progress_bar` and call, on top of `load_pipeline`, `predict_landmarks` and `render_frames`. It
    is not a `diffusers.DiffusionPipeline`: that class finds its parts through a model_index.json,
    in folders that only its own models write, falls back to pickles, and compares no digests. A
    folder that it saved would not work with ``--weights``, nor one of ours with it.

    Args:
        networks: from `load_pipeline`.
        weights: their name or folder, for the note in videos.
        folder: where they were loaded from; saving copies its model cards.

    Raises:
        WeightsError: the denoiser is an experimental one that takes speech instead of landmarks.
    """

    def __init__(
        self, networks: Pipeline, *, weights: str = "unnamed", folder: Path | None = None
    ) -> None:
        if networks.denoiser.config.speech_channels:
            raise WeightsError(
                "the denoiser takes speech instead of landmarks: only talkhead eval can run it"
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
            name_or_folder: as for ``--weights``: a name that `talkhead weights list` shows, or a
                folder with autoencoder, denoiser and landmarks.
            device: where to compute; auto uses a GPU if present.
            torch_dtype: precision; None is float32, auto the fastest safe one.
            offline: never use the network.

        Raises:
            WeightsError: the weights do not exist or are corrupt.
            TalkheadError: the device or precision is not available.
        """
        where = resolve_device(str(device))
        dtype = arguments.dtype_of(torch_dtype, where)
        folder = resolve_weights(name_or_folder, offline=offline)
        return cls(load_pipeline(folder, where, dtype), weights=str(name_or_folder), folder=folder)

    def save_pretrained(
        self, folder: str | Path, *, torch_dtype: torch.dtype | None = None
    ) -> None:
        """Save the networks to a folder that `from_pretrained` and ``--weights`` read.

        The model cards of their original folder are copied: correct what no longer applies.

        Args:
            folder: created if missing; networks in it are replaced.
            torch_dtype: the stored precision. None keeps float32; float16 halves the size and
                loses nothing of the published weights.

        Raises:
            TalkheadError: the folder cannot be written; its old contents are kept.
            ValueError: a tensor is not finite.
        """
        save_components(Path(folder), self.components, cards_from=self._folder, dtype=torch_dtype)

    @property
    def components(self) -> dict[str, Any]:
        """The networks by name: autoencoder, denoiser, landmarks."""
        networks = self.networks
        models = (networks.autoencoder, networks.denoiser, networks.generator)
        return dict(zip(PIPELINE_PARTS, models, strict=True))

    @property
    def device(self) -> torch.device:
        """The device of the networks."""
        return self.networks.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision for rendering frames; the tensors stay in float32."""
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
            TalkheadError: the device or precision is not available.
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
        """Set tqdm options for the progress bar; ``disable=False`` shows it."""
        self._progress_bar_config.update(options)

    def progress_bar(self, iterable: Iterable[Any] | None = None, total: int | None = None) -> Any:
        """Return a progress bar, hidden unless `set_progress_bar_config` enables it."""
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
        """Animate the person in a picture to speak a recording.

        Args:
            image: a file, a PIL image, or uint8 (H, W, 3), RGB.
            audio: a file, or a waveform: (N,) or (channels, N), numpy or torch.
            fps: frames per second: 25, 29.97, "30000/1001".
            num_inference_steps: sampling steps.
            generator: source of the seed; the global generator is not touched.
            seed: random seed, in place of a generator; 0 without either.
            choose: which face: largest, left, right, a number, or "X,Y".
            pose: head motion: natural, still, or a track to take the head motion from.
            pose_strength: scale of the head motion.
            expression_strength: scale of the mouth's motion.
            blink_per_minute: 0 for none.
            landmarks: a track of this picture to use in place of predicted landmarks; its last
                frame is held.
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
        arguments.check_word(output_type, "output_type", arguments.OUTPUT_TYPES)
        steps = arguments.whole(num_inference_steps, "num_inference_steps")
        arguments.check_range(steps, "num_inference_steps", 1, MAX_STEPS)
        arguments.check_range(pose_strength, "pose_strength", 0, MAX_STRENGTH)
        arguments.check_range(expression_strength, "expression_strength", 0, MAX_STRENGTH)
        arguments.check_range(blink_per_minute, "blink_per_minute", 0, MAX_BLINKS)
        arguments.check_tracks(pose, landmarks)
        rate = arguments.rate_of(fps)
        sound = arguments.sound_of(audio, sampling_rate)
        picture = pixels_of(image, SizeLimit.parse(str(max_size)))
        size = picture.shape[1], picture.shape[0]
        if landmarks is not None and landmarks.size != size:
            raise TalkheadError(
                f"landmarks belong to a picture of {landmarks.size[0]} x {landmarks.size[1]} px,"
                f" but image has {size[0]} x {size[1]}: predict them with this picture"
            )
        with FaceDetector(max_faces=MAX_FACES) as detector:
            identity = choose_in_picture(detector, picture, choose)
        chosen_seed = arguments.seed_of(generator, seed)
        if isinstance(sound, Path):
            clip = AudioClip.open(sound)
        else:
            clip = AudioClip.from_samples(sound, sampling_rate)
        with clip:
            if landmarks is not None:
                total = num_frames(clip.duration_s, rate)
                windows = windows_of(landmarks.resample(rate, total).points)
            else:
                total, windows = predict_landmarks(
                    self.networks.generator,
                    clip,
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

"""Talkhead as a node of ComfyUI: copy or link this folder into its `custom_nodes`."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import tempfile
from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from talkhead.emotions import EMOTIONS
from talkhead.limits import MAX_BLINKS, MAX_STRENGTH

if TYPE_CHECKING:
    from talkhead import TalkheadPipeline

Audio = dict[str, Any]
"""`waveform`: float32 (B, channels, N) in [-1, 1]; `sample_rate`: per second."""

NO_EMOTION = "none"
STRENGTH = {"default": 1.0, "min": 0.0, "max": MAX_STRENGTH, "step": 0.05}


class Talkhead:
    """A face and a voice in, the frames of the face saying it out."""

    CATEGORY = "talkhead"
    DESCRIPTION = (
        "Animates the face in a picture, or dubs a batch of frames, so that it says the sound."
    )
    FUNCTION = "render"
    RETURN_TYPES = ("IMAGE", "AUDIO", "FLOAT")
    RETURN_NAMES = ("images", "audio", "fps")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        """Return the sockets and widgets, as ComfyUI asks for them."""
        fps = {"default": 25.0, "min": 1.0, "max": 120.0, "step": 0.01}
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "One picture; several are frames to dub."}),
                "audio": ("AUDIO", {"tooltip": "What the face says."}),
                "fps": ("FLOAT", fps | {"tooltip": "Frames per second, in and out."}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**53 - 1}),
                "choose": ("STRING", {"default": "largest", "tooltip": "Or left, right, 2, X,Y."}),
                "emotion": ([NO_EMOTION, "auto", *EMOTIONS], {"default": NO_EMOTION}),
                "expression_strength": ("FLOAT", dict(STRENGTH)),
                "pose_strength": ("FLOAT", dict(STRENGTH)),
                "blink_per_minute": ("FLOAT", {"default": 16.0, "min": 0.0, "max": MAX_BLINKS}),
                "weights": ("STRING", {"default": "default"}),
            }
        }

    def render(
        self, image: torch.Tensor, audio: Audio, fps: float, weights: str, **options: Any
    ) -> tuple[torch.Tensor, Audio, float]:
        """Render the frames.

        Args:
            image: float (B, H, W, 3) in [0, 1]; a B above 1 is a video to dub.
            audio: the voice.
            fps: frames per second.
            weights: as for `TalkheadPipeline.from_pretrained`.
            options: the other widgets, which are arguments of the pipeline.

        Returns:
            Frames, float32 (T, H, W, 3) in [0, 1], with even sides, as videos need them; the sound
            as it came; and `fps`.

        Raises:
            TalkheadError: no face is found, or an input is out of range.
        """
        pixels = (image[..., :3].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        if options["emotion"] == NO_EMOTION:
            options["emotion"] = None
        rate = Fraction(fps).limit_denominator(1001)
        with tempfile.TemporaryDirectory(prefix="talkhead-") as folder:
            face = pixels[0] if len(pixels) == 1 else _video(Path(folder, "face.mkv"), pixels, rate)
            output = _pipeline(weights)(
                face,
                _waveform(audio),
                sampling_rate=int(audio["sample_rate"]),
                fps=rate,
                output_type="generator",
                **options,
            )
            width, height = (side - side % 2 for side in output.size)
            frames = torch.empty(output.num_frames, height, width, 3)
            tell = _progress(output.num_frames)
            rendered: Any = output.frames
            with closing(rendered):
                for number, frame in enumerate(rendered):
                    frames[number] = torch.from_numpy(frame[:height, :width]) / 255
                    tell(number + 1)
        return frames, audio, float(rate)


@functools.lru_cache(maxsize=1)
def _pipeline(weights: str) -> TalkheadPipeline:
    """Load the networks once, for all nodes and runs."""
    from talkhead import TalkheadPipeline

    return TalkheadPipeline.from_pretrained(weights, dtype="auto")


def _waveform(audio: Audio) -> np.ndarray[Any, np.dtype[Any]]:
    """Return the sound as (N, channels)."""
    from talkhead import TalkheadError

    sounds = audio["waveform"]
    if len(sounds) != 1:
        raise TalkheadError(f"audio has {len(sounds)} sounds: choose one")
    samples: np.ndarray[Any, np.dtype[Any]] = sounds[0].float().cpu().numpy().T
    return samples


def _video(path: Path, pixels: np.ndarray[Any, np.dtype[Any]], fps: Fraction) -> Path:
    """Write frames to a file without loss of detail, for a pipeline that dubs files."""
    from talkhead import VideoWriter

    height, width = (side - side % 2 for side in pixels.shape[1:3])
    with VideoWriter(path, size=(width, height), fps=fps, sound=None, crf=0) as writer:
        writer.write(pixels[:, :height, :width])
    return path


def _progress(total: int) -> Callable[[int], None]:
    """Return a function that moves ComfyUI's bar, and raises if the user has stopped the run."""
    if importlib.util.find_spec("comfy") is None:  # another program has loaded this folder
        return lambda done: None
    bar = importlib.import_module("comfy.utils").ProgressBar(total)
    move: Callable[[int], None] = bar.update_absolute
    return move


NODE_CLASS_MAPPINGS = {"Talkhead": Talkhead}
NODE_DISPLAY_NAME_MAPPINGS = {"Talkhead": "Talkhead: a face says a sound"}

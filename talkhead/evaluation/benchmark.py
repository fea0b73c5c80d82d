"""Measure rendering speed on this machine, end to end and per stage, with generated input."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from talkhead.audio2landmarks import animation
from talkhead.audio2landmarks.animation import MotionOptions, predict_speech
from talkhead.device import one_thread
from talkhead.errors import TalkheadError
from talkhead.geometry.crop import CROP_SIDE_PX, face_crop
from talkhead.geometry.mesh import MEAN_FACE
from talkhead.geometry.windows import WINDOW_FRAMES
from talkhead.landmarks2video.canvas import prepare_canvas
from talkhead.landmarks2video.composite import FrameLayers, composite
from talkhead.landmarks2video.conditioning import draw_stage, warp_lower_face
from talkhead.landmarks2video.dubbing import DubbedFace, dub_frames
from talkhead.landmarks2video.region import lower_face
from talkhead.landmarks2video.sampling import SamplerOptions
from talkhead.media.audio import write_waveform
from talkhead.media.audio_clip import AudioClip
from talkhead.media.rates import DEFAULT_FPS, SAMPLE_RATE_HZ, num_frames
from talkhead.media.video import VideoWriter, read_frames
from talkhead.pipelines import TalkheadPipeline
from talkhead.pipelines.stages import PictureFace, animate

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

EYE_DISTANCE = 0.27
"""As a share of the picture's side: a head-and-shoulders portrait."""
REPEATS = 7
PEER_REPEATS = 5


@dataclass(frozen=True)
class Input:
    """A synthetic picture, its mesh and a voice; they can be generated anywhere."""

    picture: Pixels
    mesh: Floats
    audio: Path
    clip: AudioClip
    """The same, decoded."""


def make_input(folder: Path, side: int, seconds: float) -> Input:
    """Make a picture as hard to encode as a portrait, and audio that counts as a voice.

    Args:
        folder: where to write the audio.
        side: side of the picture in pixels.
        seconds: length of the audio.
    """
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    waves = np.stack([np.sin(9 * x + p) + np.cos(7 * y - p) for p in (0, 1, 2)], -1)
    grain = rng.normal(0, 4, (side, side, 3))
    picture = np.clip(128 + 40 * waves + grain, 0, 255).astype(np.uint8)
    mesh = MEAN_FACE * (side * EYE_DISTANCE) + np.array([side / 2, side / 2, 0])
    at = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    syllables = np.clip(np.sin(2 * np.pi * 3.7 * at), 0, 1)
    hum = sum(np.sin(2 * np.pi * 120 * k * at) / k for k in range(1, 25))
    audio = folder / "voice.wav"
    sound = 0.2 * syllables * (hum + rng.normal(0, 0.3, len(at)))
    write_waveform(audio, np.asarray(sound, np.float32))
    return Input(picture, mesh.astype(np.float32), audio, AudioClip.open(audio))


def time_end_to_end(
    pipeline: TalkheadPipeline,
    source: Input,
    output: Path,
    steps: int,
    on_first: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Render the input as `talkhead render` does, with the networks already loaded.

    Args:
        pipeline: the networks.
        source: the input.
        output: video to write.
        steps: sampling steps.
        on_first: called when the first frame is ready.

    Returns:
        `frames`, `seconds`, `frames_per_second`.
    """
    height, width = source.picture.shape[:2]
    size = (width - width % 2, height - height % 2)
    started = time.perf_counter()
    sampler = SamplerOptions(steps)
    rendering = animate(
        pipeline,
        PictureFace(source.picture, source.mesh),
        source.clip,
        fps=DEFAULT_FPS,
        sampler=sampler,
    )
    with VideoWriter(
        output, size=size, fps=DEFAULT_FPS, sound=source.audio, overwrite=True
    ) as video:
        for index, frame in enumerate(rendering.frames):
            if index == 0:
                on_first()
            video.write(frame[: size[1], : size[0]])
    elapsed = time.perf_counter() - started
    count = rendering.num_frames
    return {"frames": count, "seconds": elapsed, "frames_per_second": count / elapsed}


def time_dubbing(pipeline: TalkheadPipeline, source: Input, folder: Path) -> float:
    """Return how many frames per second are read, dubbed and encoded.

    The video is the input's picture, whose face is known: following it is not timed.
    """
    generator, count = pipeline.landmark_generator, num_frames(source.clip.duration_s, DEFAULT_FPS)
    height, width = (side - side % 2 for side in source.picture.shape[:2])
    picture = source.picture[:height, :width]
    video, output = folder / "video.mp4", folder / "dubbed.mp4"
    options: dict[str, Any] = {"size": (width, height), "fps": DEFAULT_FPS, "overwrite": True}
    with VideoWriter(video, sound=None, **options) as writer:
        for _ in range(count):
            writer.write(picture)
    speech = predict_speech(generator, source.clip, source.mesh)
    still = MotionOptions("still", blink_per_minute=0)
    windows = animation.animate(generator, source.mesh, speech, still)
    crop = face_crop(source.mesh)
    edits = (DubbedFace(source.mesh, target, crop, 1.0) for part in windows for target in part)
    started = time.perf_counter()
    frames = dub_frames(pipeline.renderer(), zip(read_frames(video), edits, strict=True))
    with VideoWriter(output, sound=source.audio, **options) as writer, closing(frames):
        for frame in frames:
            writer.write(frame)
    return count / (time.perf_counter() - started)


@torch.inference_mode()
def time_stages(
    pipeline: TalkheadPipeline, source: Input, output: Path, steps: int
) -> dict[str, float]:
    """Time each rendering stage by itself; medians in milliseconds per frame.

    In `render`, several windows are computed at a time; here the stages run one after the other. On
    the CPU they use one thread, as in `render`.
    """
    with one_thread() if pipeline.device.type == "cpu" else nullcontext():
        return _time_stages(pipeline, source, output, steps)


def _time_stages(
    pipeline: TalkheadPipeline, source: Input, output: Path, steps: int
) -> dict[str, float]:
    device = pipeline.device
    enabled = pipeline.dtype != torch.float32
    generator = pipeline.landmark_generator
    speech = predict_speech(generator, source.clip, source.mesh)
    windows = animation.animate(generator, source.mesh, speech)
    points = next(part for part in windows if len(part) == WINDOW_FRAMES)
    canvas = prepare_canvas(source.picture, source.mesh, device)
    registration = pipeline.denoiser.registration()
    own = canvas.mesh[0].cpu().numpy()
    noise = pipeline.renderer().draw_noise(0)
    small = canvas.small.expand(len(points), -1, -1, -1)
    autoencoder, denoiser = pipeline.autoencoder, pipeline.denoiser

    def draw() -> Any:
        moved = registration.apply(own, canvas.crop.to_crop(points))
        target = torch.from_numpy(moved).to(device)
        return target, draw_stage(canvas.mesh, target, canvas.bounds)

    target, (shift, grid, maps) = draw()
    warped = warp_lower_face(small, grid, maps).contiguous(memory_format=torch.channels_last)
    conditions = lower_face(maps, maps.shape[-1] / CROP_SIDE_PX)
    with torch.autocast(device.type, pipeline.dtype, enabled=enabled):
        latents = autoencoder.encode(warped).float()
    start = torch.ones(len(points), device=device)
    noisy = noise.expand_as(latents)
    made_pixels = warped.float().contiguous()
    layers = FrameLayers(shift, maps, target, warped, made_pixels)
    frames = composite(canvas, layers)

    def network(call: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            with torch.autocast(device.type, pipeline.dtype, enabled=enabled):
                return call()

        return run

    stages: dict[str, Callable[[], Any]] = {
        "warp and maps": draw,
        "encode": network(lambda: autoencoder.encode(warp_lower_face(small, grid, maps))),
        f"denoise, {steps} step{'s' if steps > 1 else ''}": network(
            lambda: [denoiser(noisy, start, latents, conditions) for _ in range(steps)]
        ),
        "decode": network(lambda: autoencoder.decode(latents) + autoencoder.lost_detail(warped)),
        "composite": lambda: composite(canvas, layers),
    }
    times = {
        name: 1000 * _median_s(call, device, REPEATS) / len(points) for name, call in stages.items()
    }
    times["video encoder"] = 1000 * _encoder_s(frames, output)
    return times


def time_sound(pipeline: TalkheadPipeline, source: Input, seconds: float) -> float:
    """Return the seconds it takes to predict landmarks for one minute of audio."""
    started = time.perf_counter()
    predict_speech(pipeline.landmark_generator, source.clip, source.mesh)
    return (time.perf_counter() - started) * 60 / seconds


@dataclass(frozen=True)
class Peer:
    """A network for comparison: its name, its inputs, and the number of frames per call."""

    name: str
    network: nn.Module
    inputs: tuple[torch.Tensor, ...]
    frames: int


def load_peer(file: Path, device: torch.device) -> Peer:
    """Build a network that a user's Python file defines, with any weights.

    Args:
        file: a module with a function `build()` that returns a torch module, the tuple of its
            inputs, and the number of frames per call.
        device: where to run it.

    Raises:
        TalkheadError: the file is not such a module.
    """
    build = getattr(_module(file), "build", None)
    if build is None:
        raise TalkheadError(f"{file} has no function build()")
    try:
        network, inputs, frames = build()
        network = network.to(device).eval()
        return Peer(file.stem, network, tuple(value.to(device) for value in inputs), int(frames))
    except (TypeError, ValueError, AttributeError) as error:
        raise TalkheadError(
            f"{file}: build() must return a torch module, a tuple of tensors, and the number of"
            f" frames per call ({error})"
        ) from error


def time_peer(peer: Peer, device: torch.device, dtype: torch.dtype) -> float:
    """Return the milliseconds per frame of a peer's network."""

    @torch.inference_mode()
    def run() -> Any:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return peer.network(*peer.inputs)

    return 1000 * _median_s(run, device, PEER_REPEATS) / peer.frames


def _module(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise TalkheadError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _median_s(call: Callable[[], Any], device: torch.device, repeats: int) -> float:
    return statistics.median(_durations(call, device, repeats))


def _durations(call: Callable[[], Any], device: torch.device, repeats: int) -> Iterator[float]:
    for index in range(repeats + 2):  # two to warm up
        _wait(device)
        started = time.perf_counter()
        call()
        _wait(device)
        if index >= 2:
            yield time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _encoder_s(frames: Pixels, output: Path) -> float:
    """Return the seconds per frame for video encoding alone."""
    height, width = frames.shape[1:3]
    size = (width - width % 2, height - height % 2)
    repeats = 8
    started = time.perf_counter()
    with VideoWriter(output, size=size, fps=Fraction(25), sound=None, overwrite=True) as video:
        for _ in range(repeats):
            video.write(frames[:, : size[1], : size[0]])
    return (time.perf_counter() - started) / (repeats * len(frames))

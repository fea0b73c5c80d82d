"""The product: a voice to landmarks, and landmarks with a picture to frames."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, percentile_filter

from talkhead.checkpoint import load_state, read_config
from talkhead.errors import TalkheadError
from talkhead.face.composite import Canvas, composite, prepare_canvas
from talkhead.face.crop import CROP_SIDE_PX
from talkhead.face.detail import matching_sharpening, sharpen
from talkhead.face.maps import draw_stage, warp_identity
from talkhead.face.mesh import NUM_SURFACE_POINTS
from talkhead.face.motion import (
    MotionBasis,
    brow_region,
    fit_blink,
    identity_at_rest,
    mouth_scale,
    proportions,
    separate_lips,
)
from talkhead.face.natural import (
    HeadStyle,
    followed_head_motion,
    natural_blinks,
    natural_brows,
    natural_head_motion,
)
from talkhead.face.region import LATENT_PX, REGION_HEIGHT_PX, REGION_WIDTH_PX, lower_face
from talkhead.face.registration import Registration
from talkhead.face.track import LandmarkTrack
from talkhead.media.ahead import run_ahead
from talkhead.media.audio import scan_audio, stream_waveform
from talkhead.media.loudness import (
    VOICE_RANGE_DB,
    frame_levels,
    loudness_of_voice,
    speech_gain,
)
from talkhead.media.rates import DEFAULT_FPS, SAMPLE_RATE_HZ, num_frames
from talkhead.models.autoencoder import Autoencoder, AutoencoderConfig
from talkhead.models.denoiser import Denoiser, DenoiserConfig
from talkhead.models.diffusion import sample_ddim
from talkhead.models.landmarks import LandmarkGenerator, LandmarkGeneratorConfig
from talkhead.models.speech import frame_positions, resample_features

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

BATCH_FRAMES = 8
WINDOW_FRAMES = 200
CONTEXT_FRAMES = 40
"""Frames of context on both sides of a window; windows fade into each other over half of them."""
LEAD_S = 0.3
"""Sound given to the encoder before and after the frames of a window."""
GATE_SOFT_DB = 8.0
GATE_LEAD_S = 0.36
"""People take breath: lips open this long before the first word sounds."""
GATE_HOLD_S = 0.25
"""Lips come to rest in this time after the last one."""
FLOOR_S = 8.0
"""The sound of the room is what remains in the quietest moments of a stretch of this length."""
FLOOR_PERCENTILE = 5.0
ABOVE_FLOOR_DB = 6.0
"""Sound that is less than this above the room's counts as silence: hum, hiss, a held tone."""
POSES = ("natural", "still")
COMPONENTS = ("autoencoder", "denoiser", "landmarks")


@dataclass(frozen=True)
class Pipeline:
    """The networks of lgd, on one device."""

    autoencoder: Autoencoder
    denoiser: Denoiser
    generator: LandmarkGenerator
    basis: MotionBasis
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True)
class Speech:
    """What the first stage makes of a recording, at `fps`.

    Attributes:
        coefficients: float32 (T, K) of the motion basis; at rest where nobody speaks.
        activity: float32 (T,), loudness of the voice from 0 to 1; 0 where nobody speaks.
        fps: frames a second.
        duration_s: exact length of the recording.
    """

    coefficients: Floats
    activity: Floats
    fps: Fraction
    duration_s: Fraction


def load_pipeline(folder: Path, device: torch.device, dtype: torch.dtype) -> Pipeline:
    """Load autoencoder, denoiser and landmark generator from their sub-folders.

    Raises:
        talkhead.errors.WeightsError: something is missing, damaged or does not fit.
    """
    generator = load_generator(folder / "landmarks", device)
    autoencoder = Autoencoder(
        read_config(folder / "autoencoder", AutoencoderConfig, architecture="autoencoder")
    )
    load_state(folder / "autoencoder", autoencoder)
    denoiser = Denoiser(read_config(folder / "denoiser", DenoiserConfig, architecture="denoiser"))
    load_state(folder / "denoiser", denoiser)
    for model in (autoencoder, denoiser):
        model.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
    return Pipeline(autoencoder, denoiser, generator, basis_of(generator), device, dtype)


def load_generator(folder: Path, device: torch.device) -> LandmarkGenerator:
    """Load the landmark generator alone.

    Raises:
        talkhead.errors.WeightsError: it is missing, damaged or does not fit.
    """
    config = read_config(folder, LandmarkGeneratorConfig, architecture="landmarks")
    generator = LandmarkGenerator(config)
    load_state(folder, generator)
    return generator.to(device).eval().requires_grad_(False)


def basis_of(generator: LandmarkGenerator) -> MotionBasis:
    """Return the motion basis that a generator carries."""
    components, blink = generator.components.float().cpu(), generator.blink.float().cpu()
    return MotionBasis(components.numpy(), blink.numpy())


def head_style_of(generator: LandmarkGenerator) -> HeadStyle:
    """Return how heads moved in the clips that a generator was trained on."""
    slow, fast = generator.head.float().cpu().numpy()
    return HeadStyle(slow, fast, *generator.head_pace.float().tolist())


def registration_of(denoiser: Denoiser) -> Registration:
    """Return the registration that a denoiser was trained with."""
    basis, weights = denoiser.registration_basis, denoiser.registration_weights
    return Registration(basis.float().cpu().numpy(), weights.float().cpu().numpy())


def listen(
    generator: LandmarkGenerator, audio: Path, shape: Floats, fps: Fraction = DEFAULT_FPS
) -> Speech:
    """Run the first stage over a recording, window by window.

    Args:
        generator: speech encoder and LSTM; trained at 25 frames a second, it always runs at them.
        audio: anything ffmpeg reads.
        shape: (4,), the identity's proportions.
        fps: rate of the result.

    Raises:
        TalkheadError: the recording cannot be read, or has no length.
    """
    info = scan_audio(audio)
    rate = float(DEFAULT_FPS)
    total = max(num_frames(info.duration_s, DEFAULT_FPS), 1)
    levels = _levels(audio, total, rate)
    gain = speech_gain(levels)
    coefficients = np.zeros((total, generator.config.num_components), np.float32)
    if gain > 0:
        weights = np.zeros((total, 1), np.float32)
        for start, waveform in _windows(audio, total, rate):
            first = max(start - CONTEXT_FRAMES, 0)
            last = min(start + WINDOW_FRAMES + CONTEXT_FRAMES, total)
            made = generate_coefficients(
                generator, waveform * np.float32(gain), last - first, rate, shape
            )
            fade = _fade(first, last, start, total)
            coefficients[first:last] += made * fade
            weights[first:last] += fade
        coefficients /= np.maximum(weights, 1e-6)
    speaks = _gate(levels, rate) * np.float32(gain > 0)
    coefficients *= speaks[:, None]
    activity = loudness_of_voice(levels) * speaks
    count = num_frames(info.duration_s, fps)
    return Speech(
        resample(coefficients, DEFAULT_FPS, fps, count),
        resample(activity[:, None], DEFAULT_FPS, fps, count)[:, 0],
        fps,
        info.duration_s,
    )


@torch.no_grad()
def generate_coefficients(
    generator: LandmarkGenerator, waveform: Floats, count: int, rate: float, shape: Floats
) -> Floats:
    """Run the landmark generator once, in its default style.

    Args:
        generator: speech encoder and LSTM.
        waveform: (N,), normalised loudness, with `LEAD_S` more at both ends.
        count: frames.
        rate: frames a second.
        shape: (4,), the identity's proportions.

    Returns:
        Coefficients, shape = (count, K).
    """
    device = generator.style.device
    made, _ = generator(
        torch.from_numpy(waveform)[None].to(device),
        frame_positions(count, rate, LEAD_S)[None].to(device),
        generator.style[None],
        torch.from_numpy(shape)[None].to(device),
    )
    coefficients: Floats = made[0].float().cpu().numpy()
    return coefficients


@torch.no_grad()
def speech_features(
    generator: LandmarkGenerator, waveform: Floats, count: int, rate: float
) -> Floats:
    """Return what a generator's encoder hears in every frame, shape = (count, 2 (D + 1)).

    Args:
        generator: whose encoder listens.
        waveform: (N,), normalised loudness, with `LEAD_S` more at both ends.
        count: frames.
        rate: frames a second.
    """
    device = generator.style.device
    features, _, level = generator.speech(torch.from_numpy(waveform)[None].to(device))
    joined = torch.cat([features, level[..., None].to(features.dtype)], -1)
    positions = frame_positions(count, rate, LEAD_S)[None].to(device)
    read = [resample_features(joined, positions + offset) for offset in (-0.5, 0.5)]
    heard: Floats = torch.cat(read, -1)[0].float().cpu().numpy()
    return heard


def resample(values: Floats, fps: Fraction, new_fps: Fraction, count: int) -> Floats:
    """Resample a series (T, ...) linearly to `count` frames, on time stamps (middles of frames)."""
    if fps == new_fps and count == len(values):
        return values
    at = (np.arange(count) + 0.5) * float(fps / new_fps) - 0.5
    at = at.clip(0, len(values) - 1)
    low = np.minimum(np.floor(at).astype(int), max(len(values) - 2, 0))
    high = np.minimum(low + 1, len(values) - 1)
    share = (at - low).reshape(-1, *[1] * (values.ndim - 1))
    return np.asarray(values[low] * (1 - share) + values[high] * share, np.float32)


def predict_landmarks(
    generator: LandmarkGenerator,
    audio: Path,
    identity: Floats,
    *,
    fps: Fraction = DEFAULT_FPS,
    seed: int = 0,
    pose: str | LandmarkTrack = "natural",
    pose_strength: float = 1.0,
    expression_strength: float = 1.0,
    blink_per_minute: float = 16.0,
) -> tuple[int, Iterator[Floats]]:
    """Turn a voice into the landmarks of a face that says it.

    Args:
        generator: the first stage.
        audio: the recording.
        identity: (478, 3), the mesh in the picture, pixels.
        fps: frames a second.
        seed: of head motion and blinks.
        pose: natural, still, or a track whose head motion is taken over.
        pose_strength: scale of the head motion.
        expression_strength: scale of the speech motion, and of the eyebrows'.
        blink_per_minute: 0 for none.

    Returns:
        The number of frames, and an iterator of windows (T, 478, 3) in the picture's pixels.

    Raises:
        TalkheadError: the recording cannot be read, or `pose` is unknown.
    """
    check_pose(pose)
    rest, _ = identity_at_rest(identity, basis_of(generator))
    speech = listen(generator, audio, proportions(rest), fps)
    return animate(
        generator,
        identity,
        speech,
        seed=seed,
        pose=pose,
        pose_strength=pose_strength,
        expression_strength=expression_strength,
        blink_per_minute=blink_per_minute,
    )


def animate(
    generator: LandmarkGenerator,
    identity: Floats,
    speech: Speech,
    *,
    seed: int = 0,
    pose: str | LandmarkTrack = "natural",
    pose_strength: float = 1.0,
    expression_strength: float = 1.0,
    blink_per_minute: float = 16.0,
) -> tuple[int, Iterator[Floats]]:
    """Put what was heard on a face, and give it life: see `predict_landmarks`."""
    check_pose(pose)
    basis = basis_of(generator)
    rest, head = identity_at_rest(identity, basis)
    basis = fit_blink(rest, basis)
    count, rate = len(speech.coefficients), float(speech.fps)
    amount = mouth_scale(rest) * expression_strength
    if isinstance(pose, LandmarkTrack):
        motion = followed_head_motion(pose, rate, count, pose_strength)
    else:
        strength = pose_strength if pose == "natural" else 0.0
        rng = np.random.default_rng([seed, 1])
        style = head_style_of(generator)
        motion = natural_head_motion(style, speech.activity, rate, rng, strength)
    blinks = natural_blinks(
        speech.activity, rate, np.random.default_rng([seed, 2]), blink_per_minute
    )
    brows = brow_region() * np.float32(expression_strength)
    raised = natural_brows(speech.activity, rate)

    def windows() -> Iterator[Floats]:
        for start in range(0, count, BATCH_FRAMES):
            end = min(start + BATCH_FRAMES, count)
            part = basis.deform(speech.coefficients[start:end], blinks[start:end], amount)
            shapes = separate_lips(rest + part)
            shapes[..., 1] -= raised[start:end, None] * brows
            moved = motion.part(start, end)
            shapes[:, NUM_SURFACE_POINTS:] += moved.gaze()[:, None]
            yield head.to_picture(moved.apply(shapes))

    return count, windows()


def check_pose(pose: str | LandmarkTrack) -> None:
    """Refuse a name that is no pose.

    Raises:
        TalkheadError: it is unknown.
    """
    if isinstance(pose, str) and pose not in POSES:
        raise TalkheadError(f"pose is {' or '.join(POSES)}, not {pose!r}")


def render_frames(
    pipeline: Pipeline,
    picture: Pixels,
    identity: Floats,
    windows: Iterator[Floats],
    *,
    num_steps: int = 1,
    seed: int = 0,
    heard: Floats | None = None,
) -> Generator[Pixels, None, None]:
    """Turn landmarks into frames of a picture.

    The networks, putting frames together, and the reader each work in a thread of their own.

    Args:
        pipeline: the networks.
        picture: uint8 (H, W, 3).
        identity: (478, 3), the mesh in the picture, pixels.
        windows: meshes (T, 478, 3) of the frames to make, pixels of the picture.
        num_steps: sampling steps.
        seed: of the diffusion noise, one for all frames.
        heard: (T, D), `speech_features` of all frames, for a denoiser that hears; its meshes only
            say how the head moves.

    Yields:
        uint8 (T, H, W, 3) for every window.
    """
    canvas = prepare_canvas(picture, identity, pipeline.device)
    layers = _lower_faces(pipeline, canvas, windows, num_steps, seed, heard)
    frames = _composites(canvas, run_ahead(layers))
    yield from run_ahead(frames)


@torch.inference_mode()
def _lower_faces(
    pipeline: Pipeline,
    canvas: Canvas,
    windows: Iterator[Floats],
    num_steps: int,
    seed: int,
    heard: Floats | None,
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield the layers of `composite` for every window."""
    registration = registration_of(pipeline.denoiser)
    own_mesh = canvas.mesh[0].cpu().numpy()
    epsilon = draw_noise(pipeline, seed)
    sharpening: float | None = None
    sounds = None if heard is None else torch.from_numpy(heard).to(pipeline.device)
    start = 0
    for points in windows:
        sound = None if sounds is None else sounds[start : start + len(points)]
        start += len(points)
        moved = registration.apply(own_mesh, canvas.crop.to_crop(points))
        target = torch.from_numpy(moved).to(pipeline.device)
        shift, grid, maps = draw_stage(canvas.mesh, target, canvas.bounds)
        small = canvas.small.expand(len(target), -1, -1, -1)
        warped, made = correct_frames(pipeline, small, grid, maps, epsilon, num_steps, sound)
        if sharpening is None:
            # Warps and networks soften. The first frames tell how much; then it stays.
            sharpening = matching_sharpening(made, lower_face(canvas.small))
        yield shift, maps, target, warped, sharpen(made, sharpening)


@torch.inference_mode()
def _composites(
    canvas: Canvas, layers: Generator[tuple[torch.Tensor, ...], None, None]
) -> Iterator[Pixels]:
    with closing(layers):
        for part in layers:
            yield composite(canvas, *part)


def draw_noise(pipeline: Pipeline, seed: int) -> torch.Tensor:
    """Draw the noise that all frames start from, (1, C, 20, 24)."""
    channels = pipeline.denoiser.config.latent_channels
    generator = torch.Generator().manual_seed(seed)
    shape = (1, channels, REGION_HEIGHT_PX // LATENT_PX, REGION_WIDTH_PX // LATENT_PX)
    return torch.randn(shape, generator=generator).to(pipeline.device)


def correct_frames(
    pipeline: Pipeline,
    small: torch.Tensor,
    grid: torch.Tensor,
    maps: torch.Tensor,
    epsilon: torch.Tensor,
    num_steps: int,
    heard: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Warp crops and correct their lower faces.

    Args:
        pipeline: the networks.
        small: (B, 3, 256, 256) in [-1, 1].
        grid: (B, 128, 128, 2), from `draw_stage`.
        maps: (B, 9, 128, 128), from `draw_stage`.
        epsilon: (1, C, 20, 24), the noise that all frames start from.
        num_steps: sampling steps.
        heard: (B, D), for a denoiser that hears.

    Returns:
        Lower faces as warped and as made, (B, 3, 160, 192) in [-1, 1].
    """
    warped = lower_face(warp_identity(small, grid, maps))
    conditions = lower_face(maps, maps.shape[-1] / CROP_SIDE_PX)
    enabled = pipeline.dtype != torch.float32
    with torch.autocast(pipeline.device.type, pipeline.dtype, enabled=enabled):
        made = correct(
            pipeline.autoencoder, pipeline.denoiser, warped, conditions, epsilon, num_steps, heard
        )
    return warped, made


def correct(
    autoencoder: Autoencoder,
    denoiser: Denoiser,
    warped: torch.Tensor,
    maps: torch.Tensor,
    epsilon: torch.Tensor,
    num_steps: int,
    heard: torch.Tensor | None = None,
) -> torch.Tensor:
    """Let the denoiser correct warped lower faces.

    Args:
        autoencoder: of the latents.
        denoiser: of the residual.
        warped: (B, 3, H, W) in [-1, 1].
        maps: (B, 9, H / 2, W / 2), conditioning maps of the same part of the crop.
        epsilon: (1, C, H / 8, W / 8), the noise that all frames start from.
        num_steps: sampling steps.
        heard: (B, D), for a denoiser that hears.

    Returns:
        (B, 3, H, W) in [-1, 1].
    """
    latents = autoencoder.encode(warped.contiguous(memory_format=torch.channels_last)).float()

    def denoise(noisy: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = denoiser(noisy, time, latents, maps, heard)
        return out

    *_, clean = sample_ddim(denoise, epsilon.expand_as(latents), num_steps)
    made = autoencoder.decode(latents + denoiser.config.residual_scale * clean).float()
    return (made + autoencoder.lost_detail(warped)).clamp(-1, 1)


def _levels(audio: Path, total: int, rate: float) -> Floats:
    """Return the sound level of every frame, reading a window at a time."""
    per_frame = SAMPLE_RATE_HZ / rate
    parts, start = [], 0
    block = round(WINDOW_FRAMES * per_frame)
    for waveform in stream_waveform(audio, block):
        count = min(-(-len(waveform) // round(per_frame)), total - start)
        if count > 0:
            parts.append(frame_levels(waveform, count, rate))
        start += count
    levels = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return np.pad(levels, (0, total - len(levels)), constant_values=-100.0).astype(np.float32)


def _windows(audio: Path, total: int, rate: float) -> Iterator[tuple[int, Floats]]:
    """Yield window starts and their sound, with context and half a second more on both sides."""
    per_frame = round(SAMPLE_RATE_HZ / rate)
    lead = round(LEAD_S * SAMPLE_RATE_HZ)
    blocks = stream_waveform(audio, WINDOW_FRAMES * per_frame)
    held, held_start = np.zeros(lead, np.float32), -lead
    for start in range(0, total, WINDOW_FRAMES):
        first = max(start - CONTEXT_FRAMES, 0)
        last = min(start + WINDOW_FRAMES + CONTEXT_FRAMES, total)
        begin, end = first * per_frame - lead, last * per_frame + lead
        while held_start + len(held) < end:
            block = next(blocks, None)
            if block is None:
                held = np.pad(held, (0, end - held_start - len(held)))
                break
            held = np.concatenate([held, block])
        held, held_start = held[begin - held_start :], begin
        yield start, held[: end - begin]


def _fade(first: int, last: int, start: int, total: int) -> Floats:
    """Weights of a window's frames, shape = (T, 1): 1 inside, ramps where another takes over."""
    half = CONTEXT_FRAMES // 2
    at = np.arange(first, last) + 0.5
    rise = np.ones_like(at) if start == 0 else np.clip((at - (start - half)) / (2 * half), 0, 1)
    end = start + WINDOW_FRAMES
    fall = np.ones_like(at) if end >= total else np.clip((end + half - at) / (2 * half), 0, 1)
    return (rise * fall)[:, None].astype(np.float32)


def _gate(levels: Floats, rate: float) -> Floats:
    """Return 1 where somebody speaks and 0 in silence, shape = (T,); it opens before the sound."""
    window = 2 * round(FLOOR_S * rate / 2) + 1
    floor = percentile_filter(levels, FLOOR_PERCENTILE, size=window, mode="nearest")
    loudest = float(np.percentile(levels, 95))
    threshold = np.maximum(loudest - VOICE_RANGE_DB, floor + ABOVE_FLOOR_DB)
    speaks = np.clip((levels - threshold) / GATE_SOFT_DB, 0, 1)
    ahead, behind = round(GATE_LEAD_S * rate), round(GATE_HOLD_S * rate)
    size = ahead + behind + 1
    held = maximum_filter1d(speaks, size=size, origin=behind - size // 2, mode="nearest")
    smooth: Floats = gaussian_filter1d(held, 0.05 * rate, mode="nearest").astype(np.float32)
    return smooth

"""The first stage: predict face motion from a recording, window by window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.audio2landmarks.loudness import (
    ABOVE_FLOOR_DB,
    SILENCE_DB,
    VOICE_RANGE_DB,
    frame_levels,
    loudest_level,
    loudness_of_voice,
    quiet_speech_raise,
    room_levels,
    speech_gain,
)
from talkhead.device import one_thread
from talkhead.geometry.time_series import resample
from talkhead.media.audio_clip import AudioClip
from talkhead.media.rates import DEFAULT_FPS, SAMPLE_RATE_HZ, num_frames

Floats = npt.NDArray[np.float32]

WINDOW_FRAMES = 200
CONTEXT_FRAMES = 40
"""Context frames on both sides of a window; neighbouring windows cross-fade over half of them."""
LEAD_S = 0.3
"""Extra audio given to the encoder before and after the frames of a window."""
GATE_SOFT_DB = 8.0
GATE_LEAD_S = 0.64
"""Speakers take a breath: lips open this long before the first word."""
GATE_HOLD_S = 0.25
"""Lips come to rest within this time after the last word."""
MIN_GATE = 0.05
"""A recording whose gate never opens further than this has no speech."""


@dataclass(frozen=True)
class Speech:
    """Output of the first stage for a recording, at `fps`.

    Attributes:
        coefficients: float32 (T, K) of the motion basis; at rest where there is no speech.
        activity: float32 (T,), loudness of the voice from 0 to 1; 0 where there is no speech.
        fps: frames per second.
        duration_s: exact length of the recording.
        has_speech: whether the recording contains any speech.
        is_silent: whether the recording contains no sound at all.
    """

    coefficients: Floats
    activity: Floats
    fps: Fraction
    duration_s: Fraction
    has_speech: bool = True
    is_silent: bool = False

    def facts(self) -> dict[str, bool]:
        """Return the facts reported to scripts: speech, silent."""
        return {"speech": self.has_speech, "silent": self.is_silent}

    def lasting(self, count: int) -> Speech:
        """Return `count` frames: the lips come to rest after the last word, and stay there."""
        more = count - len(self.coefficients)
        if more <= 0:
            return self
        fall = 1 - np.arange(1, more + 1, dtype=np.float32) / (GATE_HOLD_S * float(self.fps))
        fall = fall.clip(0)
        return replace(
            self,
            coefficients=np.concatenate(
                [self.coefficients, self.coefficients[-1:] * fall[:, None]], dtype=np.float32
            ),
            activity=np.concatenate([self.activity, self.activity[-1:] * fall], dtype=np.float32),
        )


@one_thread()
def predict_motion(
    generator: LandmarkGenerator, audio: AudioClip, shape: Floats, fps: Fraction = DEFAULT_FPS
) -> Speech:
    """Run the first stage over a recording, window by window.

    Args:
        generator: speech encoder and LSTM; always runs at 25 frames per second, as trained.
        audio: the recording.
        shape: (4,), the identity's proportions.
        fps: frame rate of the result.
    """
    rate = float(DEFAULT_FPS)
    total = max(num_frames(audio.duration_s, DEFAULT_FPS), 1)
    levels = _levels(audio, total, rate)
    gain = speech_gain(levels, rate)
    raised = quiet_speech_raise(levels, rate)
    coefficients = np.zeros((total, generator.config.num_components), np.float32)
    if gain > 0:
        weights = np.zeros((total, 1), np.float32)
        for start, waveform in _windows(audio, total, rate):
            first = max(start - CONTEXT_FRAMES, 0)
            last = min(start + WINDOW_FRAMES + CONTEXT_FRAMES, total)
            motion = generate_coefficients(
                generator,
                waveform * _sample_gains(gain, raised[first:last], len(waveform)),
                last - first,
                rate,
                shape,
            )
            fade = _fade(first, last, start, total)
            coefficients[first:last] += motion * fade
            weights[first:last] += fade
        coefficients /= np.maximum(weights, 1e-6)
    speaks = _gate(levels, raised, rate) * np.float32(gain > 0)
    coefficients *= speaks[:, None]
    activity = np.minimum(loudness_of_voice(levels, rate) + raised / VOICE_RANGE_DB, 1) * speaks
    count = num_frames(audio.duration_s, fps)
    return Speech(
        resample(coefficients, DEFAULT_FPS, fps, count),
        resample(activity[:, None], DEFAULT_FPS, fps, count)[:, 0],
        fps,
        audio.duration_s,
        has_speech=bool(speaks.max() > MIN_GATE),
        is_silent=bool(levels.max() < SILENCE_DB),
    )


@torch.no_grad()
def generate_coefficients(
    generator: LandmarkGenerator,
    waveform: Floats,
    count: int,
    rate: float,
    shape: Floats,
    first: int = 0,
    convolved: torch.Tensor | None = None,
) -> Floats:
    """Run the landmark generator once, in its default style.

    Args:
        generator: speech encoder and LSTM.
        waveform: (N,), at normalised loudness, with `LEAD_S` extra at both ends.
        count: number of frames.
        rate: frames per second.
        shape: (4,), the identity's proportions.
        first: the first frame to return; those before it are context.
        convolved: what `SpeechEncoder.convolve` gives for the waveform, where it is known.

    Returns:
        Coefficients, shape = (count - first, K).
    """
    device = generator.style.device
    generated, _ = generator(
        torch.from_numpy(waveform)[None].to(device),
        generator.frame_positions(count, rate, LEAD_S)[None].to(device),
        generator.style[None],
        torch.from_numpy(shape)[None].to(device),
        first,
        convolved,
    )
    coefficients: Floats = generated[0].float().cpu().numpy()
    return coefficients


def generate_motion(
    generator: LandmarkGenerator, waveform: Floats, num_frames: int, rate_hz: float, shape: Floats
) -> Floats:
    """Generate motion in the default style for a whole waveform at normalised loudness.

    Returns:
        Coefficients, shape = (num_frames, K).
    """
    lead = np.zeros(round(LEAD_S * SAMPLE_RATE_HZ), np.float32)
    padded = np.concatenate([lead, waveform.astype(np.float32), lead])
    return generate_coefficients(generator, padded, num_frames, rate_hz, shape)


def _levels(audio: AudioClip, total: int, rate: float) -> Floats:
    """Return the audio level of every frame, reading one window at a time."""
    per_frame = SAMPLE_RATE_HZ / rate
    parts, start = [], 0
    block = round(WINDOW_FRAMES * per_frame)
    for waveform in audio.blocks(block):
        count = min(-(-len(waveform) // round(per_frame)), total - start)
        if count > 0:
            parts.append(frame_levels(waveform, count, rate))
        start += count
    levels = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return np.pad(levels, (0, total - len(levels)), constant_values=-100.0).astype(np.float32)


def _windows(audio: AudioClip, total: int, rate: float) -> Iterator[tuple[int, Floats]]:
    """Yield window starts and their audio, with context and `LEAD_S` more on both sides."""
    per_frame = round(SAMPLE_RATE_HZ / rate)
    lead = round(LEAD_S * SAMPLE_RATE_HZ)
    blocks = audio.blocks(WINDOW_FRAMES * per_frame)
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


def _sample_gains(gain: float, raised_db: Floats, count: int) -> Floats | np.float32:
    """Return the gain of every sample of a window that starts `LEAD_S` before its frames."""
    if not raised_db.any():
        return np.float32(gain)
    per_frame = SAMPLE_RATE_HZ / float(DEFAULT_FPS)
    at = (np.arange(count) - LEAD_S * SAMPLE_RATE_HZ) / per_frame - 0.5
    smooth = np.interp(at, np.arange(len(raised_db)), raised_db)
    return np.asarray(gain * 10 ** (smooth / 20), np.float32)


def _fade(first: int, last: int, start: int, total: int) -> Floats:
    """Return weights for a window's frames, shape = (T, 1): 1 inside, ramps where two overlap."""
    half = CONTEXT_FRAMES // 2
    at = np.arange(first, last) + 0.5
    rise = np.ones_like(at) if start == 0 else np.clip((at - (start - half)) / (2 * half), 0, 1)
    end = start + WINDOW_FRAMES
    fall = np.ones_like(at) if end >= total else np.clip((end + half - at) / (2 * half), 0, 1)
    return (rise * fall)[:, None].astype(np.float32)


def _gate(levels: Floats, raised_db: Floats, rate: float) -> Floats:
    """Return 1 during speech and 0 in silence, shape = (T,); the gate opens ahead of the speech."""
    quietest = loudest_level(levels, rate) - VOICE_RANGE_DB - raised_db
    threshold = np.maximum(quietest, room_levels(levels, rate) + ABOVE_FLOOR_DB)
    speaks = np.clip((levels - threshold) / GATE_SOFT_DB, 0, 1)
    ahead, behind = round(GATE_LEAD_S * rate), round(GATE_HOLD_S * rate)
    size = ahead + behind + 1
    held = maximum_filter1d(speaks, size=size, origin=behind - size // 2, mode="nearest")
    smooth: Floats = gaussian_filter1d(held, 0.05 * rate, mode="nearest").astype(np.float32)
    return smooth

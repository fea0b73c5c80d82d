"""SyncNet v2: embeddings of lips and of sound that are close if both belong together.

A window of five frames (25 per second) of a face, and the 20 MFCC columns (100 per second) of the
sound over the same time, become vectors of 1,024 numbers. LSE-D, LSE-C and the offset are computed
from them in `talkhead.evaluation.feature_metrics.sync_scores`.

As in its authors' pipeline: faces of 224 px, channels in the order blue, green, red, values 0 to
255; 13 MFCC of 16-bit samples at 16 kHz; as many windows as the shorter of the two streams has
frames, minus five. Their pipeline finds faces with S3FD and widens the box: `crop_faces` widens
the boxes of any detector. Another detector, crop or codec changes the scores.

Source: Chung and Zisserman, "Out of time: automated lip sync in the wild" (2016);
joonson/syncnet_python; python_speech_features 0.6.

Verified, with the same random weights, against the network of syncnet-python 0.2.3, a copy of the
authors', window by window: the embeddings differ by a relative 8e-7. The MFCC are identical to
those of python_speech_features 0.6; resized frames and crops differ from the authors' arithmetic
with OpenCV by at most one level. The published weights were not available.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.fft import dct
from scipy.signal import medfilt
from torch import Tensor, nn
from torch.nn import functional

from talkhead.evaluation.networks.published import (
    Pixels,
    device_of,
    fill,
    read_tensors,
    to_channels_first,
)
from talkhead.media.rates import SAMPLE_RATE_HZ

Floats = npt.NDArray[np.float32]

FILE = "syncnet_v2.model"
SIDE_PX = 224
FPS = 25
WINDOW_FRAMES = 5
NUM_FEATURES = 1024
BATCH_WINDOWS = 16

NUM_MFCC = 13
NUM_FILTERS = 26
FFT_SAMPLES = 512
COLUMN_SAMPLES = SAMPLE_RATE_HZ // 40
COLUMN_STEP = SAMPLE_RATE_HZ // 100
COLUMNS_PER_FRAME = SAMPLE_RATE_HZ // COLUMN_STEP // FPS
WINDOW_COLUMNS = WINDOW_FRAMES * COLUMNS_PER_FRAME
PREEMPHASIS = 0.97
LIFTER = 22

CROP_SCALE = 0.4
"""How much the authors widen a face's box, in half sides."""
CROP_GREY = 110
CROP_MEDIAN_FRAMES = 13


class SyncNet(nn.Module):
    """Both streams of SyncNet v2, with the published names."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *(nn.Conv2d(1, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()),
            nn.Identity(),  # 1 x 1 pooling in the original; keeps the layers' numbers
            *(nn.Conv2d(64, 192, 3, padding=1), nn.BatchNorm2d(192), nn.ReLU()),
            nn.MaxPool2d(3, stride=(1, 2)),
            *(nn.Conv2d(192, 384, 3, padding=1), nn.BatchNorm2d(384), nn.ReLU()),
            *(nn.Conv2d(384, 256, 3, padding=1), nn.BatchNorm2d(256), nn.ReLU()),
            *(nn.Conv2d(256, 256, 3, padding=1), nn.BatchNorm2d(256), nn.ReLU()),
            nn.MaxPool2d(3, stride=2),
            *(nn.Conv2d(256, 512, (5, 4)), nn.BatchNorm2d(512), nn.ReLU()),
        )
        self.netcnnlip = nn.Sequential(
            *(nn.Conv3d(3, 96, (5, 7, 7), stride=(1, 2, 2)), nn.BatchNorm3d(96), nn.ReLU()),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2)),
            nn.Conv3d(96, 256, (1, 5, 5), stride=(1, 2, 2), padding=(0, 1, 1)),
            *(nn.BatchNorm3d(256), nn.ReLU()),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
            *(_conv_3x3(), nn.BatchNorm3d(256), nn.ReLU()),
            *(_conv_3x3(), nn.BatchNorm3d(256), nn.ReLU()),
            *(_conv_3x3(), nn.BatchNorm3d(256), nn.ReLU()),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2)),
            *(nn.Conv3d(256, 512, (1, 6, 6)), nn.BatchNorm3d(512), nn.ReLU()),
        )
        self.netfcaud = _last_layers()
        self.netfclip = _last_layers()

    def embed_video(self, frames: Tensor) -> Tensor:
        """Map T frames, (3, T, 224, 224), to the embeddings of their windows, (T - 4, 1024).

        Only the first layer spans several frames, so all windows share the work.
        """
        found: Tensor = self.netcnnlip(frames[None])[0, :, :, 0, 0]  # (512, T - 4)
        embedded: Tensor = self.netfclip(found.T)
        return embedded

    def embed_audio(self, windows: Tensor) -> Tensor:
        """Map windows of MFCC, (B, 1, 13, 20), to embeddings, (B, 1024)."""
        embedded: Tensor = self.netfcaud(self.netcnnaud(windows).flatten(1))
        return embedded

    @torch.inference_mode()
    def video_embeddings(self, frames: Pixels, *, batch_windows: int = BATCH_WINDOWS) -> Floats:
        """Return the embedding of every window of five frames, (T - 4, 1024).

        Long videos may be passed in pieces that overlap by four frames.

        Args:
            frames: uint8 RGB faces at 25 fps, (T, H, W, 3); see `crop_faces`.
            batch_windows: windows per network call; does not affect the result.

        Raises:
            ValueError: frames are not uint8 RGB.
        """
        device, overlap = device_of(self), WINDOW_FRAMES - 1
        found = []
        for start in range(0, len(frames) - overlap, batch_windows):
            batch = frames[start : start + batch_windows + overlap]
            found.append(self.embed_video(preprocess(batch, device).transpose(0, 1)).cpu().numpy())
        return np.concatenate([np.zeros((0, NUM_FEATURES), np.float32), *found])

    @torch.inference_mode()
    def audio_embeddings(
        self, waveform: npt.NDArray[np.floating[Any]], *, batch_windows: int = BATCH_WINDOWS
    ) -> Floats:
        """Return the audio embeddings of all windows but the last, (floor(N / 640) - 5, 1024).

        The last one lacks an MFCC column if the sound ends with the picture.

        Args:
            waveform: (N,), 16 kHz, in [-1, 1].
            batch_windows: windows per network call; does not affect the result.
        """
        device = device_of(self)
        columns = mfcc(waveform).astype(np.float32).T  # (13, M)
        count = len(waveform) * FPS // SAMPLE_RATE_HZ - WINDOW_FRAMES
        starts = range(0, max(count, 0) * COLUMNS_PER_FRAME, COLUMNS_PER_FRAME)
        found = []
        for first in range(0, len(starts), batch_windows):
            windows = [
                columns[None, :, start : start + WINDOW_COLUMNS]
                for start in starts[first : first + batch_windows]
            ]
            batch = torch.from_numpy(np.stack(windows)).to(device)  # (B, 1, 13, 20)
            found.append(self.embed_audio(batch).cpu().numpy())
        return np.concatenate([np.zeros((0, NUM_FEATURES), np.float32), *found])


def pair_windows(video: Floats, audio: Floats) -> tuple[Floats, Floats]:
    """Keep the windows that the authors' script scores: those in both streams, without the last.

    Args:
        video: `SyncNet.video_embeddings` of a whole clip of T frames, (T - 4, 1024).
        audio: `SyncNet.audio_embeddings` of its sound, (A, 1024).

    Returns:
        (W, 1024) each, W = min(T - 5, A).
    """
    count = max(min(len(video) - 1, len(audio)), 0)
    return video[:count], audio[:count]


def preprocess(frames: Pixels, device: torch.device) -> Tensor:
    """Convert uint8 RGB faces, (T, H, W, 3), to BGR with whole values, (T, 3, 224, 224)."""
    x = to_channels_first(frames, device).flip(1)
    if x.shape[2:] == (SIDE_PX, SIDE_PX):
        return x
    return functional.interpolate(
        x, size=(SIDE_PX, SIDE_PX), mode="bilinear", align_corners=False
    ).round()


def crop_faces(frames: Pixels, boxes: npt.NDArray[np.floating[Any]]) -> Pixels:
    """Crop faces as the authors' pipeline does.

    The boxes are smoothed by a median over 13 frames, with zeros beyond the ends. The crop is a
    square of 1.4 times the box's longer side, which extends 0.4 times that side further down than
    up; anything outside the picture is grey.

    Args:
        frames: uint8 RGB, (T, H, W, 3).
        boxes: detected faces, (T, 4): left, top, right, bottom, pixels.

    Returns:
        uint8 RGB, (T, 224, 224, 3).

    Raises:
        ValueError: there are fewer than the seven frames that the median needs.
    """
    if len(frames) <= CROP_MEDIAN_FRAMES // 2:
        raise ValueError(f"{len(frames)} frames are too few to smooth the boxes")
    left, top, right, bottom = np.asarray(boxes, np.float64).T
    room = CROP_MEDIAN_FRAMES // 2
    half, middle_x, middle_y = (
        medfilt(np.pad(row, room), CROP_MEDIAN_FRAMES)[room:-room]
        for row in (
            np.maximum(bottom - top, right - left) / 2,
            (left + right) / 2,
            (top + bottom) / 2,
        )
    )
    faces = np.empty((len(frames), SIDE_PX, SIDE_PX, 3), np.uint8)
    for index, frame in enumerate(frames):
        size, border = half[index], int(half[index] * (1 + 2 * CROP_SCALE))
        x, y = middle_x[index] + border, middle_y[index] + border
        wide = np.pad(
            frame, ((border, border), (border, border), (0, 0)), constant_values=np.uint8(CROP_GREY)
        )
        face = wide[
            int(y - size) : int(y + size * (1 + 2 * CROP_SCALE)),
            int(x - size * (1 + CROP_SCALE)) : int(x + size * (1 + CROP_SCALE)),
        ]
        bgr = preprocess(face[None], torch.device("cpu"))[0]
        faces[index] = bgr.flip(0).permute(1, 2, 0).numpy().astype(np.uint8)
    return faces


def mfcc(waveform: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Return mel-frequency cepstral coefficients, as python_speech_features computes by default.

    Frames of 25 ms every 10 ms without a window function, after pre-emphasis; 26 triangular
    filters from 0 to 8 kHz; logarithm, DCT, 13 coefficients, liftered; the logarithm of the energy
    replaces the first.

    Args:
        waveform: (N,), 16 kHz, in [-1, 1]; rounded to 16 bits, which sets the energy's scale.

    Returns:
        (M, 13), M = 1 + ceil((N - 400) / 160), with the end padded with zeros.
    """
    samples = np.clip(np.round(waveform.astype(np.float64) * 32768), -32768, 32767)
    emphasised = np.append(samples[:1], samples[1:] - PREEMPHASIS * samples[:-1])
    count = 1 + max(math.ceil((len(samples) - COLUMN_SAMPLES) / COLUMN_STEP), 0)
    room = (count - 1) * COLUMN_STEP + COLUMN_SAMPLES - len(samples)
    frames = np.lib.stride_tricks.sliding_window_view(
        np.pad(emphasised, (0, room)), COLUMN_SAMPLES
    )[::COLUMN_STEP]
    power = np.square(np.abs(np.fft.rfft(frames, FFT_SAMPLES))) / FFT_SAMPLES
    cepstrum = dct(np.log(_above_zero(power @ _mel_filters().T)), norm="ortho")[:, :NUM_MFCC]
    cepstrum *= 1 + LIFTER / 2 * np.sin(np.pi * np.arange(NUM_MFCC) / LIFTER)
    cepstrum[:, 0] = np.log(_above_zero(power.sum(1)))
    return np.asarray(cepstrum, np.float64)


def load_syncnet(folder: Path, *, device: str | torch.device = "cpu") -> SyncNet:
    """Load SyncNet v2 from the folder of its weights.

    Raises:
        WeightsError: the file is missing, corrupt, or does not fit.
    """
    path = folder / FILE
    return fill(SyncNet, read_tensors(path), source=str(path)).to(device)


def _conv_3x3() -> nn.Conv3d:
    return nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1))


def _last_layers() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, NUM_FEATURES)
    )


def _above_zero(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Replace zeros, so that every value has a logarithm."""
    return np.where(values == 0, np.finfo(np.float64).eps, values)


@cache
def _mel_filters() -> npt.NDArray[np.float64]:
    """Return triangles between neighbouring points of the mel scale, (26, 257).

    Their corners fall on whole bins of the spectrum.
    """
    highest = 2595 * math.log10(1 + SAMPLE_RATE_HZ / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, highest, NUM_FILTERS + 2) / 2595) - 1)
    corners = np.floor((FFT_SAMPLES + 1) * hertz / SAMPLE_RATE_HZ)
    bins = np.arange(FFT_SAMPLES // 2 + 1)
    filters = np.zeros((NUM_FILTERS, len(bins)))
    for row, (low, top, high) in enumerate(zip(corners, corners[1:], corners[2:], strict=False)):
        rising, falling = (bins >= low) & (bins < top), (bins >= top) & (bins < high)
        filters[row, rising] = (bins[rising] - low) / (top - low)
        filters[row, falling] = (high - bins[falling]) / (high - top)
    return filters

"""Read audio files as waveforms: float32, mono, 16 kHz, whole or in blocks."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from talkhead.errors import TalkheadError
from talkhead.media import ffmpeg
from talkhead.media.files import check_input, native_name, replacing
from talkhead.media.mixdown import HighPass, Mixdown, MixdownMeter
from talkhead.media.rates import SAMPLE_RATE_HZ

Waveform = npt.NDArray[np.float32]

MIN_RATE_HZ, MAX_RATE_HZ = 2_000, 384_000
"""Limits for a file's own sample rate. Speech does not survive below the minimum, and a second's
worth of samples could last hours; no resampler works above the maximum."""
MAX_CHANNELS = 64
"""The channel count of seventh-order ambisonics; no recording has more."""

_BLOCK_S = 4  # decoded at a time; does not affect the result
_BLOCK_BYTES = 1 << 25  # upper limit, for files with many channels
# WAV, RF64 and FLAC, which soundfile reads exactly and fast. It reads other formats too, but does
# not report damage in them, and could disagree on the length with ffmpeg, which encodes the output.
_SOUNDFILE_MAGIC = (b"RIFF", b"RF64", b"fLaC")
# A file may be this much shorter than it declares: containers count whole packets.
_MAX_MISSING_S = 0.25
# Packets are 20 to 60 ms long; an occasional click is no reason to reject an hour of audio.
_MAX_ERRORS_PER_S = 2
_AU_HEADER = struct.Struct(">4sIIIII")  # magic, offset, size, encoding, rate, channels


@dataclass(frozen=True)
class AudioInfo:
    """Measurements of a decoded audio file.

    `duration_s` is exact, at the file's own rate; `num_samples`, `rms` and `peak` describe the
    waveform at 16 kHz.
    """

    path: Path
    duration_s: Fraction
    num_samples: int
    rms: float
    peak: float


@dataclass
class _Source:
    """A running decoder: blocks of samples, shape = (n, channels), at the file's own rate."""

    rate_hz: int
    blocks: Iterator[npt.NDArray[np.float32]]
    num_decoded: int = 0


def scan_audio(path: Path) -> AudioInfo:
    """Decode an audio file in bounded memory and measure it.

    Raises:
        TalkheadError: the file is missing, a directory, empty, corrupt or cut off; it has no audio
            stream, no samples, or samples that are not finite; or its sample rate or channel count
            is out of range.
    """
    path = Path(path)
    num_samples, energy, peak = 0, 0.0, 0.0
    mixdown = _mixdown_of(path)
    with _open_source(path) as source:
        for block in _resample(source, mixdown):
            num_samples += len(block)
            energy += float(np.square(block, dtype=np.float64).sum())
            peak = max(peak, float(np.abs(block).max(initial=0.0)))
        duration_s = Fraction(source.num_decoded, source.rate_hz)
    rms = (energy / max(num_samples, 1)) ** 0.5
    return AudioInfo(path, duration_s, num_samples, rms, peak)


def stream_waveform(path: Path, block_samples: int) -> Iterator[Waveform]:
    """Decode an audio file block by block; memory does not grow with its length.

    The audible channels are averaged. If they cancel out, as in stereo whose right channel is the
    left one inverted, the loudest channel is used. A constant offset is filtered out.

    Yields:
        float32, mono, 16 kHz, shape = (block_samples,); the last block may be shorter.

    Raises:
        TalkheadError: as `scan_audio`, before the first block.
    """
    if block_samples < 1:
        raise ValueError(f"block_samples must be at least 1, not {block_samples}")
    rest = np.zeros(0, np.float32)
    path = Path(path)
    mixdown = _mixdown_of(path)
    with _open_source(path) as source:
        for block in _resample(source, mixdown):
            rest = np.concatenate([rest, block])
            num_whole = len(rest) - len(rest) % block_samples
            for start in range(0, num_whole, block_samples):
                yield rest[start : start + block_samples].copy()
            rest = rest[num_whole:]
    if len(rest):
        yield rest.copy()


def read_waveform(path: Path, *, start_s: float = 0.0, duration_s: float | None = None) -> Waveform:
    """Read an audio file, or a part of it.

    Args:
        path: an audio file, or a video with sound.
        start_s: start of the part.
        duration_s: length of the part, which may end early with the file; None reads to the end.

    Returns:
        float32, mono, 16 kHz, shape = (N,): the samples of the whole file's waveform from
        round(start_s * 16000) on.

    Raises:
        TalkheadError: as `scan_audio`; or the audio ends before `start_s`.
    """
    if start_s < 0:
        raise ValueError(f"start_s must be at least 0, not {start_s}")
    start = round(start_s * SAMPLE_RATE_HZ)
    stop = None if duration_s is None else start + round(duration_s * SAMPLE_RATE_HZ)
    parts, position = [], 0
    for block in stream_waveform(path, _BLOCK_S * SAMPLE_RATE_HZ):
        if position + len(block) > start:
            end = len(block) if stop is None else stop - position
            parts.append(block[max(0, start - position) : end])
        position += len(block)
        if stop is not None and position >= stop:
            break
    if not parts:
        raise TalkheadError(
            f"{path} ends at {position / SAMPLE_RATE_HZ:.2f} s; choose an earlier start"
        )
    return np.concatenate(parts)


def write_waveform(path: Path, waveform: Waveform) -> None:
    """Write a mono 16 kHz waveform as 16-bit WAV, replacing an existing file.

    Raises:
        TalkheadError: the folder is missing or not writable.
    """
    with replacing(Path(path)) as temporary:
        name = native_name(temporary)
        soundfile.write(name, waveform, SAMPLE_RATE_HZ, subtype="PCM_16", format="WAV")


def _mixdown_of(path: Path) -> Mixdown:
    """Decode a file once to choose its mixdown; cached, because files are read several times."""
    check_input(path)
    found = path.stat()
    return _measure(path, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))


@lru_cache(maxsize=64)
def _measure(path: Path, _version: tuple[int, ...]) -> Mixdown:
    with _open_source(path) as source:
        meter = MixdownMeter(source.rate_hz)
        for block in source.blocks:
            if not np.isfinite(block).all():
                raise TalkheadError(f"{path} contains NaN or infinite samples; export it again")
            source.num_decoded += len(block)
            meter.add(block)
    if source.num_decoded == 0:
        raise TalkheadError(f"{path} contains no sound (its length is zero); record it again")
    return meter.choose()


def _resample(source: _Source, mixdown: Mixdown) -> Iterator[Waveform]:
    """Mix a source down to one channel and resample it to 16 kHz."""
    stream = soxr.ResampleStream(source.rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
    high_pass = HighPass(source.rate_hz) if mixdown.has_offset else None
    for block in source.blocks:
        source.num_decoded += len(block)
        mono = mixdown.mix(block)
        yield stream.resample_chunk(mono if high_pass is None else high_pass(mono))
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


@contextmanager
def _open_source(path: Path) -> Iterator[_Source]:
    check_input(path)
    with path.open("rb") as file:
        magic = file.read(4)
    if magic in _SOUNDFILE_MAGIC:
        try:
            sound = soundfile.SoundFile(native_name(path))
        except (soundfile.LibsndfileError, TypeError):  # for example an AVI, or a name in .raw
            sound = None
        if sound is not None:
            with sound:
                _check_format(path, sound.samplerate, sound.channels)
                yield _Source(sound.samplerate, _soundfile_blocks(path, sound))
            return
    _, _, listing = ffmpeg.run_ffmpeg(ffmpeg.list_streams_args(path))
    kinds = ffmpeg.stream_kinds(listing)
    if not kinds:
        reason = ffmpeg.first_error(listing)
        raise TalkheadError(
            f"{path} cannot be read as audio ({reason}); copy it again, or convert it"
        )
    if "Audio" not in kinds:
        raise TalkheadError(f"{path} has no audio stream; choose a file with sound")
    # With several streams, the longest may not be the audio.
    declared_s = ffmpeg.declared_duration_s(listing) if kinds == ["Audio"] else None
    if declared_s is not None:
        # Matroska counts from 0 even if the audio starts later; ffmpeg decodes from its start.
        declared_s -= max(ffmpeg.declared_start_s(listing), 0.0)
    with ffmpeg.running_ffmpeg(ffmpeg.read_sound_args(path)) as process:
        header = process.stdout.read(_AU_HEADER.size)
        if len(header) < _AU_HEADER.size:
            raise TalkheadError(f"{path} has no audio that can be decoded; export it again")
        _, offset, _, _, rate_hz, num_channels = _AU_HEADER.unpack(header)
        _check_format(path, rate_hz, num_channels)
        process.stdout.read(offset - _AU_HEADER.size)
        blocks = _ffmpeg_blocks(path, process, rate_hz, num_channels, declared_s)
        yield _Source(rate_hz, blocks)


def _check_format(path: Path, rate_hz: int, num_channels: int) -> None:
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise TalkheadError(
            f"{path} has a sample rate of {rate_hz:,} Hz, outside the supported {MIN_RATE_HZ:,} to"
            f" {MAX_RATE_HZ:,} Hz; export it at 16,000 to 48,000 Hz"
        )
    if not 1 <= num_channels <= MAX_CHANNELS:
        raise TalkheadError(
            f"{path} has {num_channels:,} channels, more than the supported {MAX_CHANNELS}; export"
            " it in mono or stereo"
        )


def _block_samples(rate_hz: int, num_channels: int) -> int:
    """Return how many samples per channel to decode at a time."""
    return min(_BLOCK_S * rate_hz, _BLOCK_BYTES // (4 * num_channels))


def _soundfile_blocks(path: Path, sound: soundfile.SoundFile) -> Iterator[npt.NDArray[np.float32]]:
    num_read = 0
    try:
        count = _block_samples(sound.samplerate, sound.channels)
        while len(block := sound.read(count, np.float32, always_2d=True)):
            num_read += len(block)
            yield block
    except soundfile.LibsndfileError as error:
        reason = error.error_string.removeprefix("Error : ").rstrip(".")
        raise TalkheadError(f"{path} is corrupt ({reason}); copy or export it again") from error
    if num_read:  # a file without samples gets an error of its own
        declared_s = sound.frames / sound.samplerate / _riff_share(path)
        _check_length(path, num_read / sound.samplerate, declared_s)


def _riff_share(path: Path) -> float:
    """Return the fraction of a WAV's declared data that is present; 1 if it declares none."""
    num_bytes = path.stat().st_size
    with path.open("rb") as file:
        if file.read(12)[:4] != b"RIFF":
            return 1.0
        while len(header := file.read(8)) == 8:
            kind, size = struct.unpack("<4sI", header)
            if kind == b"data":
                # Programs that write to a pipe do not know the size, and declare 0 or a huge one.
                is_stated = 0 < size < 0x7FFF_0000
                return min(1.0, (num_bytes - file.tell()) / size) if is_stated else 1.0
            file.seek(size + size % 2, 1)
    return 1.0


def _ffmpeg_blocks(
    path: Path,
    process: ffmpeg.FfmpegProcess,
    rate_hz: int,
    num_channels: int,
    declared_s: float | None,
) -> Iterator[npt.NDArray[np.float32]]:
    num_read = 0
    frame_bytes = 4 * num_channels
    while data := process.stdout.read(_block_samples(rate_hz, num_channels) * frame_bytes):
        samples = np.frombuffer(data[: len(data) // frame_bytes * frame_bytes], ">f4")
        num_read += len(samples) // num_channels
        yield samples.reshape(-1, num_channels).astype(np.float32)
    status, messages = process.wait(), process.stderr_text()
    num_errors = ffmpeg.num_decoding_errors(messages)
    is_damaged = num_errors > 1 + _MAX_ERRORS_PER_S * num_read / rate_hz
    # An Ogg page holds about a second of audio, and ffmpeg skips a page with a wrong checksum.
    if status != 0 or is_damaged or "CRC mismatch" in messages:
        reason = ffmpeg.first_error(messages)
        raise TalkheadError(f"{path} is corrupt ({reason}); copy or export it again")
    _check_length(path, num_read / rate_hz, declared_s or 0.0)


def _check_length(path: Path, duration_s: float, declared_s: float) -> None:
    if declared_s - duration_s > _MAX_MISSING_S:
        raise TalkheadError(
            f"{path} is cut off: only {duration_s:.2f} s of {declared_s:.2f} s can be decoded;"
            " copy or export it again"
        )

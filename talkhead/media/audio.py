"""Sound files to waveforms: float32, mono, 16 kHz, whole or in blocks."""

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
"""Of a file's own samples. Below, nothing of speech is left, and a second of it would become hours;
above, no converter works."""
MAX_CHANNELS = 64
"""Those of ambisonics of the seventh order: no recording has more."""

_BLOCK_S = 4  # decoded at a time; the result does not depend on it
_BLOCK_BYTES = 1 << 25  # at most, for sounds of many channels
# wav, its 64-bit kind and flac: exact, and quick through soundfile. It reads more, but says nothing
# of damage there, and ffmpeg, which makes the output's sound, must agree on the length.
_SOUNDFILE_MAGIC = (b"RIFF", b"RF64", b"fLaC")
# A file may end this much before its stated end: containers count whole packets.
_MAX_MISSING_S = 0.25
# Packets are 20 to 60 ms; a click now and then is no reason to refuse an hour of sound.
_MAX_ERRORS_PER_S = 2
_AU_HEADER = struct.Struct(">4sIIIII")  # magic, offset, size, encoding, rate, channels


@dataclass(frozen=True)
class AudioInfo:
    """What is known of a sound file after it was decoded.

    `duration_s` is exact, at the file's own rate; `num_samples`, `rms` and `peak` are those of
    the waveform at 16 kHz.
    """

    path: Path
    duration_s: Fraction
    num_samples: int
    rms: float
    peak: float


@dataclass
class _Source:
    """A decoder at work: blocks of its samples, shape = (n, channels), at its own rate."""

    rate_hz: int
    blocks: Iterator[npt.NDArray[np.float32]]
    num_decoded: int = 0


def scan_audio(path: Path) -> AudioInfo:
    """Decode a sound file in bounded memory, and measure it.

    Raises:
        TalkheadError: the file is missing, a directory, empty, without a sound stream, without
            samples, corrupt, cut off, has samples that are not finite, or a rate or channels beyond
            those that are read.
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
    """Decode a sound file block by block; memory does not grow with its length.

    The audible channels are averaged. Where they cancel out, as in stereo whose right channel is
    the left one inverted, the loudest is taken. A constant offset is filtered out.

    Yields:
        float32, mono, 16 kHz, shape = (block_samples,); the last may be shorter.

    Raises:
        TalkheadError: as `scan_audio`, before the first block.
    """
    if block_samples < 1:
        raise ValueError(f"a block has at least one sample, not {block_samples}")
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
    """Read a sound file, or a part of it.

    Args:
        path: a sound file, or a video with sound.
        start_s: where the part starts.
        duration_s: its length, cut at the end of the sound; to the end if None.

    Returns:
        float32, mono, 16 kHz, shape = (N,); samples as the whole file has them from
        round(start_s * 16000) on.

    Raises:
        TalkheadError: as `scan_audio`; or the sound ends before `start_s`.
    """
    if start_s < 0:
        raise ValueError(f"sound starts at 0 s, not at {start_s} s")
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
            f"{path} ends at {position / SAMPLE_RATE_HZ:.2f} s; choose a start before that"
        )
    return np.concatenate(parts)


def write_waveform(path: Path, waveform: Waveform) -> None:
    """Write a waveform, mono, 16 kHz, as 16-bit wav; an existing file is replaced.

    Raises:
        TalkheadError: the folder is missing or cannot be written to.
    """
    with replacing(Path(path)) as temporary:
        name = native_name(temporary)
        soundfile.write(name, waveform, SAMPLE_RATE_HZ, subtype="PCM_16", format="WAV")


def _mixdown_of(path: Path) -> Mixdown:
    """Decode a file once to choose its mixdown, and remember it: files are read several times."""
    check_input(path)
    found = path.stat()
    return _measure(path, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))


@lru_cache(maxsize=64)
def _measure(path: Path, _version: tuple[int, ...]) -> Mixdown:
    with _open_source(path) as source:
        meter = MixdownMeter(source.rate_hz)
        for block in source.blocks:
            if not np.isfinite(block).all():
                raise TalkheadError(
                    f"{path} has samples that are not numbers (NaN or infinite); export it again"
                )
            source.num_decoded += len(block)
            meter.add(block)
    if source.num_decoded == 0:
        raise TalkheadError(f"{path} has no sound in it (its length is zero); record it again")
    return meter.choose()


def _resample(source: _Source, mixdown: Mixdown) -> Iterator[Waveform]:
    """Bring a file's samples to one channel and to 16 kHz."""
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
        except (soundfile.LibsndfileError, TypeError):  # an avi for example; or named .raw
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
            f"{path} cannot be read as sound ({reason}); copy it again, or convert it"
        )
    if "Audio" not in kinds:
        raise TalkheadError(f"{path} has no sound in it; name a file with a sound stream")
    # Of several streams, the longest may not be the sound.
    declared_s = ffmpeg.declared_duration_s(listing) if kinds == ["Audio"] else None
    if declared_s is not None:
        # Matroska counts from 0, whenever the sound begins; ffmpeg decodes from the beginning.
        declared_s -= max(ffmpeg.declared_start_s(listing), 0.0)
    with ffmpeg.running_ffmpeg(ffmpeg.read_sound_args(path)) as process:
        header = process.stdout.read(_AU_HEADER.size)
        if len(header) < _AU_HEADER.size:
            raise TalkheadError(f"{path} has no sound that can be decoded; export it again")
        _, offset, _, _, rate_hz, num_channels = _AU_HEADER.unpack(header)
        _check_format(path, rate_hz, num_channels)
        process.stdout.read(offset - _AU_HEADER.size)
        blocks = _ffmpeg_blocks(path, process, rate_hz, num_channels, declared_s)
        yield _Source(rate_hz, blocks)


def _check_format(path: Path, rate_hz: int, num_channels: int) -> None:
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise TalkheadError(
            f"{path} has {rate_hz:,} samples a second; from {MIN_RATE_HZ:,} to {MAX_RATE_HZ:,} can"
            " be read: export it at 16,000 or more"
        )
    if not 1 <= num_channels <= MAX_CHANNELS:
        raise TalkheadError(
            f"{path} has {num_channels:,} channels, at most {MAX_CHANNELS} can be read: export it"
            " in mono or stereo"
        )


def _block_samples(rate_hz: int, num_channels: int) -> int:
    """How many samples of every channel are decoded at a time."""
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
    if num_read:  # else there is nothing whose share could be told
        declared_s = sound.frames / sound.samplerate / _riff_share(path)
        _check_length(path, num_read / sound.samplerate, declared_s)


def _riff_share(path: Path) -> float:
    """The share of a wav's stated data that is there: 1 if all is, or nothing is stated."""
    num_bytes = path.stat().st_size
    with path.open("rb") as file:
        if file.read(12)[:4] != b"RIFF":
            return 1.0
        while len(header := file.read(8)) == 8:
            kind, size = struct.unpack("<4sI", header)
            if kind == b"data":
                # Programs that write to a pipe do not know the size: they state 0 or a huge one.
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
    # An ogg page that fails its checksum is about a second of sound, and ffmpeg goes on without.
    if status != 0 or is_damaged or "CRC mismatch" in messages:
        reason = ffmpeg.first_error(messages)
        raise TalkheadError(f"{path} is corrupt ({reason}); copy or export it again")
    _check_length(path, num_read / rate_hz, declared_s or 0.0)


def _check_length(path: Path, duration_s: float, declared_s: float) -> None:
    if declared_s - duration_s > _MAX_MISSING_S:
        raise TalkheadError(
            f"{path} is cut off: {duration_s:.2f} s of {declared_s:.2f} s can be decoded;"
            " copy or export it again"
        )

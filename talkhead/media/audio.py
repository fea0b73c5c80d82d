"""Decode audio files at their own rate, block by block, and write waveforms."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from talkhead.atomic import replacing
from talkhead.errors import TalkheadError
from talkhead.media import ffmpeg
from talkhead.media.files import check_input, native_name
from talkhead.media.rates import SAMPLE_RATE_HZ
from talkhead.media.tracks import Track, choose_sound, parse_tracks

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
class Source:
    """Sound at its own rate and with its own channels, in blocks of shape (n, channels).

    Attributes:
        rate_hz: samples per second.
        num_channels: number of channels.
        blocks: decodes from the start; raises TalkheadError where the sound is damaged.
        can_repeat: whether `blocks` may be called more than once.
        track: which of the file's sound tracks it is, from 0.
    """

    rate_hz: int
    num_channels: int
    blocks: Callable[[], Iterator[Waveform]]
    can_repeat: bool = True
    track: int = 0


def write_waveform(path: Path, waveform: Waveform) -> None:
    """Write a mono 16 kHz waveform as 16-bit WAV, replacing an existing file.

    Raises:
        TalkheadError: the folder is missing or not writable.
    """
    with replacing(Path(path)) as temporary:
        name = native_name(temporary)
        soundfile.write(name, waveform, SAMPLE_RATE_HZ, subtype="PCM_16", format="WAV")


@contextmanager
def open_source(path: Path, track: str | None = None) -> Iterator[Source]:
    """Open an audio file, or a video with sound, for decoding.

    Args:
        path: the file.
        track: which sound track, as for `choose_sound`.

    Raises:
        TalkheadError: the file is missing, a directory, empty or corrupt; it has no audio stream,
            or not the wanted one; or its sample rate or channel count is out of range.
    """
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
                choose_sound([Track(0, "Audio", "")], track, path)
                _check_format(path, sound.samplerate, sound.channels)
                blocks = partial(_soundfile_blocks, path, sound)
                yield Source(sound.samplerate, sound.channels, blocks)
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
    number = choose_sound(parse_tracks(listing), track, path)
    with ffmpeg.running_ffmpeg(ffmpeg.read_sound_args(path, number)) as process:
        header = process.stdout.read(_AU_HEADER.size)
        if len(header) < _AU_HEADER.size:
            raise TalkheadError(f"{path} has no audio that can be decoded; export it again")
        _, offset, _, _, rate_hz, num_channels = _AU_HEADER.unpack(header)
        _check_format(path, rate_hz, num_channels)
        process.stdout.read(offset - _AU_HEADER.size)
        blocks = partial(_ffmpeg_blocks, path, process, rate_hz, num_channels, declared_s)
        yield Source(rate_hz, num_channels, blocks, can_repeat=False, track=number)


def array_source(samples: Waveform, rate_hz: int) -> Source:
    """Return samples in memory, (N,) or (N, channels), as a source."""
    columns = samples.reshape(len(samples), -1)
    num_channels = columns.shape[1]
    size = block_samples(rate_hz, num_channels)

    def blocks() -> Iterator[Waveform]:
        return (columns[start : start + size] for start in range(0, len(columns), size))

    return Source(rate_hz, num_channels, blocks)


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


def block_samples(rate_hz: int, num_channels: int) -> int:
    """Return how many samples per channel to decode at a time."""
    return min(_BLOCK_S * rate_hz, _BLOCK_BYTES // (4 * num_channels))


def _soundfile_blocks(path: Path, sound: soundfile.SoundFile) -> Iterator[Waveform]:
    num_read = 0
    try:
        sound.seek(0)
        count = block_samples(sound.samplerate, sound.channels)
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
) -> Iterator[Waveform]:
    num_read = 0
    frame_bytes = 4 * num_channels
    while data := process.stdout.read(block_samples(rate_hz, num_channels) * frame_bytes):
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

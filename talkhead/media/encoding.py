"""Build ffmpeg's arguments for the videos that talkhead writes; nothing is run here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from talkhead.media import ffmpeg
from talkhead.media.containers import MOV, MP4, MP4_KEYS, Container
from talkhead.media.kept_streams import KeptStreams, KeptTrack, track_args
from talkhead.media.kinds import demuxer_of
from talkhead.media.picture_encoding import (
    ENCODER_PRESET,
    NUM_ENCODER_THREADS,
    TO_BT709,
    picture_args,
    raw_input_args,
)

__all__ = ["ENCODER_PRESET", "NUM_ENCODER_THREADS", "TO_BT709", "write_video_args"]

SOUND_BITRATE = "192k"
OPUS_BITRATE = "128k"
_AAC_RATES_HZ = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
MAX_AAC_RATE_HZ = _AAC_RATES_HZ[-1]
"""Limit for a video's audio: phones and browsers play no higher rate."""
# Each encoder supports these layouts; any other is mixed to the nearest. Rates likewise: AAC
# supports higher ones, but phones do not play them.
_SOUND_FORMATS = {
    "aac": (
        SOUND_BITRATE,
        f"sample_rates={'|'.join(map(str, _AAC_RATES_HZ))}"
        ":channel_layouts=mono|stereo|3.0|4.0|5.0|5.1|7.1",
    ),
    "libopus": (
        OPUS_BITRATE,
        "sample_rates=48000:channel_layouts=mono|stereo|3.0|quad|5.0|5.1|7.1",
    ),
}
PEAK = 0.98
"""A mix is held below this part of full scale."""
_LIMITER = f"alimiter=limit={PEAK}:level=0:latency=1"
FRAGMENT_S = 1
KEY_FRAME_S = 30
"""Longest distance between key frames. A still background jumps slightly at each one."""


@dataclass(frozen=True)
class BackgroundSound:
    """An old sound that is mixed under the new voice.

    Attributes:
        path: the file that has it.
        track: which of its sound tracks, from 0.
        lowered_db: by how much it is lowered.
        is_mono: whether it has one channel.
        voice_is_mono: whether the voice has one.
    """

    path: Path
    track: int
    lowered_db: float
    is_mono: bool
    voice_is_mono: bool


@dataclass(frozen=True)
class Voice:
    """One of several sounds that are mixed.

    Attributes:
        path: the file that has it.
        track: which of its sound tracks, from 0.
        is_mono: whether it has one channel.
    """

    path: Path
    track: int
    is_mono: bool


def write_video_args(
    target: Path | None,
    *,
    size: tuple[int, int],
    fps: Fraction,
    crf: int,
    sound: Path | None,
    copy_sound: bool,
    metadata: Mapping[str, str],
    sound_track: int = 0,
    background: BackgroundSound | None = None,
    kept: KeptStreams | None = None,
    container: Container = MP4,
    has_alpha: bool = False,
    voices: Sequence[Voice] = (),
) -> list[str]:
    """Encode raw RGB from stdin and an audio file: by default to mp4, H.264 in yuv420p and AAC.

    `sound_track` counts from 0 among those of the file. `kept` is what else goes into the file.
    With `has_alpha`, stdin has RGBA, and the container keeps the transparency. `voices` are mixed
    if there are several; the first of them is `sound`.

    Without a target, the mp4 goes to stdout in fragments of frames and their audio. Each fragment
    starts with a key frame and is at most about `FRAGMENT_S` long.

    The last column or row of an odd size is dropped, because yuv420p needs even sizes. Colours are
    BT.709 and tagged as such. Nothing in the file depends on the date or the number of cores.
    """
    args = [*ffmpeg.common_args(), *raw_input_args(size, fps, has_alpha=has_alpha)]
    encoder = container.voice or ""
    if sound is not None:
        given, voice, is_mixed = _sound_inputs(sound, sound_track, voices, background, kept)
        args += given
        if kept is None:
            args += ["-map", "0:v:0", "-map", voice]
            args += sound_args(copy_sound=copy_sound, is_filtered=is_mixed, encoder=encoder)
        else:
            for index, track in enumerate(kept.tracks):
                args += _mapped(index, track, voice, copy_sound, is_mixed, encoder)
            args += track_args(kept.tracks)
    if kept is None:
        args += ["-map_metadata", "-1", "-map_chapters", "-1"]
    else:
        # Metadata of chapters alone comes with them.
        args += ["-map_metadata:g", "-1", "-map_metadata:s", "-1"]
        args += ["-map_chapters", "2" if kept.num_chapters else "-1"]
        args += ["-t", f"{kept.duration_s:.6f}"]
        metadata = {**kept.tags, **metadata}
    key_frame_s = FRAGMENT_S if target is None else KEY_FRAME_S
    args += picture_args(
        container, size=size, fps=fps, crf=crf, key_frame_s=key_frame_s, has_alpha=has_alpha
    )
    args += ["-flags:v", "+bitexact", "-fflags", "+bitexact"]
    for key, value in metadata.items():
        args += ["-metadata", f"{key}={value}"]
    # QuickTime's older boxes hold no description.
    is_readable = container is not MOV and set(metadata) <= MP4_KEYS
    tags = "" if is_readable else "+use_metadata_tags"
    if target is None:
        # AAC starts before time 0; only a header that waits for the first fragment can record that.
        fragments = f"+frag_keyframe+empty_moov+delay_moov+default_base_moof{tags}"
        if copy_sound:
            # Raw AAC (ADTS) has to be converted; for an mp4 in one piece, ffmpeg does so itself.
            args += ["-bsf:a", "aac_adtstoasc"]
        return [*args, "-movflags", fragments, "-f", "mp4", "pipe:1"]
    if container in (MP4, MOV):
        args += ["-movflags", f"+faststart{tags}"]
    return [*args, "-f", container.muxer, "-y", ffmpeg.input_name(target)]


def _sound_inputs(
    sound: Path,
    sound_track: int,
    voices: Sequence[Voice],
    background: BackgroundSound | None,
    kept: KeptStreams | None,
) -> tuple[list[str], str, bool]:
    """Return the inputs after the picture, the name of the sound to write, and if it is mixed.

    Input 1 is the sound, 2 the original video if it is needed, and the other voices follow.
    """
    args, filters = ffmpeg.input_args(sound), list[str]()
    voice = f"1:a:{sound_track}"
    original = None if kept is None else kept.path
    if background is not None:
        original = background.path
    if original is not None:
        args += ffmpeg.input_args(original, demuxer_of(original))
    if len(voices) > 1:
        labels = [voice]
        for number, other in enumerate(voices[1:], 2 if original is None else 3):
            args += ffmpeg.input_args(other.path)
            labels.append(f"{number}:a:{other.track}")
        filters.append(f"{voices_filter(labels, voices)}[voices]")
        voice = "voices"
    if background is not None:
        filters.append(f"{mix_filter(voice, f'2:a:{background.track}', background)}[mix]")
        voice = "mix"
    if not filters:
        return args, voice, False
    return [*args, "-filter_complex", ";".join(filters)], f"[{voice}]", True


def _mapped(
    index: int, track: KeptTrack, voice: str, copy_voice: bool, is_mixed: bool, encoder: str
) -> list[str]:
    """Return the arguments that put a track into the output."""
    if track.source == "picture":
        return ["-map", "0:v:0"]
    if track.source == "voice":
        chosen = sound_args(
            copy_sound=copy_voice, stream=f"{index}", is_filtered=is_mixed, encoder=encoder
        )
        return ["-map", voice, *chosen]
    source = ["-map", f"2:{track.number}"]
    if track.kind == "Audio":
        is_copied = track.encoder == "copy"
        return [
            *source,
            *sound_args(copy_sound=is_copied, stream=f"{index}", encoder=encoder),
        ]
    return [*source, f"-c:{index}", track.encoder]


def mix_filter(voice: str, under: str, background: BackgroundSound) -> str:
    """Return the filters that mix a lowered sound under a voice, as long as the voice.

    Args:
        voice: label of the voice.
        under: label of the other sound.
        background: by how much to lower it, and the channels of both.
    """
    is_mono = background.is_mono and background.voice_is_mono
    spoken = _prepared(voice, is_mono=background.voice_is_mono, mix_is_mono=is_mono)
    lowered = _prepared(under, is_mono=background.is_mono, mix_is_mono=is_mono)
    return (
        f"{spoken}[voice];"
        f"{lowered},volume={-background.lowered_db:g}dB[under];"
        f"[voice][under]amix=inputs=2:duration=first:normalize=0,{_LIMITER}"
    )


def voices_filter(labels: Sequence[str], voices: Sequence[Voice]) -> str:
    """Return the filters that mix voices at their own levels, as long as the longest.

    Args:
        labels: those of the voices.
        voices: their channels count.
    """
    is_mono = all(voice.is_mono for voice in voices)
    parts = [
        f"{_prepared(label, is_mono=voice.is_mono, mix_is_mono=is_mono)}[voice{number}];"
        for number, (label, voice) in enumerate(zip(labels, voices, strict=True))
    ]
    names = "".join(f"[voice{number}]" for number in range(len(voices)))
    mixed = f"amix=inputs={len(voices)}:duration=longest:normalize=0,{_LIMITER}"
    return f"{''.join(parts)}{names}{mixed}"


def _prepared(label: str, *, is_mono: bool, mix_is_mono: bool) -> str:
    """Return the filters that give a sound the format of a mix; both flags are about mono."""
    # ffmpeg would make a mono sound 3 dB quieter on two channels.
    spread = ",pan=stereo|c0=c0|c1=c0" if is_mono and not mix_is_mono else ""
    rate = f"aformat=sample_fmts=fltp:sample_rates={MAX_AAC_RATE_HZ}"
    timed = f"[{label}]aresample=async=1:first_pts=0,{rate}"
    return f"{timed}{spread},aformat=channel_layouts={'mono' if mix_is_mono else 'stereo'}"


def sound_args(
    *, copy_sound: bool, stream: str = "a", is_filtered: bool = False, encoder: str = "aac"
) -> list[str]:
    """Return the arguments that copy a sound, or encode it.

    Args:
        copy_sound: whether the sound is copied.
        stream: which streams of the output they are for.
        is_filtered: whether the sound comes out of filters, in a format that all encoders support.
        encoder: ffmpeg's name: aac, libopus, or one for PCM, which takes any format.
    """
    if copy_sound:
        return [f"-c:{stream}", "copy"]
    if encoder not in _SOUND_FORMATS:
        return [f"-c:{stream}", encoder, f"-flags:{stream}", "+bitexact"]
    bitrate, formats = _SOUND_FORMATS[encoder]
    return [
        *(f"-c:{stream}", encoder, f"-b:{stream}", bitrate),
        *(() if is_filtered else (f"-filter:{stream}", f"aformat={formats}")),
        *(f"-flags:{stream}", "+bitexact"),
    ]

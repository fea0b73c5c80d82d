"""Build ffmpeg's arguments for the videos that talkhead writes: pure functions, run elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

from talkhead.media import ffmpeg
from talkhead.media.picture_format import SCALE_FLAGS

# x264's output depends on the number of threads; a fixed number makes it the same everywhere.
NUM_ENCODER_THREADS = 8
ENCODER_PRESET = "veryfast"
SOUND_BITRATE = "192k"
_AAC_RATES_HZ = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
MAX_AAC_RATE_HZ = _AAC_RATES_HZ[-1]
"""Limit for a video's audio: phones and browsers play no higher rate."""
FRAGMENT_S = 1
KEY_FRAME_S = 30
"""Longest distance between key frames. A still background jumps slightly at each one."""

TO_BT709 = (
    f"scale=out_color_matrix=bt709:out_range=tv:{SCALE_FLAGS}",
    "format=yuv420p",
    "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv",
)

# Keys that mp4 has boxes for; other keys need a more general, less readable box.
MP4_KEYS = frozenset(
    ("album", "artist", "comment", "composer", "copyright", "date", "description", "genre", "title")
)


def write_video_args(
    target: Path | None,
    *,
    size: tuple[int, int],
    fps: Fraction,
    crf: int,
    sound: Path | None,
    copy_sound: bool,
    metadata: Mapping[str, str],
) -> list[str]:
    """Encode raw RGB from stdin and an audio file to mp4: H.264 in yuv420p, AAC, faststart.

    Without a target, the mp4 goes to stdout in fragments of frames and their audio. Each fragment
    starts with a key frame and is at most about `FRAGMENT_S` long.

    The last column or row of an odd size is dropped, because yuv420p needs even sizes. Colours are
    BT.709 and tagged as such. Nothing in the file depends on the date or the number of cores.
    """
    width, height = size
    picture_filters = (f"crop={width - width % 2}:{height - height % 2}:0:0", *TO_BT709)
    args = [
        *ffmpeg.common_args(),
        *("-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}"),
        *("-framerate", ffmpeg.rate_text(fps), "-i", "pipe:0"),
    ]
    if sound is not None:
        args += [*ffmpeg.input_args(sound), "-map", "0:v:0", "-map", "1:a:0"]
        args += sound_args(copy_sound=copy_sound)
    args += ["-map_metadata", "-1", "-map_chapters", "-1"]
    args += ["-c:v", "libx264", "-preset", ENCODER_PRESET, "-crf", str(crf)]
    key_frame_s = FRAGMENT_S if target is None else KEY_FRAME_S
    args += ["-g:v", str(math.ceil(fps * key_frame_s))]
    args += ["-threads:v", str(NUM_ENCODER_THREADS), "-vf", ",".join(picture_filters)]
    args += ["-flags:v", "+bitexact", "-fflags", "+bitexact"]
    for key, value in metadata.items():
        args += ["-metadata", f"{key}={value}"]
    tags = "" if set(metadata) <= MP4_KEYS else "+use_metadata_tags"
    if target is None:
        # AAC starts before time 0; only a header that waits for the first fragment can record that.
        fragments = f"+frag_keyframe+empty_moov+delay_moov+default_base_moof{tags}"
        if copy_sound:
            # Raw AAC (ADTS) has to be converted; for an mp4 in one piece, ffmpeg does so itself.
            args += ["-bsf:a", "aac_adtstoasc"]
        return [*args, "-movflags", fragments, "-f", "mp4", "pipe:1"]
    return [*args, "-movflags", f"+faststart{tags}", "-f", "mp4", "-y", ffmpeg.input_name(target)]


def sound_args(*, copy_sound: bool) -> list[str]:
    """Return the arguments that copy AAC, or encode any other sound to it."""
    if copy_sound:
        return ["-c:a", "copy"]
    # AAC supports these layouts; any other is mixed to the nearest. Rates likewise: AAC supports
    # higher ones, but phones do not play them.
    rates = "|".join(str(rate_hz) for rate_hz in _AAC_RATES_HZ)
    formats = f"aformat=sample_rates={rates}:channel_layouts=mono|stereo|3.0|4.0|5.0|5.1|7.1"
    return ["-c:a", "aac", "-b:a", SOUND_BITRATE, "-af", formats, "-flags:a", "+bitexact"]

"""Synthetic speech with its phonemes from espeak-ng, deterministic for each sentence."""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from talkhead.errors import TalkheadError

SERVER = Path(__file__).with_name("espeak_server.py")


@dataclass(frozen=True)
class Voice:
    """How to speak a sentence.

    Attributes:
        name: espeak-ng language, with or without a variant: en, de+f3.
        words_per_minute: 80 to 450.
        pitch: 0 to 99.
        liveliness: pitch range, 0 to 99.
    """

    name: str
    words_per_minute: int = 175
    pitch: int = 50
    liveliness: int = 50


@dataclass(frozen=True)
class Utterance:
    """A spoken sentence.

    Attributes:
        waveform: float32 (N,) in [-1, 1].
        rate_hz: sampling rate of the waveform.
        phonemes: symbols of the International Phonetic Alphabet; "" for a pause.
        starts_s: float64, start of each phoneme, seconds.
    """

    waveform: npt.NDArray[np.float32]
    rate_hz: int
    phonemes: tuple[str, ...]
    starts_s: npt.NDArray[np.float64]


def speak(text: str, voice: Voice) -> Utterance:
    """Synthesise a sentence.

    Raises:
        TalkheadError: espeak-ng is missing or broken, or has no such voice.
    """
    process = _server(os.getpid())
    assert process.stdin is not None
    assert process.stdout is not None
    request = [text, voice.name, voice.words_per_minute, voice.pitch, voice.liveliness]
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        _server.cache_clear()
        raise TalkheadError("the espeak-ng process has stopped: run the command again")
    answer = json.loads(line)
    if "error" in answer:
        raise TalkheadError(answer["error"])
    sound = process.stdout.read(2 * answer["num_samples"])
    return Utterance(
        np.frombuffer(sound, np.int16).astype(np.float32) / 32768,
        answer["rate_hz"],
        tuple(symbol for _, symbol in answer["events"]),
        np.array([sample for sample, _ in answer["events"]], np.float64) / answer["rate_hz"],
    )


@functools.cache
def _server(process_id: int) -> subprocess.Popen[bytes]:
    """Return the server of this process; a forked worker starts its own."""
    if not hasattr(os, "fork"):
        raise TalkheadError(
            "synthetic speech needs forked processes, which Windows does not support"
        )
    try:
        import espeakng_loader
    except ImportError as error:
        raise TalkheadError(
            "synthetic speech needs espeak-ng: install `talkhead[train]`, or espeakng-loader"
        ) from error
    files = espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
    # -I and -S isolate the server from the environment and from installed packages.
    command = [sys.executable, "-I", "-S", str(SERVER), *map(str, files)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    atexit.register(_stop, process, process_id)
    return process


def _stop(process: subprocess.Popen[bytes], owner_id: int) -> None:
    if os.getpid() == owner_id:
        process.communicate()

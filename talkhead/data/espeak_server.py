"""Speech server: sentences in, sound and phonemes out, using the espeak-ng library.

The library reports when each phoneme begins, which the espeak-ng command does not. It keeps state
between sentences, so repeating a sentence sounds slightly different. Each sentence is therefore
spoken by a fork of a process that has not spoken yet. The server runs as a script that uses only
the standard library, which keeps forks cheap.

Requests are lines of JSON: [text, voice, words per minute, pitch, range]. A response is a line of
JSON, {"error": ...} or {"rate_hz", "num_samples", "events"}, followed by that many int16 samples.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

_SYNCHRONOUS = 2
_PHONEMES_IN_IPA = 0x0001 | 0x0002
_NEVER_EXIT = 0x8000
_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_EVENT_END, _EVENT_PHONEME = 0, 7


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


def _speak(
    library: ctypes.CDLL, text: str, voice: str, rate: int, pitch: int, spread: int
) -> tuple[dict[str, Any], bytes]:
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        return {"error": f"espeak-ng has no voice {voice}"}, b""
    for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, spread)):
        library.espeak_SetParameter(parameter, value, 0)
    parts: list[bytes] = []
    found: list[tuple[int, str]] = []

    def receive(samples: Any, count: int, events: Any) -> int:
        if samples and count:
            parts.append(ctypes.string_at(samples, 2 * count))
        index = 0
        while events[index].type != _EVENT_END:
            if events[index].type == _EVENT_PHONEME:
                symbol = events[index].id.string.decode("utf-8", "ignore")
                found.append((events[index].sample, symbol))
            index += 1
        return 0

    callback = _CALLBACK(receive)
    library.espeak_SetSynthCallback(callback)
    encoded = text.encode()
    library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    sound = b"".join(parts)
    return {"num_samples": len(sound) // 2, "events": found}, sound


def _serve(name: str, data: str) -> None:
    library = ctypes.CDLL(name)
    options = _PHONEMES_IN_IPA | _NEVER_EXIT
    rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), options)
    out = sys.stdout.buffer
    for line in sys.stdin:
        if rate_hz <= 0:
            answer, sound = {"error": f"{name} does not start: reinstall espeakng-loader"}, b""
        else:
            child = os.fork()
            if child:
                _, status = os.waitpid(child, 0)
                if status == 0:
                    continue
                answer, sound = {"error": "espeak-ng crashed: run the command again"}, b""
            else:
                answer, sound = _speak(library, *json.loads(line))
                answer["rate_hz"] = rate_hz
        out.write(json.dumps(answer).encode() + b"\n" + sound)
        out.flush()
        if rate_hz > 0 and not child:
            os._exit(0)


if __name__ == "__main__":
    _serve(*sys.argv[1:])

"""Measure a live face: the delay of its frames, and how many are dropped, in real time."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from talkhead.jobs.live import LiveLoop
from talkhead.media.live_source import LiveSource
from talkhead.media.live_video import EncodedWriter
from talkhead.media.pcm_stream import PcmFormat
from talkhead.media.rates import DEFAULT_FPS, SAMPLE_RATE_HZ
from talkhead.pipelines.live_stream import FaceStream
from talkhead.pipelines.stages import PictureFace

if TYPE_CHECKING:
    from talkhead.evaluation.benchmark import Input
    from talkhead.pipelines.base import FacePipeline

BLOCK_S = 0.02
"""A microphone sends blocks of this length."""


def time_live(pipeline: FacePipeline, source: Input) -> dict[str, Any]:
    """Feed a sound in real time through a pipe, as `talkhead live` gets it, and time the frames.

    A frame's latency is the time from the moment that it shows, in the middle of its sound, until
    the encoder has it. Repeated frames have none: they count as dropped.

    Args:
        pipeline: the networks.
        source: a picture and a sound.

    Returns:
        frames, dropped, and of the latencies in milliseconds the median, the 95 % quantile and the
        maximum.
    """
    waveform = source.clip.waveform()
    with _stream(pipeline, source) as stream:  # warm up
        for _ in stream.push(waveform[:SAMPLE_RATE_HZ]):
            pass
    reading, writing = os.pipe()
    started_s: list[float] = []
    data = np.round(waveform * 32767).astype("<i2").tobytes()
    feeder = threading.Thread(target=_feed, args=(writing, data, started_s))
    latencies_ms: list[float] = []

    def note(number: int, is_new: bool) -> None:
        if is_new:
            moment_s = float((number + 0.5) / DEFAULT_FPS)
            latencies_ms.append(1000 * (time.monotonic() - started_s[0] - moment_s))

    height, width = source.picture.shape[:2]
    try:
        with _stream(pipeline, source) as stream, Path(os.devnull).open("wb") as sink:
            writer = EncodedWriter(
                sink,
                output_format="mp4",
                size=(width - width % 2, height - height % 2),
                fps=DEFAULT_FPS,
                rate_hz=SAMPLE_RATE_HZ,
                num_channels=1,
            )
            with writer:
                feeder.start()
                sound = LiveSource(reading, PcmFormat(SAMPLE_RATE_HZ))
                report = LiveLoop(sound, stream, writer, on_frame=note).run()
    finally:
        os.close(reading)
        feeder.join()
    median, most, worst = np.percentile(latencies_ms, [50, 95, 100])
    return {
        "frames": report.frames,
        "dropped": report.dropped,
        "latency_ms": {
            "median": round(float(median)),
            "95%": round(float(most)),
            "maximum": round(float(worst)),
        },
    }


def _stream(pipeline: FacePipeline, source: Input) -> FaceStream:
    face = PictureFace(source.picture, source.mesh)
    return FaceStream(pipeline, face, fps=DEFAULT_FPS, sampling_rate=SAMPLE_RATE_HZ)


def _feed(descriptor: int, data: bytes, started_s: list[float]) -> None:
    """Write samples at the pace at which a microphone records them."""
    size = 2 * round(BLOCK_S * SAMPLE_RATE_HZ)
    started_s.append(time.monotonic())
    with suppress(BrokenPipeError), os.fdopen(descriptor, "wb", buffering=0) as pipe:
        for start in range(0, len(data), size):
            due_s = started_s[0] + (start + size) / (2 * SAMPLE_RATE_HZ)
            time.sleep(max(due_s - time.monotonic(), 0))
            pipe.write(data[start : start + size])

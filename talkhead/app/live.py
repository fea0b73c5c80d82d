"""A face that speaks while a visitor does: sound comes in one event, frames leave in another."""

from __future__ import annotations

import base64
import io
import queue
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
import numpy.typing as npt
import soundfile
from PIL import Image

from talkhead.app.handlers import Handlers, takes_choices
from talkhead.app.limits import check_face
from talkhead.app.request import Choices, face_of, job_of
from talkhead.app.studio import Studio
from talkhead.errors import TalkheadError
from talkhead.jobs.pose_source import is_video
from talkhead.media.picture import read_picture
from talkhead.media.sizes import SizeLimit

if TYPE_CHECKING:
    from talkhead.pipelines.live_stream import FaceStream

Samples = npt.NDArray[np.float32]
Chunk = tuple[int, Samples]
"""Samples per second, and (N,), mono."""

MAX_SIDE_PX = 512
"""Larger frames are scaled down: each one travels to the browser."""
QUALITY = 80
CHUNK_S = 0.1
"""Sound that the browser sends at a time."""
MAX_CHUNKS = 50
"""Sound that may wait, while the face is being found; older sound is dropped."""
BEHIND_S = 0.25
"""If more sound waits, only the newest frame is rendered."""
SILENCE_S = 15.0
"""Without sound for so long, a microphone is taken to be closed."""
STARTING = '<div class="state">Finding the face</div>'
SPEAK = '<div class="state">Speak: the face follows</div>'
OVER = '<div class="state">The microphone is closed</div>'


@dataclass
class _Visit:
    """The sound that a visitor has sent."""

    chunks: queue.Queue[Chunk] = field(default_factory=lambda: queue.Queue(MAX_CHUNKS))
    is_over: threading.Event = field(default_factory=threading.Event)


class LiveHandlers:
    """Serves the events of the live tab.

    Args:
        studio: lends its pipelines.
        handlers: note whose files a face is.
    """

    def __init__(self, studio: Studio, handlers: Handlers) -> None:
        self._studio, self._handlers = studio, handlers
        self._visits: dict[str, _Visit] = {}

    @takes_choices
    def show(
        self,
        picture: str | None = None,
        video: str | None = None,
        choices: Choices | None = None,
        request: gr.Request | None = None,
    ) -> Generator[tuple[Any, ...], None, None]:
        """Yield the newest frame, as the address of a JPEG, and the state, until the sound ends."""
        with self._handlers.visit(request, picture, video), self._visit(request) as visit:
            face = face_of(picture, video)
            check_face(face, self._studio.limits)
            yield "", STARTING
            with self._studio.borrowed_pipeline() as pipeline:
                first = _next(visit)
                if first is None:
                    yield "", OVER
                    return
                job = job_of(face, face, Path("-"), "live", choices or Choices())
                limit = SizeLimit.parse(str(min(job.max_size.side_px, MAX_SIDE_PX)))
                image = face if is_video(face) else read_picture(face, limit=limit).pixels
                with pipeline.stream(
                    image,
                    sampling_rate=first[0],
                    fps=job.fps,
                    seed=job.seed,
                    choose=job.choose,
                    pose_strength=job.pose_strength,
                    expression_strength=job.expression_strength,
                    blink_per_minute=job.blink_per_minute,
                    emotion=job.emotion,
                ) as stream:
                    shown = ""
                    for frame in self._frames(stream, visit, first):
                        shown = address_of(frame)
                        yield shown, SPEAK
            yield shown, OVER

    def hear(self, name: str | None, request: gr.Request) -> None:
        """Take sound from a visitor's microphone; without a face that waits for it, it is lost.

        gradio stores each piece of sound as a file, which is deleted here.
        """
        chunk = None if name is None else self._read(Path(name))
        visit = self._visits.get(request.session_hash or "")
        if visit is None or chunk is None:
            return
        try:
            visit.chunks.put_nowait(chunk)
        except queue.Full:
            with suppress(queue.Empty):
                visit.chunks.get_nowait()
            visit.chunks.put_nowait(chunk)

    def stop(self, request: gr.Request) -> str:
        """End the face of a visitor who has closed the microphone, and return the state.

        The browser may have ended the connection on which `show` would say so.
        """
        if visit := self._visits.get(request.session_hash or ""):
            visit.is_over.set()
        return OVER

    def _read(self, path: Path) -> Chunk | None:
        """Read a file of sound once; None if an equal one of another visitor was read already."""
        try:
            samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError):
            return None
        finally:
            self._studio.storage.delete(path)
        return rate_hz, samples.mean(axis=1)

    def _frames(
        self, stream: FaceStream, visit: _Visit, first: Chunk
    ) -> Iterator[npt.NDArray[np.uint8]]:
        chunk: Chunk | None = first
        end_s = time.monotonic() + self._studio.limits.live_s
        while chunk is not None and time.monotonic() < end_s and not self._studio.is_closing:
            waiting = [chunk, *_all_of(visit.chunks)]
            if any(rate_hz != stream.sampling_rate for rate_hz, _ in waiting):
                raise TalkheadError("the microphone has changed its sample rate: start again")
            samples = np.concatenate([each for _, each in waiting])
            due = list(stream.hear(samples))
            if len(samples) > BEHIND_S * stream.sampling_rate:
                due = due[-1:]
            for each in due:
                if visit.is_over.is_set():
                    return
                yield stream.render(each)
            chunk = _next(visit)

    @contextmanager
    def _visit(self, request: gr.Request | None) -> Iterator[_Visit]:
        name = (request.session_hash if request else None) or ""
        if name in self._visits:
            raise TalkheadError("a face is already live in this page: stop it first")
        self._visits[name] = visit = _Visit()
        try:
            yield visit
        finally:
            del self._visits[name]


def address_of(frame: npt.NDArray[np.uint8]) -> str:
    """Return a frame as a data address, which leaves no file behind."""
    file, image = io.BytesIO(), Image.fromarray(frame)
    image.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
    image.save(file, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _next(visit: _Visit) -> Chunk | None:
    """Wait for sound; None if the microphone is closed."""
    end_s = time.monotonic() + SILENCE_S
    while time.monotonic() < end_s and not visit.is_over.is_set():
        with suppress(queue.Empty):
            return visit.chunks.get(timeout=CHUNK_S)
    return None


def _all_of(chunks: queue.Queue[Chunk]) -> Iterator[Chunk]:
    """Yield what waits now."""
    with suppress(queue.Empty):
        while True:
            yield chunks.get_nowait()

"""Render the requests of all visitors with a few pipelines, which are loaded once."""

from __future__ import annotations

import queue
import secrets
import shutil
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talkhead.app.limits import Limits, check_face, check_sound
from talkhead.app.request import Choices, job_of, result_name
from talkhead.app.work import Step, run_in_steps
from talkhead.jobs.pose_source import Progress, is_video
from talkhead.jobs.render_job import check_job, check_system, render_job

if TYPE_CHECKING:
    import torch

    from talkhead.pipelines import FacePipeline
    from talkhead.weights import ResolvedWeights


class Studio:
    """Renders videos for visitors.

    A scheduler has a state, so each render has a pipeline to itself.

    Args:
        weights: the weights of all renders.
        device: where to compute.
        dtype: the precision of the computation.
        folder: results go into new folders here, whose names cannot be guessed.
        limits: the limits of this server.
    """

    def __init__(
        self,
        weights: ResolvedWeights,
        device: torch.device,
        dtype: torch.dtype,
        folder: Path,
        limits: Limits,
    ) -> None:
        self.weights, self.folder, self.limits = weights, folder, limits
        self._device, self._dtype = device, dtype
        self._stop = threading.Event()
        self._idle: queue.Queue[FacePipeline | None] = queue.Queue()
        for _ in range(limits.renders_at_once):
            self._idle.put(None)

    def load(self) -> None:
        """Load a pipeline now, so that damaged weights are noticed before a visitor comes.

        Raises:
            WeightsError: the networks cannot be loaded.
        """
        with self._pipeline():
            pass

    def render(
        self, face: Path, sound: Path, choices: Choices, landmarks: Path | None = None
    ) -> Generator[Step, None, dict[str, Any]]:
        """Render a video, and yield how far it is; closing the generator cancels it.

        Args:
            face: a picture, or a video to dub.
            sound: the recording.
            choices: the options.
            landmarks: a track to follow.

        Returns:
            The facts of `render_job`; output is the video.

        Raises:
            TalkheadError: as for `render_job`; or an input is above the limits.
        """
        folder = self.folder / secrets.token_hex(16)
        output = folder / result_name(sound)

        def work(progress: Progress) -> dict[str, Any]:
            job = job_of(face, sound, output, str(self.weights), choices, landmarks)
            check_face(face, self.limits)
            check_sound(sound, self.limits)
            check_system(job, self.weights.folder, dubs=is_video(face))
            checked = check_job(job)
            with self._pipeline() as pipeline:
                folder.mkdir()
                try:
                    return render_job(
                        checked,
                        lambda: pipeline,
                        output,
                        progress=progress,
                        folder=self.weights.folder,
                    )
                finally:
                    with suppress(OSError):
                        folder.rmdir()  # fails if the video is there

        phases = ["finding the face", "rendering"] if is_video(face) else ["rendering"]
        try:
            return (yield from run_in_steps(work, phases, self._stop))
        except GeneratorExit:
            # Nobody will ask for a video that was finished at this moment.
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def close(self) -> None:
        """End what is being rendered, and wait for it."""
        self._stop.set()
        for _ in range(self.limits.renders_at_once):
            self._idle.get()

    @contextmanager
    def _pipeline(self) -> Iterator[FacePipeline]:
        """Wait for an idle pipeline, and load it if it has not been loaded yet."""
        idle = self._idle.get()
        try:
            if idle is None:
                from talkhead.pipelines import FacePipeline

                idle = FacePipeline.from_folder(
                    self.weights.folder, device=self._device, dtype=self._dtype
                )
            yield idle
        finally:
            self._idle.put(idle)

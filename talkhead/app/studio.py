"""Render the requests of all visitors with a few pipelines, which are loaded once."""

from __future__ import annotations

import queue
import secrets
import shutil
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talkhead.app.limits import Limits, check_face, check_picture, check_sound
from talkhead.app.request import Choices, job_of, result_name
from talkhead.app.storage import Storage
from talkhead.app.work import Step, run_in_steps
from talkhead.errors import TalkheadError
from talkhead.jobs.landmark_job import find_identity, predict_motion, write_motion
from talkhead.jobs.pose_source import Progress, is_video
from talkhead.jobs.render_job import check_job, check_system, render_job
from talkhead.media.rates import DEFAULT_FPS

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
        self.weights, self.limits = weights, limits
        self.storage = Storage(folder)
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
        folder = self._new_folder()
        output = folder / result_name(sound)

        def work(progress: Progress) -> dict[str, Any]:
            job = job_of(face, sound, output, str(self.weights), choices, landmarks)
            check_face(face, self.limits)
            check_sound(sound, self.limits)
            check_system(job, self.weights.folder, dubs=is_video(face))
            checked = check_job(job)
            with self._pipeline() as pipeline, _results(folder):
                return render_job(
                    checked,
                    lambda: pipeline,
                    output,
                    progress=progress,
                    folder=self.weights.folder,
                )

        phases = ["finding the face", "rendering"] if is_video(face) else ["rendering"]
        return (yield from self._run(work, phases, folder))

    def landmarks(
        self, face: Path, sound: Path, choices: Choices
    ) -> Generator[Step, None, dict[str, Any]]:
        """Predict the motion of a picture's face, as `render`, and draw it.

        Returns:
            The facts of `talkhead landmarks`: output is the track, preview the video that draws it.

        Raises:
            TalkheadError: an input cannot be read, or is above the limits.
        """
        folder = self._new_folder()
        output = folder / result_name(sound, ".npz")
        preview = folder / result_name(sound)

        def work(progress: Progress) -> dict[str, Any]:
            from talkhead.audio2landmarks.animation import MotionOptions
            from talkhead.media.audio_clip import AudioClip

            job = job_of(face, sound, output, str(self.weights), choices)
            check_picture(face)
            check_sound(sound, self.limits)
            check_system(job, self.weights.folder, dubs=False)
            identity = find_identity(face, job.choose, job.max_size)
            with self._pipeline() as pipeline, AudioClip.open(sound) as clip, _results(folder):
                motion = predict_motion(
                    pipeline.landmark_generator,
                    identity,
                    clip,
                    sound,
                    fps=job.fps or DEFAULT_FPS,
                    options=MotionOptions(
                        job.pose,
                        job.pose_strength,
                        job.expression_strength,
                        job.blink_per_minute,
                        job.seed,
                    ),
                    progress=progress,
                    weights=self.weights.folder,
                    emotion=job.emotion,
                )
                write_motion(motion, output, preview)
            return {
                "output": str(output),
                "preview": str(preview),
                "frames": motion.num_frames,
                "fps": str(motion.rate),
                "width": motion.size[0],
                "height": motion.size[1],
                "seed": job.seed,
                "weights": job.weights,
                **motion.facts,
            }

        return (yield from self._run(work, ["predicting the motion"], folder))

    @contextmanager
    def borrowed_pipeline(self) -> Iterator[FacePipeline]:
        """Take an idle pipeline at once, for a face that cannot wait.

        Raises:
            TalkheadError: all of them are busy.
        """
        try:
            idle = self._idle.get_nowait()
        except queue.Empty:
            raise TalkheadError("the server is busy with other visitors: try again soon") from None
        with self._giving_back(idle) as pipeline:
            yield pipeline

    @property
    def is_closing(self) -> bool:
        """Whether the server ends."""
        return self._stop.is_set()

    def close(self) -> None:
        """End what is being rendered, and wait for it."""
        self._stop.set()
        for _ in range(self.limits.renders_at_once):
            self._idle.get()

    def _new_folder(self) -> Path:
        return self.storage.folder / secrets.token_hex(16)

    def _run(
        self, work: Callable[[Progress], dict[str, Any]], phases: Sequence[str], folder: Path
    ) -> Generator[Step, None, dict[str, Any]]:
        try:
            return (yield from run_in_steps(work, phases, self._stop))
        except GeneratorExit:
            # Nobody will ask for a result that was finished at this moment.
            shutil.rmtree(folder, ignore_errors=True)
            raise

    @contextmanager
    def _pipeline(self) -> Iterator[FacePipeline]:
        """Wait for an idle pipeline, and load it if it has not been loaded yet."""
        with self._giving_back(self._idle.get()) as pipeline:
            yield pipeline

    @contextmanager
    def _giving_back(self, idle: FacePipeline | None) -> Iterator[FacePipeline]:
        try:
            if idle is None:
                from talkhead.pipelines import FacePipeline

                idle = FacePipeline.from_folder(
                    self.weights.folder, device=self._device, dtype=self._dtype
                )
            yield idle
        finally:
            self._idle.put(idle)


@contextmanager
def _results(folder: Path) -> Iterator[None]:
    """Make a folder for results, and remove it if there are none."""
    folder.mkdir()
    try:
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()  # fails if they are there

"""Write the videos of an evaluation: every system's frames of every clip, with the clip's sound."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt

from talkhead.atomic import replacing
from talkhead.data.clips import ClipInfo
from talkhead.errors import TalkheadError
from talkhead.evaluation.plan import TIMINGS, Plan, folder_name
from talkhead.evaluation.predicted import find_predicted, predicted_frames, video_of
from talkhead.evaluation.records import BrokenClip, read_json
from talkhead.evaluation.systems import EvalClip, FrameGenerator
from talkhead.media.audio import write_waveform
from talkhead.media.video import VideoWriter

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

CRF = 18


def generate_videos(
    plan: Plan, generators: Mapping[str, FrameGenerator], broken: list[BrokenClip]
) -> Iterator[None]:
    """Write all missing videos, for every clip and system.

    Args:
        plan: the evaluation.
        generators: by system.
        broken: videos that cannot be generated are added to it.

    Yields:
        After each video.

    Raises:
        TalkheadError: two systems would share a folder.
    """
    names: dict[str, str] = {}
    for system in (*plan.predicted, *generators):
        other = names.setdefault(folder_name(system), system)
        if other != system:
            raise TalkheadError(f"the names {other} and {system} are too similar: rename one")
    times = read_json(plan.report / TIMINGS, {})
    for row in plan.rows:
        eval_clip: EvalClip | None = None
        for name, generate in generators.items():
            path = plan.video(name, row.clip)
            if not path.is_file():
                try:
                    eval_clip = eval_clip or EvalClip.read(plan.data, row, max_s=plan.max_s)
                    started = time.perf_counter()
                    if generate.landmarks is not None:
                        points = generate.landmarks(eval_clip)
                        _write_landmarks(plan.landmarks(name, row.clip), points)
                    sound = None if generate.sound is None else generate.sound(eval_clip)
                    _write_video(path, eval_clip, generate(eval_clip), sound)
                    spent = times.setdefault(name, {"frames": 0, "seconds": 0.0})
                    spent["frames"] += len(eval_clip.clip)
                    spent["seconds"] += round(time.perf_counter() - started, 3)
                except TalkheadError as error:
                    broken.append(BrokenClip(row.clip, name, str(error)))
            yield
        if eval_clip is not None:
            with replacing(plan.report / TIMINGS) as partial:
                partial.write_text(json.dumps(times, indent=1), encoding="utf-8")


def _write_landmarks(path: Path, points: Floats) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, partial.open("wb") as file:
        np.save(file, points)


def read_landmarks(plan: Plan, eval_clip: EvalClip, system: str) -> Floats | None:
    """Return the faces that a system's video shows, (T, 478, 3), crop pixels.

    None stands for the clip's own.
    """
    path = plan.landmarks(system, eval_clip.info.clip)
    if not path.is_file():
        return None
    points: Floats = np.load(path, allow_pickle=False)
    return points


def _write_video(
    path: Path, eval_clip: EvalClip, frames: Iterator[Pixels], waveform: Floats | None = None
) -> None:
    """Write frames with a sound, by default the clip's own."""
    waveform = eval_clip.waveform if waveform is None else waveform
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.callback(getattr(frames, "close", lambda: None))
        sound = None
        if len(waveform):
            sound = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "sound.wav"
            write_waveform(sound, waveform)
        size = (eval_clip.side_px, eval_clip.side_px)
        with VideoWriter(path, size=size, fps=eval_clip.fps, sound=sound, crf=CRF) as writer:
            for window in frames:
                writer.write(window)


def read_crops(plan: Plan, eval_clip: EvalClip, system: str) -> Iterator[Pixels]:
    """Yield the crops of a system's video of a clip, in batches for scoring.

    Raises:
        TalkheadError: there is no such video, or it cannot be read.
    """
    if folder := plan.predicted.get(system):
        path, start_s = video_of(eval_clip, find_predicted(folder))
        yield from predicted_frames(eval_clip, path, start_s)
    else:
        path = plan.video(system, eval_clip.info.clip)
        yield from predicted_frames(eval_clip, path, has_crops=True)


def video_for_report(plan: Plan, row: ClipInfo, system: str) -> Path:
    """Return the video of a system's crops, cut from another tool's video if needed."""
    path = plan.video(system, row.clip)
    if system in plan.predicted and not path.is_file():
        eval_clip = EvalClip.read(plan.data, row, max_s=plan.max_s)
        _write_video(path, eval_clip, read_crops(plan, eval_clip, system))
    return path

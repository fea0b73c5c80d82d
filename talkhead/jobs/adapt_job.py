"""Adaptation jobs: videos of one person in, weights that know the person out."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talkhead.atomic import HIDDEN, temporary_sibling
from talkhead.errors import NoFaceError, TalkheadError, WeightsError
from talkhead.jobs.adapt_card import write_cards
from talkhead.media.files import check_input
from talkhead.weights.systems import INDEX_NAME, TALKHEAD, system_of

if TYPE_CHECKING:
    import torch

    from talkhead.jobs.adapt_clips import Footage, Report, Tell
    from talkhead.jobs.adapt_training import Adaptation

MIN_S, MAX_S = 15.0, 600.0
"""Least usable footage, and the longest of all videos together, in seconds."""
MIN_MINUTES, MAX_MINUTES = 1.0, 1440.0


@dataclass(frozen=True)
class AdaptJob:
    """The arguments and options of `talkhead adapt`, under the same names."""

    videos: tuple[Path, ...]
    output: Path
    weights: str = "default"
    """Name or folder of the weights to start from, for the card; `adapt` gets their folder."""
    minutes: float = 15.0
    """For everything, from the first frame to the scores."""
    steps: int | None = None
    """Steps of each network, in place of a time, so that the result can be repeated."""
    work: Path | None = None
    """Folder in which the prepared clips stay for the next time; None for a temporary one."""
    seed: int = 0
    overwrite: bool = False


def check_job(job: AdaptJob, folder: Path) -> None:
    """Reject what cannot work, before slow work starts.

    Args:
        job: the job.
        folder: of the weights to start from.

    Raises:
        TalkheadError: a video cannot be read, all of them are too short or too long, or the output
            cannot be written.
        WeightsError: the weights are of another system.
    """
    from talkhead.media.video import probe_video

    system = system_of(folder)
    if system is not TALKHEAD:
        raise WeightsError(f"{system.label} cannot be adapted: start from the default weights")
    if not MIN_MINUTES <= job.minutes <= MAX_MINUTES:
        raise TalkheadError(
            f"the time must be {MIN_MINUTES:g} to {MAX_MINUTES:g} minutes, not {job.minutes:g}"
        )
    _check_output(job)
    if job.work is not None and job.work.exists() and not job.work.is_dir():
        raise TalkheadError(f"{job.work} is not a folder: choose another one for the clips")
    seen: set[Path] = set()
    total_s = 0.0
    for video in job.videos:
        check_input(video)
        total_s += probe_video(video).duration_s
        if video.resolve() in seen:
            raise TalkheadError(f"{video} is given twice")
        seen.add(video.resolve())
    if total_s and total_s < MIN_S:
        raise TalkheadError(
            f"{total_s:.1f} s of video are too little to learn from: give one to five minutes of a"
            " person who speaks"
        )
    if total_s > MAX_S:
        raise TalkheadError(
            f"{total_s / 60:.0f} minutes of video are more than needed: cut out one to five of them"
        )


def _check_output(job: AdaptJob) -> None:
    if job.output.exists() and not job.output.is_dir():
        raise TalkheadError(f"{job.output} is not a folder: choose another name")
    if job.output.exists() and not (job.overwrite and (job.output / INDEX_NAME).is_file()):
        raise TalkheadError(
            f"{job.output} exists: choose another name"
            + (", or allow overwriting" if (job.output / INDEX_NAME).is_file() else "")
        )
    if not job.output.parent.is_dir():
        raise TalkheadError(f"folder {job.output.parent} does not exist: create it first")
    try:
        tempfile.TemporaryDirectory(prefix=HIDDEN, dir=job.output.parent).cleanup()
    except OSError as error:
        raise TalkheadError(
            f"folder {job.output.parent} cannot be written to ({error.strerror}); choose another"
        ) from error


def adapt(
    job: AdaptJob,
    folder: Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
    report: Report = lambda stage, share: None,
    tell: Tell = lambda note: None,
) -> dict[str, Any]:
    """Adapt weights to a person, and save them unless they score worse than before.

    Args:
        job: checked by `check_job`.
        folder: of the weights to start from.
        device: where to compute.
        dtype: precision of the computation.
        report: progress.
        tell: notes.

    Returns:
        What was done, with the scores before and after. `saved` is false if they are worse, and
        `reason` says why.

    Raises:
        TalkheadError: there is too little footage, or the output cannot be written.
    """
    from talkhead import __version__
    from talkhead.jobs.adapt_clips import prepare_footage
    from talkhead.jobs.adapt_training import Adaptation, Clock

    clock = Clock(job.minutes, job.steps)
    with ExitStack() as stack:
        work = job.work or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix=HIDDEN, dir=job.output.parent))
        )
        footage = prepare_footage(job.videos, work, folder, report, tell)
        _check_footage(footage)
        adaptation = Adaptation.load(footage, folder, device, dtype, job.seed)
        adaptation.run(clock, report)
        result = _result(job, footage, adaptation)
        result |= {"talkhead": __version__, "minutes": round(clock.elapsed_s() / 60, 2)}
        result["reason"] = adaptation.why_worse()
        result["saved"] = result["reason"] is None
        if result["saved"]:
            _save(job, folder, adaptation, result)
    return result


def _check_footage(footage: Footage) -> None:
    if footage.train_s + footage.held_out_s < MIN_S:
        found = footage.train_s + footage.held_out_s
        raise NoFaceError(
            f"only {found:.1f} s show one steady, frontal face: at least {MIN_S:g} s are needed,"
            " better one to five minutes"
        )


def _result(job: AdaptJob, footage: Footage, adaptation: Adaptation) -> dict[str, Any]:
    return {
        "weights": str(job.output),
        "base": job.weights,
        "videos": [str(video) for video in job.videos],
        "train_s": round(footage.train_s, 2),
        "held_out_s": round(footage.held_out_s, 2),
        "steps": adaptation.steps,
        "adapted": list(adaptation.adapted),
        "landmark_generator": adaptation.speaking,
        "scores": adaptation.scores,
        "seed": job.seed,
    }


def _save(job: AdaptJob, base: Path, adaptation: Adaptation, result: dict[str, Any]) -> None:
    """Write the folder, which appears whole or not at all."""
    import torch

    name = job.output.resolve().name
    with _new_folder(job.output, overwrite=job.overwrite) as partial:
        adaptation.pipeline.save_pretrained(partial, torch_dtype=torch.float16)
        write_cards(partial, base, name, result, adaptation.adapted)


@contextmanager
def _new_folder(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a folder to fill, which gets its name at the end or is removed on an error."""
    partial = temporary_sibling(folder)
    try:
        partial.mkdir()
        yield partial
        old = None
        if folder.exists():
            if not overwrite:
                raise TalkheadError(f"{folder} has appeared in the meantime: choose another name")
            old = temporary_sibling(folder)
            folder.replace(old)
        partial.replace(folder)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise TalkheadError(f"{folder} cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)

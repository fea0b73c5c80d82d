"""The items of a batch, all checked before the first one is rendered."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from talkhead.atomic import HIDDEN
from talkhead.batch.journal import Entry, has_made, read_entries
from talkhead.batch.naming import MAX_NAME_BYTES, SUFFIXES
from talkhead.emotions import check_emotion
from talkhead.errors import TalkheadError
from talkhead.jobs.pose_source import check_pose, is_video
from talkhead.jobs.render_job import RenderJob
from talkhead.jobs.speakers import check_speakers
from talkhead.media.dub_tracks import choose_tracks
from talkhead.media.files import check_input
from talkhead.tracking.background import check_background
from talkhead.weights.systems import check_scheduler

NOT_IN_KEY = frozenset({"output", "weights", "overwrite"})
"""Fields of a job that do not affect the video, or whose contents are hashed separately."""
LATER = frozenset(
    {
        *("start_step", "emotion", "max_size", "scheduler", "audio_track", "background_sound"),
        *("background", "output_format", "speakers"),
    }
)
"""Fields added to jobs later: left out of the key at their defaults, so old keys stay valid."""


@dataclass(frozen=True)
class Item:
    """One video of a batch and its state before rendering."""

    number: int
    """Counts from 1."""
    job: RenderJob
    key: str = ""
    """Digest of the inputs, options and weights."""
    state: Literal["waiting", "skipped", "failed"] = "waiting"
    why: str = ""
    """Why the video is not rendered."""
    exit_code: int = 0
    earlier: Entry | None = None
    """The journal entry of an earlier run, if any."""


def check_names(jobs: Sequence[RenderJob]) -> None:
    """Refuse a batch whose videos would overwrite each other or their own inputs.

    Raises:
        TalkheadError: two outputs are the same file, or an output is also an input.
    """
    owners: dict[str, RenderJob] = {}
    inputs: dict[str, Path] = {}
    for job in jobs:
        speaking = (speaker.audio for speaker in job.speakers)
        for path in (job.face, job.audio, job.landmarks, Path(job.pose), *speaking):
            if path is not None:
                inputs[_place(path)] = path
    for number, job in enumerate(jobs, 1):
        output = job.output
        place = _place(output)
        if place in owners:
            raise TalkheadError(
                f"{owners[place].audio} and {job.audio} would both be written to {output}: number"
                " the outputs, as in 'folder/{n:03}-{audio}.mp4'"
            )
        if place in inputs:
            raise TalkheadError(f"{output} is also an input; choose another folder or name")
        if output.name.startswith(HIDDEN):
            raise TalkheadError(
                f"output {number}, {output}: talkhead deletes files named {HIDDEN}...; choose"
                " another name"
            )
        if output.suffix.lower() not in SUFFIXES:
            raise TalkheadError(
                f"output {number}, {output}, is not a supported video file: its name must end in"
                f" {', '.join(sorted(SUFFIXES))}"
            )
        owners[place] = job


def check_items(
    jobs: Sequence[RenderJob], digests: Mapping[str, str], *, skip_existing: bool
) -> list[Item]:
    """Check every item against its inputs and the journals, without decoding any media.

    Args:
        jobs: the videos to render.
        digests: digests of the weight files, and any other text that affects the result.
        skip_existing: leave every existing output as it is, even if no batch wrote it.

    Raises:
        TalkheadError: a journal cannot be read.
    """
    check_names(jobs)
    # Read each folder's journal only once.
    folders = {job.output.parent for job in jobs}
    journals = {folder: read_entries(folder) for folder in folders if _is_folder(folder)}
    items = []
    for number, job in enumerate(jobs, 1):
        entry = journals.get(job.output.parent, {}).get(job.output.name)
        items.append(_checked(Item(number, job), entry, digests, skip_existing=skip_existing))
    return items


def _checked(
    item: Item, entry: Entry | None, digests: Mapping[str, str], *, skip_existing: bool
) -> Item:
    job = item.job
    try:
        _check_place(job.output)
        if skip_existing and job.output.is_file():
            return dataclasses.replace(item, state="skipped", why="exists", earlier=entry)
        check_input(job.face)
        check_input(job.audio)
        speaking = (speaker.audio for speaker in job.speakers)
        for path in (job.landmarks, job.c2pa_certificate, job.c2pa_key, *speaking):
            if path is not None:
                check_input(path)
        _check_options(job)
        key = key_of(job, digests)
        if entry is not None and has_made(entry, job.output):
            if entry.key == key:
                return dataclasses.replace(
                    item, key=key, state="skipped", why="already rendered", earlier=entry
                )
            if not job.overwrite:
                raise TalkheadError(
                    f"{job.output} was rendered from other files, options or weights; allow"
                    " overwriting, or choose another folder"
                )
        elif os.path.lexists(job.output) and not job.overwrite:
            raise TalkheadError(
                f"{job.output} exists and was not written by this batch; allow overwriting, skip"
                " existing files, or choose another folder"
            )
    except TalkheadError as error:
        return dataclasses.replace(item, state="failed", why=str(error), exit_code=error.exit_code)
    except OSError as error:  # an invalid name, or a drive that has disappeared
        reason = f"{job.output} cannot be rendered ({error.strerror}); check the file names"
        return dataclasses.replace(
            item, state="failed", why=reason, exit_code=TalkheadError.exit_code
        )
    return dataclasses.replace(item, key=key)


def _check_options(job: RenderJob) -> None:
    check_pose(job.pose)
    check_speakers(job)
    if job.emotion is not None:
        check_emotion(job.emotion)
    if job.scheduler is not None:
        check_scheduler(job.scheduler)
    if job.background is not None:
        check_background(job.background)
    if job.audio_track is not None or job.background_sound is not None:
        face = job.face if is_video(job.face) else None
        choose_tracks(face, job.audio, job.audio_track, job.background_sound)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # The name is too long; the check of each item reports it.
        return False


def _check_place(output: Path) -> None:
    """Refuse an impossible output; write access to its folder is tested later."""
    if len(os.fsencode(output.name)) > MAX_NAME_BYTES:
        raise TalkheadError(f"{output} has a name of more than {MAX_NAME_BYTES} bytes; shorten it")
    if output.is_dir():
        raise TalkheadError(f"{output} is a directory; name a file in it")
    if output.exists() and not output.is_file():
        raise TalkheadError(f"{output} is not a regular file; choose another output")
    above = output.parent
    while not os.path.lexists(above) and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise TalkheadError(f"{above} is not a folder; choose another output")
    if not os.access(above, os.W_OK):
        raise TalkheadError(f"folder {above} is not writable; choose another")


def key_of(job: RenderJob, digests: Mapping[str, str]) -> str:
    """Return a digest of everything a video is made from: inputs, options and weights.

    Files are identified by path, size and modification time, so none of them is read.

    Raises:
        OSError: an input no longer exists.
    """
    values: dict[str, object] = {"weights": dict(sorted(digests.items()))}
    for field in dataclasses.fields(job):
        if field.name in NOT_IN_KEY:
            continue
        value = getattr(job, field.name)
        if field.name in LATER and value == field.default:
            continue
        if field.name == "speakers":
            values[field.name] = [[each.which, _identity(each.audio)] for each in job.speakers]
            continue
        is_file = isinstance(value, Path) or (
            field.name in ("pose", "background") and Path(value).is_file()
        )
        values[field.name] = _identity(Path(value)) if is_file else str(value)
    text = json.dumps(values, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _identity(path: Path) -> list[str | int]:
    found = path.stat()
    return [os.fsencode(path.resolve()).hex(), found.st_size, found.st_mtime_ns]


def _place(path: Path) -> str:
    """Return the real path of a file, so that different spellings compare equal."""
    return os.path.normcase(os.path.realpath(path))

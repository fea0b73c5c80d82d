"""CSV lists of videos: one row per video, one column per option of `talkhead render`."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from talkhead.batch.naming import NameTemplate
from talkhead.emotions import check_emotion
from talkhead.errors import TalkheadError
from talkhead.jobs.render_job import RenderJob
from talkhead.jobs.speakers import Speaker, parse_speakers
from talkhead.limits import (
    MAX_BACKGROUND_DB,
    MAX_BLINKS,
    MAX_CRF,
    MAX_START_STEP,
    MAX_STEPS,
    MAX_STRENGTH,
)
from talkhead.media.playback import LOOPS
from talkhead.media.rates import parse_fps
from talkhead.media.sizes import SizeLimit
from talkhead.tracking.background import check_background
from talkhead.weights.systems import check_scheduler

MAX_ITEMS = 100_000


def read_table(
    path: Path, base: RenderJob, face: Path | None, template: NameTemplate | None
) -> list[RenderJob]:
    """Read the items of a CSV list.

    Relative paths are relative to the list's own folder; outputs go to the folder of `template`,
    if it is given. An empty cell keeps the value of `base`.

    Args:
        path: the CSV file, UTF-8, with a header row.
        base: the options of the command line.
        face: the face for rows that name none.
        template: names the videos of rows without an output.

    Raises:
        TalkheadError: the file cannot be read, a column is unknown, or a cell is invalid; the
            message names the line.
    """
    folder = path.parent
    jobs: list[RenderJob] = []
    for line, row in _rows(path):
        where = f"{path}, line {line}"
        audio, cell = row.pop("audio", ""), row.pop("output", "")
        its_face = folder / row.pop("face") if row.get("face") else face
        try:
            options = {name: read(cell, folder) for name, read, cell in _cells(row)}
        except TalkheadError as error:
            raise TalkheadError(f"{where}: {error}") from error
        sound = _sound(audio, folder, options.get("speakers", ()), where)
        if its_face is None:
            raise TalkheadError(
                f"{where}: the column face is empty; name a face in it, or one for the whole list"
            )
        output = _output(cell, folder, template, its_face, sound, len(jobs) + 1, where)
        jobs.append(dataclasses.replace(base, face=its_face, audio=sound, output=output, **options))
        if len(jobs) > MAX_ITEMS:
            raise TalkheadError(
                f"{path} has more than {MAX_ITEMS} rows; split it into several lists"
            )
    if not jobs:
        raise TalkheadError(f"{path} has no rows; add one for each video below the column names")
    return jobs


def _sound(cell: str, folder: Path, speakers: Sequence[Speaker], where: str) -> Path:
    """Return the sound of a row: its audio, or that of its first speaker."""
    if cell and speakers:
        raise TalkheadError(f"{where}: audio and speaker are both given; leave one of them empty")
    if not cell and not speakers:
        raise TalkheadError(
            f"{where}: the column audio is empty; every row needs an audio file, or speakers"
        )
    return folder / cell if cell else speakers[0].audio


def _output(
    cell: str,
    folder: Path,
    template: NameTemplate | None,
    face: Path,
    audio: Path,
    number: int,
    where: str,
) -> Path:
    if not cell and template is None:
        raise TalkheadError(
            f"{where}: the column output is empty; name a video in it, or an output folder for all"
        )
    if template is None:
        return folder / cell
    named = template.name(face, audio, number)
    return named.parent / cell if cell else named


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line number of each row, and its non-empty cells by column."""
    from talkhead.media.files import check_input

    check_input(path)
    try:
        # utf-8-sig: spreadsheets put a byte order mark before the first name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            names = [name.strip() for name in next(reader, [])]
            _check_names(path, names)
            for cells in reader:
                if any("\0" in cell for cell in cells):
                    raise TalkheadError(
                        f"{path}, line {reader.line_num}: a cell has a null character; is it text?"
                    )
                if len(cells) > len(names):
                    raise TalkheadError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells for"
                        f" {len(names)} columns; a name with a comma needs quotes"
                    )
                row = {name: cell for name, cell in zip(names, cells, strict=False) if cell.strip()}
                if row:
                    yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TalkheadError(f"{path} cannot be read as CSV in UTF-8: {reason}") from error


def _check_names(path: Path, names: list[str]) -> None:
    known = ("face", "audio", "output", *COLUMNS)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise TalkheadError(
            f"{path} has the unknown column {unknown[0][:80]!r}: the columns are {', '.join(known)}"
        )
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise TalkheadError(f"{path} has the column {twice[0]} twice; keep one of them")
    if "audio" not in names and "speaker" not in names:
        raise TalkheadError(f"{path} has no column audio; its first line must name the columns")


def _cells(row: Mapping[str, str]) -> Iterator[tuple[str, Callable[[str, Path], Any], str]]:
    for column, cell in row.items():
        name, read = COLUMNS[column]
        yield name, read, cell.strip()


def _text(cell: str, _folder: Path) -> str:
    return cell


def _path(cell: str, folder: Path) -> Path:
    return folder / cell


def _pose(cell: str, folder: Path) -> str:
    return cell if cell in ("natural", "still") else str(folder / cell)


def _background(cell: str, folder: Path) -> str:
    is_file = bool(Path(cell).suffix) or (folder / cell).is_file()
    text = str(folder / cell) if is_file else cell
    check_background(text)
    return text


def _loop(cell: str, _folder: Path) -> str:
    if cell not in LOOPS:
        raise TalkheadError(f"loop takes {', '.join(LOOPS)}, not {cell!r}")
    return cell


def _emotion(cell: str, _folder: Path) -> str:
    check_emotion(cell)
    return cell


def _scheduler(cell: str, _folder: Path) -> str:
    check_scheduler(cell)
    return cell


def _number(name: str, least: float, most: float) -> Callable[[str, Path], float]:
    def read(cell: str, _folder: Path) -> float:
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise TalkheadError(f"{name} takes a number from {least:g} to {most:g}, not {cell!r}")
        return value

    return read


def _whole(name: str, least: int, most: int | None) -> Callable[[str, Path], int]:
    def read(cell: str, _folder: Path) -> int:
        is_number = cell.isascii() and cell.isdecimal() and len(cell) < 20
        if not is_number or int(cell) < least or (most is not None and int(cell) > most):
            limit = "up" if most is None else f"to {most}"
            raise TalkheadError(f"{name} takes a whole number from {least} {limit}, not {cell!r}")
        return int(cell)

    return read


def _speakers(cell: str, folder: Path) -> tuple[Speaker, ...]:
    return parse_speakers([text for text in cell.split(";") if text.strip()], folder)


def _blink(cell: str, folder: Path) -> float:
    return 0.0 if cell == "off" else _number("blink", 0, MAX_BLINKS)(cell, folder)


COLUMNS: dict[str, tuple[str, Callable[[str, Path], Any]]] = {
    "landmarks": ("landmarks", _path),
    "choose": ("choose", _text),
    "speaker": ("speakers", _speakers),
    "pose": ("pose", _pose),
    "pose-strength": ("pose_strength", _number("pose-strength", 0, MAX_STRENGTH)),
    "expression-strength": (
        "expression_strength",
        _number("expression-strength", 0, MAX_STRENGTH),
    ),
    "blink": ("blink_per_minute", _blink),
    "loop": ("loop", _loop),
    "fps": ("fps", lambda cell, _folder: parse_fps(cell)),
    "steps": ("steps", _whole("steps", 1, MAX_STEPS)),
    "scheduler": ("scheduler", _scheduler),
    "start-step": ("start_step", _whole("start-step", 1, MAX_START_STEP)),
    "emotion": ("emotion", _emotion),
    "seed": ("seed", _whole("seed", 0, None)),
    "crf": ("crf", _whole("crf", 0, MAX_CRF)),
    "audio-track": ("audio_track", _text),
    "background-sound": (
        "background_sound",
        _number("background-sound", 0, MAX_BACKGROUND_DB),
    ),
    "background": ("background", _background),
    "max-size": ("max_size", lambda cell, _folder: SizeLimit.parse(cell)),
}
"""Per-item options by their long names: the field of `RenderJob`, and the cell's parser."""

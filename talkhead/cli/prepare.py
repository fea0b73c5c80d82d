"""`talkhead prepare`: turn videos into training clips."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from talkhead.cli.device import usable_cores
from talkhead.cli.output import JsonOption, QuietOption, print_json, with_progress
from talkhead.errors import BatchError, NoFaceError, TalkheadError

if TYPE_CHECKING:
    from talkhead.data.clips import ClipInfo
    from talkhead.data.layouts import Listing
    from talkhead.data.prepare import Outcome

Layout = Literal["auto", "csv", "mead", "hdtf", "grid", "folder"]
"""A copy of the names in talkhead.data.layouts, which is too slow to import for --help."""


def prepare(
    videos: Annotated[
        Path,
        typer.Argument(
            metavar="VIDEOS",
            help="A folder of videos; a MEAD, HDTF or GRID tree; or a CSV list with the column file"
            " and any of: id, split, person, sound, licence, transcript, audio, emotion, level,"
            " view.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DATA", help="Folder of the clips.", show_default=False
        ),
    ],
    layout: Annotated[
        Layout,
        typer.Option(
            "--layout",
            metavar="NAME",
            help="Layout of VIDEOS: auto, csv, mead, hdtf, grid or folder.",
        ),
    ] = "auto",
    fps: Annotated[
        str, typer.Option("--fps", metavar="RATE", help="Frames per second of the clips.")
    ] = "25",
    side: Annotated[
        int,
        typer.Option(
            "--side",
            metavar="PX",
            help="Side of the stored crops: 256, or 512 to train and score the mouth's networks.",
        ),
    ] = 256,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            help="Worker processes.",
            show_default="one per core, up to 8",
        ),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            "--weights",
            metavar="NAME|FOLDER|none",
            help="Landmark generator that measures the lag between sound and lips; none uses the"
            " loudness alone.",
        ),
    ] = "default",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Turn videos into training clips: tracked crops, landmarks and sound.

    Finished videos are not processed again. Videos without a steady, frontal face are dropped. If a
    video cannot be read, the others are processed, and the exit code is 5.
    """
    from talkhead.data.clips import CROP_SIDES_PX, read_manifest
    from talkhead.data.layouts import list_sources
    from talkhead.data.prepare import prepare as prepare_videos
    from talkhead.media.rates import parse_fps
    from talkhead.weights import resolve_weights

    rate = parse_fps(fps)
    if side not in CROP_SIDES_PX:
        raise TalkheadError(f"--side must be {' or '.join(map(str, CROP_SIDES_PX))}, not {side}")
    listing = list_sources(videos, layout)
    sources = list(listing.sources)
    if output.exists() and not output.is_dir():
        raise TalkheadError(f"{output} is not a folder: choose another one for the clips")
    # Detect missing weights before slow work starts.
    generator = None if weights == "none" else resolve_weights(weights)
    for note in listing.notes:
        typer.echo(f"{videos}: {note}", err=True)
    dropped: list[Outcome] = []
    num_workers = min(workers or usable_cores(), len(sources))
    outcomes = prepare_videos(sources, output, fps=rate, side_px=side, num_workers=num_workers)
    with contextlib.closing(outcomes):  # ends the worker processes, whatever happens here
        for outcome in with_progress(outcomes, label="videos", total=len(sources), quiet=quiet):
            if outcome.dropped:
                dropped.append(outcome)
                verb = "failed" if outcome.broken else "dropped"
                typer.echo(f"{outcome.source.name} {verb}: {outcome.dropped}", err=True)
    if generator is not None:
        _measure_agreement(output, generator, quiet=quiet)
    summary = _summary(output, read_manifest(output), listing, dropped)
    if as_json:
        print_json(summary)
    else:
        typer.echo(_in_words(summary))
    if summary["failed"]:
        raise BatchError(
            f"{len(summary['failed'])} of {len(sources)} videos cannot be read: see the lines above"
        )
    if not summary["clips"]:
        raise NoFaceError(f"no video in {videos} has a stretch with one steady, frontal face")


def _measure_agreement(data: Path, generator: Path, *, quiet: bool) -> None:
    """Measure the sync of the clips that no generator has measured yet."""
    import torch

    from talkhead.data.av_sync import measure_agreement, unmeasured
    from talkhead.pipelines.loading import load_landmark_generator

    total = len(unmeasured(data))
    if total:
        rows = measure_agreement(data, load_landmark_generator(generator, torch.device("cpu")))
        for _ in with_progress(rows, label="sound and lips", total=total, quiet=quiet):
            pass


def _summary(
    output: Path, rows: list[ClipInfo], listing: Listing, dropped: list[Outcome]
) -> dict[str, Any]:
    """Describe a prepared folder as it is now, including earlier runs."""
    from fractions import Fraction

    splits: dict[str, dict[str, Any]] = {}
    for split in sorted({row.split for row in rows}):
        chosen = [row for row in rows if row.split == split]
        splits[split] = {
            "clips": len(chosen),
            "people": len({row.person for row in chosen}),
            "seconds": round(float(sum(row.num_frames / Fraction(row.fps) for row in chosen)), 2),
        }
    return {
        "data": str(output),
        "layout": listing.layout,
        "notes": list(listing.notes),
        "videos": len(listing.sources),
        "clips": len(rows),
        "splits": splits,
        "dropped": {out.source.name: out.dropped for out in dropped if not out.broken},
        "failed": {out.source.name: out.dropped for out in dropped if out.broken},
    }


def _clips(count: int) -> str:
    return "1 clip" if count == 1 else f"{count} clips"


def _in_words(summary: dict[str, Any]) -> str:
    splits = ", ".join(
        f"{name}: {_clips(split['clips'])} of {split['people']} people,"
        f" {split['seconds'] / 60:.1f} minutes"
        for name, split in summary["splits"].items()
    )
    return (
        f"{summary['data']}: {summary['videos']} videos, {_clips(summary['clips'])},"
        f" {len(summary['dropped'])} dropped, {len(summary['failed'])} failed"
        + (f" ({splits})" if splits else "")
    )

"""Hostile input through the command line: never a traceback, a hang, a bomb, or a stray file."""

import argparse
import os
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from itertools import count as count_up
from itertools import islice
from pathlib import Path

import hypothesis.configuration
import numpy as np

from tests.reliability import extreme_data, extreme_media
from tests.reliability.case import Case, Maker
from tests.reliability.mutated import MUTATED
from tests.reliability.seeds import Seeds, make_seeds
from tests.reliability.table import Row, as_markdown, write_rows
from tests.reliability.verdict import Snapshot, judge, outcome_of
from tests.reliability.worker import WarmProcess, clear_folder, run_cold

COLD_EVERY = 40
"""One command in so many gets a process of its own, as a user's does."""
_TOP = Path(__file__).resolve().parents[2]


def _listed(cases: object) -> Maker:
    """Turn a list of things to build into a kind of cases."""
    assert callable(cases)

    def make(seeds: Seeds, folder: Path, rng: np.random.Generator, number: int) -> Case | None:
        del rng  # nothing is left to chance
        found = next(islice(cases(seeds), number, None), None)
        if found is None:
            return None
        build, name, case = found
        build(folder / name)
        assert isinstance(case, Case)
        return case

    return make


KINDS: dict[str, Maker] = {
    **MUTATED,
    "picture, extreme": _listed(extreme_media.picture_cases),
    "sound, extreme": _listed(extreme_media.sound_cases),
    "video, extreme": _listed(extreme_media.video_cases),
    "track, extreme": _listed(extreme_data.track_cases),
    "weights, extreme": _listed(extreme_data.weights_cases),
    "text, extreme": _listed(extreme_data.text_cases),
    "path that is no file": _listed(extreme_data.place_cases),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `fuzz`."""
    parser.add_argument("--minutes", type=float, help="stop after so long")
    parser.add_argument("--count", type=int, help="stop after so many inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of every kind's first input")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="KIND", help="kinds whose names begin like this"
    )
    parser.add_argument("--report", type=Path, metavar="FILE.json")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the inputs of findings")


def main(options: argparse.Namespace) -> int:
    """Run the command; 1 if there was a finding."""
    kinds = [
        kind
        for kind in KINDS
        if not options.only or any(kind.startswith(word) for word in options.only)
    ]
    minutes = options.minutes
    if minutes is None and options.count is None:
        minutes = 5.0
    rows = fuzz(
        kinds,
        seed=options.seed,
        first=options.first,
        count=options.count,
        minutes=minutes,
        keep=options.keep,
        follow=True,
    )
    if options.report is not None:
        write_rows(options.report, rows)
    sys.stdout.write(as_markdown(rows))
    for row in rows:
        for finding in row.findings:
            sys.stdout.write(f"\n{row.kind}: {finding}")
    sys.stdout.write("\n")
    return 1 if any(row.findings for row in rows) else 0


def fuzz(
    kinds: Sequence[str],
    *,
    seed: int = 0,
    first: int = 0,
    count: int | None = None,
    minutes: float | None = None,
    keep: Path | None = None,
    follow: bool = False,
) -> list[Row]:
    """Try the kinds of input in turn; the same for the same seed and count.

    Args:
        kinds: names in `KINDS`.
        seed: of all that is drawn.
        first: number of the first input of every kind.
        count: how many inputs; without end, or until every kind is exhausted, if None.
        minutes: when to stop, whatever the count.
        keep: a folder that gets the inputs of findings.
        follow: tell about findings on stderr as they come.

    Returns:
        One row a kind.
    """
    rows = {kind: Row(kind) for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="reliability-") as place:
        # A name that leads upward shall end where somebody looks.
        scratch = Path(place) / "a" / "b" / "c"
        bench = _Bench(scratch)
        try:
            ends_at = None if minutes is None else time.monotonic() + 60 * minutes
            for number, (kind, k) in enumerate(islice(bench.numbered(kinds, seed, first), count)):
                if ends_at is not None and time.monotonic() > ends_at:
                    break
                findings = bench.try_one(rows[kind], k, cold=number % COLD_EVERY == COLD_EVERY - 1)
                if findings and keep is not None:
                    bench.keep(keep / f"{kind.split(',')[0].replace(' ', '-')}-{k}")
                if findings and follow:
                    sys.stderr.write("".join(f"{kind}: {finding}\n" for finding in findings))
        except KeyboardInterrupt:
            sys.stderr.write("stopped: what follows is what was tried until now\n")
        finally:
            bench.close()
    return list(rows.values())


class _Bench:
    """Seeds, a folder to work in, and the process that commands run in."""

    def __init__(self, scratch: Path) -> None:
        self._folder = scratch / "case"
        self._folder.mkdir(parents=True)
        temporary, home = scratch / "tmp", scratch / "home"
        for each in (temporary, home):
            each.mkdir()
        hypothesis.configuration.set_hypothesis_home_dir(
            str(scratch.parents[2] / "home" / "hypothesis")
        )
        self._watched = scratch.parents[2]
        self._environment = os.environ | {
            **{"TMPDIR": str(temporary), "TEMP": str(temporary), "TMP": str(temporary)},
            **{"TALKHEAD_CACHE": str(home / "talkhead"), "PYTHONPATH": str(_TOP)},
            **{"HF_HUB_OFFLINE": "1", "COLUMNS": "200", "MPLCONFIGDIR": str(home)},
        }
        self._seeds = make_seeds(scratch / "seeds")
        self._process = WarmProcess(self._environment)
        self._case: Case | None = None

    def numbered(self, kinds: Sequence[str], seed: int, first: int) -> Iterator[tuple[str, int]]:
        """Make the cases one after the other, and yield the kind and number of each."""
        left = list(kinds)
        for k in count_up(first):
            for kind in kinds:
                if kind not in left:
                    continue
                clear_folder(self._folder)
                rng = np.random.default_rng([seed, zlib.crc32(kind.encode()), k])
                self._case = KINDS[kind](self._seeds, self._folder, rng, k)
                if self._case is None:
                    left.remove(kind)
                else:
                    yield kind, k
            if not left:
                return

    def try_one(self, row: Row, number: int, *, cold: bool) -> list[str]:
        """Run the case that was made last, count it, and return what was wrong."""
        case = self._case
        assert case is not None
        before = Snapshot.of(self._watched)
        if cold:
            ended = run_cold(case.command, self._folder, self._environment)
        else:
            ended = self._process.run(case.command, self._folder)
        faults = judge(case, ended, before, Snapshot.of(self._watched), self._folder)
        named = [f"#{number} {case.what}: {fault}" for fault in faults]
        row.add(outcome_of(ended), ended.seconds, ended.megabytes, named)
        return named

    def keep(self, folder: Path) -> None:
        """Copy the input of the last case, with its command."""
        if folder.exists():
            shutil.rmtree(folder)
        shutil.copytree(self._folder, folder, symlinks=True, ignore=_special_files)
        assert self._case is not None
        (folder / "command.txt").write_text("\n".join(self._case.command) + "\n")

    def close(self) -> None:
        """End the process."""
        self._process.close()


def _special_files(folder: str, names: list[str]) -> list[str]:
    """Leave out what cannot be copied, such as a pipe that nobody writes to."""
    return [
        name
        for name in names
        if not (Path(folder, name).is_file() or Path(folder, name).is_dir())
        and not Path(folder, name).is_symlink()
    ]

"""`python -m tests.reliability faults`: renders that are killed, starved, raced and misnamed.

Every trial is a process of its own in a folder of its own. Afterwards the folder holds what it held
before, and the whole video if the run said so; nothing else is good.
"""

import argparse
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from talkhead.media.ffmpeg import list_streams_args, run_ffmpeg
from tests.drawn_face import draw_face
from tests.reliability.batches import large_batches
from tests.reliability.kills import kill_batch
from tests.reliability.table import Row, write_rows
from tests.tiny import write_tiny_weights, write_voice

TOP = Path(__file__).resolve().parents[2]
LIMIT_S = 240
PRECIOUS = b"what the user had"


@dataclass(frozen=True)
class Inputs:
    """What all trials read: a small face, short and long sounds, tiny weights."""

    folder: Path
    face: Path
    sound: Path
    long: Path
    weights: Path

    @classmethod
    def make(cls, folder: Path) -> "Inputs":
        face = folder / "face.png"
        Image.fromarray(draw_face(160)).save(face)
        return cls(
            folder,
            face,
            write_voice(folder / "short.wav", 1.0),
            write_voice(folder / "long.wav", 40.0),
            write_tiny_weights(folder / "weights"),
        )


class Trial:
    """A folder to render in, and the render that runs there."""

    def __init__(self, inputs: Inputs, folder: Path) -> None:
        self.inputs, self.folder = inputs, folder

    def start(self, *arguments: object, **options: object) -> "subprocess.Popen[str]":
        """Start `talkhead render` with arguments after the weights."""
        command = [sys.executable, "-m", "talkhead", "render", "--weights", self.inputs.weights]
        process: subprocess.Popen[str] = subprocess.Popen(
            [*map(str, command), "--quiet", *map(str, arguments)],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(TOP), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,  # type: ignore[call-overload]
        )
        return process

    def listing(self) -> dict[str, str]:
        """Return the digest of every file in the folder."""
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.folder.rglob("*")
            if path.is_file()
        }


def end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for a process; return its exit code and what it said."""
    try:
        _, said = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    return process.returncode, said


def is_whole(video: Path) -> bool:
    """Whether a file is a video with picture and sound that can be opened."""
    _, _, messages = run_ffmpeg(list_streams_args(video))
    return "Video: h264" in messages and "Audio: aac" in messages


def one_line(said: str) -> bool:
    """Whether an error was told as it has to be."""
    return said.startswith("talkhead: ") and said.count("\n") == 1


@contextlib.contextmanager
def trial_of(inputs: Inputs) -> Iterator[Trial]:
    """Give a trial an empty folder that is removed after it."""
    folder = Path(tempfile.mkdtemp(dir=inputs.folder, prefix="trial-"))
    try:
        yield Trial(inputs, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def time_of_a_render(inputs: Inputs) -> float:
    """Return how long a render takes that nobody disturbs, seconds."""
    with trial_of(inputs) as trial:
        started = time.monotonic()
        code, said = end(trial.start(inputs.face, inputs.sound, "-o", "out.mp4"))
        assert code == 0, said
        return time.monotonic() - started


def kills(inputs: Inputs, number: signal.Signals, count: int, seed: int) -> Row:
    """End renders at random moments; half of them would replace a file."""
    row = Row(f"render ended by {number.name} at a random moment")
    rng = np.random.default_rng([seed, number])
    whole_s = time_of_a_render(inputs)
    moments = rng.uniform(0, 1.2 * whole_s, count)

    def one(index: int) -> tuple[str, str | None]:
        with trial_of(inputs) as trial:
            output = trial.folder / "out.mp4"
            replaces = index % 2 == 1
            if replaces:
                output.write_bytes(PRECIOUS)
            before = trial.listing()
            more = ["--overwrite"] if replaces else []
            process = trial.start(inputs.face, inputs.sound, "-o", "out.mp4", *more)
            was_over = True
            try:
                process.wait(moments[index])
            except subprocess.TimeoutExpired:
                was_over = False
                process.send_signal(number)
            code, said = end(process)
            # The encoder outlives Python by a moment; what it still writes has no name.
            after = trial.listing()
            if code == 0:
                fault = None if is_whole(output) and len(after) == 1 else f"left {sorted(after)}"
                return "over before it came" if was_over else "the whole video", fault
            if after != before and [*after] == ["out.mp4"] and is_whole(output):
                return "the whole video", None  # the end came after the last write
            fault = None if after == before else f"{sorted(before)} became {sorted(after)}"
            if number != signal.SIGKILL and said and not one_line(said):
                fault = f"said {said!r}"
            return "nothing left, nothing lost", fault

    return _gather(row, one, count)


def _gather(row: Row, one: Callable[[int], tuple[str, str | None]], count: int) -> Row:
    """Run trials two at a time; each says what happened, and what was wrong with it if anything."""

    def timed(index: int) -> tuple[str, str | None, float]:
        started = time.monotonic()
        return *one(index), time.monotonic() - started

    with ThreadPoolExecutor(2) as pool:
        for outcome, fault, seconds in pool.map(timed, range(count)):
            findings = [] if fault is None else [fault]
            row.add("finding" if findings else outcome, seconds, 0.0, findings)
    return row


def _refused(trial: Trial, before: dict[str, str], code: int, said: str) -> str | None:
    """Return what is wrong with a refusal: it has exit code 2, one line, and changes nothing."""
    if code != 2 or not one_line(said):
        return f"exit code {code}: {said!r}"
    return None if trial.listing() == before else f"left {sorted(trial.listing())}"


def encoder_dies(inputs: Inputs, count: int, seed: int) -> Row:
    """Kill ffmpeg, not talkhead, while it encodes."""
    rng = np.random.default_rng([seed, 1])
    waits = rng.uniform(0, 0.3, count)

    def one(index: int) -> tuple[str, str | None]:
        with trial_of(inputs) as trial:
            process = trial.start(inputs.face, inputs.long, "-o", "out.mp4")
            encoder = _encoder_of(process)
            if encoder is None:
                code, said = end(process)
                return "", f"no encoder was seen; exit code {code}: {said!r}"
            time.sleep(waits[index])
            os.kill(encoder, signal.SIGKILL)
            return "exit code 2, one line", _refused(trial, {}, *end(process))

    return _gather(Row("ffmpeg killed while it encodes"), one, count)


def _encoder_of(process: "subprocess.Popen[str]") -> int | None:
    """Wait for the ffmpeg that encodes, a child of some thread of the process."""
    while process.poll() is None:
        for path in Path(f"/proc/{process.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                for child in path.read_text().split():
                    if b"libx264" in Path(f"/proc/{child}/cmdline").read_bytes():
                        return int(child)
        time.sleep(0.01)
    return None


def full_disks(inputs: Inputs, count: int, seed: int) -> Row:
    """Let files grow to a limit only, as on a disk that is full or a quota that is used up."""
    rng = np.random.default_rng([seed, 2])
    limits = rng.integers(0, 60_000, count)

    def one(index: int) -> tuple[str, str | None]:
        import resource

        def limit() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing fails instead
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(limits[index]), resource.RLIM_INFINITY))

        with trial_of(inputs) as trial:
            process = trial.start(inputs.face, inputs.long, "-o", "out.mp4", preexec_fn=limit)
            return "exit code 2, one line", _refused(trial, {}, *end(process))

    return _gather(Row("no room left for the video"), one, count)


def changed_inputs(inputs: Inputs, count: int, seed: int) -> Row:
    """Cut the sound, or put another picture in the face's place, while they are used."""
    rng = np.random.default_rng([seed, 3])
    moments = rng.uniform(0, time_of_a_render(inputs), count)

    def one(index: int) -> tuple[str, str | None]:
        with trial_of(inputs) as trial:
            face, sound = trial.folder / "face.png", trial.folder / "sound.wav"
            shutil.copy(inputs.face, face)
            shutil.copy(inputs.sound, sound)
            process = trial.start(face, sound, "-o", "out.mp4")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moments[index])
            if index % 2:
                os.truncate(sound, 1000)
            else:
                Image.new("RGB", (90, 90)).save(face)
            code, said = end(process)
            left = sorted(set(trial.listing()) - {"face.png", "sound.wav"})
            if code == 0:
                good = left == ["out.mp4"] and is_whole(trial.folder / "out.mp4")
                return "finished", None if good else f"left {left}"
            good = code in (2, 3) and one_line(said) and not left
            return "refused in one line", None if good else f"exit code {code}: {said!r}, {left}"

    return _gather(Row("an input changed while it was read"), one, count)


def races(inputs: Inputs, count: int, seed: int) -> Row:
    """Let two renders write the same output, neither of which may replace a file."""
    del seed

    def one(_: int) -> tuple[str, str | None]:
        with trial_of(inputs) as trial:
            both = [trial.start(inputs.face, inputs.sound, "-o", "out.mp4") for _ in range(2)]
            ended = [end(process) for process in both]
            codes = sorted(code for code, _ in ended)
            whole = is_whole(trial.folder / "out.mp4") and len(trial.listing()) == 1
            lines = all(one_line(said) for code, said in ended if code)
            good = whole and codes == [0, 2] and lines
            return "one wrote, one was refused", None if good else f"{ended}, {trial.listing()}"

    return _gather(Row("two renders of one output"), one, count)


NAMES = (
    "with spaces",
    "'single' \"double\"",
    "line\nbreak",
    "-o",
    "--overwrite",
    "$(reboot); `reboot` | & > *?[a]",
    "%03d",
    "concat:a|b",
    "file:http:x",
    "Grüße 你好 🎉",
    "[bold]markup[blink]",
    "\x1b[31mred",
    "a" * 246,
    "é" * 123,
    "..hidden",
    "tab\there",
)
"""Beginnings of file names that trip up programs; 250 bytes with their suffix at most."""


def names(inputs: Inputs, count: int, seed: int) -> Row:
    """Give all three files the same odd name, in a folder of that name, relative or absolute."""
    del seed

    def one(index: int) -> tuple[str, str | None]:
        name = NAMES[index % len(NAMES)]
        with trial_of(inputs) as trial:
            folder = trial.folder / name
            folder.mkdir()
            shutil.copy(inputs.face, folder / f"{name}.png")
            shutil.copy(inputs.sound, folder / f"{name}.wav")
            where = folder if index % 2 else Path(name)
            face, sound, output = (where / f"{name}{kind}" for kind in (".png", ".wav", ".mp4"))
            code, said = end(trial.start("-o", output, "--", face, sound))
            good = code == 0 and is_whole(folder / f"{name}.mp4") and len(trial.listing()) == 3
            return "rendered", None if good else f"{name!r}: exit code {code}: {said!r}"

    return _gather(Row("odd names"), one, count)


def closed_pipes(inputs: Inputs, count: int, seed: int) -> Row:
    """Stop reading a video that goes to a pipe."""
    rng = np.random.default_rng([seed, 4])
    sizes = rng.integers(0, 20_000, count)

    def one(index: int) -> tuple[str, str | None]:
        with trial_of(inputs) as trial:
            process = trial.start(inputs.face, inputs.long, "-o", "-", bufsize=0)
            assert process.stdout is not None
            os.read(process.stdout.fileno(), int(sizes[index]) + 1)
            process.stdout.close()
            assert process.stderr is not None
            with process.stderr:
                said = process.stderr.read()
            code = process.wait(LIMIT_S)
            good = code in (2, 141) and (not said or one_line(said)) and not trial.listing()
            return "ended", None if good else f"exit code {code}: {said!r}"

    return _gather(Row("nobody reads the video to its end"), one, count)


FAULTS: dict[str, Callable[[Inputs, int, int], Row]] = {
    "SIGKILL": lambda inputs, count, seed: kills(inputs, signal.SIGKILL, count, seed),
    "SIGTERM": lambda inputs, count, seed: kills(inputs, signal.SIGTERM, count, seed),
    "SIGINT": lambda inputs, count, seed: kills(inputs, signal.SIGINT, count, seed),
    "batch": lambda _, count, seed: kill_batch(count, seed),
    "jobs": lambda _, count, seed: large_batches(count, on_ray=False),
    "ray": lambda _, count, seed: large_batches(count, on_ray=True),
    "encoder": encoder_dies,
    "disk": full_disks,
    "inputs": changed_inputs,
    "races": races,
    "names": names,
    "pipes": closed_pipes,
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability faults", description=__doc__)
    parser.add_argument("--count", type=int, default=20, help="trials of every kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--report", type=Path, metavar="FILE.json")
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory(prefix="talkhead-faults-") as folder:
        inputs = Inputs.make(Path(folder))
        for name in options.only:
            row = FAULTS[name](inputs, options.count, options.seed)
            rows.append(row)
            sys.stdout.write(f"{row.kind}: {row.tried} tried, {row.outcomes}\n")
            for finding in row.findings:
                sys.stdout.write(f"  {finding}\n")
            sys.stdout.flush()
    if options.report:
        write_rows(options.report, rows)
    return 1 if any(row.findings for row in rows) else 0

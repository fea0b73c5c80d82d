"""The command line in a warm process: torch is loaded once, thousands of commands run in it.

The parent looks at time and memory while a command runs, and ends a process that takes too much.
"""

import contextlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

MAX_SECONDS = 60.0
MAX_MB = 3000.0
_POLL_S = 0.05
_MAX_COMMANDS = 400
"""Then the process is replaced, so that what one command leaves behind does not add up."""


@dataclass(frozen=True)
class Ended:
    """How a command ended. `code` is None where the process died, or had to be ended."""

    code: int | None
    stdout: str
    stderr: str
    seconds: float
    megabytes: float
    """The most that the process and those it started held together."""


class WarmProcess:
    """Runs commands one after the other; replaced where one of them brings it down."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self._num_commands = 0

    def run(self, arguments: Sequence[str], folder: Path) -> Ended:
        """Run one command in a folder."""
        if self._num_commands >= _MAX_COMMANDS:
            self.close()
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._connection is not None
        self._num_commands += 1
        started = time.monotonic()
        self._connection.send((list(arguments), str(folder)))
        peak_mb = _watch(self._process.pid or 0, started, lambda: self._has_ended())
        seconds = time.monotonic() - started
        if not self._connection.poll():
            self.close()
            return Ended(None, "", "", seconds, peak_mb)
        try:
            code, stdout, stderr, own_mb = self._connection.recv()
        except (EOFError, ConnectionError):  # it died
            self.close()
            return Ended(None, "", "", seconds, peak_mb)
        return Ended(code, stdout, stderr, seconds, max(peak_mb, own_mb))

    def close(self) -> None:
        """End the process and everything that it started."""
        if self._process is not None:
            end_tree(self._process.pid or 0)
            self._process.join()
        self._process, self._connection, self._num_commands = None, None, 0

    def _has_ended(self) -> bool:
        assert self._connection is not None
        return self._connection.poll(_POLL_S)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._environment))
        self._process.start()
        theirs.close()
        self._connection.recv()  # it is warm


def run_cold(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Ended:
    """Run one command as a user does, in a process of its own."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        process = psutil.Popen(
            [sys.executable, "-m", "talkhead", *arguments],
            cwd=folder,
            env=environment,
            stdin=-3,  # subprocess.DEVNULL
            stdout=out,
            stderr=err,
        )

        def has_ended() -> bool:
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(_POLL_S)
                return True
            return False

        peak_mb = _watch(process.pid, started, has_ended)
        seconds = time.monotonic() - started
        code = process.poll()
        if code is None:
            end_tree(process.pid)
            process.wait()
        elif code < 0:
            code = None
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
        return Ended(code, texts[0], texts[1], seconds, peak_mb)


def end_tree(pid: int) -> None:
    """Kill a process of ours and all that it started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in (*process.children(recursive=True), process):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


def _watch(pid: int, started: float, has_ended: object) -> float:
    """Wait until a process has ended or takes too much; return the most memory seen, in MB."""
    peak_mb = 0.0
    assert callable(has_ended)
    while not has_ended():
        peak_mb = max(peak_mb, _tree_mb(pid))
        if peak_mb > MAX_MB or time.monotonic() - started > MAX_SECONDS:
            break
    return peak_mb


def _tree_mb(pid: int) -> float:
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += each.memory_info().rss
    return total / 1e6


def _serve(connection: Connection, environment: Mapping[str, str]) -> None:
    """Run commands until the parent closes the connection."""
    os.environ.update(environment)
    tempfile.tempdir = None  # the environment names another one

    import torch  # noqa: F401 - what takes long, before the clock runs

    connection.send("warm")
    with contextlib.suppress(EOFError):
        while True:
            arguments, folder = connection.recv()
            connection.send(_run(arguments, Path(folder)))


def _run(arguments: Sequence[str], folder: Path) -> tuple[int, str, str, float]:
    """Run one command; what it prints, and what libraries print, is caught beneath Python."""
    import typer

    from talkhead.cli.app import app
    from talkhead.cli.errors import exit_code_of

    os.chdir(folder)
    _forget_peak()
    command = typer.main.get_command(app)
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        Path(os.devnull).open() as none,
    ):
        for number, file in ((0, none), (1, out), (2, err)):
            os.dup2(file.fileno(), number)
        try:
            code = exit_code_of(
                lambda: command.main(list(arguments), prog_name="talkhead", standalone_mode=False)
            )
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else 1
        except BaseException:  # noqa: BLE001 - as the interpreter does
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    os.chdir(folder.parent)
    return code, texts[0], texts[1], _peak_mb()


def _forget_peak() -> None:
    """Let the most memory that was held be counted anew, where the system can do that."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    """Return the most memory that this process has held since then, 0 where nobody tells."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def clear_folder(folder: Path) -> None:
    """Empty a folder."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            Path(entry.path).unlink()

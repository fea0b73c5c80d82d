import signal
import subprocess
import sys
from pathlib import Path

import pytest

import talkhead
from talkhead.errors import BatchError, NoFaceError, TalkheadError, WeightsError

HEAD = """
import os, sys, time
from pathlib import Path
from talkhead.cli.errors import exit_code_of
from talkhead.errors import BatchError, NoFaceError, TalkheadError, WeightsError

"""
TAIL = "\nsys.exit(exit_code_of(command))\n"
WAITING = """
def command():
    part = Path(sys.argv[1])
    try:
        part.write_text("half")
        print("ready", flush=True)
        time.sleep(60)
    finally:
        part.unlink()
"""


def started(body: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + body + TAIL, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(talkhead.__file__).parents[1],
    )


def ended(body: str) -> tuple[int, str, str]:
    process = started(body)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("kind", "code"), [(TalkheadError, 2), (NoFaceError, 3), (WeightsError, 4), (BatchError, 5)]
)
def test_every_kind_of_error_has_its_code_and_one_line(
    kind: type[TalkheadError], code: int
) -> None:
    body = f"def command(): raise {kind.__name__}('what is wrong\\n  and where')"
    assert ended(body) == (code, "", "talkhead: what is wrong and where\n")


def test_a_bug_keeps_its_traceback_and_exits_1() -> None:
    code, out, err = ended("def command(): return 1 / 0")
    assert (code, out) == (1, "")
    assert err.startswith("Traceback")
    assert err.endswith("ZeroDivisionError: division by zero\n")


def test_a_command_that_ends_well_exits_0() -> None:
    assert ended("def command(): print('result')") == (0, "result\n", "")


def test_what_the_machine_refuses_is_no_bug() -> None:
    body = "def command(): raise OSError(28, 'No space left on device', 'out.mp4')"
    assert ended(body) == (2, "", "talkhead: No space left on device: out.mp4\n")
    assert ended("def command(): raise OSError(22, 'Invalid argument')")[0] == 1


def test_warnings_of_other_packages_are_not_shown() -> None:
    body = "def command():\n    import warnings\n    warnings.warn('old', FutureWarning)"
    assert ended(body) == (0, "", "")


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGINT, 130, "talkhead: interrupted\n"),
        (signal.SIGTERM, 143, "talkhead: terminated by SIGTERM\n"),
        (signal.SIGHUP, 129, "talkhead: terminated by SIGHUP\n"),
    ],
)
def test_a_signal_cleans_up_before_the_process_ends(
    tmp_path: Path, number: signal.Signals, code: int, line: str
) -> None:
    part = tmp_path / "half"
    process = started(WAITING, str(part))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert part.exists()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (code, line)
    assert not part.exists()


def test_who_ends_a_command_while_libraries_are_silenced_is_answered() -> None:
    body = """
def command():
    import signal
    from talkhead.media.native_logs import stderr_silenced
    with stderr_silenced():
        signal.raise_signal(signal.SIGTERM)
"""
    assert ended(body) == (143, "", "talkhead: terminated by SIGTERM\n")


def test_a_reader_that_has_enough_ends_the_command_quietly() -> None:
    body = "def command():\n    for _ in range(100000): print('line')"
    process = started(body)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "line\n"
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.parametrize(
    "error",
    [
        "MemoryError()",
        "RuntimeError('[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can\\'t allocate"
        " memory: you tried to allocate 9 bytes')",
        'RuntimeError("can\'t start new thread")',
        "ImportError('libtorch_cpu.so: failed to map segment from shared object')",
        "TypeError('Error building mini table: Out of memory')",
        "OSError(12, 'Cannot allocate memory')",
    ],
)
def test_want_of_memory_is_no_bug(error: str) -> None:
    body = f"""
def command():
    try:
        raise {error}
    except Exception as cause:
        raise WeightsError("model.safetensors is corrupt") from cause
"""
    for each in (f"def command(): raise {error}", body):
        code, out, err = ended(each)
        assert (code, out) == (2, "")
        assert err.startswith("talkhead: memory ran out")
        assert err.count("\n") == 1


def test_a_file_that_is_called_out_of_memory_is_a_file() -> None:
    body = "def command(): raise TalkheadError('out of memory.png does not exist')"
    assert ended(body) == (2, "", "talkhead: out of memory.png does not exist\n")

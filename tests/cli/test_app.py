import subprocess
import sys
from pathlib import Path

import talkhead
from tests.cli.conftest import Run


def test_version_and_help_go_to_stdout(run_talkhead: Run) -> None:
    assert run_talkhead("--version").stdout == f"talkhead {talkhead.__version__}\n"
    shown = run_talkhead("--help")
    assert shown.returncode == 0
    assert shown.stderr == ""
    assert "weights" in shown.stdout
    assert run_talkhead().stdout == shown.stdout


def test_the_command_line_loads_without_heavy_packages() -> None:
    heavy = ["torch", "numpy", "mediapipe", "transformers", "diffusers", "librosa", "PIL"]
    script = f"import sys, talkhead.cli.app; print([n for n in {heavy} if n in sys.modules])"
    shown = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(talkhead.__file__).parents[1],
    )
    assert shown.stdout == "[]\n"


def test_wrong_usage_is_one_line_and_exits_2(run_talkhead: Run) -> None:
    for arguments, message in (
        (["nonsense"], "No such command 'nonsense' (see `talkhead --help`)"),
        (["weights"], "Missing command (see `talkhead weights --help`)"),
        (["weights", "list", "--jsn"], "No such option: --jsn"),
        (["weights", "path"], "Missing argument 'NAME|FOLDER|OWNER/NAME[@REVISION]'"),
        (["doctor", "a.png", "extra"], "Got unexpected extra argument"),
    ):
        ended = run_talkhead(*arguments)
        assert ended.returncode == 2
        assert ended.stdout == ""
        assert ended.stderr.startswith(f"talkhead: {message}")
        assert ended.stderr.count("\n") == 1

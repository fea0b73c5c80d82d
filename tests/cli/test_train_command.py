import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from talkhead.landmarks2video.autoencoder import Autoencoder
from tests.cli.conftest import PACKAGE, Run
from tests.prepared import write_prepared
from tests.tiny import TINY_AUTOENCODER


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Settings with the default precision and paths relative to the settings file."""
    write_prepared(tmp_path / "data", num_frames=20)
    model = "\n".join(f"{key} = {value}" for key, value in TINY_AUTOENCODER.items())
    path = tmp_path / "tiny.toml"
    path.write_text(
        '[train]\ndata = "data"\nrun = "run"\nsteps = 30\nbatch_size = 4\nlearning_rate = 1e-3\n'
        "log_every = 1\nvalidate_every = 15\nsave_every = 2\n"
        f"[model]\n{model}\n[task]\ncrop_px = 128\n"
    )
    return path


def test_training_that_is_interrupted_goes_on_to_its_end(
    run_talkhead: Run, settings: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "talkhead", "train", "autoencoder", str(settings)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    line = ""
    while not line.startswith("train 4/30"):
        line = process.stderr.readline()
        assert line, "training ended early"
    assert " loss " in line
    assert line.endswith(" left\n")
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "talkhead: interrupted"
    assert "Traceback" not in err

    ended = run_talkhead("train", "autoencoder", str(settings), "--json", "--device", "cpu")
    assert ended.returncode == 0, ended.stderr
    lines = ended.stderr.splitlines()
    assert int(lines[0].split()[1].split("/")[0]) > 2, "it began anew"
    assert lines[-1].startswith("validate 30/30  psnr ")
    summary = json.loads(ended.stdout)
    assert summary["steps"] == 30
    assert summary["scores"]["psnr"] > 15
    checkpoint = Path(summary["checkpoint"])
    assert checkpoint == tmp_path / "run" / "checkpoint"
    config = Autoencoder.from_pretrained(checkpoint).config
    assert {name: config[name] for name in TINY_AUTOENCODER} == TINY_AUTOENCODER
    log = (tmp_path / "run" / "log.jsonl").read_text()
    logged = [json.loads(line) for line in log.splitlines()]
    steps = [line["step"] for line in logged if line["kind"] == "train"]
    assert steps == list(range(1, 31))

    again = run_talkhead("train", "autoencoder", str(settings), "--quiet")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.startswith(f"{checkpoint}: 30 steps, psnr ")


def test_what_cannot_be_trained_exits_2_with_one_line(run_talkhead: Run, tmp_path: Path) -> None:
    empty = tmp_path / "empty.toml"
    empty.write_text("")
    for arguments, message in (
        (["autoencoder", "missing.toml"], "cannot read the settings missing.toml"),
        (["autoencoder", "empty.toml"], "empty.toml, [train]: 5 keys missing"),
        (["nonsense", "empty.toml"], "Invalid value for"),
        (["landmarks"], "Missing argument 'CONFIG.toml'"),
    ):
        ended = run_talkhead("train", *arguments)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith(f"talkhead: {message}"), ended.stderr
        assert ended.stderr.count("\n") == 1


def test_without_the_extra_packages_it_says_what_to_install(tmp_path: Path) -> None:
    script = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        if name not in ("accelerate", "espeakng_loader"):
            return self.finder.find_spec(name, path, target)
sys.meta_path = [Without(finder) for finder in sys.meta_path]
sys.argv = ["talkhead", "train", "autoencoder", "missing.toml"]
from talkhead.cli.app import main
main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("talkhead: training needs accelerate and espeakng_loader: ")
    assert ended.stderr.count("\n") == 1

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from tests.drawn_face import draw_face
from tests.pages import TOP
from tests.tiny import write_voice

MAX_SECONDS, MAX_MB = 30, 2


class Served(NamedTuple):
    """A running page, and the folder of its temporary files."""

    url: str
    folder: Path


@pytest.fixture(scope="session")
def served(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`talkhead app` with tiny weights; it ends with the tests."""
    folder = tmp_path_factory.mktemp("served")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "talkhead", "app", "--port", str(port)),
            *("--weights", str(tiny_weights), "--device", "cpu", "--dtype", "float32"),
            *("--max-upload", str(MAX_MB), "--max-seconds", str(MAX_SECONDS)),
        ],
        env=os.environ | {"PYTHONPATH": str(TOP), "HF_HUB_OFFLINE": "1", "TMPDIR": str(folder)},
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield Served(process.stdout.readline().strip(), folder)
    process.terminate()
    assert process.wait(60) == 143
    process.stdout.close()
    assert list(folder.iterdir()) == []


@pytest.fixture
def face(tmp_path: Path, detector_is_here: None) -> Path:
    path = tmp_path / "face.png"
    Image.fromarray(draw_face(192)).save(path)
    return path


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return write_voice(tmp_path / "voice.wav", 0.4)

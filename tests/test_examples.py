import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tiny import write_voice

TOP = Path(__file__).resolve().parents[1]
EXAMPLES = TOP / "examples"


@pytest.mark.usefixtures("detector_is_here")
def test_the_contact_sheet_shows_frames_that_differ(tmp_path: Path) -> None:
    sound = write_voice(tmp_path / "voice.wav", 1.0)
    sheet = tmp_path / "sheet.png"
    ended = subprocess.run(
        [sys.executable, EXAMPLES / "contact_sheet.py", EXAMPLES / "face.png", sound, sheet],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(TOP), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, f"{sheet}: 12 of 25 frames\n"), ended.stderr
    with Image.open(sheet) as image:
        shown = np.asarray(image.convert("RGB"))
    assert shown.shape == (320, 960, 3)
    tiles = shown.reshape(2, 160, 6, 160, 3).swapaxes(1, 2).reshape(12, -1)
    assert tiles.std(axis=1).min() > 20  # every tile has a picture
    assert len(np.unique(tiles, axis=0)) == 12

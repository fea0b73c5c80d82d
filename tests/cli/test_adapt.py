import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from diffusers import DiffusionPipeline

from talkhead.media.audio import write_waveform
from talkhead.media.video import VideoWriter
from tests.cli.conftest import RunHere, refused
from tests.drawn_face import draw_face
from tests.prepared import lip_motion, voice
from tests.tiny import write_voice

NUM_FRAMES = 16 * 25


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, detector_is_here: None) -> Path:
    """Sixteen seconds of a drawn face whose lips follow its voice."""
    path = tmp_path_factory.mktemp("videos") / "talk.mp4"
    opening = lip_motion(NUM_FRAMES, seed=0)
    levels = np.linspace(0, 0.08, 5)
    drawings = [draw_face(192, float(level)) for level in levels]
    sound = path.with_suffix(".wav")
    write_waveform(sound, voice(opening, seed=0))
    with VideoWriter(path, size=(192, 192), fps=Fraction(25), sound=sound) as writer:
        for index in np.abs(opening[:, None] - levels).argmin(1):
            writer.write(drawings[index])
    return path


def test_a_video_becomes_weights_that_render_and_that_diffusers_loads(
    run_here: RunHere, video: Path, tiny_weights: Path, face: Path, tmp_path: Path
) -> None:
    command = ["adapt", str(video), "-o", "mine", "--weights", str(tiny_weights)]
    ended = run_here(*command, "--steps", "12", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    result = json.loads(ended.stdout)
    assert result["saved"]
    assert result["steps"] == {"denoiser": 12}  # these weights have no mouth denoiser
    assert 13.5 < result["train_s"] <= 14  # of 16 s: 1.6 s are held out, after a gap
    assert result["scores"]["after"]["lips_psnr"] > result["scores"]["before"]["lips_psnr"]
    assert (result["device"], result["base"]) == ("cpu", str(tiny_weights))
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "face.png"}

    write_voice(tmp_path / "voice.wav", 0.2)
    ended = run_here("render", str(face), "voice.wav", "-o", "out.mp4", "--weights", "mine")
    assert ended.returncode == 0, ended.stderr
    assert type(DiffusionPipeline.from_pretrained(tmp_path / "mine")).__name__ == "TalkheadPipeline"
    refused(run_here(*command), 2, "mine exists: choose another name, or allow overwriting")


def test_what_is_wrong_is_told_in_one_line(run_here: RunHere, video: Path, tmp_path: Path) -> None:
    refused(run_here("adapt", "none.mp4", "-o", "mine"), 2, "none.mp4 does not exist")
    refused(run_here("adapt", str(video)), 2, "Missing option")
    refused(run_here("adapt", str(video), "-o", "a/b"), 2, "folder a does not exist")
    refused(run_here("adapt", str(video), "-o", "mine", "--minutes", "0"), 2, "--minutes")
    refused(run_here("adapt", str(video), "-o", "mine", "--weights", "no-such"), 4, "no-such")
    assert list(tmp_path.iterdir()) == []

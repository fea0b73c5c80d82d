"""The second system in `render` and `eval`, with tiny weights."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from talkhead.emotions import EMOTIONS
from talkhead.media.video import VideoWriter, read_frames
from tests.cli.conftest import SIDE, RunHere, listing, refused, write_face
from tests.drawn_face import draw_face
from tests.prepared import write_prepared
from tests.tiny import write_voice

pytestmark = pytest.mark.usefixtures("detector_is_here")


def test_render_takes_the_second_system_and_names_the_emotion(
    run_here: RunHere, tiny_mask_noise: Path, tmp_path: Path
) -> None:
    face, audio = write_face(tmp_path / "face.png"), write_voice(tmp_path / "voice.wav", 0.5)

    emotions: list[str] = []

    def made(name: str, *options: str) -> np.ndarray:  # type: ignore[type-arg]
        given = [str(face), str(audio), "-o", name, "--weights", str(tiny_mask_noise), "--json"]
        ended = run_here("render", *given, *options)
        assert ended.returncode == 0, ended.stderr
        facts = json.loads(ended.stdout)
        assert facts["frames"] == 13
        emotions.append(facts["emotion"])
        return np.stack(list(read_frames(Path(name))))

    auto = made("auto.mp4")
    assert auto.shape == (13, SIDE, SIDE, 3)
    happy = made("happy.mp4", "--emotion", "happy")
    sad = made("sad.mp4", "--emotion", "sad")
    assert not np.array_equal(happy, sad)
    assert not np.array_equal(sad, made("late.mp4", "--emotion", "sad", "--start-step", "900"))
    assert emotions[0] in EMOTIONS
    assert emotions[1:] == ["happy", "sad", "sad"]
    ended = run_here("inspect", "happy.mp4", "--json")
    assert ended.returncode == 0, ended.stderr
    assert set(json.loads(ended.stdout)["note"]["digests"]) == {
        *("emotion_classifier", "expressions", "landmark_generator"),
        *("scheduler", "video_denoiser"),
    }


def test_what_the_systems_do_not_have_is_refused_before_slow_work(
    run_here: RunHere, tiny_mask_noise: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    face, audio = write_face(tmp_path / "face.png"), write_voice(tmp_path / "voice.wav", 0.5)
    given = ["render", str(face), str(audio), "-o", "out.mp4", "--weights"]
    before = listing(tmp_path)
    ended = run_here(*given, str(tiny_weights), "--start-step", "100")
    refused(ended, 4, "lgd always starts from noise: leave out the start step")
    ended = run_here(*given, str(tiny_weights), "--emotion", "happy")
    refused(ended, 4, "these weights have no emotions: leave the emotion out")
    ended = run_here(*given, str(tiny_mask_noise), "--emotion", "bored")
    refused(ended, 2, "the emotion must be one of auto, angry", "not 'bored'")
    refused(run_here(*given, str(tiny_mask_noise), "--start-step", "1001"), 2, "--start-step")
    ended = run_here(*given, str(tiny_mask_noise), "--emotion", "contempt")
    refused(ended, 4, "no contempt face")
    several = ["render", str(face), str(audio), str(audio), "-o", "{audio}-{n}.mp4", "--dry-run"]
    ended = run_here(*several, "--weights", str(tiny_mask_noise), "--emotion", "bored")
    assert ended.returncode == 5
    assert "the emotion must be one of auto" in ended.stdout + ended.stderr
    assert listing(tmp_path) == before

    video = tmp_path / "face.mp4"
    with VideoWriter(video, size=(SIDE, SIDE), fps=Fraction(25), sound=None) as writer:
        for _ in range(5):
            writer.write(draw_face(SIDE))
    given[1] = str(video)
    refused(run_here(*given, str(tiny_mask_noise)), 4, "mask-noise animates pictures only")
    assert not Path("out.mp4").exists()


def test_eval_scores_start_steps_of_the_second_system_beside_the_first(
    run_here: RunHere, tiny_mask_noise: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    data = write_prepared(tmp_path / "data")
    weights = ["--weights", str(tiny_weights), "--weights", str(tiny_mask_noise)]
    starts = ["--start-step", "100", "--start-step", "900"]
    given = [*weights, *starts, "--stage", "render", "--limit", "1", "--jobs", "1"]
    ended = run_here("eval", str(data), "-o", "report", *given)
    assert ended.returncode == 0, ended.stderr
    scores = json.loads(Path("report/scores.json").read_text(encoding="utf-8"))
    (group,) = scores["groups"].values()
    systems = group["systems"]
    names = [f"{tiny_mask_noise} from {start}" for start in (100, 900)]
    assert [*systems][:3] == [str(tiny_weights), *names]
    assert scores["protocol"]["start_steps"] == [100, 900]
    assert set(scores["weights"][str(tiny_mask_noise)]) == {
        *("emotion_classifier", "expressions", "landmark_generator"),
        "video_denoiser",
    }
    assert systems[names[0]]["values"]["lower_psnr"] != systems[names[1]]["values"]["lower_psnr"]
    refused(
        run_here("eval", str(data), "-o", "b", "--stage", "landmarks", "--start-step", "5"),
        2,
        "--start-step is for stages that render frames",
    )
    alone = ["--weights", str(tiny_weights), "--start-step", "5"]
    refused(
        run_here("eval", str(data), "-o", "b", *alone), 2, "--start-step needs --weights mask-noise"
    )
    alone[-2:] = ["--without", "class"]
    refused(
        run_here("eval", str(data), "-o", "b", *alone), 2, "--without needs --weights mask-noise"
    )
    second = ["--weights", str(tiny_mask_noise), "--without", "scheduler"]
    refused(run_here("eval", str(data), "-o", "b", *second), 2, "--without must be mask-noise, ")
    alone[-2:] = ["--emotion", "bored"]
    refused(run_here("eval", str(data), "-o", "b", *alone), 2, "the emotion must be one of auto")

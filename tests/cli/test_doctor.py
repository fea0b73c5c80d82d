import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from talkhead.errors import WeightsError
from talkhead.media.video import VideoWriter
from talkhead.tracking.face_detector import FaceDetector
from tests.cli.conftest import Run, RunHere, refused
from tests.drawn_face import draw_face
from tests.people import film, head, room
from tests.weights_lists import model_entry


def test_doctor_finds_everything_it_needs(run_talkhead: Run) -> None:
    ended = run_talkhead("doctor", "--json")
    report = json.loads(ended.stdout)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert list(report) == ["talkhead", "torch", "ffmpeg", "mediapipe", "weights", "extras"]
    assert report["torch"]["threads"] >= 1
    assert Path(report["ffmpeg"]["path"]).is_file()
    assert report["mediapipe"]["version"]
    assert set(report["extras"]) == {"app", "c2pa", "identity", "ray", "train"}


def test_doctor_exits_4_when_weights_are_broken_and_still_reports_the_rest(
    run_talkhead: Run, copied_talkhead: Path
) -> None:
    (copied_talkhead / "weights.toml").write_text(model_entry("denoiser"))
    ended = run_talkhead("doctor", home=copied_talkhead)
    assert ended.returncode == 4
    assert ended.stderr.startswith("talkhead: weights broken: denoiser lists no files")
    assert ended.stderr.count("\n") == 1
    states = [row.split()[1] for row in ended.stdout.splitlines()]
    assert states == ["ok", "ok", "ok", "ok", "BROKEN", "ok"]


@pytest.fixture
def without_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """mediapipe 1.x needs its networks, and tests do not download."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    try:
        FaceDetector().close()
    except WeightsError:
        pytest.skip("mediapipe 1.x needs its networks, and they have not been downloaded")


@pytest.mark.usefixtures("without_networks")
def test_the_faces_of_a_picture_are_listed_as_choose_numbers_them(
    run_here: RunHere, tmp_path: Path
) -> None:
    small = np.pad(draw_face(200), ((0, 56), (0, 0), (0, 0)), mode="edge")
    Image.fromarray(np.concatenate([small, draw_face(256)], axis=1)).save(tmp_path / "two.png")
    ended = run_here("doctor", "two.png", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    faces = json.loads(ended.stdout)["faces"]
    assert [face["choose"] for face in faces] == [1, 2]
    assert [face["largest"] for face in faces] == [False, True]
    assert faces[0]["x"] == pytest.approx(100, abs=12)
    assert faces[1]["x"] == pytest.approx(328, abs=12)
    assert all(abs(face["yaw_deg"]) < 15 for face in faces)
    ended = run_here("doctor", "two.png")
    assert ended.returncode == 0
    assert "2 faces, from the left" in ended.stdout
    assert ended.stdout.index("--choose 1") < ended.stdout.index("the largest, the default")


@pytest.mark.usefixtures("without_networks")
def test_the_faces_of_a_video_are_those_of_the_first_frame_that_has_some(
    run_here: RunHere, tmp_path: Path
) -> None:
    face = draw_face(240)
    frames = [np.full_like(face, 128)] * 10 + [face] * 10
    with VideoWriter(tmp_path / "v.mp4", size=(240, 240), fps=Fraction(10), sound=None) as video:
        video.write(np.stack(frames))
    (tmp_path / "v.mp4").rename(tmp_path / "film.png")  # the content decides
    report = json.loads(run_here("doctor", "film.png", "--json").stdout)
    assert report["time_s"] == 1.0
    assert len(report["faces"]) == 1


@pytest.mark.usefixtures("without_networks")
def test_a_picture_without_a_face_exits_3(run_here: RunHere, tmp_path: Path) -> None:
    Image.fromarray(np.full((200, 200, 3), 128, np.uint8)).save(tmp_path / "none.png")
    ended = run_here("doctor", "none.png")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "shows no face" in ended.stderr


@pytest.mark.usefixtures("without_networks")
def test_a_video_of_one_frame_is_listed_and_says_what_can_be_dubbed(
    run_here: RunHere, tmp_path: Path
) -> None:
    film(tmp_path / "v.mp4", [room((960, 540), (head(200), 300, 260), (head(26), 800, 200))])
    ended = run_here("doctor", "v.mp4", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    faces = json.loads(ended.stdout)["faces"]
    assert [(face["can_be_dubbed"], face["largest"]) for face in faces] == [
        (True, True),
        (False, False),
    ]
    assert "too small, turned or cut off for dubbing" in run_here("doctor", "v.mp4").stdout


@pytest.mark.usefixtures("without_networks")
def test_a_picture_that_is_upside_down_says_how_to_turn_it(
    run_here: RunHere, tmp_path: Path
) -> None:
    upside_down = room((480, 360), (head(150), 240, 200))[::-1, ::-1]
    Image.fromarray(np.ascontiguousarray(upside_down)).save(tmp_path / "down.png")
    refused(run_here("doctor", "down.png"), 3, "rotated 180 degrees")

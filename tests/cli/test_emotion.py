"""`talkhead render --emotion` with the default system."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from talkhead.emotions import EMOTIONS
from talkhead.geometry.mesh import LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER
from talkhead.media.video import VideoWriter, read_frames
from talkhead.tracking.face_detector import FaceDetector
from talkhead.tracking.landmark_track import LandmarkTrack
from tests.cli.conftest import SIDE, RunHere, listing, refused, write_face
from tests.drawn_face import draw_face
from tests.tiny import write_silence, write_voice

Pixels = npt.NDArray[np.uint8]
pytestmark = pytest.mark.usefixtures("detector_is_here")


@pytest.fixture
def arguments(emotional_weights: Path, tmp_path: Path) -> list[str]:
    face, audio = write_face(tmp_path / "face.png"), write_voice(tmp_path / "voice.wav", 0.2)
    return ["render", str(face), str(audio), "--weights", str(emotional_weights), "--json"]


def write_face_video(path: Path) -> Path:
    with VideoWriter(path, size=(SIDE, SIDE), fps=Fraction(25), sound=None) as writer:
        writer.write(np.stack([draw_face(SIDE)] * 5))
    return path


def test_happiness_moves_the_corners_of_the_mouth_and_a_neutral_face_is_left_alone(
    arguments: list[str], run_here: RunHere
) -> None:
    shown = {}

    def frames(name: str, *options: str) -> Pixels:
        still = ("--pose", "still", "--blink", "off", "--crf", "0", "--no-provenance")
        ended = run_here(*arguments, "-o", name, *still, *options)
        assert (ended.returncode, ended.stderr) == (0, "")
        shown[name] = json.loads(ended.stdout).get("emotion")
        return np.stack(list(read_frames(Path(name))))

    plain = frames("plain.mp4")
    neutral = frames("neutral.mp4", "--emotion", "neutral")
    happy = frames("happy.mp4", "--emotion", "happy")
    frames("auto.mp4", "--emotion", "auto")
    assert Path("plain.mp4").read_bytes() == Path("neutral.mp4").read_bytes()
    assert np.array_equal(plain, neutral)
    with FaceDetector() as detector:
        mesh = detector.detect(draw_face(SIDE))[0]
    changed = np.abs(happy.astype(int) - neutral).max((0, -1))
    for corner in (RIGHT_MOUTH_CORNER, LEFT_MOUTH_CORNER):
        x, y = mesh[corner, :2].astype(int)
        assert changed[y - 8 : y + 9, x - 8 : x + 9].max() > 40
    eyes = int(mesh[[33, 263], 1].mean())
    assert changed[:eyes].max() <= 6  # encoder noise
    assert shown.pop("auto.mp4") in EMOTIONS
    assert shown == {"plain.mp4": None, "neutral.mp4": "neutral", "happy.mp4": "happy"}


def test_the_voice_s_emotion_of_silence_is_neutral(
    arguments: list[str], run_here: RunHere, tmp_path: Path
) -> None:
    arguments[2] = str(write_silence(tmp_path / "silence.wav", 0.2))
    ended = run_here(*arguments, "-o", "out.mp4", "--emotion", "auto")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["emotion"] == "neutral"


@pytest.mark.parametrize(
    ("emotion", "code", "words"),
    [
        ("bored", 2, "the emotion must be one of auto, angry"),
        ("Happy", 2, "not 'Happy'"),
        ("", 2, "the emotion must be one of auto"),
        ("contempt", 4, "these weights have no contempt face; the emotions they have: angry"),
    ],
)
def test_an_emotion_that_does_not_exist_is_refused(
    emotion: str, code: int, words: str, arguments: list[str], run_here: RunHere, tmp_path: Path
) -> None:
    before = listing(tmp_path)
    refused(run_here(*arguments, "-o", "out.mp4", "--emotion", emotion), code, words)
    assert listing(tmp_path) == before


@pytest.mark.parametrize("emotion", ["happy", "auto", "neutral"])
def test_videos_and_tracks_keep_their_own_expression(
    emotion: str, arguments: list[str], run_here: RunHere, tmp_path: Path
) -> None:
    with FaceDetector() as detector:
        mesh = detector.detect(draw_face(SIDE))[0]
    track = tmp_path / "track.npz"
    LandmarkTrack(mesh[None], Fraction(25), (SIDE, SIDE), "drawn").write(track)
    video = write_face_video(tmp_path / "face.mp4")
    before = listing(tmp_path)
    options = ("-o", "out.mp4", "--emotion", emotion)
    ended = run_here(*arguments, *options, "--landmarks", str(track))
    refused(ended, 2, "a landmark track has its own expression: leave out the emotion")
    arguments[1] = str(video)
    ended = run_here(*arguments, *options)
    refused(ended, 2, "a video keeps its own expression: leave out the emotion")
    assert listing(tmp_path) == before

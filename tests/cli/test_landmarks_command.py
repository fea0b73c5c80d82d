import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from talkhead.errors import WeightsError
from talkhead.geometry.mesh import MEAN_FACE
from talkhead.geometry.pose import fit_head_pose
from talkhead.media.video import VideoWriter, probe_video, read_frames
from talkhead.tracking.face_detector import DETECTOR_NAME, FaceDetector
from talkhead.tracking.landmark_track import LandmarkTrack
from tests.cli.conftest import SECONDS, SIDE, RunHere
from tests.drawn_face import draw_face
from tests.tiny import write_noise, write_silence, write_voice


@pytest.fixture
def face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    try:
        FaceDetector().close()
    except WeightsError:
        pytest.skip("mediapipe 1.x needs its networks, and they have not been downloaded")
    Image.fromarray(draw_face(SIDE)).save(tmp_path / "face.png")
    return tmp_path / "face.png"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_voice_becomes_a_track_that_reads_back(
    audio: Path, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    ended = run_here(
        "landmarks", str(audio), "-o", "track.npz", "--weights", str(tiny_weights), "--json"
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    result = json.loads(ended.stdout)
    assert (result["output"], result["frames"], result["fps"]) == ("track.npz", 13, "25")
    track = LandmarkTrack.read(tmp_path / "track.npz")
    assert track.points.shape == (13, 478, 3)
    assert track.fps == 25
    assert track.size == (result["width"], result["height"])
    assert names(tmp_path) == {"voice.wav", "track.npz"}
    # Without a picture, a moving mean face at the centre of an empty picture.
    assert track.points[..., :2].min() > 0
    assert track.points[..., :2].max() < min(track.size)
    rest = fit_head_pose(track.points).to_face(track.points)
    assert np.abs(rest[:, 10] - MEAN_FACE[10]).max() < 0.05
    assert np.ptp(track.points[:, 17], axis=0).max() > 1


def test_a_sound_without_speech_gives_a_track_at_rest_and_a_warning(
    run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    shared = ("-o", "track.npz", "--weights", str(tiny_weights), "--json", "--overwrite")
    for name, write, warning in (
        ("voice.wav", write_voice, ""),
        ("silence.wav", write_silence, ""),
        ("noise.wav", write_noise, "talkhead: warning: no speech found in noise.wav"),
    ):
        write(tmp_path / name, SECONDS)
        ended = run_here("landmarks", name, *shared)
        assert ended.returncode == 0
        assert ended.stderr.startswith(warning)
        assert ended.stderr.count("\n") == bool(warning)
        result = json.loads(ended.stdout)
        assert result["speech"] is (name == "voice.wav")
        assert result["silent"] is (name == "silence.wav")


def test_npz_and_json_hold_the_same_and_two_runs_the_same_bytes(
    audio: Path, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    for name in ("one.npz", "two.npz", "one.json"):
        ended = run_here("landmarks", str(audio), "-o", name, "--weights", str(tiny_weights))
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout == f"{name}: 13 frames at 25 fps\n"
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    npz = LandmarkTrack.read(tmp_path / "one.npz")
    text = LandmarkTrack.read(tmp_path / "one.json")
    np.testing.assert_array_equal(npz.points, text.points)
    assert (npz.fps, npz.size, npz.detector) == (text.fps, text.size, text.detector)


def test_rendering_a_track_is_rendering_its_voice(
    face: Path, audio: Path, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)  # as for every command in a process after the first
    shared = ("--weights", str(tiny_weights), "--seed", "7")
    steps = [
        ("landmarks", str(audio), "--face", str(face), "-o", "track.json", *shared),
        ("render", str(face), str(audio), "-o", "track.mp4", "--landmarks", "track.json", *shared),
        ("render", str(face), str(audio), "-o", "voice.mp4", *shared),
    ]
    for step in steps:
        ended = run_here(*step)
        assert (ended.returncode, ended.stderr) == (0, "")
    track = LandmarkTrack.read(tmp_path / "track.json")
    assert track.size == (SIDE, SIDE)
    with FaceDetector() as detector:
        assert track.detector == detector.name
        found = detector.detect(draw_face(SIDE))[0]
    np.testing.assert_allclose(track.points[0, [33, 263, 168]], found[[33, 263, 168]], atol=1)
    assert (tmp_path / "track.mp4").read_bytes() == (tmp_path / "voice.mp4").read_bytes()


def test_options_reach_the_track(
    audio: Path, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    ended = run_here(
        *("landmarks", str(audio), "-o", "track.npz", "--weights", str(tiny_weights)),
        *("--fps", "29.97", "--pose", "still", "--blink", "off", "--expression-strength", "0"),
    )
    assert ended.returncode == 0, ended.stderr
    track = LandmarkTrack.read(tmp_path / "track.npz")
    assert track.fps == Fraction(30_000, 1001)
    assert len(track.points) == 15  # 14.99
    assert np.ptp(track.points, axis=0).max() < 1e-3
    assert track.detector == DETECTOR_NAME


def test_silence_rests(audio: Path, run_here: RunHere, tiny_weights: Path, tmp_path: Path) -> None:
    silence = write_silence(tmp_path / "silence.wav", 0.4)
    ended = run_here(
        *("landmarks", str(silence), "-o", "track.npz", "--weights", str(tiny_weights)),
        *("--pose", "still", "--blink", "off"),
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    points = LandmarkTrack.read(tmp_path / "track.npz").points
    assert np.ptp(points, axis=0).max() < 1e-3


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("absent.wav", "-o", "t.npz"), 2, "absent.wav does not exist"),
        (("voice.wav", "-o", "t.txt"), 2, "t.txt must end in .npz or .json"),
        (("voice.wav", "-o", "absent/t.npz"), 2, "output folder absent does not exist"),
        (("voice.wav", "-o", "old.npz"), 2, "old.npz exists"),
        (("voice.wav", "-o", "t.npz", "--face", "absent.png"), 2, "absent.png does not exist"),
        (("voice.wav", "-o", "t.npz", "--face", "text.png"), 2, "text.png is not a picture"),
        (("voice.wav", "-o", "t.npz", "--face", "video.mp4"), 2, "video.mp4 is a video"),
        (("text.wav", "-o", "t.npz"), 2, "cannot be read as audio"),
        (("voice.wav", "-o", "t.npz", "--weights", "absent"), 4, "no weights named 'absent'"),
        (("voice.wav", "-o", "t.npz", "--fps", "0"), 2, "out of range"),
    ],
)
def test_bad_input_is_refused_in_one_line_and_leaves_nothing(
    arguments: tuple[str, ...],
    code: int,
    words: str,
    audio: Path,
    run_here: RunHere,
    tiny_weights: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "old.npz").write_bytes(b"precious")
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "text.wav").write_text("text")
    (tmp_path / "video.mp4").write_bytes(b"video")
    before = names(tmp_path)
    weights = () if "--weights" in arguments else ("--weights", str(tiny_weights))
    ended = run_here("landmarks", *arguments, *weights)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert ended.stderr.startswith("talkhead: ")
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert names(tmp_path) == before
    assert (tmp_path / "old.npz").read_bytes() == b"precious"


def red_share(picture: npt.NDArray[np.uint8]) -> float:
    """Return the share of pixels with the colour of drawn lips."""
    red, green, blue = (picture[..., c].astype(int) for c in range(3))
    return float(((red > 150) & (green < 110) & (blue < 150)).mean())


def test_a_preview_shows_the_track_with_its_sound(
    audio: Path, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    ended = run_here(
        *("landmarks", str(audio), "-o", "track.json", "--preview", "look.mp4", "--json"),
        *("--weights", str(tiny_weights), "--fps", "12.5"),
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["preview"] == "look.mp4"
    info = probe_video(tmp_path / "look.mp4")
    assert (info.width, info.height, info.fps, info.has_audio) == (512, 512, Fraction(25, 2), True)
    pictures = list(read_frames(tmp_path / "look.mp4"))
    assert len(pictures) == LandmarkTrack.read(tmp_path / "track.json").num_frames == 7
    for picture in pictures:
        assert picture[0, 0].min() > 240
        assert 0.0005 < red_share(picture) < 0.02


def test_the_track_that_a_video_shows_is_written(
    face: Path, audio: Path, run_here: RunHere, tmp_path: Path
) -> None:
    still = np.array(Image.open(face))
    moved = [np.roll(still, 2 * k, axis=1) for k in range(6)]
    empty = np.full_like(still, 128)
    frames = np.stack([moved[0], moved[1], empty, moved[3], moved[4], moved[5]])
    with VideoWriter(tmp_path / "v.mp4", size=(SIDE, SIDE), fps=Fraction(10), sound=audio) as video:
        video.write(frames)
    ended = run_here(
        *("landmarks", "v.mp4", "--detect", "-o", "seen.npz", "--preview", "look.mp4", "--json")
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    result = json.loads(ended.stdout)
    assert (result["frames"], result["fps"], result["frames_without_face"]) == (6, "10", 1)
    track = LandmarkTrack.read(tmp_path / "seen.npz")
    assert track.size == (SIDE, SIDE)
    shift = np.diff(track.points[..., 0].mean(1))
    np.testing.assert_allclose(shift, 2, atol=1.2)  # evenly, including the frame without a face
    assert len(list(read_frames(tmp_path / "look.mp4"))) == 6


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("voice.wav", "--detect"), 2, "no video stream"),
        (("v.mp4", "--detect", "--face", "v.mp4"), 2, "leave out --face"),
        (("v.mp4", "--detect"), 3, "shows no face"),
        (("v.mp4", "--detect", "--preview", "look.avi"), 2, "end the output's name in .mp4"),
    ],
)
def test_what_cannot_be_detected_is_said_in_one_line(
    arguments: tuple[str, ...],
    code: int,
    message: str,
    audio: Path,
    face: Path,
    run_here: RunHere,
    tmp_path: Path,
) -> None:
    with VideoWriter(tmp_path / "v.mp4", size=(64, 64), fps=Fraction(10), sound=None) as video:
        video.write(np.full((3, 64, 64, 3), 90, np.uint8))
    before = names(tmp_path)
    ended = run_here("landmarks", *arguments, "-o", "seen.npz")
    assert ended.returncode == code
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert names(tmp_path) == before


def test_the_head_follows_a_track_or_a_video(
    face: Path, audio: Path, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    still = np.array(Image.open(face))
    frames = np.stack([np.roll(still, k, axis=1) for k in range(8)])
    with VideoWriter(tmp_path / "v.mp4", size=(SIDE, SIDE), fps=Fraction(25), sound=None) as video:
        video.write(frames)
    assert run_here("landmarks", "v.mp4", "--detect", "-o", "v.npz").returncode == 0
    arguments = ("landmarks", str(audio), "--weights", str(tiny_weights), "--blink", "off")
    (tmp_path / "v.mp4").rename(tmp_path / "film")
    for pose, name in (("film", "one.npz"), ("v.npz", "two.npz"), ("still", "three.npz")):
        ended = run_here(*arguments, "--pose", pose, "-o", name)
        assert (ended.returncode, ended.stderr) == (0, "")
    one, two, three = (LandmarkTrack.read(tmp_path / f"{n}.npz") for n in ("one", "two", "three"))
    np.testing.assert_array_equal(one.points, two.points)
    nose = one.points[:, 168, 0]
    assert np.diff(nose[1:7]).min() > 0.3  # to the right, like the video, and back
    assert np.diff(nose[8:13]).max() < -0.3
    assert np.ptp(three.points[:, 168, 0]) < 0.01


@pytest.mark.parametrize(
    ("pose", "message"),
    [
        ("wild", "pose must be natural, still, a track (.npz, .json) or a video, not 'wild'"),
        ("missing.npz", "missing.npz"),
        ("missing.mp4", "missing.mp4"),
        ("voice.wav", "pose must be natural, still, a track (.npz, .json) or a video, not"),
    ],
)
def test_a_pose_that_cannot_be_followed_is_refused(
    pose: str, message: str, audio: Path, run_here: RunHere, tmp_path: Path
) -> None:
    ended = run_here("landmarks", str(audio), "-o", "track.npz", "--pose", pose)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert names(tmp_path) == {"voice.wav"}

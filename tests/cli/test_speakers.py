"""`talkhead render --speaker`: several people in one picture or video."""

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from talkhead.media.audio_clip import AudioClip
from talkhead.media.video import VideoWriter, probe_video, read_frames
from tests.cli.conftest import PACKAGE, RunHere, command_line, listing, refused
from tests.drawn_face import draw_face
from tests.tiny import write_noise, write_voice

Pixels = npt.NDArray[np.uint8]
SIDE = 160
SPEAKERS = ("--speaker", "left=a.wav", "--speaker", "right=b.wav")
pytestmark = pytest.mark.usefixtures("detector_is_here")


def two_faces() -> Pixels:
    face = draw_face(SIDE)
    return np.concatenate([face, face[:, ::-1]], axis=1)


@pytest.fixture
def folder(tmp_path: Path, tiny_weights: Path) -> Path:
    """A picture of two people, two recordings, and weights with a short name."""
    Image.fromarray(two_faces()).save(tmp_path / "two.png")
    write_voice(tmp_path / "a.wav", 0.4, 1)
    write_voice(tmp_path / "b.wav", 0.6, 2)
    (tmp_path / "weights").symlink_to(tiny_weights)
    return tmp_path


def frames_of(path: Path) -> Pixels:
    return np.stack(list(read_frames(path)))


def test_two_people_in_a_picture_speak_until_the_last_sound_ends(
    folder: Path, run_here: RunHere
) -> None:
    command = ("render", "two.png", *SPEAKERS, "-o", "o.mp4", "--weights", "weights", "--json")
    ended = run_here(*command)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    facts = json.loads(ended.stdout)
    assert (facts["frames"], facts["duration_s"]) == (15, 0.6)
    assert [(each["which"], each["audio"]) for each in facts["speakers"]] == [
        ("left", "a.wav"),
        ("right", "b.wav"),
    ]
    assert all(each["speech"] and not each["silent"] for each in facts["speakers"])
    assert probe_video(folder / "o.mp4").has_audio
    frames = frames_of(folder / "o.mp4").astype(int)
    for half in (frames[:, :, :SIDE], frames[:, :, SIDE:]):
        assert np.abs(half[5] - half[0]).max() > 20
    mixed = AudioClip.open(folder / "o.mp4").waveform()
    parts = [AudioClip.open(folder / name).waveform() for name in ("a.wav", "b.wav")]
    expected = parts[1].copy()
    expected[: len(parts[0])] += parts[0]
    assert np.corrcoef(mixed[: len(expected)], expected)[0, 1] > 0.98
    # The note names both sounds.
    for name in ("a.wav", "b.wav", "two.png"):
        told = json.loads(run_here("inspect", "o.mp4", "--audio", name, "--json").stdout)
        assert told["sound_matches"] is (name != "two.png")
    # Any number of threads gives the same bytes.
    one = run_here(*command, "--overwrite", "--threads", "1")
    assert one.returncode == 0
    first = (folder / "o.mp4").read_bytes()
    assert run_here(*command, "--overwrite", "--threads", "2").returncode == 0
    assert (folder / "o.mp4").read_bytes() == first


def test_two_people_in_a_video_speak(folder: Path, run_here: RunHere) -> None:
    with VideoWriter(
        folder / "v.mp4", size=(2 * SIDE, SIDE), fps=Fraction(25), sound=None, crf=10
    ) as writer:
        writer.write(np.stack([two_faces()] * 6))
    ended = run_here(
        *("render", "v.mp4", *SPEAKERS, "-o", "o.mp4", "--weights", "weights", "--json")
    )
    assert ended.returncode == 0, ended.stderr
    facts = json.loads(ended.stdout)
    assert (facts["frames"], facts["shots"], facts["frames_without_face"]) == (15, 1, 0)
    assert [each["frames_without_face"] for each in facts["speakers"]] == [0, 0]
    changed = np.abs(frames_of(folder / "o.mp4").astype(int) - two_faces()).max((0, 3))
    for half in (changed[:, :SIDE], changed[:, SIDE:]):
        assert half[SIDE // 2 :].max() > 20
        assert half[: SIDE // 8].mean() < 3  # the wall stays


def test_a_sound_without_speech_is_named(folder: Path, run_here: RunHere) -> None:
    write_noise(folder / "b.wav", 0.4)
    ended = run_here("render", "two.png", *SPEAKERS, "-o", "o.mp4", "--weights", "weights", "-q")
    assert ended.returncode == 0
    assert ended.stderr == "talkhead: warning: no speech found in b.wav: the lips stay at rest\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("c.wav", *SPEAKERS), "AUDIO and --speaker are both given"),
        (("--speaker", "left=missing.wav", "--speaker", "right=b.wav"), "missing.wav"),
        (("--speaker", "middle=a.wav"), "cannot choose a face by 'middle'"),
        (("--speaker", "left=a.wav", "--speaker", "1=b.wav"), "left and 1 are the same face"),
        (("--speaker", "left=a.wav", "--speaker", "80,80=b.wav"), "left and 80,80 are the same"),
        (("--speaker", "left=a.wav", "--speaker", "3=b.wav"), "no face 3: 2 faces were found"),
        (("--speaker", "left=a.wav", "--speaker", "999,9=b.wav"), "outside the picture"),
        ((*SPEAKERS, "--choose", "left"), "the choice of a face is for one speaker"),
        ((*SPEAKERS, "--landmarks", "a.wav"), "landmarks move one face"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    arguments: tuple[str, ...], words: str, folder: Path, run_here: RunHere
) -> None:
    before = listing(folder)
    ended = run_here("render", "two.png", *arguments, "-o", "o.mp4", "--weights", "weights")
    refused(ended, 2, words)
    assert listing(folder) == before


def test_two_choices_of_one_face_in_a_video_are_refused_at_its_first_frame(
    folder: Path, run_here: RunHere
) -> None:
    with VideoWriter(
        folder / "v.mp4", size=(2 * SIDE, SIDE), fps=Fraction(25), sound=None
    ) as writer:
        writer.write(np.stack([two_faces()] * 3))
    ended = run_here(
        *("render", "v.mp4", "--speaker", "left=a.wav", "--speaker", "1=b.wav"),
        *("-o", "o.mp4", "--weights", "weights", "-q"),
    )
    refused(ended, 2, "left and 1 are the same face")


LIST = """\
face,speaker,audio,output,seed
two.png,left=a.wav; right=b.wav,,both.mp4,3
two.png,,a.wav,one.mp4,
two.png,left=a.wav;1=b.wav,,twice.mp4,
"""


def test_a_list_has_speakers_and_a_second_run_makes_what_is_missing(
    folder: Path, run_here: RunHere
) -> None:
    (folder / "list.csv").write_text(LIST)
    batch = ("render", "--list", "list.csv", "-o", "out/", "--weights", "weights", "--json")
    ended = run_here(*batch)
    assert ended.returncode == 5
    assert "left and 1 are the same face" in ended.stderr
    both, one, twice, _ = map(json.loads, ended.stdout.splitlines())
    assert [each["state"] for each in (both, one, twice)] == ["done", "done", "failed"]
    assert [each["audio"] for each in both["speakers"]] == ["a.wav", "b.wav"]
    single = run_here(
        *("render", "two.png", *SPEAKERS, "-o", "single.mp4", "--seed", "3"),
        *("--weights", "weights", "-q"),
    )
    assert single.returncode == 0
    made = (folder / "out/both.mp4").read_bytes()
    assert (folder / "single.mp4").read_bytes() == made
    (folder / "out/one.mp4").unlink()
    states = [json.loads(line)["state"] for line in run_here(*batch).stdout.splitlines()]
    assert states == ["skipped", "done", "failed", "summary"]
    write_voice(folder / "b.wav", 0.5, 7)  # other words of the second person
    again = [json.loads(line) for line in run_here(*batch).stdout.splitlines()]
    assert again[0]["state"] == "failed"
    assert "was rendered from other files" in again[0]["error"]


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals as Unix does")
def test_a_killed_batch_of_speakers_goes_on_where_it_stopped(
    folder: Path, run_here: RunHere
) -> None:
    write_voice(folder / "long.wav", 60.0)
    rows = ("a.mp4,left=a.wav;right=b.wav", "b.mp4,left=long.wav;right=b.wav")
    (folder / "list.csv").write_text("\n".join(("output,speaker", *rows)) + "\n")
    batch = ("two.png", "--list", "list.csv", "-o", "out/", "--weights", "weights", "--json")
    process = subprocess.Popen(
        command_line("render", *batch),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["state"] == "done"
        time.sleep(0.5)  # while the long one renders
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert "out/b.mp4" not in listing(folder)
    write_voice(folder / "long.wav", 0.5)
    ended = run_here("render", *batch)
    assert ended.returncode == 0, ended.stderr
    states = [json.loads(line)["state"] for line in ended.stdout.splitlines()]
    assert states == ["skipped", "done", "summary"]
    names = {name for name in listing(folder / "out") if name.endswith(".mp4")}
    assert names == {"a.mp4", "b.mp4"}

import contextlib
import dataclasses
import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from PIL import Image

from talkhead.geometry.crop import face_crop
from talkhead.media import ffmpeg
from talkhead.media.audio_clip import AudioClip
from talkhead.media.video import VideoWriter, probe_video, read_frames
from talkhead.tracking.face_detector import FaceDetector
from talkhead.tracking.landmark_track import LandmarkTrack
from talkhead.weights.systems import TENSORS_NAME
from tests.cli.conftest import (
    PACKAGE,
    SIDE,
    RunHere,
    command_line,
    listing,
    refused,
    write_face,
)
from tests.drawn_face import draw_face
from tests.meshes import mean_mesh
from tests.tiny import level_of, voice, write_noise, write_silence, write_voice

Pixels = npt.NDArray[np.uint8]
SECONDS = 0.5
pytestmark = pytest.mark.usefixtures("detector_is_here")


@dataclasses.dataclass(frozen=True)
class Rendered:
    """The first run's inputs, output file and printed text."""

    face: Path
    audio: Path
    output: Path
    ended: "subprocess.CompletedProcess[str]"

    def frames(self) -> Pixels:
        return np.stack(list(read_frames(self.output)))


@pytest.fixture(scope="module")
def rendered(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Run one render like a user, in a separate process."""
    folder = tmp_path_factory.mktemp("render")
    face = write_face(folder / "face.png")
    audio = write_voice(folder / "voice.wav", SECONDS)
    output = folder / "out.mp4"
    ended = subprocess.run(
        command_line("render", face, audio, "-o", output, "--weights", tiny_weights, "--json"),
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Rendered(face, audio, output, ended)


@pytest.fixture
def face(tmp_path: Path) -> Path:
    return write_face(tmp_path / "face.png")


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    return write_voice(tmp_path / "voice.wav", SECONDS)


def streams(path: Path) -> str:
    return ffmpeg.run_ffmpeg(ffmpeg.list_streams_args(path))[2]


# Outputs.


def test_a_render_ends_well_and_says_what_it_made(rendered: Rendered) -> None:
    assert rendered.ended.returncode == 0, rendered.ended.stderr
    assert rendered.ended.stderr == ""
    result = json.loads(rendered.ended.stdout)
    assert result["output"] == str(rendered.output)
    assert (result["frames"], result["fps"]) == (13, "25")  # half a second, rounded up
    assert (result["width"], result["height"]) == (SIDE, SIDE)
    assert result["duration_s"] == SECONDS
    assert result["frames_per_second"] > 0
    assert result["peak_memory_mb"] > 50
    assert (result["seed"], result["device"]) == (0, "cpu")


def test_the_video_is_h264_and_aac_of_the_pictures_size_and_the_sounds_length(
    rendered: Rendered,
) -> None:
    info = probe_video(rendered.output)
    assert (info.width, info.height) == (SIDE, SIDE)
    assert info.fps == 25
    assert info.has_audio
    text = streams(rendered.output)
    assert "Video: h264" in text
    assert "yuv420p" in text
    assert "Audio: aac" in text
    assert len(rendered.frames()) == 13
    sound = AudioClip.open(rendered.output)
    assert float(sound.duration_s) == pytest.approx(SECONDS, abs=0.07)  # AAC has whole packets only
    assert level_of(rendered.output) == pytest.approx(level_of(rendered.audio), rel=0.1)


def test_the_sound_is_decoded_once(rendered: Rendered, tiny_weights: Path, tmp_path: Path) -> None:
    song, log, ffmpeg_wrapper = (tmp_path / name for name in ("song.m4a", "log", "ffmpeg"))
    ffmpeg.run_ffmpeg(["-i", str(rendered.audio), str(song)])
    quoted = [shlex.quote(str(path)) for path in (log, ffmpeg.ffmpeg_exe())]
    script = '#!/bin/sh\nprintf "%s\\n" "$*" >> {}\nexec {} "$@"\n'
    ffmpeg_wrapper.write_text(script.format(*quoted))
    ffmpeg_wrapper.chmod(0o755)
    subprocess.run(
        command_line(
            *("render", rendered.face, song, "-o", tmp_path / "out.mp4", "--weights", tiny_weights)
        ),
        env=os.environ
        | {"PYTHONPATH": str(PACKAGE.parent), "IMAGEIO_FFMPEG_EXE": str(ffmpeg_wrapper)},
        capture_output=True,
        timeout=300,
        check=True,
    )
    runs = log.read_text().splitlines()
    assert sum("pcm_f32be" in run for run in runs) == 1
    # Besides, ffmpeg lists the streams twice and copies the sound to the video.
    assert sum(str(song) in run for run in runs) == 4


def test_the_video_says_that_it_is_synthetic(rendered: Rendered) -> None:
    assert "Synthetic: made by talkhead" in streams(rendered.output)


def test_the_face_moves_and_the_edge_of_the_picture_does_not(rendered: Rendered) -> None:
    frames = rendered.frames().astype(int)
    drawn = draw_face(SIDE)
    with FaceDetector() as detector:
        crop = face_crop(detector.detect(drawn)[0])
    y, x = np.mgrid[:SIDE, :SIDE]
    edge = np.minimum(np.minimum(x, SIDE - 1 - x), np.minimum(y, SIDE - 1 - y)) < 6
    assert np.abs(frames[:, edge] - drawn[edge]).max() <= 16  # H.264 blurs edges
    assert np.abs(np.diff(frames[:, edge], axis=0)).mean() < 0.5
    face = np.hypot(x - crop.x, y - crop.y) < crop.side / 4
    assert np.abs(frames[-1] - frames[0])[face].mean() > 1


def test_nothing_but_the_video_is_left(rendered: Rendered) -> None:
    assert listing(rendered.output.parent) == {"face.png", "voice.wav", "out.mp4"}


def test_the_same_input_and_seed_give_the_same_bytes_and_another_seed_others(
    rendered: Rendered, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    made = []
    for seed in (0, 1):
        output = tmp_path / f"{seed}.mp4"
        ended = run_here(
            *("render", str(rendered.face), str(rendered.audio), "-o", str(output)),
            *("--weights", str(tiny_weights), "--seed", str(seed), "--quiet"),
        )
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.startswith(f"{output}: 13 frames at 25 fps, 256 x 256 px, ")
        assert ended.stdout.count("\n") == 1
        made.append(output.read_bytes())
    assert made[0] == rendered.output.read_bytes()
    assert made[1] != made[0]


def test_an_odd_picture_another_rate_and_the_sound_of_a_video(
    rendered: Rendered, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    face = write_face(tmp_path / "odd.png", 255, 231)
    output = tmp_path / "out.mp4"
    ended = run_here(
        *("render", str(face), str(rendered.output), "-o", str(output)),
        *("--weights", str(tiny_weights), "--fps", "29.97", "--json", "--crf", "30"),
        *("--steps", "2", "--pose", "still"),
    )
    assert ended.returncode == 0, ended.stderr
    info = probe_video(output)
    assert (info.width, info.height, info.fps) == (254, 230, Fraction(30_000, 1001))
    length_s = AudioClip.open(rendered.output).duration_s
    expected = -(-length_s * Fraction(30_000, 1001) // 1)
    assert len(list(read_frames(output))) == expected
    assert json.loads(ended.stdout)["frames"] == expected
    assert AudioClip.open(output).duration_s == length_s  # AAC is copied
    first = next(iter(read_frames(output))).astype(int)
    edge = np.s_[:, :8]  # the last row and column are dropped, not the first
    assert np.abs(first[edge] - draw_face(SIDE)[:230, :254][edge]).mean() < 2


def test_silence_gives_a_resting_face(
    face: Path, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    silence = write_silence(tmp_path / "silence.wav", SECONDS)
    output = tmp_path / "out.mp4"
    ended = run_here(
        *("render", str(face), str(silence), "-o", str(output), "--json"),
        *("--weights", str(tiny_weights), "--pose", "still", "--blink", "off"),
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    facts = json.loads(ended.stdout)
    assert (facts["speech"], facts["silent"]) == (False, True)
    frames = np.stack(list(read_frames(output))).astype(int)
    assert len(frames) == 13
    assert np.abs(np.diff(frames, axis=0)).max() <= 6  # encoder noise
    assert float(AudioClip.open(output).duration_s) == pytest.approx(SECONDS, abs=0.07)


def test_a_sound_without_speech_is_made_with_a_warning(
    face: Path, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    noise = write_noise(tmp_path / "noise.wav", SECONDS)
    options = ("-o", "out.mp4", "--weights", str(tiny_weights), "--json")
    ended = run_here("render", str(face), str(noise), *options)
    assert ended.returncode == 0
    assert ended.stderr.startswith(f"talkhead: warning: no speech found in {noise}")
    assert ended.stderr.count("\n") == 1
    facts = json.loads(ended.stdout)
    assert (facts["speech"], facts["silent"]) == (False, False)


def test_an_output_is_replaced_only_when_allowed(
    face: Path, audio: Path, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    output.write_bytes(b"precious")
    arguments = ("render", str(face), str(audio), "-o", str(output), "--weights", str(tiny_weights))
    refused(run_here(*arguments), 2, "out.mp4 exists")
    assert output.read_bytes() == b"precious"
    ended = run_here(*arguments, "--overwrite")
    assert ended.returncode == 0, ended.stderr
    assert probe_video(output).width == SIDE


# Errors.


def missing(folder: Path) -> Path:
    return folder / "absent"


def directory(folder: Path) -> Path:
    (folder / "folder").mkdir()
    return folder / "folder"


def empty(folder: Path) -> Path:
    (folder / "empty.png").touch()
    return folder / "empty.png"


def text(folder: Path) -> Path:
    (folder / "text.png").write_text("not a picture, nor a sound")
    return folder / "text.png"


def truncated(folder: Path, suffix: str) -> Path:
    whole = folder / f"whole{suffix}"
    Image.fromarray(draw_face(SIDE)).save(whole)
    content = whole.read_bytes()
    whole.unlink()
    path = folder / f"truncated{suffix}"
    path.write_bytes(content[: len(content) // 2])
    return path


def truncated_png(folder: Path) -> Path:
    return truncated(folder, ".png")


def truncated_jpeg(folder: Path) -> Path:
    return truncated(folder, ".jpg")


def small_picture(folder: Path) -> Path:
    Image.new("RGB", (40, 40)).save(folder / "small.png")
    return folder / "small.png"


def silent_video(folder: Path) -> Path:
    path = folder / "video.mp4"
    with VideoWriter(path, size=(64, 64), fps=Fraction(25), sound=None) as writer:
        writer.write(np.zeros((5, 64, 64, 3), np.uint8))
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (missing, ("absent", "does not exist")),
        (directory, ("folder", "is a directory")),
        (empty, ("empty.png", "is empty")),
        (text, ("text.png", "is not a picture")),
        (truncated_png, ("truncated.png", "truncated")),
        (truncated_jpeg, ("truncated.jpg", "truncated")),
        (small_picture, ("small.png", "40 x 40 px")),
    ],
)
def test_a_bad_face_is_refused_in_one_line(
    make: Callable[[Path], Path],
    words: tuple[str, ...],
    audio: Path,
    run_here: RunHere,
    tiny_weights: Path,
    tmp_path: Path,
) -> None:
    face = make(tmp_path)
    before = listing(tmp_path)
    ended = run_here(
        "render", str(face), str(audio), "-o", "out.mp4", "--weights", str(tiny_weights)
    )
    refused(ended, 2, *words)
    assert listing(tmp_path) == before


def test_a_picture_without_a_face_exits_3(
    audio: Path, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    y, x = np.mgrid[:120, :160]
    plain = np.stack([x, y, x + y], -1).astype(np.uint8)
    Image.fromarray(plain).save(tmp_path / "plain.png")
    before = listing(tmp_path)
    ended = run_here(
        "render", "plain.png", str(audio), "-o", "out.mp4", "--weights", str(tiny_weights)
    )
    refused(ended, 3, "no face found")
    assert listing(tmp_path) == before


def empty_sound(folder: Path) -> Path:
    soundfile.write(folder / "zero.wav", np.zeros(0, np.float32), 16_000)
    return folder / "zero.wav"


def text_as_sound(folder: Path) -> Path:
    (folder / "text.wav").write_text("not a sound, nor a picture")
    return folder / "text.wav"


def corrupt_sound(folder: Path) -> Path:
    path = folder / "corrupt.flac"
    soundfile.write(path, voice(2.0), 16_000)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)
    return path


def cut_off_sound(folder: Path) -> Path:
    path = folder / "cut.wav"
    soundfile.write(path, voice(2.0), 16_000)
    path.write_bytes(path.read_bytes()[:30_000])
    return path


def sound_with_nan(folder: Path) -> Path:
    samples = voice(SECONDS)
    samples[1000] = np.nan
    soundfile.write(folder / "nan.wav", samples, 16_000, subtype="FLOAT")
    return folder / "nan.wav"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (missing, ("absent", "does not exist")),
        (directory, ("folder", "is a directory")),
        (empty, ("empty.png", "is empty")),
        (text_as_sound, ("text.wav", "cannot be read as audio")),
        (empty_sound, ("zero.wav", "contains no sound")),
        (corrupt_sound, ("corrupt.flac", "is corrupt")),
        (cut_off_sound, ("cut.wav", "is cut off")),
        (sound_with_nan, ("nan.wav", "NaN or infinite")),
        (silent_video, ("video.mp4", "no audio stream")),
    ],
)
def test_a_bad_sound_is_refused_in_one_line(
    make: Callable[[Path], Path],
    words: tuple[str, ...],
    face: Path,
    run_here: RunHere,
    tiny_weights: Path,
    tmp_path: Path,
) -> None:
    sound = make(tmp_path)
    before = listing(tmp_path)
    ended = run_here(
        "render", str(face), str(sound), "-o", "out.mp4", "--weights", str(tiny_weights)
    )
    refused(ended, 2, *words)
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("absent/out.mp4", ("absent", "does not exist")),
        ("folder", ("folder", "is a directory")),
        ("out.avi", ("out.avi", ".mp4")),
        pytest.param(
            "/sys/out.mp4",
            ("/sys", "cannot be written to"),
            marks=pytest.mark.skipif(not Path("/sys").is_dir(), reason="needs Linux's /sys"),
        ),
    ],
)
def test_a_bad_output_is_refused_in_one_line(
    output: str,
    words: tuple[str, ...],
    face: Path,
    audio: Path,
    run_here: RunHere,
    tiny_weights: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "folder").mkdir()
    before = listing(tmp_path)
    ended = run_here("render", str(face), str(audio), "-o", output, "--weights", str(tiny_weights))
    refused(ended, 2, *words)
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("--fps", "many", "frame rate 'many'"),
        ("--fps", "500", "out of range"),
        ("--blink", "often", "--blink must be off"),
        ("--pose", "wild", "pose must be natural"),
        ("--pose-strength", "9", "--pose-strength"),
        ("--steps", "0", "--steps"),
        ("--crf", "99", "--crf"),
        ("--seed", "-1", "--seed"),
        ("--landmarks", "absent.npz", "absent.npz does not exist"),
    ],
)
def test_a_bad_option_is_refused_in_one_line(
    option: str,
    value: str,
    word: str,
    face: Path,
    audio: Path,
    run_here: RunHere,
    tmp_path: Path,
) -> None:
    before = listing(tmp_path)
    refused(run_here("render", str(face), str(audio), "-o", "out.mp4", option, value), 2, word)
    assert listing(tmp_path) == before


def test_a_face_that_is_not_there_cannot_be_chosen(
    face: Path, audio: Path, run_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    arguments = ("render", str(face), str(audio), "-o", "out.mp4", "--weights", str(tiny_weights))
    before = listing(tmp_path)
    refused(run_here(*arguments, "--choose", "2"), 2, "no face 2: 1 face was found")
    refused(run_here(*arguments, "--choose", "nicest"), 2, "cannot choose a face by 'nicest'")
    assert listing(tmp_path) == before


def without_denoiser(folder: Path) -> None:
    shutil.rmtree(folder / "denoiser")


def damaged_tensors(folder: Path) -> None:
    path = folder / "autoencoder" / TENSORS_NAME
    path.write_bytes(path.read_bytes()[:5000])


def foreign_tensors(folder: Path) -> None:
    shutil.copy(folder / "autoencoder" / TENSORS_NAME, folder / "denoiser")


def damaged_config(folder: Path) -> None:
    (folder / "landmark_generator" / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shutil.rmtree, ("no weights named", "no such folder")),
        (
            without_denoiser,
            (f"is not whole: denoiser/{TENSORS_NAME} is missing",),
        ),
        (damaged_tensors, (f"{TENSORS_NAME} is corrupt",)),
        (foreign_tensors, ("does not fit Denoiser",)),
        (damaged_config, ("config.json cannot be read",)),
    ],
)
def test_missing_or_corrupt_weights_exit_4(
    spoil: Callable[[Path], None],
    words: tuple[str, ...],
    face: Path,
    audio: Path,
    run_here: RunHere,
    tiny_weights: Path,
    tmp_path: Path,
) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(tiny_weights, weights)
    spoil(weights)
    before = listing(tmp_path)
    ended = run_here("render", str(face), str(audio), "-o", "out.mp4", "--weights", str(weights))
    refused(ended, 4, *words)
    assert listing(tmp_path) == before


def write_track(path: Path, size: tuple[int, int]) -> Path:
    points = np.repeat(mean_mesh(60, size[0] / 2, size[1] / 2)[None], 5, 0)
    LandmarkTrack(points, Fraction(25), size, "drawn").write(path)
    return path


def damaged_track(folder: Path) -> Path:
    path = write_track(folder / "damaged.npz", (SIDE, SIDE))
    path.write_bytes(path.read_bytes()[:500])
    return path


def track_for_another_picture(folder: Path) -> Path:
    return write_track(folder / "track.npz", (320, 240))


def track_as_text(folder: Path) -> Path:
    (folder / "track.txt").write_text("1 2 3")
    return folder / "track.txt"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (track_for_another_picture, ("320 x 240", "256 x 256")),
        (damaged_track, ("damaged.npz", "cannot be read as a landmark track")),
        (track_as_text, ("track.txt", ".npz or .json")),
    ],
)
def test_bad_landmarks_are_refused_in_one_line(
    make: Callable[[Path], Path],
    words: tuple[str, ...],
    face: Path,
    audio: Path,
    run_here: RunHere,
    tiny_weights: Path,
    tmp_path: Path,
) -> None:
    track = make(tmp_path)
    before = listing(tmp_path)
    ended = run_here(
        *("render", str(face), str(audio), "-o", "out.mp4"),
        *("--weights", str(tiny_weights), "--landmarks", str(track)),
    )
    refused(ended, 2, *words)
    assert listing(tmp_path) == before


def is_being_written(process: "subprocess.Popen[str]", folder: Path) -> bool:
    """Return whether a process holds a non-empty unnamed or hidden file in a folder."""
    held = [*folder.glob(".talkhead-*"), *Path(f"/proc/{process.pid}/fd").glob("*")]
    for path in held:
        with contextlib.suppress(OSError):
            inside = os.path.realpath(path).startswith(f"{folder}{os.sep}.talkhead-")
            nameless = path.is_symlink() and f"{path.readlink()}".startswith(f"{folder}{os.sep}#")
            if (inside or nameless) and path.stat().st_size > 0:
                return True
    return False


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [
        (signal.SIGINT, 130, "talkhead: interrupted\n"),
        (signal.SIGTERM, 143, "talkhead: terminated by SIGTERM\n"),
        (signal.SIGKILL, -9, ""),
    ],
)
def test_who_is_ended_in_the_middle_leaves_nothing_and_loses_nothing(
    number: signal.Signals,
    code: int,
    message: str,
    face: Path,
    tiny_weights: Path,
    tmp_path: Path,
) -> None:
    long = write_voice(tmp_path / "long.wav", 60)
    output = tmp_path / "out.mp4"
    output.write_text("precious")
    before = listing(tmp_path)
    arguments = ("render", face, long, "-o", "out.mp4", "--weights", tiny_weights, "--overwrite")
    process = subprocess.Popen(
        command_line(*arguments),
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        limit = time.monotonic() + 240
        while not is_being_written(process, tmp_path) and process.poll() is None:
            assert time.monotonic() < limit
            time.sleep(0.05)
        assert process.poll() is None, process.stderr
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (code, "", message)
    assert listing(tmp_path) == before
    assert output.read_text() == "precious"

import contextlib
import dataclasses
import json
import os
import shlex
import signal
import subprocess
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from talkhead.geometry.crop import face_crop
from talkhead.media import ffmpeg
from talkhead.media.audio_clip import AudioClip
from talkhead.media.video import probe_video, read_frames
from talkhead.tracking.face_detector import FaceDetector
from tests.cli.conftest import (
    PACKAGE,
    SECONDS,
    SIDE,
    RunHere,
    command_line,
    listing,
    refused,
    write_face,
)
from tests.drawn_face import draw_face
from tests.tiny import level_of, write_noise, write_silence, write_voice

Pixels = npt.NDArray[np.uint8]
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


def streams(path: Path) -> str:
    return ffmpeg.run_ffmpeg(ffmpeg.list_streams_args(path))[2]


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
    # Besides, ffmpeg lists the streams three times and copies the sound to the video.
    assert sum(str(song) in run for run in runs) == 5


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

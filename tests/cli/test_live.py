"""`talkhead live` on real pipes."""

import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from talkhead.media.audio_clip import AudioClip
from talkhead.media.video import VideoWriter, probe_video, read_frames
from tests.cli.conftest import PACKAGE, SIDE, Ended, RunHere, command_line, refused
from tests.drawn_face import draw_face
from tests.tiny import level_of, voice

Floats = npt.NDArray[np.float32]
Process = subprocess.Popen[bytes]
Start = Callable[..., Process]
SECONDS = 1.2
NUM_FRAMES = 30
TIMEOUT_S = 120


@pytest.fixture
def live(face: Path, tiny_weights: Path, tmp_path: Path) -> Iterator[Start]:
    """Start the command on a small picture with tiny weights; it ends with the test."""
    started: list[Process] = []

    def start(*arguments: object) -> Process:
        process = subprocess.Popen(
            command_line("live", face, "--weights", tiny_weights, *arguments),
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(PACKAGE.parent), "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wav(samples: Floats, rate_hz: int = 16_000, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, subtype=subtype, format="WAV")
    return file.getvalue()


def pcm(samples: Floats) -> bytes:
    data: bytes = np.round(samples * 32767).astype("<i2").tobytes()
    return data


def at_rate(samples: Floats, rate_hz: int) -> Floats:
    count = round(len(samples) * rate_hz / 16_000)
    where = np.arange(count) * 16_000 / rate_hz
    return np.interp(where, np.arange(len(samples)), samples).astype(np.float32)


def without_length(data: bytes) -> bytes:
    """Return a wav as ffmpeg writes it to a pipe, where it cannot go back to fill in the length."""
    start = data.index(b"data")
    unknown = struct.pack("<I", 0xFFFFFFFF)
    return data[:4] + unknown + data[8 : start + 4] + unknown + data[start + 8 :]


def run_live(run: RunHere, sound: bytes, face: Path, weights: Path, *options: object) -> Ended:
    """Run the command in this process, with a pipe as its stdin."""
    reading, writing = os.pipe()
    feeder = threading.Thread(target=_feed, args=(writing, sound))
    feeder.start()
    with os.fdopen(reading) as stdin, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", stdin)
        found = run("live", str(face), "--weights", str(weights), *map(str, options))
    feeder.join()
    return found


def _feed(descriptor: int, data: bytes) -> None:
    with suppress(BrokenPipeError), os.fdopen(descriptor, "wb") as pipe:
        pipe.write(data)


def ended(process: Process, sound: bytes, *, code: int = 0) -> tuple[bytes, str]:
    out, messages = process.communicate(sound, timeout=TIMEOUT_S)
    assert process.returncode == code, messages.decode()
    return out, messages.decode()


def read_back(path: Path) -> tuple[int, float]:
    """Return the number of frames of a video, and the seconds of its sound."""
    with AudioClip.open(path) as sound:
        return len(list(read_frames(path))), float(sound.duration_s)


@pytest.mark.parametrize("kind", ["wav", "pcm", "stereo", "telephone"])
def test_a_burst_of_any_sound_becomes_a_whole_video(
    kind: str, face: Path, tiny_weights: Path, run_here: RunHere, tmp_path: Path
) -> None:
    speech = voice(SECONDS)
    sound, given = {
        "wav": (without_length(wav(speech)), []),
        "pcm": (pcm(speech) + b"\x01", ["--rate", 16_000]),
        "stereo": (wav(at_rate(speech, 48_000)[:, None].repeat(2, 1), 48_000), []),
        "telephone": (pcm(at_rate(speech, 8_000)), ["--rate", 8000, "--channels", 1]),
    }[kind]
    options = ("--no-pace", "--json", "-o", "out.mp4", *given)
    found = run_live(run_here, sound, face, tiny_weights, *options)
    assert (found.returncode, found.stderr) == (0, "")
    facts = json.loads(found.stdout)
    assert (facts["frames"], facts["dropped"], facts["filled_s"]) == (NUM_FRAMES, 0, 0)
    path = tmp_path / "out.mp4"
    count, seconds = read_back(path)
    assert (count, probe_video(path).width) == (NUM_FRAMES, SIDE)
    assert seconds == pytest.approx(SECONDS, abs=0.05)
    assert level_of(path) == pytest.approx(float(np.sqrt(np.square(speech).mean())), rel=0.2)
    frames = np.array([frame.astype(np.float32) for frame in read_frames(path)])
    assert np.abs(np.diff(frames, axis=0)).mean() > 0.05  # it moves
    note = json.loads(run_here("inspect", str(path), "--json").stdout)["note"]
    assert (note["synthetic"], note["sound"], note["seed"]) == (True, "", 0)


def test_without_pace_the_frames_are_always_the_same(
    face: Path, tiny_weights: Path, run_here: RunHere, tmp_path: Path
) -> None:
    sound = wav(voice(SECONDS))
    made = []
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        options = ("--no-pace", "--format", "rgb24", "--seed", seed, "-o", name)
        assert run_live(run_here, sound, face, tiny_weights, *options).returncode == 0
        made.append((tmp_path / name).read_bytes())
    assert len(made[0]) == NUM_FRAMES * SIDE * SIDE * 3
    assert made[0] == made[1]
    assert made[0] != made[2]


def test_raw_yuv_frames_have_their_size(
    face: Path, tiny_weights: Path, run_here: RunHere, tmp_path: Path
) -> None:
    options = ("--no-pace", "--format", "yuv420p", "-o", "out.yuv")
    assert run_live(run_here, wav(voice(SECONDS)), face, tiny_weights, *options).returncode == 0
    assert (tmp_path / "out.yuv").stat().st_size == NUM_FRAMES * SIDE * SIDE * 3 // 2


def test_with_pace_a_burst_has_all_frames_and_its_sound(
    face: Path, tiny_weights: Path, run_here: RunHere, tmp_path: Path
) -> None:
    options = ("-o", "out.mp4", "--json", "-q")
    found = run_live(run_here, wav(voice(SECONDS)), face, tiny_weights, *options)
    facts = json.loads(found.stdout)
    assert (facts["frames"], facts["filled_s"]) == (NUM_FRAMES, 0)
    count, seconds = read_back(tmp_path / "out.mp4")
    assert count == NUM_FRAMES
    assert seconds == pytest.approx(SECONDS, abs=0.05)


def test_a_video_is_dubbed_forward_and_backward(
    tiny_weights: Path, detector_is_here: None, run_here: RunHere, tmp_path: Path
) -> None:
    video = tmp_path / "face.mp4"
    with VideoWriter(video, size=(SIDE, SIDE), fps=Fraction(25), sound=None) as writer:
        writer.write(np.stack([draw_face(SIDE)] * 8))
    options = ("--no-pace", "-o", "out.mp4", "--json")
    found = run_live(run_here, wav(voice(SECONDS)), video, tiny_weights, *options)
    assert json.loads(found.stdout)["frames"] == NUM_FRAMES
    assert read_back(tmp_path / "out.mp4")[0] == NUM_FRAMES


def test_a_stalled_source_leaves_a_face_at_rest_while_time_goes_on(
    live: Start, tmp_path: Path
) -> None:
    process = live("-o", "out.mp4", "--json", "-q")
    assert process.stdin is not None
    sound = wav(voice(SECONDS))
    process.stdin.write(sound)
    process.stdin.flush()
    wait_for(lambda: (tmp_path / "out.mp4").exists() and duration_of(tmp_path / "out.mp4") > 2)
    facts = json.loads(ended(process, b"")[0])
    assert facts["filled_s"] > 0.5
    assert facts["frames"] == pytest.approx(25 * (SECONDS + facts["filled_s"]), abs=1.1)
    count, seconds = read_back(tmp_path / "out.mp4")
    assert count == facts["frames"]
    assert seconds == pytest.approx(count / 25, abs=0.1)


def duration_of(path: Path) -> float:
    """Return the seconds that can be played of a file that grows; 0 for none yet."""
    try:
        return len(list(read_frames(path))) / 25
    except Exception:  # noqa: BLE001 - it has no frame yet
        return 0.0


def wait_for(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + TIMEOUT_S
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.2)


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals as Unix does")
@pytest.mark.parametrize(("number", "words"), [("SIGINT", "interrupted"), ("SIGTERM", "SIGTERM")])
def test_a_signal_ends_the_video_whole(
    number: str, words: str, live: Start, tmp_path: Path
) -> None:
    process = live("-o", "out.mp4")
    assert process.stdin is not None
    process.stdin.write(wav(voice(SECONDS)))
    process.stdin.flush()
    wait_for(lambda: (tmp_path / "out.mp4").exists() and duration_of(tmp_path / "out.mp4") > 0.5)
    process.send_signal(getattr(signal, number))
    _, messages = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 128 + getattr(signal, number)
    assert words in messages.decode().splitlines()[-1]
    count, seconds = read_back(tmp_path / "out.mp4")
    assert seconds == pytest.approx(count / 25, abs=0.1)


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals as Unix does")
def test_a_killed_command_leaves_a_video_that_can_be_played(live: Start, tmp_path: Path) -> None:
    process = live("-o", "out.mp4")
    assert process.stdin is not None
    process.stdin.write(wav(voice(SECONDS)))
    process.stdin.flush()
    wait_for(lambda: (tmp_path / "out.mp4").exists() and duration_of(tmp_path / "out.mp4") > 0.5)
    process.kill()
    process.wait()
    count, seconds = read_back(tmp_path / "out.mp4")
    assert count > 12
    assert seconds == pytest.approx(count / 25, abs=0.2)


def test_a_killed_source_ends_the_video_whole(live: Start, tmp_path: Path) -> None:
    program = "import sys, time; sys.stdout.buffer.write(sys.stdin.buffer.read()); time.sleep(600)"
    data = tmp_path / "voice.wav"
    data.write_bytes(without_length(wav(voice(SECONDS))))
    process = live("-o", "out.mp4", "-q")
    assert process.stdin is not None
    with data.open("rb") as file:
        source = subprocess.Popen(
            [sys.executable, "-u", "-c", program], stdin=file, stdout=process.stdin
        )
    wait_for(lambda: (tmp_path / "out.mp4").exists() and duration_of(tmp_path / "out.mp4") > 0.5)
    source.kill()
    source.wait()
    ended(process, b"")
    count, seconds = read_back(tmp_path / "out.mp4")
    assert count >= NUM_FRAMES
    assert seconds == pytest.approx(count / 25, abs=0.1)


@pytest.mark.parametrize("output_format", ["mp4", "rgb24"])
def test_a_reader_that_goes_away_ends_the_command(output_format: str, live: Start) -> None:
    process = live("--format", output_format)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(wav(voice(8.0)))
    process.stdin.flush()
    assert len(process.stdout.read(1000)) == 1000
    process.stdout.close()
    assert process.wait(TIMEOUT_S) == 141
    assert process.stderr.read() == b""


@pytest.mark.parametrize(
    ("sound", "given", "words"),
    [
        (b"", (), "the sound is empty"),
        (b"", ("--rate", 16_000), "the sound is empty"),
        (b"OggS and more", (), "not a wav stream"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", (), "within its header"),
        (wav(voice(0.1), subtype="ULAW"), (), "cannot be read"),
        (wav(np.zeros(0, np.float32)), (), "no samples"),
        (wav(voice(0.1)), ("--channels", 2), "--rate"),
        (wav(voice(0.1)), ("--emotion", "auto"), "name one"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    sound: bytes,
    given: tuple[object, ...],
    words: str,
    face: Path,
    tiny_weights: Path,
    run_here: RunHere,
    tmp_path: Path,
) -> None:
    found = run_live(run_here, sound, face, tiny_weights, "-o", "out.mp4", *given)
    refused(found, 2, words)
    assert not (tmp_path / "out.mp4").exists()


def test_outputs_that_cannot_be_written_are_refused(
    face: Path, tiny_weights: Path, run_here: RunHere
) -> None:
    sound = wav(voice(0.1))
    refused(run_live(run_here, sound, face, tiny_weights, "-o", "out.avi"), 2, "mp4")
    refused(run_live(run_here, sound, face, tiny_weights, "--json"), 2, "--json")


def test_mask_noise_is_refused(face: Path, tiny_mask_noise: Path, run_here: RunHere) -> None:
    found = run_live(run_here, wav(voice(0.1)), face, tiny_mask_noise, "-o", "out.mp4")
    refused(found, 4, "use the default weights live")

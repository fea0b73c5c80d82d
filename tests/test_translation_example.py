"""examples/dub_translation.py, with voices that are commands."""

import importlib.util
import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from talkhead import TalkheadError
from talkhead.media.audio_clip import AudioClip
from talkhead.media.metadata import read_notes
from talkhead.media.video import VideoWriter, probe_video, read_frames
from tests.drawn_face import draw_face

TOP = Path(__file__).resolve().parents[1]
EXAMPLE = TOP / "examples" / "dub_translation.py"
COMMAND = [sys.executable, "voice.py", "{wav}", "{text}"]
FPS, SECONDS, TONE_HZ = 25, 4, 440
SUBTITLES = """\
1
00:00:00,400 --> 00:00:01,200
- <i>one two</i>

2
00:00:02,600 --> 00:00:03,400 X1:10
three
four five
"""
VOICE = """\
import sys
from pathlib import Path

import numpy as np
import soundfile

wav, text = sys.argv[1:]
with Path("said.txt").open("a") as file:
    file.write(text + chr(10))
noise = np.random.default_rng(0).normal(size=round(16_000 * 0.35 * len(text.split())))
soundfile.write(wav, 0.1 * noise, 16_000)
"""


@pytest.fixture
def folder(tmp_path: Path, detector_is_here: None) -> Path:
    """A film with a steady tone, its translation, and a voice."""
    tone = 0.2 * np.sin(2 * np.pi * TONE_HZ * np.arange(SECONDS * 48_000) / 48_000)
    soundfile.write(tmp_path / "tone.wav", np.stack([tone, tone], 1), 48_000)
    with VideoWriter(
        tmp_path / "film.mp4", size=(128, 128), fps=Fraction(FPS), sound=tmp_path / "tone.wav"
    ) as writer:
        writer.write(np.stack([draw_face(128)] * SECONDS * FPS))
    (tmp_path / "lines.srt").write_bytes(SUBTITLES.replace("\n", "\r\n").encode("utf-8-sig"))
    (tmp_path / "voice.py").write_text(VOICE)
    return tmp_path


def dub(folder: Path, weights: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            *(sys.executable, str(EXAMPLE), "film.mp4", "lines.srt", "dubbed.mp4"),
            *("--weights", str(weights), "--", *COMMAND),
        ],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(TOP), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def tone_of(samples: npt.NDArray[np.float32]) -> float:
    """Return the amplitude of the tone in a piece of sound at 16 kHz."""
    wave = np.exp(-2j * np.pi * TONE_HZ * np.arange(len(samples)) / 16_000)
    return float(2 * abs((samples * wave).mean()))


def test_lines_are_spoken_in_their_slots_and_the_rest_stays(
    folder: Path, tiny_weights: Path
) -> None:
    ended = dub(folder, tiny_weights)
    assert (ended.returncode, ended.stdout) == (0, "dubbed.mp4: 2 lines, 100 frames\n"), (
        ended.stderr
    )
    assert (folder / "said.txt").read_text().splitlines() == ["one two", "three four five"]
    dubbed = folder / "dubbed.mp4"
    assert float(probe_video(dubbed).duration_s) == pytest.approx(SECONDS, abs=0.1)
    assert "Synthetic" in str(read_notes(dubbed))

    sound = AudioClip.open(dubbed).waveform()
    for start_s, end_s, is_old in (
        *((0, 0.2, True), (0.5, 1.0, False), (1.5, 2.3, True)),
        *((2.7, 3.5, False), (3.85, 3.95, True)),
    ):
        piece = sound[round(start_s * 16_000) : round(end_s * 16_000)]
        assert tone_of(piece) == pytest.approx(0.2 if is_old else 0, abs=0.04), start_s
        assert piece.std() > 0.02

    pairs = zip(read_frames(folder / "film.mp4"), read_frames(dubbed), strict=True)
    change = [np.abs(old.astype(int) - new).mean() for old, new in pairs]
    within = change[12:28] + change[68:85]
    between = change[:6] + change[36:60] + change[98:]
    # H.264 changes a little everywhere.
    assert 2 * max(between) < min(within), (between, within)


@pytest.fixture(scope="module")
def example() -> Any:
    spec = importlib.util.spec_from_file_location("dub_translation", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def fitted(example: Any, folder: Path, max_tempo: float, words: list[str]) -> Any:
    """Speak the lines, and return when, with the sound at 48 kHz."""
    lines = example.read_srt(folder / "lines.srt")
    film = probe_video(folder / "film.mp4")
    spoken = example.fit(lines, words, film, max_tempo, folder / "track.wav")
    samples, rate_hz = soundfile.read(folder / "track.wav", dtype="float32")
    assert len(samples) == round(film.duration_s * rate_hz)
    return spoken, samples


def test_a_line_that_is_too_long_is_spoken_faster_or_refused(
    example: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(TOP))
    lines = SUBTITLES.replace("one two", "one two three four five six seven eight")
    (folder / "lines.srt").write_text(lines)
    spoken, samples = fitted(example, folder, 1.6, COMMAND)
    assert [line.start_s for line in spoken] == [0.4, 2.6]
    assert spoken[0].end_s == pytest.approx(2.5, abs=0.05)
    loud = np.flatnonzero(np.abs(samples) > 0.01) / 48_000
    assert 2.3 < loud[loud < 2.55].max() <= 2.5
    with pytest.raises(TalkheadError, match=r"1 lines do not fit at 1\.2 times"):
        fitted(example, folder, 1.2, COMMAND)


def test_a_voice_that_fails_is_named(
    example: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "voice.py").write_text("raise SystemExit('no such voice')")
    with pytest.raises(TalkheadError, match="cannot speak 'one two': no such voice"):
        fitted(example, folder, 1.6, COMMAND)
    (folder / "lines.srt").write_text("no times")
    with pytest.raises(TalkheadError, match="has no subtitles"):
        fitted(example, folder, 1.6, COMMAND)


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
@pytest.mark.parametrize("text", [["{text}"], ["--stdin"]], ids=["word", "stdin"])
def test_espeak_ng_speaks_german(example: Any, folder: Path, text: list[str]) -> None:
    (folder / "lines.srt").write_text(
        "1\n00:00:00,500 --> 00:00:03,000\nGuten Morgen, schöne Welt.\n", encoding="utf-8"
    )
    words = ["espeak-ng", "-v", "de", "-w", "{wav}", *text]
    (line,), samples = fitted(example, folder, 1.6, words)
    assert line.text == "Guten Morgen, schöne Welt."
    assert samples[24_000 : 3 * 24_000].std() > 0.02
    assert not samples[:24_000].any()

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import talkhead
from talkhead.media import ffmpeg
from talkhead.media.metadata import read_notes
from talkhead.media.video import VideoWriter
from talkhead.provenance import sha256_of, weights_digests
from tests.certificates import SIGNER, Identity, write_identity
from tests.cli.conftest import PACKAGE, RunHere, command_line, listing, refused, write_face
from tests.tiny import write_voice

NASTY = "\x1b]0;owned\x07\x1b[31m[bold red]x[/bold red]\n\u202e\x00" + "y" * 5000


class Inputs(NamedTuple):
    face: Path
    audio: Path
    identity: Identity


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("inputs")
    return Inputs(
        write_face(folder / "secret face.png"),
        write_voice(folder / "secret voice.wav", 0.2),
        write_identity(folder),
    )


@pytest.fixture
def render(
    run_here: RunHere, tiny_weights: Path, inputs: Inputs, detector_is_here: None
) -> RunHere:
    def run(*options: str) -> object:
        made = ("render", str(inputs.face), str(inputs.audio), "--weights", str(tiny_weights))
        return run_here(*made, *options)

    return run  # type: ignore[return-value]


def write_video(path: Path, metadata: dict[str, str]) -> Path:
    with VideoWriter(path, size=(64, 48), fps=Fraction(25), sound=None, metadata=metadata) as video:
        video.write(np.full((5, 48, 64, 3), 90, np.uint8))
    return path


def test_a_render_says_what_it_is_and_of_what(
    render: RunHere, run_here: RunHere, inputs: Inputs, tiny_weights: Path, tmp_path: Path
) -> None:
    assert render("-o", "a.mp4", "--seed", "7").returncode == 0
    ended = run_here(
        *("inspect", "a.mp4", "--json", "--face", str(inputs.face), "--audio", str(inputs.face))
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    facts = json.loads(ended.stdout)
    assert facts["note"] == {
        "generator": f"talkhead {talkhead.__version__}",
        "synthetic": True,
        "weights": "unlisted",
        "digests": weights_digests(tiny_weights),
        "seed": 7,
        "face": sha256_of(inputs.face),
        "sound": sha256_of(inputs.audio),
    }
    assert (facts["kind"], facts["width"], facts["height"]) == ("video", 256, 256)
    assert (facts["fps"], facts["note_fault"]) == ("25", None)
    assert facts["duration_s"] == pytest.approx(0.2, abs=0.07)
    assert (facts["face_matches"], facts["sound_matches"]) == (True, False)
    assert (facts["credentials"], facts["credentials_fault"]) == (None, None)
    assert b"secret" not in (tmp_path / "a.mp4").read_bytes()
    words = run_here("inspect", "a.mp4").stdout
    assert f"synthetic, made by talkhead {talkhead.__version__}" in words
    assert "none (C2PA)" in words


def test_a_copy_and_a_stream_say_the_same(
    render: RunHere, inputs: Inputs, tiny_weights: Path, tmp_path: Path
) -> None:
    assert render("-o", "a.mp4").returncode == 0
    args = ["-i", str(tmp_path / "a.mp4"), "-c", "copy", str(tmp_path / "copy.mp4")]
    assert ffmpeg.run_ffmpeg(args)[0] == 0
    line = command_line("render", inputs.face, inputs.audio, "--weights", tiny_weights, "-o", "-")
    with (tmp_path / "stream.mp4").open("wb") as stream:
        environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
        subprocess.run(line, env=environment, stdout=stream, timeout=300, check=True)
    first = read_notes(tmp_path / "a.mp4")
    for name in ("copy.mp4", "stream.mp4"):
        others = read_notes(tmp_path / name)
        assert others["comment"] == first["comment"]
        assert others["description"] == first["description"]


def test_a_render_without_provenance_says_nothing(
    render: RunHere, run_here: RunHere, tmp_path: Path
) -> None:
    assert render("-o", "a.mp4", "--no-provenance").returncode == 0
    assert not {"comment", "description"} & read_notes(tmp_path / "a.mp4").keys()
    facts = json.loads(run_here("inspect", "a.mp4", "--json").stdout)
    assert (facts["note"], facts["note_fault"], facts["comment"]) == (None, None, None)
    assert "no talkhead note" in run_here("inspect", "a.mp4").stdout


def test_a_render_is_signed_with_the_users_certificate(
    render: RunHere, run_here: RunHere, inputs: Inputs, tmp_path: Path
) -> None:
    chain, key = inputs.identity
    options = ("--c2pa-certificate", str(chain), "--c2pa-key", str(key))
    ended = render("-o", "a.mp4", *options)
    assert ended.returncode == 0, ended.stderr
    assert listing(tmp_path) == {"a.mp4"}
    facts = json.loads(run_here("inspect", "a.mp4", "--json").stdout)
    assert facts["credentials"]["state"] == "Valid"
    assert facts["credentials"]["note"] == facts["note"]
    words = run_here("inspect", "a.mp4").stdout
    assert SIGNER in words
    assert "c2pa.created" in words
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    content[content.rindex(b"mdat") + 300] ^= 1
    (tmp_path / "a.mp4").write_bytes(content)
    assert "Invalid (C2PA)" in run_here("inspect", "a.mp4").stdout


def test_what_cannot_sign_is_refused_before_slow_work(
    render: RunHere, inputs: Inputs, tmp_path: Path
) -> None:
    chain, key = map(str, inputs.identity)
    refused(
        render("-o", "a.mp4", "--c2pa-key", key),
        2,
        "content credentials need both a certificate and a key",
    )
    none = ("--c2pa-certificate", "none.pem", "--c2pa-key", key)
    refused(render("-o", "a.mp4", *none), 2, "none.pem does not exist")
    old = write_identity(tmp_path / "old", valid_days=(-9, -1))
    late = ("--c2pa-certificate", str(old.certificate), "--c2pa-key", str(old.key))
    refused(render("-o", "a.mp4", *late), 2, "chain.pem expired on")
    good = ("--c2pa-certificate", chain, "--c2pa-key", key)
    refused(render("-o", "-", *good), 2, "stdout", "cannot be signed")
    assert listing(tmp_path) == {"old", "old/chain.pem", "old/key.pem"}


@pytest.mark.parametrize(
    "description",
    [
        NASTY.replace("\x00", ""),
        '{"generator": "talkhead 1", "seed": "' + NASTY.replace("\x00", "") + '"}',
        '{"generator": "talkhead 1", "weights": "\\u001b[31m"}',
        json.dumps({"generator": "talkhead 1", "digests": {"\x1b[2J": "0" * 64}}),
        '{"generator": "talkhead 1"' + "[" * 9000,
        '{"generator": "talkhead 1' + "x" * 30_000,
    ],
)
def test_a_note_that_a_stranger_wrote_breaks_nothing(
    description: str, run_here: RunHere, tmp_path: Path
) -> None:
    comment = NASTY.replace("\x00", "")
    write_video(tmp_path / "a.mp4", {"comment": comment, "description": description})
    for options in ((), ("--json",)):
        ended = run_here("inspect", "a.mp4", *options)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert all(each == "\n" or each.isprintable() for each in ended.stdout)
    facts = json.loads(ended.stdout)
    assert facts["note"] is None
    assert facts["comment"] == comment
    shown = run_here("inspect", "a.mp4").stdout
    assert "[bold red]x[/bold red]" in shown
    assert max(map(len, shown.splitlines())) < 400


def test_a_whole_note_of_a_stranger_is_shown_escaped(run_here: RunHere, tmp_path: Path) -> None:
    note = {
        "generator": "talkhead \x1b[31m",
        "synthetic": False,
        "weights": "\x1b]0;owned\x07",
        "digests": {"\x1b[2J": "0" * 64},
        "seed": 1,
        "face": "0" * 64,
        "sound": "1" * 64,
    }
    write_video(tmp_path / "a.mp4", {"description": json.dumps(note)})
    ended = run_here("inspect", "a.mp4")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert all(each == "\n" or each.isprintable() for each in ended.stdout)
    assert "\\x1b[2J" in ended.stdout
    assert json.loads(run_here("inspect", "a.mp4", "--json").stdout)["note"] == note


def test_without_c2pa_the_note_is_read_and_the_command_says_what_is_missing(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", {"comment": "a holiday"})
    program = (
        "import sys; sys.modules['c2pa'] = None\n"  # makes the import fail
        "from talkhead.cli.app import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, "inspect", "a.mp4"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "a holiday" in ended.stdout
    assert "pip install 'talkhead[c2pa]'" in ended.stdout


def test_pictures_and_sounds_are_told_too(run_here: RunHere, inputs: Inputs) -> None:
    facts = json.loads(run_here("inspect", str(inputs.face), "--json").stdout)
    assert (facts["kind"], facts["width"], facts["height"]) == ("picture", 256, 256)
    facts = json.loads(run_here("inspect", str(inputs.audio), "--json").stdout)
    assert (facts["kind"], facts["audio_codec"]) == ("sound", "pcm_s16le")


def test_hashes_of_a_file_without_a_note_cannot_be_compared(
    run_here: RunHere, inputs: Inputs, tmp_path: Path
) -> None:
    write_video(tmp_path / "a.mp4", {})
    ended = run_here("inspect", "a.mp4", "--face", str(inputs.face))
    assert ended.returncode == 0
    assert "no hash to compare" in ended.stdout


def test_what_cannot_be_read_is_refused(run_here: RunHere, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video " * 100)
    refused(run_here("inspect", "a.mp4"), 2, "a.mp4", "read")
    refused(run_here("inspect", "none.mp4"), 2, "none.mp4 does not exist")
    write_video(tmp_path / "b.mp4", {})
    refused(run_here("inspect", "b.mp4", "--face", "none.png"), 2, "none.png does not exist")

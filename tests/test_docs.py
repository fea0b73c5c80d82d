import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from talkhead.cli.app import app
from talkhead.geometry.mesh import LEFT_BROW, RIGHT_BROW
from talkhead.media.video import VideoWriter, probe_video
from talkhead.tracking.landmark_track import LandmarkTrack
from talkhead.weights.systems import MASK_NOISE
from tests.drawn_face import draw_face
from tests.pages import PAGES, TOP, programs, run_program, shell_blocks, talkhead_commands
from tests.tiny import write_voice

RUN = {"README.md": ["talkhead render family.jpg"], "docs/training.md": ["cp -r"]}
"""Command blocks that a test in this file runs, by their first words."""
NOT_RUN = {
    ".venv/bin/talkhead render": "test_readme.py runs it, and .ci/run with the installation",
    "python3 -m venv": ".ci/run runs them",
    ".venv/bin/python -m tests.reliability": "tests/reliability runs a short one",
    ".venv/bin/python docs/build.py": "test_commands_and_tables_are_up_to_date runs it",
    ".venv/bin/python docs/record.py": "takes minutes, and needs a clean checkout",
    ".venv/bin/pip install '.[app]'": "tests/app starts the page with this command",
    "talkhead app": "tests/app starts the page, and tests/cli/test_app_page.py reads the options",
    "talkhead prepare": "tests/cli/test_prepare_command.py, on videos made there",
    "talkhead adapt": "tests/cli/test_adapt.py, on a video made there",
    "talkhead train": "takes hours; tests/training runs every task on tiny clips",
    "talkhead eval": "tests/cli/test_eval_command.py, on tiny clips",
    "talkhead weights": "tests/cli/test_weights_sources.py, against a hub of its own",
    "talkhead render examples/face.png": "tests/test_shipped_mask_noise.py, with other sounds",
    "ffmpeg -f pulse": "needs a microphone; tests/cli/test_live.py feeds stdin and reads stdout",
    "arecord": "needs a microphone; tests/cli/test_live.py sends raw samples",
    "espeak-ng": "needs espeak-ng; tests/cli/test_pipes.py feeds stdin and reads stdout",
    "talkhead doctor": "tests/cli/test_doctor.py",
    "talkhead inspect": "tests/cli/test_inspect_command.py",
    "talkhead landmarks interview.mp4 --detect": "tests/cli/test_landmarks_command.py",
    "talkhead render face": "tests/cli/test_batch.py, test_render.py and test_endings.py",
    "talkhead render family.jpg": "test_the_readmes_commands_do_what_they_say runs it",
    "talkhead render film.mkv": "tests/cli/test_dub_tracks.py",
    "talkhead render interview.mp4 voice.mp3 -o away.webm": "tests/cli/test_endings.py",
    "talkhead render --list": "tests/cli/test_batch.py",
}
"""All other commands, by their first words, and where they are tested instead."""


def by_name(page: Path) -> str:
    return str(page.relative_to(TOP))


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_talkhead_command_is_understood(page: Path) -> None:
    command = typer.main.get_command(app)
    for words in talkhead_commands(page):
        context = command.make_context("talkhead", words[1:])
        # Only parses the subcommand's arguments.
        name, sub, rest = command.resolve_command(context, words[1:])  # type: ignore[attr-defined]
        sub.make_context(name, rest, parent=context)


def test_commands_and_tables_are_up_to_date() -> None:
    ended = subprocess.run(
        [sys.executable, TOP / "docs" / "build.py", "--check"],
        env=os.environ | {"PYTHONPATH": str(TOP)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"run python docs/build.py: {ended.stderr}"


PIPELINE, DUB, SPEAKERS, SCHEDULER, SAVE, TRACK, STAGES = programs(TOP / "docs" / "python.md")


def test_the_program_of_the_pipeline_makes_a_video(tmp_path: Path) -> None:
    assert run_program(PIPELINE, tmp_path).stdout == "(13, 512, 512, 3) 13\n"
    assert probe_video(tmp_path / "out.mp4").width == 512


def test_the_program_of_a_live_voice_gets_all_frames(tmp_path: Path) -> None:
    (program,) = programs(TOP / "docs" / "live.md")
    assert run_program(program, tmp_path).stdout == "13 (512, 512) 25\n"


def test_the_program_that_dubs_makes_a_video(tmp_path: Path) -> None:
    with VideoWriter(
        tmp_path / "interview.mp4", size=(192, 192), fps=Fraction(25), sound=None
    ) as writer:
        writer.write(np.stack([draw_face(192)] * 10))
    run_program(DUB, tmp_path)
    video = probe_video(tmp_path / "dubbed.mp4")
    assert (video.width, round(float(video.duration_s), 2)) == (192, 0.52)


@pytest.mark.usefixtures("detector_is_here")
def test_the_program_of_speakers_makes_a_video(tmp_path: Path) -> None:
    face = draw_face(192)
    Image.fromarray(np.concatenate([face, face], axis=1)).save(tmp_path / "family.jpg")
    write_voice(tmp_path / "ann.wav", 0.2)
    write_voice(tmp_path / "ben.wav", 0.4)
    run_program(SPEAKERS, tmp_path)
    video = probe_video(tmp_path / "both.mp4")
    assert (video.width, round(float(video.duration_s), 1)) == (384, 0.4)


def test_the_program_of_schedulers_makes_a_picture(tmp_path: Path) -> None:
    run_program(SCHEDULER, tmp_path)
    with Image.open(tmp_path / "last.png") as picture:
        assert picture.size == (512, 512)


def test_the_program_that_saves_is_loaded_by_diffusers(tmp_path: Path) -> None:
    name, components = run_program(SAVE, tmp_path).stdout.split(maxsplit=1)
    assert name == "MaskNoisePipeline"
    assert ast.literal_eval(components) == sorted(MASK_NOISE.components)
    assert (tmp_path / "mine/landmark_generator/config.json").is_file()


def test_the_program_of_the_stages_makes_a_video(tmp_path: Path) -> None:
    run_program(STAGES, tmp_path)
    video = probe_video(tmp_path / "stages.mp4")
    assert (video.width, round(float(video.duration_s), 2)) == (512, 0.52)


def test_the_program_of_tracks_raises_the_brows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = np.random.default_rng(0).uniform(0, 99, (80, 478, 3)).astype(np.float32)
    track = LandmarkTrack(points, Fraction(25), (100, 100), "hand")
    track.write(tmp_path / "track.npz")
    monkeypatch.chdir(tmp_path)
    exec(compile(TRACK, "python.md", "exec"), {})
    change = LandmarkTrack.read(tmp_path / "raised.npz").points - points
    # Frames 49 and 50 lie 0.02 s before and after the moment.
    assert change[49:51][:, LEFT_BROW, 1] == pytest.approx(-8 * np.exp(-0.01), abs=0.001)
    assert np.abs(change[20]).max() < 1e-3
    assert np.flatnonzero(np.abs(change[50]).max(1)).tolist() == sorted([*LEFT_BROW, *RIGHT_BROW])


def test_every_command_is_run_or_it_is_said_why_not() -> None:
    for page in PAGES:
        for block in shell_blocks(page):
            if block.startswith(tuple(RUN.get(by_name(page), ()))):
                continue
            for line in block.splitlines():
                assert line.startswith(tuple(NOT_RUN)), f"{by_name(page)}: {line}"


@pytest.fixture
def shell(tmp_path: Path, tiny_weights: Path) -> Callable[[str], None]:
    """Run a block of commands with a `talkhead` that uses tiny weights by default."""
    (tmp_path / "programs").mkdir()
    program = tmp_path / "programs" / "talkhead"
    program.write_text(
        f'#!/bin/sh\nrun() {{ exec "{sys.executable}" -m talkhead "$@"; }}\n'
        '[ "$1" = weights ] && run "$@"\ncommand="$1"\nshift\n'
        f'run "$command" --weights "{tiny_weights}" "$@"\n'
    )
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"

    def run(block: str) -> None:
        ended = subprocess.run(
            ["sh", "-e", "-c", block],
            cwd=tmp_path,
            env=os.environ | {"PATH": path, "PYTHONPATH": str(TOP)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr

    return run


@pytest.mark.usefixtures("detector_is_here")
@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a shell")
def test_the_readmes_commands_do_what_they_say(
    tmp_path: Path, shell: Callable[[str], None]
) -> None:
    face = draw_face(192)
    Image.fromarray(face).save(tmp_path / "face.png")
    Image.fromarray(np.concatenate([face, face], axis=1)).save(tmp_path / "family.jpg")
    (tmp_path / "recordings").mkdir()
    for name in ("voice", "translation", "ann", "ben", "recordings/a", "recordings/b"):
        write_voice(tmp_path / f"{name}.wav", 0.4)
    video = tmp_path / "interview.mp4"
    with VideoWriter(video, size=(192, 192), fps=Fraction(25), sound=None) as writer:
        writer.write(np.stack([face] * 10))
    (block,) = (
        each
        for each in shell_blocks(TOP / "README.md")
        if each.startswith("talkhead render family.jpg")
    )
    shell(block.replace(".mp3", ".wav"))
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.mp4")}
    assert made >= {"left.mp4", "both.mp4", "dubbed.mp4", "out.mp4", "videos/a.mp4", "videos/b.mp4"}
    assert LandmarkTrack.read(tmp_path / "track.json").num_frames == 10


@pytest.mark.usefixtures("detector_is_here")
@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a shell")
def test_checkpoints_of_runs_become_weights(
    tmp_path: Path, tiny_weights: Path, shell: Callable[[str], None]
) -> None:
    tasks = {"landmarks": "landmark_generator"}
    for task in ("autoencoder", "denoiser", "landmarks"):
        trained = tmp_path / "runs" / task / "checkpoint"
        shutil.copytree(tiny_weights / tasks.get(task, task), trained)
    (tmp_path / "examples").mkdir()
    Image.fromarray(draw_face(192)).save(tmp_path / "examples" / "face.png")
    write_voice(tmp_path / "examples" / "speech.wav", 0.4)
    page = TOP / "docs" / "training.md"
    (block,) = (each for each in shell_blocks(page) if each.startswith("cp -r"))
    shell(block)
    assert probe_video(tmp_path / "mine.mp4").width == 192
    for name in ("autoencoder", "denoiser", "landmark_generator"):
        config = Path(name, "config.json")
        assert (tmp_path / "my-weights" / config).read_text() == (tiny_weights / config).read_text()

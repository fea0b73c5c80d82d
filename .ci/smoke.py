"""Run every command once in an environment made by the README's first command alone.

Usage: .venv/bin/python .ci/smoke.py PORTRAIT SPEECH

Extras must not be installed: a command that needs one by mistake ends in a traceback here, and a
module that cannot be imported has to be listed in `EXTRA_MODULES`.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import imageio_ffmpeg

import talkhead
from talkhead.extras import EXTRAS, missing_modules

TALKHEAD = Path(sysconfig.get_path("scripts"), "talkhead")
TIMEOUT_S = 600
SECONDS_OF_SPEECH = 3

EXTRA_MODULES = {
    f"talkhead.app.{name}"
    for name in (
        "batch_tab",
        "buttons",
        "face_choice",
        "fields",
        "handlers",
        "landmarks_tab",
        "live",
        "live_tab",
        "page",
        "server",
        "theme",
        "video_tab",
    )
} | {
    f"talkhead.training.{name}"
    for name in ("emotion", "landmarks", "loop", "records", "speech", "tasks")
}
"""Modules that only `talkhead app` and `talkhead train` import, once they know that their extra is
installed."""


class SmokeError(Exception):
    """A command or a module does not do what it has to."""


def main() -> int:
    """Run all checks and return the exit status."""
    portrait, speech = (Path(name).resolve() for name in sys.argv[1:])
    installed = sorted(set(EXTRAS) - {extra for extra in EXTRAS if missing_modules(extra)})
    if installed:
        raise SmokeError(f"extras are installed here: {', '.join(installed)}")
    check_imports()
    with tempfile.TemporaryDirectory() as folder:
        check_commands(Path(folder), portrait, speech)
    sys.stderr.write("smoke: every command works without extras\n")
    return 0


def check_imports() -> None:
    """Import every module, or find it listed as part of an extra."""
    optional = {name for names in EXTRAS.values() for name in names}
    failed = set()
    for module in pkgutil.walk_packages(talkhead.__path__, "talkhead."):
        if module.name == "talkhead.__main__":
            continue
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if module.name not in EXTRA_MODULES or error.name not in optional:
                raise SmokeError(f"{module.name} cannot be imported: {error}") from error
            failed.add(module.name)
    if failed != EXTRA_MODULES:
        raise SmokeError(f"listed, but needs no extra: {', '.join(EXTRA_MODULES - failed)}")


def check_commands(folder: Path, portrait: Path, speech: Path) -> None:
    """Run every command, and read back what it wrote."""

    def run(*arguments: str, status: int = 0) -> str:
        return run_command(folder, *arguments, status=status)

    def facts(*arguments: str) -> Any:
        return json.loads(run(*arguments, "--json"))

    run("--version")
    doctor = facts("doctor")
    expect(doctor["extras"]["train"].startswith("without "), f"doctor says {doctor['extras']}")
    expect(facts("weights", "verify")["default"] == "ok", "the default weights are damaged")
    cut(speech, folder / "short.wav")

    made = facts("render", str(portrait), "short.wav", "-o", "talk.mp4")
    expect(made["frames"] == 25 * SECONDS_OF_SPEECH, f"render made {made['frames']} frames")
    check_live(folder, portrait, SECONDS_OF_SPEECH)
    run("landmarks", "short.wav", "--face", str(portrait), "-o", "track.npz")
    run("render", str(portrait), "short.wav", "--landmarks", "track.npz", "-o", "edited.mp4")
    run("render", "talk.mp4", "short.wav", "-o", "dubbed.mp4")
    run("landmarks", "talk.mp4", "--detect", "-o", "seen.json")
    expect("synthetic" in run("inspect", "talk.mp4").lower(), "inspect finds no synthetic mark")
    facts("benchmark", "--seconds", "1")

    save_and_load(folder / "saved")
    options = ("--weights", "saved", "--emotion", "happy", "--scheduler", "euler", "--steps", "2")
    made = facts("render", str(portrait), "short.wav", "-o", "happy.mp4", *options)
    expect(made["emotion"] == "happy", f"render shows {made['emotion']}")
    run("weights", "convert", "saved", "-o", "converted", status=4)

    (folder / "videos.csv").write_text("file,split,person,sound\ntalk.mp4,dev,one,good\n")
    prepared = facts("prepare", "videos.csv", "-o", "data")
    expect(prepared["clips"] == 1, f"prepare made {prepared['clips']} clips")
    for stage in ("landmarks", "both"):
        run("eval", "data", "--stage", stage, "-o", f"report-{stage}")
        for name in ("scores.json", "scores.csv", "report.html"):
            expect((folder / f"report-{stage}" / name).is_file(), f"eval wrote no {name}")

    said = run("adapt", "talk.mp4", "-o", "mine", status=2)
    expect("too little to learn from" in said, f"adapt says {said}")

    for arguments, extra in (
        (("app",), "app"),
        (("train", "autoencoder", "missing.toml"), "train"),
        (("render", str(portrait), "short.wav", "-o", "videos/", "--ray", "local"), "ray"),
        (
            (
                *("render", str(portrait), "short.wav", "-o", "signed.mp4"),
                *("--c2pa-certificate", "chain.pem", "--c2pa-key", "key.pem"),
            ),
            "c2pa",
        ),
    ):
        (folder / "chain.pem").write_text("-")
        (folder / "key.pem").write_text("-")
        said = run(*arguments, status=2)
        expect(f"pip install 'talkhead[{extra}]'" in said, f"{extra} is missing, it says: {said}")


def check_live(folder: Path, portrait: Path, seconds: int) -> None:
    """Pipe a sound into `talkhead live`, and count the frames that come out."""
    command = ("live", str(portrait), "--no-pace", "--max-size", "128", "-o", "live.mp4", "--json")
    with (folder / "short.wav").open("rb") as sound:
        made = json.loads(run_command(folder, *command, stdin=sound))["frames"]
    expect(made == 25 * seconds, f"live made {made} frames")


def save_and_load(folder: Path) -> None:
    """Save the default pipeline, and load it as any other of diffusers."""
    from diffusers import DiffusionPipeline

    from talkhead import TalkheadPipeline

    TalkheadPipeline.from_pretrained(device="cpu").save_pretrained(folder)
    loaded = DiffusionPipeline.from_pretrained(folder)
    expect(isinstance(loaded, TalkheadPipeline), f"diffusers loads a {type(loaded).__name__}")


def run_command(
    folder: Path, *arguments: str, status: int = 0, stdin: BinaryIO | None = None
) -> str:
    """Run talkhead in a folder; return its stdout, or where it has to fail its only line."""
    sys.stderr.write(f"+ talkhead {' '.join(arguments)}\n")
    ended = subprocess.run(
        [TALKHEAD, *arguments],
        cwd=folder,
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    lines = ended.stderr.splitlines()
    if ended.returncode != status or "Traceback" in ended.stderr or (status and len(lines) != 1):
        raise SmokeError(f"exit status {ended.returncode}, not {status}:\n{ended.stderr}")
    return ended.stderr if status else ended.stdout


def cut(source: Path, target: Path) -> None:
    """Keep the first seconds of a sound."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(source)]
    subprocess.run([*command, "-t", str(SECONDS_OF_SPEECH), str(target)], check=True)


def expect(holds: bool, otherwise: str) -> None:
    """Fail unless something holds."""
    if not holds:
        raise SmokeError(otherwise)


if __name__ == "__main__":
    sys.exit(main())

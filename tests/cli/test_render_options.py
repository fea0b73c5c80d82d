import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from talkhead.weights.systems import TENSORS_NAME
from tests.cli.conftest import RunHere, listing, refused

pytestmark = pytest.mark.usefixtures("detector_is_here")


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

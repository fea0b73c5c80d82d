import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

import talkhead
from talkhead.weights import installed_list
from talkhead.weights.systems import TENSORS_NAME

TOP = Path(__file__).resolve().parents[1]
SCRIPTS = Path(sysconfig.get_path("scripts"))
FOLDER = f"talkhead-{talkhead.__version__}"
USER_PROGRAM = """\
from pathlib import Path

from typing_extensions import assert_type

from talkhead import LandmarkTrack, TalkheadError, TalkheadPipeline, export_to_video
from talkhead import resolve_weights


def film(face: str, voice: Path) -> int:
    try:
        pipeline = TalkheadPipeline.from_pretrained(device="cpu")
        output = pipeline(face, voice, fps=30, output_type="generator")
    except TalkheadError as error:
        return error.exit_code
    assert_type(export_to_video(output, "out.mp4"), Path)
    assert_type(output.landmarks, LandmarkTrack | None)
    assert_type(resolve_weights("default"), Path)
    return output.num_frames
"""


class Built(NamedTuple):
    """The two packages, and the folder where the wheel is installed."""

    sdist: Path
    wheel: Path
    installed: Path


def run(*command: object, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | {"NO_COLOR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def built(command: str, target: Path, *options: str) -> list[Path]:
    ended = run(
        *(sys.executable, "-m", command, "--no-isolation", "--outdir", target, *options, TOP),
        cwd=target.parent,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return sorted(target.iterdir())


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build the packages as for publishing: the wheel from the sdist."""
    folder = tmp_path_factory.mktemp("packages")
    wheel, sdist = built("build", folder / "dist")
    ended = run(
        *(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-compile"),
        *("--target", folder / "installed", wheel),
        cwd=folder,
    )
    assert ended.returncode == 0, ended.stderr
    return Built(sdist, wheel, folder / "installed")


def other_pythons() -> dict[int, Path]:
    """Find other supported Pythons, by minor version, on the PATH or next to this one."""
    found = {}
    for minor in {10, 11, 12, 13} - {sys.version_info.minor}:
        beside = Path(sys.base_prefix).parent.glob(f"3.{minor}.*/bin/python3.{minor}")
        named = shutil.which(f"python3.{minor}")
        for python in (*sorted(beside), *([Path(named)] if named else [])):
            ended = run(python, "-c", "import sys; print(sys.version_info.minor)", cwd=TOP)
            if ended.stdout == f"{minor}\n":
                found[minor] = python
                break
    return found


def content_of(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def shipped_files() -> dict[str, Path]:
    """Return the files that a user needs besides the code, by name in the wheel."""
    weights = installed_list()
    shipped = {
        (weights.shipped_folder(entry) / path).relative_to(TOP).as_posix()
        for entry in weights.entries.values()
        if entry.where == "package"
        for path in (file.path for file in entry.files)
    }
    cards = weights.checkpoints.rglob("README.md")
    names = {
        *shipped,
        *(card.relative_to(TOP).as_posix() for card in cards),
        "talkhead/checkpoints/DATA.md",
        "talkhead/py.typed",
        "talkhead/geometry/mesh.npz",
    }
    return {name: TOP / name for name in names} | {
        "talkhead/weights.toml": TOP / "weights.toml",
        f"{FOLDER}.dist-info/licenses/LICENSE": TOP / "LICENSE",
    }


def test_the_wheel_carries_the_code_the_weights_and_the_licence(packages: Built) -> None:
    content = content_of(packages.wheel)
    assert len(shipped_files()) >= 20
    for name, path in shipped_files().items():
        assert content[name] == path.read_bytes(), name
    modules = {
        str(path.relative_to(TOP)): path.read_bytes() for path in (TOP / "talkhead").rglob("*.py")
    }
    assert {name: text for name, text in content.items() if name.endswith(".py")} == modules


def test_the_wheel_carries_no_test_and_nothing_else(packages: Built) -> None:
    names = content_of(packages.wheel)
    assert {name.split("/")[0] for name in names} == {"talkhead", f"{FOLDER}.dist-info"}
    odd = [name for name in names if re.search(r"test|conftest|__pycache__|\.part$|/\.", name)]
    assert odd == []


def test_the_sdist_carries_what_the_tests_need(packages: Built) -> None:
    with tarfile.open(packages.sdist) as archive:
        names = set(archive.getnames())
    wanted = {"weights.toml", "LICENSE", "README.md", "pyproject.toml", "tests/__main__.py"}
    wanted |= {"examples/face.png", "examples/speech.wav", "tests/test_packaging.py"}
    wanted |= {name for name in shipped_files() if (TOP / name).is_file()}
    assert {f"{FOLDER}/{name}" for name in wanted} <= names
    assert not any("__pycache__" in name or name.startswith(f"{FOLDER}/data/") for name in names)


def test_a_wheel_of_the_checkout_is_the_wheel_of_the_sdist(packages: Built, tmp_path: Path) -> None:
    (direct,) = built("build", tmp_path / "dist", "--wheel")
    assert content_of(direct) == content_of(packages.wheel)


def test_index_and_layout_checks_pass(packages: Built, tmp_path: Path) -> None:
    for command in (
        ("twine", "check", "--strict", packages.sdist, packages.wheel),
        ("check-wheel-contents", packages.wheel),
    ):
        ended = run(SCRIPTS / command[0], *command[1:], cwd=tmp_path)
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_metadata_name_every_python_that_is_supported(packages: Built) -> None:
    metadata = content_of(packages.wheel)[f"{FOLDER}.dist-info/METADATA"].decode()
    (low, high) = re.findall(r"^Requires-Python: <3\.(\d+),>=3\.(\d+)$", metadata, re.M)[0][::-1]
    found = re.findall(r"^Classifier: Programming Language :: Python :: 3\.(\d+)$", metadata, re.M)
    assert [int(minor) for minor in found] == list(range(int(low), int(high)))
    assert "License-Expression: Apache-2.0" in metadata


def test_the_installed_talkhead_runs_from_another_folder(packages: Built, tmp_path: Path) -> None:
    def talkhead_says(*words: str) -> str:
        path = str(packages.installed)
        ended = run(sys.executable, "-m", "talkhead", *words, cwd=tmp_path, PYTHONPATH=path)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    assert talkhead_says("--version") == f"talkhead {talkhead.__version__}\n"
    where = Path(talkhead_says("weights", "path", "default").strip())
    assert where == packages.installed / "talkhead" / "checkpoints" / "talkhead"
    verified = talkhead_says("weights", "verify")
    for name in ("default", "mask-noise", "autoencoder", "denoiser", "landmark_generator"):
        assert re.search(rf"^{name}\b.*\bok\b", verified, re.M), verified


def test_every_other_python_at_hand_compiles_it_and_verifies_the_weights(
    packages: Built, tmp_path: Path
) -> None:
    pythons = other_pythons()
    if not pythons:
        pytest.skip("no other supported Python is at hand")
    for minor, python in pythons.items():
        # Only the standard library is installed, which cannot read TOML before 3.11.
        does = (
            "import talkhead" if minor < 11 else "from talkhead.weights import verify as talkhead"
        )
        shows = "talkhead.__version__" if minor < 11 else "talkhead('default')"
        program = f"{does}; print({shows})"
        for words in (
            ("-W", "error", "-m", "compileall", "-q", packages.installed / "talkhead"),
            ("-c", program),
        ):
            ended = run(
                *(python, *words),
                cwd=tmp_path,
                PYTHONPATH=str(packages.installed),
                PYTHONPYCACHEPREFIX=str(tmp_path / str(minor)),
            )
            assert ended.returncode == 0, f"3.{minor}: {ended.stdout}{ended.stderr}"
        assert ended.stdout == (f"{talkhead.__version__}\n" if minor < 11 else "True\n")


def test_a_spoilt_installation_is_found(packages: Built, tmp_path: Path) -> None:
    model = packages.installed / "talkhead/checkpoints/talkhead/landmark_generator" / TENSORS_NAME
    content = model.read_bytes()
    model.write_bytes(content[:-1])
    try:
        ended = run(
            *(sys.executable, "-m", "talkhead", "weights", "verify", "landmark_generator"),
            cwd=tmp_path,
            PYTHONPATH=str(packages.installed),
        )
    finally:
        model.write_bytes(content)
    assert ended.returncode == 4
    assert "install talkhead again" in ended.stderr


def test_a_users_program_is_checked_against_the_types_of_the_wheel(
    packages: Built, tmp_path: Path
) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / SCRIPTS.name / "python"
    folder = run(
        *(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"), cwd=tmp_path
    )
    # The wheel first, then its dependencies.
    paths = f"{packages.installed}\n{sysconfig.get_path('purelib')}\n"
    Path(folder.stdout.strip(), "paths.pth").write_text(paths)

    def mypy_says(program: str) -> str:
        (tmp_path / "program.py").write_text(program)
        return run(
            *(sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull),
            *("--python-executable", python, "--cache-dir", tmp_path / "cache", "program.py"),
            cwd=tmp_path,
        ).stdout

    assert mypy_says(USER_PROGRAM) == "Success: no issues found in 1 source file\n"
    wrong = USER_PROGRAM.replace("fps=30", "fps=[30]")
    assert 'Argument "fps" to "__call__" of "FacePipeline" has incompatible type' in (
        mypy_says(wrong)
    )
    (packages.installed / "talkhead" / "py.typed").unlink()
    try:
        assert "missing library stubs or py.typed marker" in mypy_says(USER_PROGRAM)
    finally:
        (packages.installed / "talkhead" / "py.typed").touch()

import ast
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

import talkhead
from tests.cli.conftest import write_face
from tests.tiny import write_voice

TOP = Path(talkhead.__file__).parents[1]
HEAVY = ["torch", "numpy", "PIL", "mediapipe", "transformers", "diffusers", "scipy", "rich"]


def loaded_by(program: str, packages: Sequence[str] = HEAVY) -> str:
    """Return the packages, out of some, that a program has imported by its end."""
    script = f"import sys\n{program}\nprint([name for name in {packages} if name in sys.modules])"
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=TOP, capture_output=True, text=True, check=True
    )
    return ended.stdout.splitlines()[-1]


def names_for_type_checkers() -> dict[str, str]:
    """Return the names that `talkhead` imports under TYPE_CHECKING, with their modules."""
    tree = ast.parse(Path(talkhead.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: node.module or ""
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_importing_talkhead_loads_nothing_heavy() -> None:
    assert loaded_by(
        "import talkhead; talkhead.TalkheadError, talkhead.__all__, dir(talkhead)"
    ) == ("[]")


def test_a_name_loads_what_it_needs_and_no_more() -> None:
    assert "torch" not in loaded_by("from talkhead import LandmarkTrack, read_picture, VideoWriter")
    assert "torch" in loaded_by("from talkhead import render_frames")


@pytest.mark.usefixtures("detector_is_here")
def test_a_render_loads_nothing_that_only_training_and_evaluation_need(
    tiny_weights: Path, tmp_path: Path
) -> None:
    face, sound = write_face(tmp_path / "face.png"), write_voice(tmp_path / "voice.wav", 0.2)
    arguments = ["render", face, sound, "-o", tmp_path / "out.mp4", "--weights", tiny_weights]
    render = f"""
import contextlib
from talkhead.cli.app import main
sys.argv = {["talkhead", *map(str, arguments)]}
with contextlib.suppress(SystemExit):
    main()
"""
    packages = ["librosa", "matplotlib"]
    assert loaded_by(render, packages) == "[]"
    assert (tmp_path / "out.mp4").exists()


def test_every_public_name_is_there_and_listed() -> None:
    assert len(set(talkhead.__all__)) == len(talkhead.__all__)
    for name in talkhead.__all__:
        assert getattr(talkhead, name) is not None
    assert set(talkhead.__all__) <= set(dir(talkhead))
    names: dict[str, object] = {}
    exec("from talkhead import *", names)
    assert set(talkhead.__all__) <= names.keys()


def test_type_checkers_see_what_a_program_gets() -> None:
    found = names_for_type_checkers()
    errors = {"BatchError", "NoFaceError", "TalkheadError", "WeightsError"}
    assert found.keys() | errors | {"__version__"} == set(talkhead.__all__)
    for name, module in found.items():
        assert getattr(talkhead, name) is getattr(import_module(module), name)


def test_a_name_that_is_not_there_is_an_ordinary_error() -> None:
    with pytest.raises(AttributeError, match="module 'talkhead' has no attribute 'nonsense'"):
        _ = talkhead.nonsense
    with pytest.raises(ImportError, match="cannot import name 'nonsense'"):
        exec("from talkhead import nonsense")
    assert not hasattr(talkhead, "__wrapped__")

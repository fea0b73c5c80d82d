"""The node in examples/comfyui, loaded and called as ComfyUI does it."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from talkhead import NoFaceError, TalkheadError
from talkhead.pipelines import TalkheadPipeline
from tests.drawn_face import draw_face
from tests.tiny import voice

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "comfyui"


@pytest.fixture
def nodes() -> Iterator[Any]:
    """The folder as a module, under its path with other dots, as ComfyUI imports it."""
    name = str(FOLDER).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, FOLDER / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[name]


@pytest.fixture
def node(nodes: Any) -> Any:
    return nodes.NODE_CLASS_MAPPINGS["Talkhead"]


def picture(side: int = 193, count: int = 1) -> torch.Tensor:
    return torch.tensor(draw_face(side)).float().div(255).expand(count, -1, -1, -1)


def sound(seconds: float, num_channels: int = 2) -> dict[str, Any]:
    waveform = torch.from_numpy(voice(seconds)).expand(1, num_channels, -1)
    return {"waveform": waveform, "sample_rate": 16_000}


def run(node: Any, image: torch.Tensor, audio: dict[str, Any], weights: Path, **given: Any) -> Any:
    """Call the node with its widgets' defaults, as ComfyUI does."""
    values: dict[str, Any] = {"image": image, "audio": audio}
    for name, (kind, *rest) in node.INPUT_TYPES()["required"].items():
        if kind not in ("IMAGE", "AUDIO"):
            values[name] = rest[0]["default"]
    with torch.inference_mode():
        return getattr(node(), node.FUNCTION)(**values | {"weights": str(weights)} | given)


def test_every_socket_of_the_node_and_of_the_workflow_fits(nodes: Any, node: Any) -> None:
    assert set(nodes.NODE_DISPLAY_NAME_MAPPINGS) == set(nodes.NODE_CLASS_MAPPINGS)
    assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
    workflow = json.loads((FOLDER / "workflow.json").read_text())
    (mine,) = (each for each in workflow.values() if each["class_type"] == "Talkhead")
    widgets = node.INPUT_TYPES()["required"]
    assert list(mine["inputs"]) == list(widgets)
    for name, (_, *rest) in widgets.items():
        if rest and "default" in rest[0]:
            assert mine["inputs"][name] == rest[0]["default"], name


@pytest.mark.usefixtures("detector_is_here")
def test_frames_are_those_of_the_python_api(node: Any, tiny_weights: Path) -> None:
    audio = sound(0.4)
    images, same, fps = run(node, picture(), audio, tiny_weights, seed=7, fps=12.5)
    assert (images.dtype, tuple(images.shape)) == (torch.float32, (5, 192, 192, 3))
    assert (same is audio, fps) == (True, 12.5)
    pipeline = TalkheadPipeline.from_pretrained(tiny_weights, dtype="auto")
    expected = pipeline(draw_face(193), voice(0.4), seed=7, fps=12.5).frames
    assert (images.mul(255).round().numpy() == np.asarray(expected)[:, :192, :192]).all()


@pytest.mark.usefixtures("detector_is_here")
def test_several_pictures_are_a_video_to_dub(node: Any, tiny_weights: Path) -> None:
    frames = picture(192, count=6).clone()
    frames[3:] *= 0.5  # only a dub keeps the light of each frame
    images, _, fps = run(node, frames, sound(0.24), tiny_weights, fps=25.0)
    assert (len(images), fps) == (6, 25.0)
    corner = images[:, :16, :16].mean(dim=(1, 2, 3))
    assert corner[3:].max() < 0.7 * corner[:3].min()


@pytest.mark.usefixtures("detector_is_here")
def test_what_cannot_be_rendered_is_one_line(node: Any, tiny_weights: Path) -> None:
    with pytest.raises(NoFaceError, match="no face found"):
        run(node, torch.zeros(1, 128, 128, 3), sound(0.2), tiny_weights)
    two = {"waveform": torch.zeros(2, 1, 1600), "sample_rate": 16_000}
    with pytest.raises(TalkheadError, match="audio has 2 sounds: choose one"):
        run(node, picture(), two, tiny_weights)


COMFY = """\
class ProgressBar:
    moves = []

    def __init__(self, total):
        self.total = total

    def update_absolute(self, value):
        self.moves.append((value, self.total))
        if value == 3:
            raise KeyboardInterrupt("stopped")
"""


@pytest.mark.usefixtures("detector_is_here")
def test_the_bar_moves_and_a_stopped_run_ends(
    node: Any, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # ComfyUI cannot be installed as a package: this has the shape of its own module.
    (tmp_path / "comfy").mkdir()
    (tmp_path / "comfy" / "__init__.py").touch()
    (tmp_path / "comfy" / "utils.py").write_text(COMFY)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        with pytest.raises(KeyboardInterrupt, match="stopped"):
            run(node, picture(), sound(0.4), tiny_weights)
        assert sys.modules["comfy.utils"].ProgressBar.moves == [(1, 10), (2, 10), (3, 10)]
    finally:
        for name in ("comfy", "comfy.utils"):
            sys.modules.pop(name, None)

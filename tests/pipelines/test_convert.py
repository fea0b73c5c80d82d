"""Pipelines as talkhead 0.2 wrote them, converted to the present layout."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.errors import TalkheadError, WeightsError
from talkhead.networks import Network
from talkhead.pipelines import FacePipeline, MaskNoisePipeline, TalkheadPipeline
from talkhead.pipelines.convert import convert_pipeline
from talkhead.weights.systems import CARD_NAME, CONFIG_NAME, SCHEDULER
from tests.tiny import (
    TINY_AUTOENCODER,
    TINY_DENOISER,
    TINY_DUAL,
    TINY_EMOTION_CLASSIFIER,
    TINY_GENERATOR,
    TINY_SPEECH,
    TINY_VIDEO_DENOISER,
    tiny_mask_noise_pipeline,
    tiny_pipeline,
)

OLD_TENSORS_NAME = "model.safetensors"
LANDMARKS: dict[str, Any] = {
    "speech": TINY_SPEECH,
    "num_components": 4,
    "reads": 2,
    "hidden_size": 16,
    "num_layers": 1,
    "dropout": 0.0,
}
MASK = {"kernel_size": 11, "sigma": 2.0, "threshold": 0.1}


def write_old(
    folder: Path, architecture: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write a network like talkhead 0.2."""
    (folder / architecture).mkdir(parents=True)
    settings = {"architecture": architecture, "schema": 1, **config}
    (folder / architecture / CONFIG_NAME).write_text(json.dumps(settings, indent=2) + "\n")
    stored = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(stored, folder / architecture / OLD_TENSORS_NAME, metadata={"format": "pt"})


def write_old_talkhead(folder: Path) -> TalkheadPipeline:
    """Write a pipeline of the default system, and return the same in its present form."""
    pipeline = tiny_pipeline()
    write_old(folder, "autoencoder", TINY_AUTOENCODER, pipeline.autoencoder.state_dict())
    denoiser = {**TINY_DENOISER, "speech_channels": 0}
    write_old(folder, "denoiser", denoiser, pipeline.denoiser.state_dict())
    write_old(folder, "landmarks", LANDMARKS, pipeline.landmark_generator.state_dict())
    return pipeline


def write_old_mask_noise(folder: Path) -> MaskNoisePipeline:
    """Write a pipeline of the second system, and return the same in its present form."""
    pipeline = tiny_mask_noise_pipeline()
    assert pipeline.emotion_classifier is not None
    generator = LandmarkGenerator(**TINY_GENERATOR, dual_domain=TINY_DUAL, dual_share=0.5)
    pipeline.register_modules(landmark_generator=generator)
    landmarks = {**LANDMARKS, "dual": TINY_DUAL, "dual_share": 0.5}
    write_old(folder, "landmarks", landmarks, generator.state_dict())
    emotion = pipeline.emotion_classifier.state_dict()
    write_old(folder, "emotion", TINY_EMOTION_CLASSIFIER, emotion)
    video_denoiser = {**TINY_VIDEO_DENOISER, "base": "warp", "mask": MASK}
    tensors = {
        **pipeline.video_denoiser.state_dict(),
        "expressions": pipeline.expressions.offsets,
        "shown": pipeline.expressions.known,
    }
    write_old(folder, "video-denoiser", video_denoiser, tensors)
    return pipeline


def check_same(found: FacePipeline, wanted: FacePipeline) -> None:
    """Check that two pipelines have the same components, with the same tensors and settings."""
    assert type(found) is type(wanted)
    assert found.components.keys() == wanted.components.keys()
    for name, component in wanted.components.items():
        other = found.components[name]
        assert type(other) is type(component), name
        if component is None:
            continue
        settings = {key: value for key, value in component.config.items() if key[0] != "_"}
        assert {key: other.config[key] for key in settings} == settings, name
        if isinstance(component, Network):
            assert other.state_dict().keys() == component.state_dict().keys()
            for key, tensor in component.state_dict().items():
                assert torch.equal(other.state_dict()[key], tensor), f"{name}: {key}"


def test_both_systems_are_converted_with_identical_tensors(tmp_path: Path) -> None:
    old = write_old_talkhead(tmp_path / "old")
    (tmp_path / "old" / "denoiser" / CARD_NAME).write_text("# Ours\n")
    before = {path: path.read_bytes() for path in (tmp_path / "old").rglob("*.*")}
    convert_pipeline(tmp_path / "old", tmp_path / "new")
    check_same(TalkheadPipeline.from_pretrained(tmp_path / "new", device="cpu"), old)
    assert (tmp_path / "new" / "denoiser" / CARD_NAME).read_text() == "# Ours\n"
    assert {path: path.read_bytes() for path in (tmp_path / "old").rglob("*.*")} == before

    second = write_old_mask_noise(tmp_path / "second")
    convert_pipeline(tmp_path / "second", tmp_path / "converted")
    check_same(MaskNoisePipeline.from_pretrained(tmp_path / "converted", device="cpu"), second)


def test_a_converted_pipeline_is_the_one_that_is_saved_now(tmp_path: Path) -> None:
    pipeline = write_old_talkhead(tmp_path / "old")
    pipeline.save_pretrained(tmp_path / "saved")
    convert_pipeline(tmp_path / "old", tmp_path / "new")

    def content(path: Path) -> object:
        if path.suffix == ".safetensors":
            return path.read_bytes()
        settings = json.loads(path.read_text())
        return {key: value for key, value in settings.items() if value != [None, None]}

    names = {str(path.relative_to(tmp_path / "saved")) for path in tmp_path.glob("saved/*/*.*")}
    assert f"{SCHEDULER}/scheduler_config.json" in names
    assert names == {str(path.relative_to(tmp_path / "new")) for path in tmp_path.glob("new/*/*.*")}
    for name in ("model_index.json", *(name for name in names if SCHEDULER in name)):
        saved, new = content(tmp_path / "saved" / name), content(tmp_path / "new" / name)
        assert isinstance(saved, dict)
        assert isinstance(new, dict)
        saved.pop("_diffusers_version")
        new.pop("_diffusers_version", None)
        assert saved == new
    for name in names:
        if name.endswith(".safetensors"):
            assert content(tmp_path / "saved" / name) == content(tmp_path / "new" / name)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    write_old_talkhead(tmp_path / "old")
    return tmp_path / "old"


def test_an_output_that_exists_or_cannot_be_written_is_refused(old: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(TalkheadError, match="new exists: choose another"):
        convert_pipeline(old, tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(TalkheadError, match=r"nowhere/new cannot be written \(No such file"):
        convert_pipeline(old, tmp_path / "nowhere" / "new")


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    tiny_pipeline().save_pretrained(tmp_path / "present")
    write_old(tmp_path, "autoencoder", TINY_AUTOENCODER, {})
    before = sorted(tmp_path.rglob("*"))
    for name in ("missing", "empty", "present", "autoencoder"):
        with pytest.raises(WeightsError, match=f"{name} is not a pipeline of talkhead 0.2"):
            convert_pipeline(tmp_path / name, tmp_path / "converted")
    assert sorted(tmp_path.rglob("*")) == before


def change_config(folder: Path, **values: Any) -> None:
    path = folder / CONFIG_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("driven by speech", "denoiser is driven by audio instead of landmarks"),
        ("unknown network", "does not hold the denoiser of talkhead 0.2, but 'upscaler'"),
        ("another network", "does not hold the denoiser of talkhead 0.2, but 'autoencoder'"),
        ("unknown key", r"old cannot be converted: .*new/denoiser/config\.json.*depth"),
        ("no network", "old is not a pipeline of talkhead 0.2: it has no folder denoiser"),
        ("no tensors", r"denoiser/model\.safetensors cannot be read"),
        ("cut file", r"denoiser/model\.safetensors cannot be read"),
        ("missing tensor", r"old cannot be converted: .*new/denoiser/.* missing \(conv_out\.bias"),
        ("infinite tensor", r"old cannot be converted: .*new/denoiser/.* not finite \(conv_out"),
    ],
)
def test_a_damaged_pipeline_is_refused_and_leaves_nothing(
    old: Path, tmp_path: Path, fault: str, message: str
) -> None:
    folder = old / "denoiser"
    tensors = folder / OLD_TENSORS_NAME
    stored = load_file(tensors)
    if fault == "driven by speech":
        change_config(folder, speech_channels=144)
    elif fault == "unknown network":
        change_config(folder, architecture="upscaler")
    elif fault == "another network":
        change_config(folder, architecture="autoencoder")
    elif fault == "unknown key":
        change_config(folder, depth=3)
    elif fault == "no network":
        shutil.rmtree(folder)
    elif fault == "no tensors":
        tensors.unlink()
    elif fault == "cut file":
        tensors.write_bytes(tensors.read_bytes()[:-100])
    elif fault == "missing tensor":
        del stored["conv_out.bias"]
        save_file(stored, tensors)
    else:
        stored["conv_out.weight"][0] = torch.inf
        save_file(stored, tensors)
    with pytest.raises(WeightsError, match=message) as caught:
        convert_pipeline(old, tmp_path / "new")
    assert "\n" not in str(caught.value)
    assert ".talkhead-" not in str(caught.value), "a temporary folder is named"
    assert {path.name for path in tmp_path.iterdir()} == {"old"}

"""The pipelines as pipelines of diffusers: loaded, changed and saved as any other."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import numpy.typing as npt
import pytest
import torch
from diffusers import DiffusionPipeline

import talkhead
from talkhead.errors import TalkheadError, WeightsError
from talkhead.landmarks2video.denoiser import Denoiser
from talkhead.networks import Network, public_config
from talkhead.pipelines import FacePipeline, MaskNoisePipeline, TalkheadPipeline
from talkhead.weights.systems import INDEX_NAME, SCHEDULERS, TENSORS_NAME
from tests.drawn_face import draw_face
from tests.tiny import tiny_expressions, voice

Pixels = npt.NDArray[np.uint8]
pytestmark = pytest.mark.usefixtures("detector_is_here")
FACE = draw_face(256)
VOICE = voice(0.2)
NUM_FRAMES = 5
OTHER_SCHEDULERS = sorted({*SCHEDULERS} - {"DDIMScheduler"})


@pytest.fixture(params=["talkhead", "mask-noise"])
def folder(request: pytest.FixtureRequest, emotional_weights: Path, tiny_mask_noise: Path) -> Path:
    """The weights of each system; tests must not change them."""
    return emotional_weights if request.param == "talkhead" else tiny_mask_noise


@pytest.fixture
def own(tiny_weights: Path, tmp_path: Path) -> Path:
    """Weights of the default system, without optional components, that a test may change."""
    return shutil.copytree(tiny_weights, tmp_path / "own")


def load(folder: Path, **options: Any) -> FacePipeline:
    return FacePipeline.from_pretrained(folder, device="cpu", **options)


def pixels(pipeline: Any, **options: Any) -> Pixels:
    frames = pipeline(FACE, VOICE, **options).frames
    assert frames.shape == (NUM_FRAMES, *FACE.shape)
    return np.asarray(frames)


def index_of(folder: Path) -> dict[str, Any]:
    index: dict[str, Any] = json.loads((folder / INDEX_NAME).read_text())
    return index


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def tensors(pipeline: FacePipeline) -> dict[str, torch.Tensor]:
    """Return the tensors of all networks by name."""
    return {
        f"{part}.{name}": tensor
        for part, network in pipeline.components.items()
        if isinstance(network, Network)
        for name, tensor in network.state_dict().items()
    }


# Loading.


def test_diffusers_loads_what_was_saved_and_renders_the_same_frames(folder: Path) -> None:
    pipeline = load(folder)
    plain = DiffusionPipeline.from_pretrained(folder)
    assert type(plain) is type(pipeline)
    assert index_of(folder)["_class_name"] == type(pipeline).__name__
    assert set(plain.components) == set(pipeline.components)
    assert np.array_equal(pixels(plain), pixels(pipeline))


def test_half_precision_is_that_of_the_computation(folder: Path) -> None:
    plain = DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.bfloat16)
    assert plain.dtype == torch.bfloat16
    assert all(tensor.dtype == torch.float32 for tensor in tensors(plain).values())
    difference = pixels(plain).astype(int) - pixels(load(folder))
    assert 0 < np.abs(difference).mean() < 2


def test_what_diffusers_loads_can_be_saved_again(folder: Path, tmp_path: Path) -> None:
    DiffusionPipeline.from_pretrained(folder).save_pretrained(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(folder)


def test_tensors_and_bytes_survive_saving_and_loading(folder: Path, tmp_path: Path) -> None:
    pipeline = load(folder)
    pipeline.save_pretrained(tmp_path / "once")
    again = load(tmp_path / "once")
    assert tensors(again).keys() == tensors(pipeline).keys()
    for name, tensor in tensors(pipeline).items():
        assert torch.equal(tensors(again)[name], tensor), name
    again.save_pretrained(tmp_path / "twice")
    assert contents(tmp_path / "once") == contents(tmp_path / "twice") == contents(folder)


def test_a_folder_is_saved_into_itself(own: Path) -> None:
    before = contents(own)
    load(own).save_pretrained(own)
    assert contents(own) == before
    assert {path.name for path in own.parent.iterdir()} == {"own"}


def test_components_given_to_from_pretrained_take_the_place_of_stored_ones(
    own: Path, tmp_path: Path
) -> None:
    stored = load(own)
    scheduler = diffusers.EulerDiscreteScheduler.from_config(stored.scheduler.config)
    denoiser = Denoiser(**public_config(stored.denoiser)).eval()
    pipeline = load(own, scheduler=scheduler, denoiser=denoiser)
    assert pipeline.scheduler is scheduler
    assert pipeline.denoiser is denoiser
    pipeline.save_pretrained(tmp_path / "saved")
    assert type(load(tmp_path / "saved").scheduler) is diffusers.EulerDiscreteScheduler
    with pytest.raises(TypeError, match="the pipeline has no component 'unet'"):
        load(own, unet=denoiser)


def test_a_folder_of_the_other_system_is_refused(tiny_mask_noise: Path, tiny_weights: Path) -> None:
    with pytest.raises(WeightsError, match="holds mask-noise, but lgd is needed here"):
        TalkheadPipeline.from_pretrained(tiny_mask_noise)
    with pytest.raises(WeightsError, match="holds lgd, but mask-noise is needed here"):
        MaskNoisePipeline.from_pretrained(tiny_weights)


@pytest.mark.parametrize("name", ["default", "mask-noise"])
def test_a_shipped_file_that_differs_from_its_digest_is_refused(name: str, tmp_path: Path) -> None:
    top = Path(talkhead.__file__).parents[1]
    shutil.copytree(
        top / "talkhead", tmp_path / "talkhead", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(top / "weights.toml", tmp_path)
    path = tmp_path / "talkhead" / "checkpoints" / "talkhead" / "expressions" / TENSORS_NAME
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    program = f"""
from talkhead.errors import WeightsError
from talkhead.pipelines import FacePipeline
try:
    FacePipeline.from_pretrained({name!r}, device="cpu")
except WeightsError as error:
    print(error)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "TALKHEAD_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"{path} is corrupt (")
    assert ended.stdout.count("\n") == 1


# Schedulers.


@pytest.mark.parametrize("name", OTHER_SCHEDULERS)
def test_another_scheduler_renders_is_saved_and_is_loaded_back(
    name: str, folder: Path, tmp_path: Path
) -> None:
    pipeline = load(folder)
    if name == "EulerAncestralDiscreteScheduler" and isinstance(pipeline, MaskNoisePipeline):
        return  # it takes no predictions of the clean sample: see test_loading.py
    shipped = pixels(pipeline, num_inference_steps=3)
    pipeline.scheduler = getattr(diffusers, name).from_config(pipeline.scheduler.config)
    frames = pixels(pipeline, num_inference_steps=3)
    assert np.array_equal(pixels(pipeline, num_inference_steps=3), frames)
    if name in ("EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"):
        # These solve the same equation: the frames are nearly the same.
        assert np.abs(frames.astype(int) - shipped).mean() < 2
    pipeline.save_pretrained(tmp_path / "saved")
    assert index_of(tmp_path / "saved")["scheduler"] == ["diffusers", name]
    again = load(tmp_path / "saved")
    assert type(again.scheduler).__name__ == name
    assert np.array_equal(pixels(again, num_inference_steps=3), frames)


def test_a_scheduler_keeps_its_state_to_itself(folder: Path) -> None:
    pipeline = load(folder)
    before = dict(pipeline.scheduler.config)
    three = pixels(pipeline, num_inference_steps=3)
    pixels(pipeline, num_inference_steps=1)
    assert np.array_equal(pixels(pipeline, num_inference_steps=3), three)
    assert dict(pipeline.scheduler.config) == before


def test_a_scheduler_that_cannot_be_loaded_again_is_named(own: Path, tmp_path: Path) -> None:
    pipeline = load(own)
    pipeline.scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    pipeline.save_pretrained(tmp_path / "saved")
    with pytest.raises(WeightsError, match=r"scheduler is .*FlowMatch.*, but must be a DDIM"):
        load(tmp_path / "saved")


# Calls.


def test_a_generator_decides_everything_random(folder: Path) -> None:
    pipeline = load(folder)

    def made(seed: int) -> Pixels:
        return pixels(pipeline, generator=torch.Generator().manual_seed(seed))

    assert np.array_equal(made(1), made(1))
    assert not np.array_equal(made(1), made(2))


def test_the_progress_bar_counts_frames(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pipeline = load(folder)
    pixels(pipeline)
    assert capfd.readouterr() == ("", "")
    pipeline.set_progress_bar_config(disable=False)
    pixels(pipeline)
    out, err = capfd.readouterr()
    assert (out, f"{NUM_FRAMES}/{NUM_FRAMES}" in err) == ("", True)


def test_bfloat16_is_the_precision_of_the_computation_only(folder: Path) -> None:
    pipeline = load(folder)
    full = pixels(pipeline)
    before = {name: tensor.clone() for name, tensor in tensors(pipeline).items()}
    assert pipeline.to(torch.bfloat16) is pipeline
    assert pipeline.dtype == torch.bfloat16
    half = pixels(pipeline)
    for name, tensor in tensors(pipeline).items():
        assert tensor.dtype == before[name].dtype != torch.bfloat16
        assert torch.equal(tensor, before[name]), name
    difference = np.abs(half.astype(int) - full)
    assert 0 < difference.mean() < 1
    assert np.array_equal(pixels(pipeline.to(torch.float32)), full)


# Components.


def test_a_replaced_component_is_named_in_the_index(own: Path, tmp_path: Path) -> None:
    pipeline = load(own)
    assert index_of(own)["expressions"] == [None, None]
    other = Denoiser(**(public_config(pipeline.denoiser) | {"num_heads": 1})).eval()
    pipeline.denoiser = other
    pipeline.register_modules(expressions=tiny_expressions().eval())
    pipeline.save_pretrained(tmp_path / "saved")
    index = index_of(tmp_path / "saved")
    assert index["denoiser"] == ["talkhead", "Denoiser"]
    assert index["expressions"] == ["talkhead", "Expressions"]
    again = load(tmp_path / "saved")
    assert again.denoiser.config.num_heads == 1
    assert torch.equal(again.expressions.offsets, tiny_expressions().offsets)


def test_optional_components_may_be_missing(own: Path) -> None:
    pipeline = load(own)
    assert (pipeline.emotion_classifier, pipeline.expressions) == (None, None)
    expected = pixels(pipeline)
    assert np.array_equal(pixels(DiffusionPipeline.from_pretrained(own)), expected)
    index = {name: value for name, value in index_of(own).items() if value != [None, None]}
    (own / INDEX_NAME).write_text(json.dumps(index))
    assert np.array_equal(pixels(load(own)), expected)
    for emotion in ("happy", "auto"):
        with pytest.raises(WeightsError, match="these weights have no emotions") as caught:
            pipeline(FACE, VOICE, emotion=emotion)
        assert "\n" not in str(caught.value)


# Emotions.


def test_an_emotion_changes_the_frames_of_the_default_system_only_if_named(
    emotional_weights: Path, tiny_weights: Path
) -> None:
    pipeline = load(emotional_weights)
    frames = pixels(pipeline)
    assert np.array_equal(frames, pixels(load(tiny_weights)))
    assert np.array_equal(frames, pixels(pipeline, emotion="neutral"))
    assert not np.array_equal(frames, pixels(pipeline, emotion="happy"))
    with pytest.raises(TalkheadError, match="the emotion must be one of auto"):
        pipeline(FACE, VOICE, emotion="bored")


def test_a_landmark_track_has_its_own_expression(folder: Path) -> None:
    pipeline = load(folder)
    track = pipeline(FACE, VOICE).landmarks
    assert track is not None
    if isinstance(pipeline, TalkheadPipeline):
        with pytest.raises(TalkheadError, match="a landmark track has its own expression"):
            pipeline(FACE, VOICE, landmarks=track, emotion="happy")
        return
    again = pipeline(FACE, VOICE, landmarks=track, emotion="happy")
    assert np.array_equal(again.landmarks.points, track.points)  # type: ignore[union-attr]


def test_only_mask_noise_has_a_start_step(emotional_weights: Path, tiny_mask_noise: Path) -> None:
    with pytest.raises(WeightsError, match="lgd always starts from noise"):
        load(emotional_weights)(FACE, VOICE, start_step=100)
    pipeline = load(tiny_mask_noise)
    assert np.array_equal(pixels(pipeline), pixels(pipeline, start_step=300))
    assert not np.array_equal(pixels(pipeline), pixels(pipeline, start_step=900))


# Failed saves.


def break_tensor(pipeline: FacePipeline) -> None:
    pipeline.denoiser.conv_out.bias.data[0] = torch.nan


def overflow(pipeline: FacePipeline) -> None:
    pipeline.denoiser.conv_out.bias.data[0] = 1e6


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (break_tensor, {}, r"conv_out\.bias is not finite as torch\.float32"),
        (overflow, {"torch_dtype": torch.float16}, "is not finite as torch.float16"),
        (lambda _: None, {"safe_serialization": False}, "talkhead writes safetensors only"),
        (lambda _: None, {"variant": "fp16"}, "talkhead writes safetensors only"),
    ],
)
def test_a_failed_save_leaves_the_old_contents(
    spoil: Callable[[FacePipeline], None], options: dict[str, Any], message: str, own: Path
) -> None:
    pipeline = load(own)
    before = contents(own)
    with torch.no_grad():
        spoil(pipeline)
    with pytest.raises(ValueError, match=message):
        pipeline.save_pretrained(own, **options)
    assert contents(own) == before
    assert {path.name for path in own.parent.iterdir()} == {"own"}


def test_a_file_in_the_place_of_the_folder_is_kept(tiny_weights: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(TalkheadError, match="file is not a folder: choose another"):
        load(tiny_weights).save_pretrained(tmp_path / "file")
    assert contents(tmp_path) == {"file": b"mine"}


def in_the_way_of_a_folder(own: Path) -> None:
    shutil.rmtree(own / "landmark_generator")
    (own / "landmark_generator").write_text("mine")


def in_the_way_of_a_file(own: Path) -> None:
    (own / "scheduler" / "scheduler_config.json").unlink()
    (own / "scheduler" / "scheduler_config.json").mkdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (in_the_way_of_a_folder, "own cannot be written"),
        (in_the_way_of_a_file, r"scheduler_config\.json is a folder: choose another"),
    ],
)
def test_what_is_in_the_way_is_found_before_anything_is_replaced(
    spoil: Callable[[Path], None], message: str, own: Path
) -> None:
    pipeline = load(own)
    spoil(own)
    before = contents(own)
    with torch.no_grad():
        pipeline.autoencoder.state_dict()[min(pipeline.autoencoder.state_dict())].add_(1)
    with pytest.raises(TalkheadError, match=message):
        pipeline.save_pretrained(own)
    assert contents(own) == before

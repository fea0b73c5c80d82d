import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from talkhead.errors import TalkheadError, WeightsError
from talkhead.pipelines import TalkheadPipeline, TalkheadPipelineOutput
from talkhead.weights import installed_list, resolve_weights
from talkhead.weights.systems import TENSORS_NAME
from tests.pipelines.outputs import FACE, VOICE, listing, pixels
from tests.tiny import write_tiny_weights

pytestmark = pytest.mark.usefixtures("detector_is_here")
CPU = torch.device("cpu")


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


# Folders.


def test_a_saved_pipeline_has_the_same_tensors_and_makes_the_same_frames(
    pipeline: TalkheadPipeline, output: TalkheadPipelineOutput, tiny_weights: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "mine"
    pipeline.save_pretrained(folder)
    assert listing(tmp_path / "new") == [
        "mine",
        *(f"mine/{name}" for name in listing(tiny_weights)),
    ]
    assert resolve_weights(folder) == folder  # as --weights does
    assert digests(folder) == digests(tiny_weights)
    assert np.array_equal(
        pixels(TalkheadPipeline.from_pretrained(folder)(FACE, VOICE)), pixels(output)
    )


def test_the_published_weights_saved_as_float16_are_the_published_files(tmp_path: Path) -> None:
    TalkheadPipeline.from_pretrained(device="cpu").save_pretrained(
        tmp_path / "copy", torch_dtype=torch.float16
    )
    expected = digests(installed_list().checkpoints / "talkhead")
    assert digests(tmp_path / "copy") == expected  # including the model cards


def test_saving_replaces_networks_and_leaves_other_files(
    pipeline: TalkheadPipeline, tmp_path: Path
) -> None:
    folder = write_tiny_weights(tmp_path / "mine")
    (folder / "denoiser" / "notes.txt").write_text("mine")
    (folder / "denoiser" / TENSORS_NAME).write_bytes(b"old")
    pipeline.save_pretrained(folder)
    assert (folder / "denoiser" / "notes.txt").read_text() == "mine"
    TalkheadPipeline.from_pretrained(folder)


def test_a_folder_that_cannot_be_written_is_one_line_and_leaves_nothing(
    pipeline: TalkheadPipeline, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(TalkheadError, match="mine cannot be written"):
        pipeline.save_pretrained(tmp_path / "file" / "mine")
    with pytest.raises(TalkheadError, match="file is not a folder: choose another"):
        pipeline.save_pretrained(tmp_path / "file")
    assert listing(tmp_path) == ["file"]


def test_weights_that_are_not_there_are_refused(tiny_weights: Path) -> None:
    with pytest.raises(WeightsError, match="no weights named 'nonsense'"):
        TalkheadPipeline.from_pretrained("nonsense")
    with pytest.raises(WeightsError, match=r"is not a pipeline: it has no model_index\.json"):
        TalkheadPipeline.from_pretrained(tiny_weights / "denoiser")


# Devices.


def test_device_and_precision_are_told_and_changed(tiny_weights: Path) -> None:
    pipeline = TalkheadPipeline.from_pretrained(tiny_weights, device="cpu", torch_dtype="bfloat16")
    assert (pipeline.device, pipeline.dtype) == (CPU, torch.bfloat16)
    assert pipeline.to(torch.float32) is pipeline
    assert pipeline.to("cpu", torch.bfloat16).dtype == torch.bfloat16
    assert pipeline.to(device=CPU, dtype=torch.float32).dtype == torch.float32
    with pytest.raises(TalkheadError, match=r"the networks do not support torch\.int8"):
        pipeline.to(torch.int8)
    with pytest.raises(TalkheadError, match="unknown device 'gpu'"):
        pipeline.to("gpu")
    with pytest.raises(TalkheadError, match="unknown precision 'half'"):
        TalkheadPipeline.from_pretrained(tiny_weights, torch_dtype="half")
    assert (pipeline.device, pipeline.dtype) == (CPU, torch.float32)


def test_in_bfloat16_frames_are_nearly_the_same(
    tiny_weights: Path, output: TalkheadPipelineOutput
) -> None:
    pipeline = TalkheadPipeline.from_pretrained(
        tiny_weights, device="cpu", torch_dtype=torch.bfloat16
    )
    difference = np.abs(pixels(pipeline(FACE, VOICE)).astype(int) - pixels(output))
    assert 0 < difference.mean() < 1

from pathlib import Path

import pytest
import torch

from talkhead.errors import TalkheadError, WeightsError
from talkhead.landmarks2video.mouth_denoiser import MouthDenoiser
from talkhead.weights.average import average, parse_shares
from tests.tiny import TINY_MOUTH_DENOISER, tiny_mouth_denoiser


def write(folder: Path, by: float, dtype: torch.dtype | None = None) -> Path:
    """Write a denoiser whose parameters are all moved by a number."""
    model = tiny_mouth_denoiser()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by)
    model.save_pretrained(folder, dtype=dtype)
    return folder


def test_a_mean_weighs_checkpoints_by_their_shares(tmp_path: Path) -> None:
    folders = [write(tmp_path / str(k), by) for k, by in enumerate((0.0, 1.0, 3.0))]
    average(list(zip(folders, (1.0, 2.0, 1.0), strict=True)), tmp_path / "mean")
    mean = MouthDenoiser.from_pretrained(tmp_path / "mean")
    first = MouthDenoiser.from_pretrained(folders[0])
    for (name, value), own in zip(mean.named_parameters(), first.parameters(), strict=True):
        assert torch.allclose(value, own + 1.25, atol=1e-5), name
    assert torch.equal(mean.components, first.components)


def test_a_mean_keeps_the_stored_precision(tmp_path: Path) -> None:
    folders = [write(tmp_path / str(k), k, torch.float16) for k in range(2)]
    average([(folder, 1.0) for folder in folders], tmp_path / "mean")
    size = "diffusion_pytorch_model.safetensors"
    assert (tmp_path / "mean" / size).stat().st_size == (folders[0] / size).stat().st_size


def test_only_checkpoints_of_one_network_have_a_mean(tmp_path: Path) -> None:
    one = write(tmp_path / "one", 0.0)
    other = tmp_path / "other"
    MouthDenoiser(**(TINY_MOUTH_DENOISER | {"widths": (8, 16)})).save_pretrained(other)
    with pytest.raises(WeightsError, match="different configurations"):
        average([(one, 1.0), (other, 1.0)], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


@pytest.mark.parametrize(
    ("items", "why"),
    [
        (["a"], "at least two"),
        (["a=0", "b"], "not a positive number"),
        (["a=inf", "b"], "not a positive number"),
        (["a=half", "b"], "not a positive number"),
    ],
)
def test_shares_are_checked(items: list[str], why: str) -> None:
    with pytest.raises(TalkheadError, match=why):
        parse_shares(items)


def test_shares_may_be_left_out_and_folders_may_have_equals_signs() -> None:
    assert parse_shares(["a=b=2", "c"]) == [(Path("a=b"), 2.0), (Path("c"), 1.0)]

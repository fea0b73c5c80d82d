"""mask-noise without its parts, with tiny weights."""

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from talkhead.evaluation.ablations import Part
from talkhead.evaluation.systems import EvalClip, frame_generators
from talkhead.pipelines import FacePipeline
from tests.prepared import describe_clip, make_clip

Pixels = npt.NDArray[np.uint8]
PARTS: tuple[Part, ...] = ("mask-noise", "class", "landmarks")


def frames_by_system(folder: Path, emotion: str) -> dict[str, Pixels]:
    pipeline = FacePipeline.from_folder(folder, device=torch.device("cpu"), dtype=torch.float32)
    clip = make_clip(6, 2)
    info = dataclasses.replace(describe_clip("cleo", clip), emotion=emotion)
    eval_clip = EvalClip(info, clip)
    generators = frame_generators({"own": pipeline}, from_sound=False, without=PARTS)
    return {name: np.concatenate(list(make(eval_clip))) for name, make in generators.items()}


def test_each_part_makes_a_system_that_lacks_it(tiny_mask_noise: Path) -> None:
    frames = frames_by_system(tiny_mask_noise, "happy")
    names = ["own", *("own without mask-noise", "own without class")]
    names.append("own, landmarks moved by 6 px")
    assert [*frames][:4] == names
    for index, name in enumerate(names):
        for other in names[:index]:
            assert not np.array_equal(frames[name], frames[other]), (name, other)


def test_moved_landmarks_move_the_frames(tiny_mask_noise: Path) -> None:
    frames = frames_by_system(tiny_mask_noise, "")
    own = frames["own"].astype(int)[:, 60:200, 60:190]
    moved = frames["own, landmarks moved by 6 px"].astype(int)
    apart = {
        shift: float(np.abs(moved[:, 60:200, 60 + shift : 190 + shift] - own).mean())
        for shift in (-6, 0, 6)
    }
    assert min(apart, key=lambda shift: apart[shift]) == 6


def test_a_clip_without_an_emotion_is_the_same_without_the_class(tiny_mask_noise: Path) -> None:
    frames = frames_by_system(tiny_mask_noise, "")
    assert np.array_equal(frames["own"], frames["own without class"])


def test_the_first_system_has_no_parts_to_leave_out(tiny_weights: Path) -> None:
    frames = frames_by_system(tiny_weights, "happy")
    assert not [name for name in frames if "without" in name or "moved" in name]


@pytest.mark.parametrize("emotion", ["happy", "sad"])
def test_real_landmarks_come_with_the_emotion_of_the_list(
    tiny_mask_noise: Path, emotion: str
) -> None:
    frames = frames_by_system(tiny_mask_noise, emotion)
    other = frames_by_system(tiny_mask_noise, "angry")
    assert not np.array_equal(frames["own"], other["own"])
    assert np.array_equal(frames["own without class"], other["own without class"])

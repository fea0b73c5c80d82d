"""Names of talkhead 0.2 that version 0.3 still has."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import talkhead
from talkhead.audio2landmarks.animation import MotionOptions
from talkhead.landmarks2video.sampling import SamplerOptions
from talkhead.media.audio_clip import AudioClip
from talkhead.media.rates import DEFAULT_FPS
from talkhead.pipelines.stages import PictureFace, animate
from tests.meshes import mean_mesh
from tests.tiny import write_voice

CPU = torch.device("cpu")


def test_a_program_of_version_0_2_renders_the_same_frames_with_warnings(
    tiny_weights: Path, tmp_path: Path
) -> None:
    audio = write_voice(tmp_path / "voice.wav", 0.2)
    picture = np.random.default_rng(0).integers(0, 256, (176, 200, 3)).astype(np.uint8)
    identity = mean_mesh(40, 100, 88)
    with pytest.warns(DeprecationWarning, match="talkhead.load_pipeline will be removed in ver"):
        pipeline = talkhead.load_pipeline(tiny_weights, CPU, torch.float32)
    with pytest.warns(DeprecationWarning, match="talkhead.Pipeline will be removed"):
        assert isinstance(pipeline, talkhead.Pipeline)
    with pytest.warns(DeprecationWarning, match="talkhead.predict_landmarks will be removed"):
        count, windows = talkhead.predict_landmarks(
            pipeline.generator, audio, identity, pose="still", seed=3
        )
    with pytest.warns(DeprecationWarning, match="talkhead.render_frames will be removed"):
        made = talkhead.render_frames(pipeline, picture, identity, windows, num_steps=2, seed=3)
    frames = np.concatenate(list(made))
    assert len(frames) == count == 5
    expected = animate(
        pipeline,
        PictureFace(picture, identity),
        AudioClip.open(audio),
        fps=DEFAULT_FPS,
        motion=MotionOptions("still", seed=3),
        sampler=SamplerOptions(2, seed=3),
    )
    assert np.array_equal(frames, np.stack(list(expected.frames)))


def test_the_old_module_of_the_mesh_has_the_names_of_the_new_one() -> None:
    sys.modules.pop("talkhead.face.mesh", None)
    with pytest.warns(DeprecationWarning, match=r"use talkhead\.geometry\.mesh"):
        old = importlib.import_module("talkhead.face.mesh")
    new = importlib.import_module("talkhead.geometry.mesh")
    names = [name for name in vars(new) if name[0].isupper() or name.startswith("mouth_")]
    assert len(names) > 10
    assert all(getattr(old, name) is getattr(new, name) for name in names)

"""Training of the video denoiser: emotions with gradients, and the paper's loss."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from talkhead.audio2landmarks.expressions import Expressions
from talkhead.data.clips import ClipInfo, read_manifest, write_clip
from talkhead.emotions import EMOTIONS
from talkhead.geometry.crop import CROP_SIDE_PX
from talkhead.geometry.mesh import LEFT_MOUTH_CORNER, MEAN_FACE, RIGHT_MOUTH_CORNER
from talkhead.geometry.skin_registration import Registration
from talkhead.landmarks2video.mask_noise.video_denoiser import VideoDenoiser
from talkhead.networks import public_config
from talkhead.training.registration import fit_registration
from talkhead.training.samples import ClipBank, Sample
from talkhead.training.tasks import build_task
from talkhead.training.video_denoiser import VideoDenoiserTask
from talkhead.training.video_samples import VideoDenoiserTaskConfig, VideoSamples, window_sample
from tests.prepared import acted_clip
from tests.tiny import TINY_VIDEO_DENOISER
from tests.training.settings import TENSORS, WriteSettings, batch_of, run_steps

FRAMES = {"diffuses": "frames", "base": "identity"}


def task_of(path: Path) -> VideoDenoiserTask:
    task, _ = build_task("video-denoiser", path)
    assert isinstance(task, VideoDenoiserTask)
    return task


def wake(network: VideoDenoiser) -> None:
    """Give the layers that begin with zeros small weights, as the first steps do."""
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d) and not bool(layer.weight.any()):
            torch.nn.init.normal_(layer.weight, std=0.05)


def with_lines(path: Path, table: str, lines: str) -> Path:
    path.write_text(path.read_text().replace(f"[{table}]\n", f"[{table}]\n{lines}\n"))
    return path


@pytest.mark.parametrize("model", [{}, FRAMES])
def test_every_parameter_gets_a_gradient_once_the_output_is_not_zero(model: dict[str, Any]) -> None:
    network = VideoDenoiser(**TINY_VIDEO_DENOISER, **model)
    wake(network)
    frames = torch.rand((2, 4, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    emotion = torch.eye(8)[:2] + torch.eye(8)[2:4] + 0.1
    made = network(frames, torch.tensor([0.2, 0.9]), frames, frames, emotion)
    (made - frames.flip(1)).square().mean().backward()
    idle = [
        name
        for name, value in network.named_parameters()
        if value.grad is None or not bool(value.grad.any())
    ]
    assert idle == []


@pytest.mark.parametrize(("share", "changes"), [(0.0, True), (1.0, False)])
def test_a_hidden_emotion_changes_no_loss(
    write_settings: WriteSettings, share: float, changes: bool
) -> None:
    path = with_lines(write_settings("video-denoiser"), "task", f"drop_emotion = {share}")
    task = task_of(path)
    wake(task.model)

    def loss(emotion: str) -> float:
        batch = batch_of(task, 2)
        batch["emotion"] = torch.eye(8)[[EMOTIONS.index(emotion)] * 2]
        generator = torch.Generator().manual_seed(0)
        return float(task.loss(task.model, batch, generator)["loss"].detach())

    assert (loss("happy") != loss("sad")) == changes


def test_the_paper_s_loss_is_that_of_the_noise_in_the_true_frames(
    write_settings: WriteSettings, tmp_path: Path
) -> None:
    lines = 'diffuses = "frames"\nbase = "identity"'
    path = with_lines(write_settings("video-denoiser"), "model", lines)
    uniform = "background_weight = 1\nmouth_weight = 0\ninside_weight = 0\nvalidation_steps = 3"
    task = task_of(with_lines(path, "task", uniform))
    batch = batch_of(task, 2)
    assert bool((batch["weight"] == 1).all())
    # The untrained network's answer is zero, so what is left is the noise's own energy.
    values = task.loss(task.model, batch, torch.Generator().manual_seed(0))
    assert float(values["loss"].detach()) == pytest.approx(1, abs=0.03)
    reports = run_steps("video-denoiser", path)
    assert "unseen_generated_psnr" in reports[-1].values
    stored = VideoDenoiser.from_pretrained(tmp_path / "run/checkpoint")
    assert public_config(stored)["residual_scale"] == 0.2  # as given, not measured


def test_the_class_embedding_of_initial_weights_can_be_drawn_anew(
    write_settings: WriteSettings, tmp_path: Path
) -> None:
    model = VideoDenoiser(**TINY_VIDEO_DENOISER)
    torch.nn.init.zeros_(model.emotion.weight)
    model.save_pretrained(tmp_path / "old")
    path = with_lines(write_settings("video-denoiser"), "task", 'initial = "old"')
    assert not bool(task_of(path).model.emotion.weight.any())
    fresh = task_of(with_lines(path, "task", "fresh_emotion = true")).model
    assert float(fresh.emotion.weight.detach().std()) > 0.5
    assert torch.equal(fresh.conv_in.weight, model.conv_in.weight)


def test_an_identity_may_be_from_a_clip_with_another_emotion(prepared: Path) -> None:
    rows = [row for row in read_manifest(prepared) if row.split == "train" and not row.is_still]
    config = VideoDenoiserTaskConfig(identity_share=1.0, registration_pairs=8)
    bank = ClipBank(prepared, rows)
    emotions = dict(zip(range(len(rows)), ["happy", "sad"] * len(rows), strict=False))
    bank.rows = [as_acted(row, "one", emotions[k]) for k, row in enumerate(rows)]
    model = public_config(VideoDenoiser(**TINY_VIDEO_DENOISER))
    samples = VideoSamples(bank, model, fit_registration(bank, 4, 8, 0), config, Expressions(), 0)
    rng = np.random.default_rng(0)
    for number in range(len(rows)):
        of = samples._other_clip(number, rng)
        (found,) = (k for k, clip in enumerate(bank.clips) if clip is of)
        assert bank.rows[found].emotion != bank.rows[number].emotion
    assert set(samples.sample(0)) == {"target", "base", "points", "weight", "emotion"}


@pytest.mark.parametrize("has_neutral", [True, False])
def test_landmarks_may_be_without_the_emotion(tmp_path: Path, has_neutral: bool) -> None:
    other = acted_clip("one", "neutral" if has_neutral else "sad", 0.02, 0)
    acted = [other, acted_clip("one", "happy", 0.22, 1)]
    for row, clip in acted:
        write_clip(tmp_path, row, clip)
    usual = Expressions()
    happy = usual.offsets[EMOTIONS.index("happy")]
    happy[RIGHT_MOUTH_CORNER, 0], happy[LEFT_MOUTH_CORNER, 0] = -0.1, 0.1
    bank = ClipBank(tmp_path, [row for row, _ in acted])
    model = public_config(VideoDenoiser(**TINY_VIDEO_DENOISER)) | FRAMES

    def widths(share: float) -> list[float]:
        config = VideoDenoiserTaskConfig(neutral_share=share)
        samples = VideoSamples(bank, model, still(), config, usual, 0)
        drawn = map(samples.sample, range(20))
        sample = next(each for each in drawn if each["emotion"][EMOTIONS.index("happy")] == 1)
        corners = sample["points"][:, [60, 64], 0] * CROP_SIDE_PX / model["size_px"] / 80
        return list(corners[:, 1] - corners[:, 0])

    rest = float(MEAN_FACE[LEFT_MOUTH_CORNER, 0] - MEAN_FACE[RIGHT_MOUTH_CORNER, 0])
    assert widths(0.0) == pytest.approx([rest + 0.22] * 4, abs=0.02)
    assert widths(1.0) == pytest.approx([rest + 0.02] * 4, abs=0.02)


def test_frames_of_anyone_may_be_given_an_expression(prepared: Path) -> None:
    usual = Expressions()
    happy = EMOTIONS.index("happy")
    usual.offsets[happy, [RIGHT_MOUTH_CORNER, LEFT_MOUTH_CORNER], 1] = -0.3
    usual.known[happy] = 1
    rows = [row for row in read_manifest(prepared) if not row.is_still and not row.emotion]
    bank = ClipBank(prepared, rows[:1])
    model = public_config(VideoDenoiser(**TINY_VIDEO_DENOISER))

    def sample(acted: float, neutral: float) -> Sample:
        config = VideoDenoiserTaskConfig(acted_share=acted, neutral_share=neutral)
        return VideoSamples(bank, model, still(), config, usual, 0).sample(1)

    plain, shown, hidden = sample(0, 0), sample(1, 0), sample(1, 1)
    assert not plain["emotion"].any()
    for acted in (shown, hidden):
        assert acted["emotion"][happy] == 1
        assert np.abs(acted["target"] - plain["target"]).mean() > 0.005
    corners = [np.mean(each["points"][:, [60, 64], 1]) for each in (plain, shown, hidden)]
    assert corners[1] < corners[0] - 1  # the landmarks tell it, higher up in the picture,
    assert corners[2] == pytest.approx(corners[0], abs=0.1)  # or the class alone
    assert np.array_equal(shown["target"], hidden["target"])


def still() -> Registration:
    """Return a registration that corrects nothing."""
    return Registration(np.zeros((4, 478, 3), np.float32), np.zeros((10, 478, 2), np.float32))


def as_acted(row: ClipInfo, person: str, emotion: str) -> ClipInfo:
    return ClipInfo(**(row.__dict__ | {"person": person, "emotion": emotion}))


def test_a_clip_without_an_emotion_has_none(prepared: Path) -> None:
    (row, *_) = (row for row in read_manifest(prepared) if not row.is_still)
    bank = ClipBank(prepared, [row])
    config = TINY_VIDEO_DENOISER | FRAMES

    def emotion(info: ClipInfo) -> list[float]:
        given = VideoDenoiserTaskConfig(), bank.clips[0], info, 0, range(4)
        return list(window_sample(config, still(), *given)["emotion"])

    assert emotion(row) == [0.0] * 8
    assert emotion(as_acted(row, row.person, "sad"))[EMOTIONS.index("sad")] == 1


def test_training_a_run_again_gives_the_same_weights(
    write_settings: WriteSettings, tmp_path: Path
) -> None:
    path = write_settings("video-denoiser", steps=2)
    with_lines(path, "task", "identity_share = 0.5\nneutral_share = 0.5\ndrop_emotion = 0.5")
    run_steps("video-denoiser", path)
    first = (tmp_path / "run" / TENSORS).read_bytes()
    path.write_text(path.read_text().replace('"run"', '"again"'))
    run_steps("video-denoiser", path)
    assert (tmp_path / "again" / TENSORS).read_bytes() == first

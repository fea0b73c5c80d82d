import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from talkhead.pipelines.networks import MaskNoisePipeline, load_any_pipeline, load_pipeline

from talkhead.audio2landmarks.emotion_classifier import TINY, EmotionClassifier
from talkhead.audio2landmarks.speech_emotion import classify_emotion, emotion_of, mask_unseen
from talkhead.emotions import EMOTIONS, VOICE_LABELS
from talkhead.errors import TalkheadError, WeightsError
from talkhead.geometry.mesh import mouth_width
from talkhead.geometry.pose import fit_head_pose
from talkhead.landmarks2video.batching import BatchLimit
from talkhead.landmarks2video.mask_noise import video_denoiser
from talkhead.landmarks2video.mask_noise.mask import MaskNoiseConfig
from talkhead.landmarks2video.mask_noise.renderer import express, in_context
from talkhead.landmarks2video.mask_noise.video_denoiser import VideoDenoiser
from talkhead.landmarks2video.renderer import render_frames
from talkhead.media.audio_clip import AudioClip
from talkhead.networks import save_checkpoint
from tests.meshes import mean_mesh, opened
from tests.tiny import tiny_video_denoiser, voice, write_silence, write_tiny_mask_noise, write_voice

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
CPU = torch.device("cpu")
WIDTH, HEIGHT = 201, 177


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_mask_noise(tmp_path_factory.mktemp("mask-noise"))


@pytest.fixture(scope="module")
def pipeline(weights: Path) -> MaskNoisePipeline:
    loaded = load_any_pipeline(weights, CPU, torch.float32)
    assert isinstance(loaded, MaskNoisePipeline)
    return loaded


def picture() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def identity() -> Floats:
    return mean_mesh(40, WIDTH / 2, HEIGHT / 2)


def talking(count: int) -> Floats:
    face = identity()
    wide = np.stack([opened(face, 8 * abs(np.sin(number))) for number in range(count)])
    return np.asarray(wide + np.sin(np.arange(count) / 3)[:, None, None], np.float32)


def frames(
    pipeline: MaskNoisePipeline, points: Floats, *, size: int = 5, **options: object
) -> Pixels:
    windows = (points[start : start + size] for start in range(0, len(points), size))
    made = render_frames(
        pipeline,
        picture(),
        identity(),
        windows,
        **options,  # type: ignore[arg-type]
    )
    return np.concatenate(list(made))


def certain(name: str) -> Floats:
    vector = np.zeros(len(EMOTIONS), np.float32)
    vector[EMOTIONS.index(name)] = 1
    return vector


@pytest.mark.parametrize("num_steps", [1, 2])
def test_windows_leave_no_seam(pipeline: MaskNoisePipeline, num_steps: int) -> None:
    points = talking(23)
    in_windows = frames(pipeline, points, num_steps=num_steps)
    assert in_windows.shape == (23, HEIGHT, WIDTH, 3)
    model = tiny_video_denoiser()
    model.load_state_dict(pipeline.video_denoiser.state_dict())
    model.config = dataclasses.replace(video_denoiser.TINY, num_frames=40)
    long = dataclasses.replace(pipeline, video_denoiser=model.eval(), limit=BatchLimit(40))
    whole = frames(long, points, num_steps=num_steps)
    apart = np.abs(in_windows.astype(int) - whole)
    assert apart.max() <= 1  # rounding differs between batch sizes
    assert (apart > 0).mean() < 1e-3


class Full(VideoDenoiser):
    """A video denoiser on a device with memory for a limited number of frames."""

    room = 0

    def forward(
        self,
        noisy: torch.Tensor,
        time: torch.Tensor,
        seen: torch.Tensor,
        base: torch.Tensor,
        emotion: torch.Tensor,
    ) -> torch.Tensor:
        if noisy.shape[1] > self.room:
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(noisy, time, seen, base, emotion)


def test_on_a_full_device_fewer_frames_are_made_at_a_time(
    pipeline: MaskNoisePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    points = talking(13)
    model = Full(video_denoiser.TINY)
    model.load_state_dict(pipeline.video_denoiser.state_dict())
    model.room = 8  # two frames, with three more on either side
    full = dataclasses.replace(pipeline, video_denoiser=model.eval(), limit=BatchLimit(4))
    made = frames(full, points)
    assert np.abs(made.astype(int) - frames(pipeline, points)).max() <= 1
    assert "continuing with 2 frames at a time" in caplog.text
    model.room = 3
    with pytest.raises(TalkheadError, match="too little memory for a single frame"):
        frames(full, points)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    pipeline: MaskNoisePipeline,
) -> None:
    points = talking(6)
    one = frames(pipeline, points, seed=1)
    assert np.array_equal(one, frames(pipeline, points, seed=1))
    assert not np.array_equal(one, frames(pipeline, points, seed=2))


def test_steps_and_the_start_step_are_two_settings(pipeline: MaskNoisePipeline) -> None:
    points = talking(6)
    one = frames(pipeline, points)
    assert np.array_equal(one, frames(pipeline, points, start_step=300, num_steps=1))
    assert not np.array_equal(one, frames(pipeline, points, start_step=900))
    assert not np.array_equal(one, frames(pipeline, points, num_steps=3))


def test_only_the_lower_face_is_made_anew(pipeline: MaskNoisePipeline) -> None:
    still = identity()[None].repeat(3, 0)
    made = frames(pipeline, still)
    changed = (made != picture()).any((0, -1))
    assert changed.any()
    eyes = int(identity()[[33, 263], 1].mean())
    assert not changed[:eyes].any()


def test_an_emotion_changes_the_shape_of_the_face_and_the_picture(
    pipeline: MaskNoisePipeline,
) -> None:
    points = talking(6)
    neutral = frames(pipeline, points, emotion=certain("neutral"))
    assert np.array_equal(neutral, frames(pipeline, points))
    assert not np.array_equal(neutral, frames(pipeline, points, emotion=certain("happy")))
    assert not np.array_equal(neutral, frames(pipeline, points, emotion=certain("sad")))

    expression = pipeline.video_denoiser.expressions[EMOTIONS.index("happy")].numpy()
    turned = points @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]], np.float32)
    for meshes in (points, turned):
        found = express(meshes, expression)
        pose = fit_head_pose(meshes)
        wider = mouth_width(pose.to_face(found)) - mouth_width(pose.to_face(meshes))
        assert wider == pytest.approx(np.full(len(meshes), 0.2), abs=1e-3)


def test_the_paper_s_identity_frame_can_be_the_base(
    pipeline: MaskNoisePipeline, weights: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(video_denoiser.TINY, base="identity")
    model = pipeline.video_denoiser
    for part in ("emotion", "landmarks"):
        (tmp_path / part).symlink_to(weights / part)
    save_checkpoint(
        tmp_path / "video-denoiser",
        architecture="video-denoiser",
        config=config,
        state=model.state_dict(),
    )
    other = load_any_pipeline(tmp_path, CPU, torch.float32)
    assert isinstance(other, MaskNoisePipeline)
    points = talking(6)
    assert not np.array_equal(frames(other, points), frames(pipeline, points))


@pytest.mark.parametrize(("num_frames", "reach"), [(4, 3), (4, 0), (1, 5), (30, 2)])
@pytest.mark.parametrize("sizes", [(1, 7, 3, 9), (20,), (4, 4, 4)])
def test_a_stream_is_cut_into_windows_with_what_is_around_them(
    num_frames: int, reach: int, sizes: tuple[int, ...]
) -> None:
    def windows() -> Iterator[Floats]:
        start = 0
        for size in sizes:
            yield np.arange(start, start + size, dtype=np.float32)
            start += size

    total = sum(sizes)
    seen = 0
    for before, now, after in in_context(windows(), num_frames, reach):
        assert list(before) == list(range(max(seen - reach, 0), seen))
        assert list(now) == list(range(seen, min(seen + num_frames, total)))
        seen += len(now)
        assert list(after) == list(range(seen, min(seen + reach, total)))
    assert seen == total


def test_a_voice_is_felt_and_a_name_is_certain(tmp_path: Path) -> None:
    torch.manual_seed(0)
    classifier = EmotionClassifier(TINY).eval()
    audio = AudioClip.open(write_voice(tmp_path / "voice.wav", 7.3))
    found = emotion_of(classifier, audio)
    assert found.shape == (8,)
    assert float(found.sum()) == pytest.approx(1)
    assert 0 < float(found.max()) < 1
    assert np.allclose(found, classify_emotion(classifier, voice(7.3)), atol=1e-3)
    assert np.array_equal(emotion_of(classifier, audio, "sad"), certain("sad"))
    silence = AudioClip.open(write_silence(tmp_path / "silence.wav", 2))
    assert np.array_equal(emotion_of(classifier, silence), certain("neutral"))
    with pytest.raises(
        TalkheadError, match=r"the emotion must be one of auto, angry, .*, not 'bored'"
    ):
        emotion_of(classifier, audio, "bored")


def test_everyday_speech_is_taken_for_neutral_unless_the_voice_is_sure() -> None:
    classifier = EmotionClassifier(TINY).eval()

    def heard(label: str, logit: float) -> Floats:
        with torch.no_grad():
            classifier.head.weight.zero_()
            classifier.head.bias.zero_()
            classifier.head.bias[VOICE_LABELS.index(label)] = logit
        return classify_emotion(classifier, voice(3))

    undecided = heard("angry", 0)
    assert undecided[EMOTIONS.index("neutral")] == pytest.approx(0.85, abs=0.03)
    assert heard("bored", 9)[EMOTIONS.index("neutral")] > 0.99
    assert heard("angry", 2)[EMOTIONS.index("neutral")] > 0.5
    assert heard("angry", 7)[EMOTIONS.index("angry")] > 0.9


def test_a_sound_that_is_over_at_once_is_neutral() -> None:
    classifier = EmotionClassifier(TINY).eval()
    for count in (0, 1, 500):
        found = classify_emotion(classifier, np.full(count, 0.1, np.float32))
        assert np.array_equal(found, certain("neutral"))


def test_emotions_that_the_weights_never_saw_are_not_shown(pipeline: MaskNoisePipeline) -> None:
    model = pipeline.video_denoiser
    felt = 0.5 * certain("contempt") + 0.3 * certain("happy") + 0.2 * certain("sad")
    expected = 0.6 * certain("happy") + 0.4 * certain("sad")
    assert mask_unseen(model, felt) == pytest.approx(expected)
    assert np.array_equal(mask_unseen(model, certain("contempt")), certain("neutral"))
    assert np.array_equal(mask_unseen(model, certain("happy"), "happy"), certain("happy"))
    with pytest.raises(WeightsError, match="have no contempt face; the emotions they have: angry"):
        mask_unseen(model, certain("contempt"), "contempt")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"num_frames": 0}, "num_frames"),
        ({"widths": (8,)}, "widths"),
        ({"widths": (8, 9)}, "widths"),
        ({"size_px": 34}, "size_px 34"),
        ({"embedding_size": 7}, "embedding_size"),
        ({"mask": MaskNoiseConfig(kernel_size=60001)}, "kernel_size"),
        ({"mask": MaskNoiseConfig(kernel_size=4)}, "kernel_size"),
        ({"mask": MaskNoiseConfig(sigma=0.0)}, "sigma"),
    ],
)
def test_sizes_that_no_network_has_are_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        VideoDenoiser(dataclasses.replace(video_denoiser.TINY, **change))


def test_the_default_s_loader_says_what_the_folder_holds(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds a mask-noise pipeline"):
        load_pipeline(weights, CPU, torch.float32)
    (tmp_path / "video-denoiser").mkdir()
    with pytest.raises(WeightsError, match="landmarks"):
        load_any_pipeline(tmp_path, CPU, torch.float32)

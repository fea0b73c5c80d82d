import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pytest
import torch

from talkhead.emotions import one_hot
from talkhead.errors import TalkheadError
from talkhead.landmarks2video.batching import BatchLimit
from talkhead.landmarks2video.mask_noise.renderer import (
    MaskNoiseRenderer,
    generate_window,
    in_context,
)
from talkhead.landmarks2video.mask_noise.video_denoiser import VideoDenoiser
from talkhead.landmarks2video.renderer import render_frames
from talkhead.landmarks2video.sampling import (
    SamplerOptions,
    default_scheduler,
    linear_scheduler,
)
from talkhead.networks import public_config
from talkhead.pipelines import MaskNoisePipeline
from tests.meshes import mean_mesh, opened
from tests.tiny import TINY_VIDEO_DENOISER

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
VideoT = TypeVar("VideoT", bound=VideoDenoiser)
CPU = torch.device("cpu")
WIDTH, HEIGHT = 201, 177


@pytest.fixture(scope="module")
def renderer(tiny_mask_noise: Path) -> MaskNoiseRenderer:
    pipeline = MaskNoisePipeline.from_folder(tiny_mask_noise, device=CPU, dtype=torch.float32)
    return pipeline.renderer()


def picture() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def identity() -> Floats:
    return mean_mesh(40, WIDTH / 2, HEIGHT / 2)


def talking(count: int) -> Floats:
    face = identity()
    wide = np.stack([opened(face, 8 * abs(np.sin(number))) for number in range(count)])
    return np.asarray(wide + np.sin(np.arange(count) / 3)[:, None, None], np.float32)


def frames(
    renderer: MaskNoiseRenderer,
    points: Floats,
    *,
    size: int = 5,
    emotion: Floats | None = None,
    **sampler: Any,
) -> Pixels:
    windows = (points[start : start + size] for start in range(0, len(points), size))
    options = SamplerOptions(**sampler)
    made = render_frames(renderer, picture(), identity(), windows, options, emotion=emotion)
    return np.concatenate(list(made))


def changed(model: VideoDenoiser, kind: type[VideoT], **settings: Any) -> VideoT:
    """Return a network with the same tensors and other settings."""
    other = kind(**(public_config(model) | settings))
    other.load_state_dict(model.state_dict())
    return other.eval()


@pytest.mark.parametrize("num_steps", [1, 2])
def test_windows_leave_no_seam(renderer: MaskNoiseRenderer, num_steps: int) -> None:
    points = talking(23)
    in_windows = frames(renderer, points, num_steps=num_steps)
    assert in_windows.shape == (23, HEIGHT, WIDTH, 3)
    model = changed(renderer.video_denoiser, VideoDenoiser, num_frames=40)
    long = dataclasses.replace(renderer, video_denoiser=model, limit=BatchLimit(40))
    whole = frames(long, points, num_steps=num_steps)
    apart = np.abs(in_windows.astype(int) - whole)
    # Rounding differs between batch sizes, and OpenCV reads the picture at 1/32 pixel.
    assert (apart > 1).mean() < 1e-4
    assert apart.max() <= 8
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
    renderer: MaskNoiseRenderer, caplog: pytest.LogCaptureFixture
) -> None:
    points = talking(13)
    model = changed(renderer.video_denoiser, Full)
    model.room = 8  # two frames, with three more on either side
    full = dataclasses.replace(renderer, video_denoiser=model, limit=BatchLimit(4))
    made = frames(full, points)
    assert np.abs(made.astype(int) - frames(renderer, points)).max() <= 1
    assert "continuing with 2 frames at a time" in caplog.text
    model.room = 3
    with pytest.raises(TalkheadError, match="too little memory for a single frame"):
        frames(full, points)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    renderer: MaskNoiseRenderer,
) -> None:
    points = talking(6)
    one = frames(renderer, points, seed=1)
    assert np.array_equal(one, frames(renderer, points, seed=1))
    assert not np.array_equal(one, frames(renderer, points, seed=2))


def test_steps_and_the_start_step_are_two_settings(renderer: MaskNoiseRenderer) -> None:
    points = talking(6)
    one = frames(renderer, points)
    assert np.array_equal(one, frames(renderer, points, start_step=300, num_steps=1))
    assert not np.array_equal(one, frames(renderer, points, start_step=900))
    assert not np.array_equal(one, frames(renderer, points, num_steps=3))


def test_only_the_lower_face_is_made_anew(renderer: MaskNoiseRenderer) -> None:
    still = identity()[None].repeat(3, 0)
    made = frames(renderer, still)
    changed = (made != picture()).any((0, -1))
    assert changed.any()
    eyes = int(identity()[[33, 263], 1].mean())
    assert not changed[:eyes].any()


def test_an_emotion_conditions_the_network(renderer: MaskNoiseRenderer) -> None:
    points = talking(6)
    without = frames(renderer, points)
    assert np.array_equal(without, frames(renderer, points, emotion=np.zeros(8, np.float32)))
    happy = frames(renderer, points, emotion=one_hot("happy"))
    assert not np.array_equal(without, happy)
    assert not np.array_equal(happy, frames(renderer, points, emotion=one_hot("sad")))


def test_guidance_amplifies_what_the_emotion_changes(renderer: MaskNoiseRenderer) -> None:
    model = renderer.video_denoiser
    generator = torch.Generator().manual_seed(0)
    shape = (3, 32, 32)
    base = torch.rand((4, *shape), generator=generator) * 2 - 1
    points = torch.rand((4, 68, 2), generator=generator) * 32
    noise, epsilon = (torch.rand(shape, generator=generator) for _ in range(2))

    def window(emotion: Floats, guidance: float = 1.0) -> torch.Tensor:
        guided = changed(model, VideoDenoiser, guidance=guidance)
        condition = torch.from_numpy(emotion)
        given = base, points, condition, noise, epsilon
        with torch.inference_mode():
            return generate_window(guided, default_scheduler("sample"), *given, SamplerOptions())

    without, happy = window(np.zeros(8, np.float32)), window(one_hot("happy"))
    amplified = window(one_hot("happy"), 2.5)
    torch.testing.assert_close(amplified - without, 2.5 * (happy - without))
    assert (happy - without).abs().max() > 1e-3


def frame_renderer(model: VideoDenoiser) -> MaskNoiseRenderer:
    return MaskNoiseRenderer(model, linear_scheduler(), CPU, torch.float32, BatchLimit(4))


class Oracle(VideoDenoiser):
    """Predicts the noise for which one picture is the clean sample, and counts its calls."""

    truth: torch.Tensor
    times: list[float]

    def forward(
        self,
        noisy: torch.Tensor,
        time: torch.Tensor,
        seen: torch.Tensor,
        base: torch.Tensor,
        emotion: torch.Tensor,
    ) -> torch.Tensor:
        if not self.times:
            assert torch.equal(noisy, seen)  # sampling starts from the masked identity itself
        self.times.append(float(time))
        kept = linear_scheduler().alphas_cumprod[round(float(time) * 1000) - 1]
        predicted: torch.Tensor = (noisy - kept.sqrt() * self.truth) / (1 - kept).sqrt()
        return predicted


@pytest.mark.parametrize(("num_steps", "start_step"), [(1, 300), (20, 300), (8, 1000), (5, 100)])
def test_frames_are_sampled_from_the_masked_identity_itself(
    num_steps: int, start_step: int
) -> None:
    settings = TINY_VIDEO_DENOISER | {"diffuses": "frames", "base": "identity"}
    oracle = Oracle(**settings).eval()
    oracle.truth = torch.rand((1, 4, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    oracle.times = []
    shape = oracle.truth.shape[2:]
    points = torch.full((4, 68, 2), 16.0)
    given = torch.zeros(4, *shape), points, torch.zeros(8), torch.ones(shape), torch.zeros(shape)
    options = SamplerOptions(num_steps, start_step)
    made = generate_window(oracle, linear_scheduler(), *given, options)
    torch.testing.assert_close(made, oracle.truth[0], atol=1e-3, rtol=0)
    assert len(oracle.times) == num_steps
    assert oracle.times[0] == pytest.approx(start_step / 1000)
    assert oracle.times == sorted(oracle.times, reverse=True)


def test_a_network_that_diffuses_frames_does_not_see_the_identity_without_noise() -> None:
    settings = TINY_VIDEO_DENOISER | {"diffuses": "frames", "base": "identity"}
    model = VideoDenoiser(**settings).eval()
    torch.nn.init.normal_(model.conv_out.weight)
    one, two, other = torch.rand((3, 1, 4, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    given = one, torch.tensor([0.3]), two
    with torch.inference_mode():
        made = model(*given, other, torch.zeros(1, 8))
        assert torch.equal(made, model(*given, one, torch.zeros(1, 8)))
    assert model.conv_in.in_channels == 24
    assert VideoDenoiser(**TINY_VIDEO_DENOISER).conv_in.in_channels == 36


def test_whole_crops_are_made_and_fade_into_the_picture() -> None:
    settings = TINY_VIDEO_DENOISER | {"diffuses": "frames", "base": "identity"}
    model = VideoDenoiser(**settings).eval()
    made = frames(frame_renderer(model), talking(6), num_steps=4)
    assert made.shape == (6, HEIGHT, WIDTH, 3)
    assert np.array_equal(made, frames(frame_renderer(model), talking(6), num_steps=4))
    apart = np.abs(made.astype(int) - picture()).max((0, -1))
    forehead = int(identity()[10, 1]) + 2
    assert apart[forehead, WIDTH // 2 - 20 : WIDTH // 2 + 20].mean() > 20
    assert not apart[:, 0].any()
    assert not apart[0].any()


def test_the_paper_s_identity_frame_can_be_the_base(renderer: MaskNoiseRenderer) -> None:
    model = changed(renderer.video_denoiser, VideoDenoiser, base="identity")
    other = dataclasses.replace(renderer, video_denoiser=model)
    points = talking(6)
    assert not np.array_equal(frames(other, points), frames(renderer, points))


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


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"num_frames": 0}, "num_frames"),
        ({"widths": (8,)}, "widths"),
        ({"widths": (8, 9)}, "widths"),
        ({"size_px": 34}, "size_px 34"),
        ({"embedding_size": 7}, "embedding_size"),
        ({"mask": {"kernel_size": 60001}}, "kernel_size"),
        ({"mask": {"kernel_size": 4}}, "kernel_size"),
        ({"mask": {"sigma": 0.0}}, "sigma"),
    ],
)
def test_sizes_that_no_network_has_are_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        VideoDenoiser(**(TINY_VIDEO_DENOISER | change))

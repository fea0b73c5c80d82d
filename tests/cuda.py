"""`python -m tests.cuda` measures and checks everything that needs a CUDA device, in minutes.

It prints one JSON object. Exit codes: 0 if all checks passed, 1 if one failed, 77 if this machine
has no such device. `--rehearse` runs the same steps on the CPU with tiny networks, which tests this
script itself.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from talkhead.evaluation.benchmark import Input, make_input, time_end_to_end
from talkhead.geometry.crop import face_crop
from talkhead.geometry.windows import split_windows
from talkhead.landmarks2video import batching
from talkhead.landmarks2video.batching import BatchLimit
from talkhead.landmarks2video.denoiser import Denoiser
from talkhead.landmarks2video.dubbing import DubbedFace, dub_frames
from talkhead.landmarks2video.renderer import render_frames
from talkhead.pipelines import TalkheadPipeline
from tests.meshes import mean_mesh, opened
from tests.tiny import TINY_DENOISER, tiny_pipeline

NO_DEVICE = 77
LIMIT_S = 440.0
"""No step starts later than this, so that a card that was lent for eight minutes is enough."""
FAR_SHARE = 1e-3
"""Largest share of values that may differ by more than `FAR_LEVELS` from those of the CPU."""
FAR_LEVELS = 2

Pixels = npt.NDArray[np.uint8]
Result = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    device: torch.device
    load: Callable[[torch.device, torch.dtype], TalkheadPipeline]
    sizes: tuple[tuple[int, int], ...]
    """Width and height of the pictures."""
    num_frames: int
    batches: tuple[int, ...]
    denoiser: dict[str, Any]
    is_rehearsal: bool


def frames_of(pipeline: TalkheadPipeline, size: tuple[int, int], count: int) -> Pixels:
    """Render a mouth that opens and closes, uint8 (T, H, W, 3)."""
    picture, mesh = _portrait(size)
    track = np.stack([opened(mesh, 12 * np.sin(k / 3) ** 2) for k in range(count)])
    frames = render_frames(pipeline.renderer(), picture, mesh, split_windows(track))
    return np.concatenate(list(frames))


def _portrait(size: tuple[int, int]) -> tuple[Pixels, npt.NDArray[np.float32]]:
    width, height = size
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 40 + phase) + np.cos(y / 50 - phase) for phase in (0, 1, 2)]
    picture = np.asarray(np.stack(waves, -1) * 45 + 127).astype(np.uint8)
    return picture, mean_mesh(0.27 * min(size), width / 2, height / 2)


def compare(one: Pixels, other: Pixels) -> Result:
    """Compare frames with those of the CPU."""
    apart = np.abs(one.astype(np.int16) - other)
    far = float((apart > FAR_LEVELS).mean())
    return {"mean": float(apart.mean()), "far_share": far, "passed": far <= FAR_SHARE}


def check_frames(plan: Plan) -> Result:
    """Render on the device and on the CPU in float32, and twice on the device."""
    size = plan.sizes[0]
    reference = frames_of(plan.load(torch.device("cpu"), torch.float32), size, plan.num_frames)
    pipeline = plan.load(plan.device, torch.float32)
    first, second = (frames_of(pipeline, size, plan.num_frames) for _ in range(2))
    found = compare(first, reference) | {"same_bytes_twice": bool((first == second).all())}
    half = frames_of(plan.load(plan.device, torch.bfloat16), size, plan.num_frames)
    found["bfloat16"] = compare(half, reference) | {"passed": None}  # shown, not judged
    found["passed"] = found["passed"] and found["same_bytes_twice"]
    return found


def measure_speed(plan: Plan) -> Result:
    """Time rendering, with and without the video encoder, for sizes of pictures and batches."""
    rows: Result = {"passed": True}
    pipeline = plan.load(plan.device, torch.bfloat16)
    usual = batching.DEVICE_WINDOW_FRAMES
    count = max(plan.num_frames, 2 * max(plan.batches))
    try:
        for batch in plan.batches:
            batching.DEVICE_WINDOW_FRAMES = batch
            pipeline._limit = BatchLimit(batch)
            for size in plan.sizes:
                frames_of(pipeline, size, batch)  # warm up
                started = time.perf_counter()
                frames_of(pipeline, size, count)
                speed = count / (time.perf_counter() - started)
                rows[f"{size[0]}x{size[1]}, batches of {batch}"] = round(speed, 1)
    finally:
        batching.DEVICE_WINDOW_FRAMES = usual
        pipeline._limit = BatchLimit(usual)
    with tempfile.TemporaryDirectory() as folder:
        source: Input = make_input(Path(folder), min(plan.sizes[0]), count / 25)
        whole = time_end_to_end(pipeline, source, Path(folder, "out.mp4"), 1)
    rows["end to end"] = round(whole["frames_per_second"], 1)
    return rows


def measure_dubbing(plan: Plan) -> Result:
    """Time the dubbing of frames of the largest size."""
    picture, mesh = _portrait(plan.sizes[-1])
    face = DubbedFace(mesh, opened(mesh, 8), face_crop(mesh), 1.0)
    pipeline = plan.load(plan.device, torch.bfloat16)

    def frames(count: int) -> Iterator[tuple[Pixels, DubbedFace]]:
        return ((picture, face) for _ in range(count))

    list(dub_frames(pipeline.renderer(), frames(16)))
    started = time.perf_counter()
    dubbed = list(dub_frames(pipeline.renderer(), frames(plan.num_frames)))
    speed = plan.num_frames / (time.perf_counter() - started)
    is_changed = bool((dubbed[0] != picture).any())
    return {"frames_per_second": round(speed, 1), "passed": is_changed}


def check_memory(plan: Plan) -> Result:
    """Measure the device's memory, then render with too little of it."""
    if plan.is_rehearsal:
        return {"passed": True}
    pipeline, size = plan.load(plan.device, torch.float32), plan.sizes[0]
    torch.cuda.reset_peak_memory_stats(plan.device)
    expected = frames_of(pipeline, size, 48)
    used = torch.cuda.max_memory_allocated(plan.device)
    torch.cuda.empty_cache()
    there = torch.cuda.memory_allocated(plan.device)
    total = torch.cuda.get_device_properties(plan.device).total_memory
    try:
        torch.cuda.set_per_process_memory_fraction(
            (there + 0.4 * (used - there)) / total, plan.device
        )
        short = frames_of(pipeline, size, 48)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, plan.device)
    found = compare(short, expected)
    return {"peak_mb": round(used / 1e6), "lowered_to": pipeline._limit.num_frames, **found}


def check_second_device(plan: Plan) -> Result:
    """Render on another card, where there are two."""
    if plan.is_rehearsal or torch.cuda.device_count() < 2:
        return {"passed": None}
    one, other = (
        frames_of(plan.load(torch.device("cuda", index), torch.float32), plan.sizes[0], 16)
        for index in (0, 1)
    )
    return compare(one, other)


def check_training(plan: Plan) -> Result:
    """Take the same step of training on the CPU and on the device, and time more of them."""
    learned, losses = [], []
    for device in (torch.device("cpu"), plan.device):
        model, batch = _denoiser_and_batch(plan.denoiser, 4)
        model.to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        losses += [_step(model, batch, optimizer, device) for _ in range(2)]
        learned.append([value.detach().cpu() for value in model.parameters()])
    apart = max(float((a - b).abs().max()) for a, b in zip(*learned, strict=True))
    model, batch = _denoiser_and_batch(plan.denoiser, 16)
    model.to(plan.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    started = time.perf_counter()
    for _ in range(4):
        _step(model, batch, optimizer, plan.device)
    step_ms = 250 * (time.perf_counter() - started)
    passed = abs(losses[1] - losses[3]) < 1e-2 * losses[1] and apart < 5e-3
    return {"losses": losses, "apart": apart, "step_ms": round(step_ms, 1), "passed": passed}


def _denoiser_and_batch(
    config: dict[str, Any], count: int
) -> tuple[Denoiser, tuple[torch.Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Denoiser(**config)
    channels = model.config.latent_channels
    shapes = [(count, channels, 20, 24)] * 3 + [(count, 9, 80, 96)]
    return model, tuple(torch.randn(shape, generator=generator) for shape in shapes)


def _step(
    model: Denoiser,
    batch: tuple[torch.Tensor, ...],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> float:
    noisy, warped, wanted, maps = (
        (value.pin_memory() if device.type == "cuda" else value).to(device, non_blocking=True)
        for value in batch
    )
    found = model(noisy, torch.full((len(noisy),), 0.5, device=device), warped, maps)
    loss = functional.mse_loss(found, wanted)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach())


STEPS: dict[str, Callable[[Plan], Result]] = {
    "frames": check_frames,
    "speed": measure_speed,
    "dubbing": measure_dubbing,
    "memory": check_memory,
    "training": check_training,
    "second device": check_second_device,
}


def run(plan: Plan) -> Result:
    """Take all steps; one that fails does not stop the others."""
    started = time.perf_counter()
    results: Result = {"torch": torch.__version__, "device": str(plan.device)}
    if plan.device.type == "cuda":
        results["gpu"] = torch.cuda.get_device_name(plan.device)
    for name, step in STEPS.items():
        begun = time.perf_counter()
        if begun - started > LIMIT_S:
            results[name] = {"passed": False, "error": "no time was left"}
            continue
        try:
            found = step(plan)
        except Exception as error:  # noqa: BLE001 - the other steps are worth taking
            found = {"passed": False, "error": f"{type(error).__name__}: {error}"[:500]}
        results[name] = found | {"seconds": round(time.perf_counter() - begun, 1)}
    steps = [results[name]["passed"] for name in STEPS]
    return results | {"passed": all(passed is not False for passed in steps)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cuda", description=__doc__)
    parser.add_argument("--rehearse", action="store_true", help="tiny networks, on the CPU")
    options = parser.parse_args()
    if options.rehearse:
        plan = Plan(
            device=torch.device("cpu"),
            load=lambda device, dtype: tiny_pipeline().to(device, dtype),
            sizes=((160, 200),),
            num_frames=6,
            batches=(4,),
            denoiser=TINY_DENOISER,
            is_rehearsal=True,
        )
    elif torch.cuda.is_available():
        plan = Plan(
            device=torch.device("cuda"),
            load=lambda device, dtype: TalkheadPipeline.from_pretrained(device=device, dtype=dtype),
            sizes=((512, 512), (954, 1280)),
            num_frames=96,
            batches=(16, 32, 48, 64),
            denoiser={},
            is_rehearsal=False,
        )
    else:
        sys.stderr.write("this machine has no CUDA device: nothing was measured\n")
        return NO_DEVICE
    results = run(plan)
    sys.stdout.write(json.dumps(results, indent=2) + "\n")
    return 0 if results["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())

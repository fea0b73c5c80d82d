"""`talkhead benchmark`: time rendering on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from talkhead.cli.benchmark_against import check_settings, compared, read_result, run_in_turns
from talkhead.cli.device import DeviceOption, DtypeOption, ThreadsOption
from talkhead.cli.options import WeightsOption
from talkhead.cli.output import (
    JsonOption,
    OfflineOption,
    peak_memory_mb,
    print_columns,
    print_json,
)
from talkhead.errors import TalkheadError
from talkhead.limits import MAX_STEPS

STARTED = "TALKHEAD_BENCHMARK_STARTED"
"""Environment variable with the time from which a child process times its first frame."""
FIRST_SECONDS = 0.32


def benchmark(
    size: Annotated[
        int,
        typer.Option(
            "--size", metavar="PX", min=128, max=4096, help="Width and height of the picture."
        ),
    ] = 512,
    seconds: Annotated[
        float,
        typer.Option("--seconds", metavar="S", min=1, max=600, help="Length of the sound."),
    ] = 10.0,
    steps: Annotated[
        int, typer.Option("--steps", metavar="N", min=1, max=MAX_STEPS, help="Sampling steps.")
    ] = 1,
    peer: Annotated[
        Path | None,
        typer.Option(
            "--peer",
            metavar="FILE.py",
            help="Also time another network: its build() returns the module, its inputs, and the"
            " number of frames.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="FILE",
            help="Compare with an earlier result (.json), or with the talkhead program of another"
            " install, which then runs in turn with this one.",
            show_default=False,
        ),
    ] = None,
    live: Annotated[
        bool,
        typer.Option("--live", help="Time talkhead live instead, on sound in real time."),
    ] = False,
    dub: Annotated[
        bool,
        typer.Option("--dub", help="Time the dubbing of a video of that size instead."),
    ] = False,
    weights: WeightsOption = "default",
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
    offline: OfflineOption = False,
) -> None:
    """Time rendering on this machine, end to end and stage by stage."""
    from talkhead.cli.device import import_pipelines, share_cores, use_threads
    from talkhead.device import resolve_device, resolve_dtype

    _check_request(peer, against, steps, dub=dub, live=live)
    earlier = None
    if against is not None:
        if against.suffix != ".json":
            options = _options(size, seconds, steps, weights, device, dtype, threads)
            _show_turns(against, options + (["--dub"] if dub else []), as_json=as_json)
            return
        earlier = read_result(against)
    started_at = os.environ.get(STARTED)
    torch_device = resolve_device(device)
    torch_dtype = resolve_dtype(dtype, torch_device)

    import_pipelines()
    import torch

    from talkhead import __version__
    from talkhead.evaluation.benchmark import load_peer
    from talkhead.pipelines import TalkheadPipeline
    from talkhead.weights import resolve_weights

    use_threads(threads)
    if live:
        share_cores()
        timed = _time_live(size, seconds, weights, torch_device, torch_dtype, offline=offline)
        (print_json if as_json else _print_live)(timed)
        return
    settings: dict[str, Any] = {
        "version": __version__,
        "device": torch_device.type,
        "gpu": torch.cuda.get_device_name(torch_device) if torch_device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "dtype": str(torch_dtype).removeprefix("torch."),
        "size": size,
        "seconds_of_sound": seconds,
        "steps": steps,
        **({"dubs": True} if dub else {}),
    }
    if earlier is not None:
        check_settings(settings, earlier, str(against))
    theirs = None if peer is None else load_peer(peer, torch_device)
    folder = resolve_weights(weights, offline=offline)
    pipeline = TalkheadPipeline.from_folder(folder, device=torch_device, dtype=torch_dtype)
    with tempfile.TemporaryDirectory(prefix="talkhead-") as place:
        if started_at is not None:
            print_json({"first_frame_s": _age(pipeline, Path(place), settings, float(started_at))})
            return
        time_it = _time_dubbing if dub else _time_render
        result = settings | time_it(pipeline, Path(place), settings)
    if not dub:
        first_s = _first_frame_s(size, steps, weights, device, dtype, threads)
        result["first_frame_s"] = round(first_s, 2)
    if theirs is not None:
        result["peer"] = _time_peer(theirs, torch_device, torch_dtype, result)
    if earlier is not None:
        result["against"] = compared(result, earlier, str(against))
    _show(result, as_json=as_json)


def _check_request(
    peer: Path | None, against: Path | None, steps: int, *, dub: bool, live: bool
) -> None:
    """Check that files exist, and that options do not contradict each other."""
    from talkhead.media.files import check_input

    for file in (peer, against):
        if file is not None:
            check_input(file)
    for name, is_given in (("--dub", dub), ("--against", against is not None)):
        if is_given and (live or peer is not None):
            raise TalkheadError(f"{name} takes no --live and no --peer: leave the others out")
    if live and (peer is not None or steps != 1):
        raise TalkheadError("--live takes one step and no --peer: leave the others out")


def _show_turns(against: Path, options: list[str], *, as_json: bool) -> None:
    """Run this install and another one in turn, and show how they compare."""
    mine, other = run_in_turns(against, options)
    check_settings(mine, other, str(against))
    _show(mine | {"against": compared(mine, other, str(against))}, as_json=as_json)


def _age(pipeline: Any, place: Path, settings: dict[str, Any], started_s: float) -> float:
    """Return how many seconds after a time the first frame is there."""
    from talkhead.evaluation.benchmark import make_input, time_end_to_end

    source, output = make_input(place, settings["size"], FIRST_SECONDS), place / "out.mp4"
    ages: list[float] = []
    time_end_to_end(
        pipeline, source, output, settings["steps"], lambda: ages.append(time.time() - started_s)
    )
    return ages[0]


def _time_peer(peer: Any, device: Any, dtype: Any, result: dict[str, Any]) -> dict[str, Any]:
    """Time another network, and compare it with a result."""
    from talkhead.evaluation.benchmark import time_peer

    milliseconds = time_peer(peer, device, dtype)
    return {
        "name": peer.name,
        "milliseconds": round(milliseconds, 2),
        "ratio": round(milliseconds / result["milliseconds_per_frame"], 2),
    }


def _time_render(pipeline: Any, place: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Time rendering, end to end and stage by stage."""
    from talkhead.evaluation.benchmark import make_input, time_end_to_end, time_sound, time_stages

    size, seconds, steps = (settings[key] for key in ("size", "seconds_of_sound", "steps"))
    output = place / "out.mp4"
    time_end_to_end(pipeline, make_input(place, size, 1.0), output, steps)  # warm up
    source = make_input(place, size, seconds)
    speed = time_end_to_end(pipeline, source, output, steps)["frames_per_second"]
    memory = peak_memory_mb()
    stages = time_stages(pipeline, source, output, steps)
    return {
        "frames_per_second": round(speed, 2),
        "milliseconds_per_frame": round(1000 / speed, 2),
        "stages_ms": {name: round(value, 2) for name, value in stages.items()},
        "landmarks_s_per_minute": round(time_sound(pipeline, source, seconds), 3),
        "peak_memory_mb": memory,
    }


def _time_dubbing(pipeline: Any, place: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Time dubbing, from a video to another."""
    from talkhead.evaluation.benchmark import make_input, time_dubbing

    size, seconds = settings["size"], settings["seconds_of_sound"]
    time_dubbing(pipeline, make_input(place, size, 1.0), place)  # warm up
    speed = time_dubbing(pipeline, make_input(place, size, seconds), place)
    return {"frames_per_second": round(speed, 2), "peak_memory_mb": peak_memory_mb()}


def _show(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(result)
    else:
        _print(result)


def _options(
    size: int,
    seconds: float,
    steps: int,
    weights: str,
    device: str,
    dtype: str,
    threads: int | None,
) -> list[str]:
    """Return the options of a benchmark in another process."""
    options = ["--size", str(size), "--seconds", repr(seconds), "--steps", str(steps)]
    options += ["--weights", weights, "--device", device, "--dtype", dtype]
    return options + ([] if threads is None else ["--threads", str(threads)])


def _time_live(
    size: int, seconds: float, weights: str, device: Any, dtype: Any, *, offline: bool
) -> dict[str, Any]:
    import torch

    from talkhead import __version__
    from talkhead.evaluation.benchmark import make_input
    from talkhead.jobs.live_benchmark import time_live
    from talkhead.pipelines import TalkheadPipeline
    from talkhead.weights import resolve_weights

    folder = resolve_weights(weights, offline=offline)
    pipeline = TalkheadPipeline.from_folder(folder, device=device, dtype=dtype)
    with tempfile.TemporaryDirectory(prefix="talkhead-") as place:
        found = time_live(pipeline, make_input(Path(place), size, seconds))
    return {
        "version": __version__,
        "device": device.type,
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "dtype": str(dtype).removeprefix("torch."),
        "size": size,
        "seconds_of_sound": seconds,
        **found,
        "peak_memory_mb": peak_memory_mb(),
    }


def _print_live(result: dict[str, Any]) -> None:
    where = result["gpu"] or f"{result['device']}, {result['threads']} threads"
    rows = [
        ("where", f"{where}, {result['dtype']}"),
        ("picture", f"{result['size']} px, {result['seconds_of_sound']:g} s of sound"),
        *(
            (f"latency, {name}", f"{value:.0f} ms from sound to frame")
            for name, value in result["latency_ms"].items()
        ),
        ("dropped", f"{result['dropped']} of {result['frames']} frames"),
    ]
    print_columns(rows)


def _first_frame_s(
    size: int, steps: int, weights: str, device: str, dtype: str, threads: int | None
) -> float:
    """Start a process as a user would, and return the seconds until its first frame."""
    import json

    options = _options(size, 1.0, steps, weights, device, dtype, threads)
    ended = subprocess.run(
        [sys.executable, "-m", "talkhead", "benchmark", "--json", *options],
        env=os.environ | {STARTED: repr(time.time())},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        raise TalkheadError(
            f"the process that times the first frame failed: {ended.stderr.strip()[-300:]}"
        )
    return float(json.loads(ended.stdout)["first_frame_s"])


def _print(result: dict[str, Any]) -> None:
    where = result["gpu"] or f"{result['device']}, {result['threads']} threads"
    rows = [
        ("where", f"{where}, {result['dtype']}"),
        ("picture", f"{result['size']} px, {result['seconds_of_sound']:g} s of sound"),
        (
            "dubbing" if "dubs" in result else "end to end",
            f"{result['frames_per_second']:.1f} frames per second",
        ),
        *(
            (f"  {name}", f"{value:.2f} ms per frame")
            for name, value in result.get("stages_ms", {}).items()
        ),
    ]
    if "dubs" not in result:
        rows += [
            ("landmarks", f"{result['landmarks_s_per_minute']:.2f} s per minute of sound"),
            ("first frame", f"{result['first_frame_s']:.1f} s from a cold start"),
        ]
    if result["peak_memory_mb"] is not None:
        rows.append(("memory", f"{result['peak_memory_mb']:.0f} MB at peak"))
    if "peer" in result:
        peer = result["peer"]
        rows.append(
            (peer["name"], f"{peer['milliseconds']:.1f} ms per frame, {peer['ratio']:.1f} x")
        )
    if "against" in result:
        other = result["against"]
        rows.append(
            (
                "against",
                f"{other['frames_per_second']:.1f} frames per second, {other['name']}:"
                f" this one is {other['ratio']:.2f} times as fast",
            )
        )
    print_columns(rows)

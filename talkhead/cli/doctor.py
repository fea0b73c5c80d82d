"""`talkhead doctor`: what this machine has, and what is broken."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from typing import Any

from talkhead import __version__
from talkhead.cli.output import JsonOption, print_columns, print_json
from talkhead.errors import TalkheadError, WeightsError

Facts = dict[str, Any]


def doctor(as_json: JsonOption = False) -> None:
    """Check torch, ffmpeg, mediapipe and the weights of this machine.

    Exits 0 when everything works, 4 when weights are missing or corrupt, and 2 when something
    else is broken.
    """
    checks: dict[str, Callable[[], Facts]] = {
        "talkhead": _talkhead,
        "torch": _torch,
        "ffmpeg": _ffmpeg,
        "mediapipe": _mediapipe,
        "weights": _weights,
    }
    report = {name: _checked(check) for name, check in checks.items()}
    if as_json:
        print_json(report)
    else:
        print_columns([(name, *_row(facts)) for name, facts in report.items()])
    broken = [name for name, facts in report.items() if "error" in facts]
    if broken:
        kind = WeightsError if broken == ["weights"] else TalkheadError
        raise kind(f"{', '.join(broken)} broken: {report[broken[0]]['error']}")


def _checked(check: Callable[[], Facts]) -> Facts:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 -- whatever is broken is what the doctor is asked for
        kind = "" if isinstance(error, TalkheadError) else f"{type(error).__name__}: "
        return {"error": " ".join(f"{kind}{error}".split())}


def _row(facts: Facts) -> tuple[str, str]:
    if "error" in facts:
        return "BROKEN", facts["error"]
    return "ok", ", ".join(
        str(value) if name == "version" else f"{name.replace('_', ' ')} {_in_words(value)}"
        for name, value in facts.items()
    )


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {state}" for name, state in value.items())
    return str(value)


def _talkhead() -> Facts:
    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _torch() -> Facts:
    import torch

    from talkhead.cli.device import is_bfloat16_fast, resolve_device

    device = resolve_device("auto")
    one = torch.ones(2, 2, device=device)
    if float((one @ one).sum()) != 8:
        raise TalkheadError(f"{device} computes wrongly")
    facts: Facts = {"version": torch.__version__, "device": device.type}
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return {
        **facts,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bfloat16_fast": is_bfloat16_fast(device),
    }


def _ffmpeg() -> Facts:
    import imageio_ffmpeg

    from talkhead.media.ffmpeg import ffmpeg_exe

    path = ffmpeg_exe()
    return {"version": imageio_ffmpeg.get_ffmpeg_version(), "path": path}


def _mediapipe() -> Facts:
    from importlib.metadata import version

    import numpy as np

    from talkhead.face.detection import DETECTOR_NAME, FaceDetector

    with FaceDetector(max_faces=1, video=False) as detector:
        faces = detector.detect(np.full((256, 256, 3), 128, dtype=np.uint8))
    if faces:
        raise TalkheadError("the detector finds a face in a grey picture")
    return {"version": version("mediapipe"), "detector": DETECTOR_NAME}


def _weights() -> Facts:
    from talkhead.weights import installed_list

    weights = installed_list()
    states = {name: "ok" if weights.verify(name) else "not fetched" for name in weights.entries}
    return {"list": str(weights.path), "entries": states}

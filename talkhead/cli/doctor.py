"""`talkhead doctor`: check the installation, or list the faces in a picture or video."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from talkhead import __version__
from talkhead.cli.output import JsonOption, print_columns, print_json, tell_scaling
from talkhead.errors import TalkheadError, WeightsError
from talkhead.extras import EXTRAS, missing_modules

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Facts = dict[str, Any]


def doctor(
    face: Annotated[
        Path | None,
        typer.Argument(
            metavar="FACE", help="List the faces in this picture or video.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check this installation, or list the faces in FACE for --choose.

    Exits 0 if everything works, 4 if weights are missing or damaged, 2 if something else is broken,
    3 if FACE shows no face.
    """
    if face is not None:
        _list_faces(face, as_json=as_json)
        return
    checks: dict[str, Callable[[], Facts]] = {
        "talkhead": _talkhead,
        "torch": _torch,
        "ffmpeg": _ffmpeg,
        "mediapipe": _mediapipe,
        "weights": _weights,
        "extras": _extras,
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


def _list_faces(path: Path, *, as_json: bool) -> None:
    """Print the faces that `--choose` can select, from the left."""
    from talkhead.jobs.pose_source import is_video
    from talkhead.media.files import check_input
    from talkhead.tracking.person_finder import can_be_dubbed

    check_input(path)
    moves = is_video(path)
    time_s, size, faces = _first_faces(path, moves=moves)
    faces.sort(key=lambda face: float(face[:, 0].min() + face[:, 0].max()))
    rows = [_describe(face) for face in faces]
    serving = [not moves or can_be_dubbed(face, size) for face in faces]
    areas = [row["width"] * row["height"] for row in rows]
    largest = max(range(len(rows)), key=lambda k: (serving[k], areas[k]))
    if moves:
        rows = [{**row, "can_be_dubbed": can} for row, can in zip(rows, serving, strict=True)]
    report = {
        "picture": str(path),
        "time_s": round(time_s, 3),
        "faces": [{"choose": k + 1, **row, "largest": k == largest} for k, row in enumerate(rows)],
    }
    if as_json:
        print_json(report)
        return
    where = f" at {time_s:.2f} s" if moves else ""
    typer.echo(f"{path}{where}: {len(rows)} face{'s' if len(rows) > 1 else ''}, from the left")
    notes = ["" if can else "too small, turned or cut off for dubbing" for can in serving]
    notes[largest] = "the largest, the default"
    print_columns(
        [
            (
                f"--choose {k + 1}",
                f"at {row['x']},{row['y']}",
                f"{row['width']} x {row['height']} px",
                f"turned {row['yaw_deg']} degrees",
                notes[k],
            )
            for k, row in enumerate(rows)
        ]
    )


def _first_faces(
    path: Path, *, moves: bool
) -> tuple[float, tuple[int, int], list[npt.NDArray[np.float32]]]:
    """Return the time and the size (W, H) of the first frame with faces, and the faces."""
    from talkhead.tracking.face_detector import MAX_FACES, FaceDetector, no_face_error

    first: list[npt.NDArray[np.uint8]] = []
    with closing(_pictures(path, moves)) as frames, FaceDetector(max_faces=MAX_FACES) as detector:
        for time_s, pixels in frames:
            faces = detector.detect(pixels)
            if faces:
                return time_s, (pixels.shape[1], pixels.shape[0]), faces
            if len(first) < 2:
                first.append(pixels)
        raise no_face_error(f"{path} shows no face", first, detector)


def _pictures(
    path: Path, moves: bool
) -> Generator[tuple[float, npt.NDArray[np.uint8]], None, None]:
    """Yield a picture, or two frames per second of a video, with their times."""
    if not moves:
        from talkhead.media.picture import read_picture

        picture = read_picture(path)
        pixels = picture.pixels
        tell_scaling(path, picture.original_size, (pixels.shape[1], pixels.shape[0]))
        yield 0.0, pixels
        return
    from talkhead.tracking.face_follower import sampled_frames

    yield from sampled_frames(path)


def _describe(face: npt.NDArray[np.float32]) -> Facts:
    import numpy as np

    from talkhead.geometry.pose import angles_from_rotation, fit_head_pose

    low, high = face[:, :2].min(0), face[:, :2].max(0)
    pose = fit_head_pose(face)
    x, y = ((low + high) / 2).round().astype(int).tolist()
    width, height = (high - low).round().astype(int).tolist()
    return {
        "x": x,
        "y": y,
        "width": width,
        "height": height,
        "eye_distance": round(float(pose.scale), 1),
        "yaw_deg": round(float(np.degrees(angles_from_rotation(pose.rotation)[1]))),
    }


def _checked(check: Callable[[], Facts]) -> Facts:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 -- every fault belongs in the report
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

    from talkhead.device import is_bfloat16_fast, resolve_device
    from talkhead.landmarks2video.stage_warp import opencv

    cv2 = opencv()
    device = resolve_device("auto")
    one = torch.ones(2, 2, device=device)
    if float((one @ one).sum()) != 8:
        raise TalkheadError(f"{device} gives wrong results")
    facts: Facts = {"version": torch.__version__, "device": device.type}
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return {
        **facts,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bfloat16_fast": is_bfloat16_fast(device),
        "opencv": "cannot be imported, rendering is slower" if cv2 is None else cv2.__version__,
    }


def _ffmpeg() -> Facts:
    import imageio_ffmpeg

    from talkhead.media.ffmpeg import ffmpeg_exe

    path = ffmpeg_exe()
    return {"version": imageio_ffmpeg.get_ffmpeg_version(), "path": path}


def _mediapipe() -> Facts:
    from importlib.metadata import version

    import numpy as np

    from talkhead.tracking.face_detector import DETECTOR_NAME, FaceDetector

    with FaceDetector(max_faces=1, video=False) as detector:
        faces = detector.detect(np.full((256, 256, 3), 128, dtype=np.uint8))
    if faces:
        raise TalkheadError("the detector finds a face in a grey picture")
    return {"version": version("mediapipe"), "detector": DETECTOR_NAME}


def _extras() -> Facts:
    missing = {extra: missing_modules(extra) for extra in EXTRAS}
    return {
        extra: f"without {' and '.join(names)}" if names else "installed"
        for extra, names in missing.items()
    }


def _weights() -> Facts:
    from talkhead.weights import installed_list

    weights = installed_list()
    states = {name: "ok" if weights.verify(name) else "not fetched" for name in weights.entries}
    return {"list": str(weights.path), "entries": states}

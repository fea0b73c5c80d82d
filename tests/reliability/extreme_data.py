"""Tracks, weights and texts built to do harm, and paths that are no files."""

import json
import os
import pickle
import shutil
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from talkhead.geometry.mesh import MEAN_FACE
from talkhead.weights.systems import CONFIG_NAME, SCHEDULER_CONFIG_NAME, TENSORS_NAME
from tests.reliability import case as commands
from tests.reliability.case import Case, described
from tests.reliability.extreme_media import Builder
from tests.reliability.seeds import SIDE_PX, Seeds, copy_tree, read_settings, task_of
from tests.reliability.structure import as_json, as_toml

_HEADER_BYTES = 128
DEEP = 100_000
"""Levels of nesting."""


def _array(value: Any) -> bytes:
    """Write an array as .npy."""
    array = np.asarray(value)
    return _npy(array.dtype.str, array.shape, array.tobytes())


def _npy(kind: str, shape: tuple[int, ...], content: bytes = b"") -> bytes:
    """Write .npy with any header."""
    header = str({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    header = header.ljust(_HEADER_BYTES - 11) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def _track(points: bytes, *, packed: bool = False, **head: Any) -> Builder:
    """Write a track with the points given as .npy."""

    def build(path: Path) -> None:
        values = {
            **{"schema": np.int64(1), "detector": "drawn", "fps": np.array([25, 1])},
            **{"size": np.array([SIDE_PX, SIDE_PX])},
            **head,
        }
        packing = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", packing) as archive:
            for key, value in values.items():
                archive.writestr(f"{key}.npy", _array(value))
            archive.writestr("points.npy", points)

    return build


def _long_track(num_frames: int) -> Builder:
    """A track that unpacks to a hundred times its size."""

    def build(path: Path) -> None:
        _track(b"")(path)
        with zipfile.ZipFile(path) as archive:
            kept = [(name, archive.read(name)) for name in archive.namelist()[:-1]]
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in kept:
                archive.writestr(name, content)
            with archive.open("points.npy", "w", force_zip64=True) as file:
                file.write(_npy("<f4", (num_frames, 478, 3)))
                block = _FACE.tobytes() * 1000
                for _ in range(num_frames // 1000):
                    file.write(block)

    return build


class _Trap:
    """Unpickled, it would write a file."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (os.mkdir, ("escaped",))


_FACE = (MEAN_FACE * SIDE_PX * 0.27 + [SIDE_PX / 2, SIDE_PX / 2, 0]).astype("<f4")
_SIX = np.random.default_rng(0).uniform(10, 150, (6, 478, 3)).astype(np.float32)


def _json_track(
    points: str, fps: str = "[25, 1]", size: str = f"[{SIDE_PX}, {SIDE_PX}]"
) -> Builder:
    text = f'{{"schema": 1, "detector": "x", "fps": {fps}, "size": {size}, "points": {points}}}'
    return lambda path: path.write_text(text, encoding="utf-8")


def _with_value(value: float) -> bytes:
    points = _SIX.copy()
    points[2, 100, 1] = value
    return _array(points)


TRACKS: dict[str, Builder] = {
    "nan.npz": _track(_with_value(float("nan"))),
    "huge-values.npz": _track(_with_value(3e38)),
    "far.npz": _track(_array(_SIX * np.float32(1e30))),
    "flat.npz": _track(_array(_SIX * 0)),
    "noise.npz": _track(_array(_SIX)),
    "away.npz": _track(_array(np.stack([_FACE] * 6) + np.float32(9e5))),
    "mirrored.npz": _track(_array(np.stack([_FACE] * 6) * np.array([-1, 1, 1], "f4"))),
    "backwards.npz": _track(_array(np.stack([_FACE] * 6) * np.array([1, 1, -1], "f4"))),
    "small.npz": _track(_array(np.stack([_FACE] * 6) * np.float32(0.02))),
    "a-line.npz": _track(_array(np.stack([_FACE] * 6)[:, :, :1].repeat(3, 2))),
    "large.npz": _track(_array(np.stack([_FACE] * 6) * np.float32(3000))),
    "deep-z.npz": _track(_array(np.stack([_FACE] * 6) * np.array([1, 1, 9000], "f4"))),
    "billion.npz": _track(_npy("<f4", (10**9, 478, 3), bytes(1000))),
    "beyond.npz": _track(_npy("<f4", (2**62, 478, 3), bytes(1000))),
    "object.npz": _track(_npy("|O", (1,), pickle.dumps([_Trap()]))),
    "object-key.npz": _track(_array(_SIX), detector=np.array([1, 2])),
    "bomb.npz": _long_track(1_000_000),
    "long.npz": _long_track(90_000),
    "slow.npz": _track(_array(_SIX), fps=np.array([1, 10**9])),
    "fast.npz": _track(_array(_SIX), fps=np.array([10**9, 1])),
    "odd-rate.npz": _track(_array(_SIX), fps=np.array([2**62, 2**61 - 1])),
    "wide.npz": _track(_array(_SIX), size=np.array([2**40, 2**40])),
    "long-name.npz": _track(_array(_SIX), detector="x" * 1_000_000),
    "no-zip.npz": lambda path: path.write_bytes(_array(_SIX)),
    "pickle.npz": lambda path: path.write_bytes(pickle.dumps(_Trap())),
    "deep.json": lambda path: path.write_text("[" * DEEP),
    "deep-points.json": _json_track("[" * DEEP + "]" * DEEP),
    "nan.json": _json_track("[[[NaN, 0, 0]]]"),
    "huge.json": _json_track("[[[1e999, 0, 0]]]"),
    "digits.json": _json_track(f"[[[{'9' * 5000}, 0, 0]]]"),
    "lists.json": lambda path: _json_track("[" + "[]," * 30_000_000 + "[]]")(path),
    "ones.json": lambda path: _json_track("[" + "1," * 45_000_000 + "1]")(path),
    "slow.json": _json_track(json.dumps(_SIX.tolist()), fps="[1, 1000000]"),
}


def _tensors(header: bytes | str, content: bytes = b"", size: int | None = None) -> bytes:
    head = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(head) if size is None else size) + head + content


_OVERLAP = json.dumps(
    {
        "a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
        "b": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]},
    }
)
_HUGE = json.dumps({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}})
TENSORS: dict[str, bytes] = {
    "overlapping": _tensors(_OVERLAP, bytes(24)),
    "huge tensor": _tensors(_HUGE, bytes(24)),
    "huge header": _tensors("{}", size=2**63),
    "header of 30 MB": _tensors(b"{" + b" " * 30_000_000),
    "deep header": _tensors('{"a":' + "[" * DEEP),
    "no header": b"",
    "pickle": pickle.dumps(_Trap()),
    "zero shape": _tensors('{"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}'),
}
CONFIGS: dict[str, tuple[str, dict[str, Any] | str]] = {
    "wide autoencoder": ("autoencoder", {"width": 200_000}),
    "billion channels": ("autoencoder", {"width": 10**9, "latent_channels": 10**9}),
    "no width": ("autoencoder", {"width": 0}),
    "negative": ("autoencoder", {"width": -8}),
    "many blocks": ("autoencoder", {"num_encoder_blocks": 10**8}),
    "beyond 64 bits": ("autoencoder", {"latent_channels": 10**30}),
    "wide denoiser": ("denoiser", {"widths": [100_000, 200_000]}),
    "many levels": ("denoiser", {"widths": [8] * 10_000, "num_blocks": [1] * 10_000}),
    "no levels": ("denoiser", {"widths": [], "num_blocks": []}),
    "no heads": ("denoiser", {"num_heads": 0}),
    "scale of NaN": ("denoiser", '"residual_scale": NaN'),
    "many components": ("landmark_generator", {"num_components": 10**7}),
    "many layers": ("landmark_generator", {"num_layers": 10**7}),
    "wide LSTM": ("landmark_generator", {"hidden_size": 10**6}),
    "dropout": ("landmark_generator", {"dropout": 7.0}),
    "endless schedule": ("scheduler", {"num_train_timesteps": 10**9}),
    "no schedule": ("scheduler", {"num_train_timesteps": 0}),
    "betas of text": ("scheduler", {"trained_betas": ["a"] * 1000}),
    "betas out of range": ("scheduler", {"trained_betas": [7.0] * 1000}),
    "unknown prediction": ("scheduler", {"prediction_type": "nonsense"}),
    "deep schedule": ("scheduler", "[" * DEEP),
    "deep config": ("denoiser", "[" * DEEP),
    "endless number": ("denoiser", '"residual_scale": ' + "9" * 5000),
    "huge number": ("denoiser", '"residual_scale": 1' + "0" * 400),
}


def track_cases(seeds: Seeds) -> Iterator[tuple[Builder, str, Case]]:
    """Yield what to build, its name and the command that gets it."""
    for name, build in TRACKS.items():
        for option in ("--landmarks", "--pose"):
            made = commands.render(seeds, more=(option, name))
            yield build, name, described(made, f"{name} {option}")


def weights_cases(seeds: Seeds) -> Iterator[tuple[Builder, str, Case]]:
    """The same of folders of weights."""

    def with_tensors(content: bytes) -> Builder:
        def build(path: Path) -> None:
            copy_tree(seeds.weights, path)
            (path / "landmark_generator" / TENSORS_NAME).write_bytes(content)

        return build

    def with_config(part: str, changed: dict[str, Any] | str) -> Builder:
        def build(path: Path) -> None:
            copy_tree(seeds.weights, path)
            name = SCHEDULER_CONFIG_NAME if part == "scheduler" else CONFIG_NAME
            config = path / part / name
            values = json.loads(config.read_text(encoding="utf-8"))
            if isinstance(changed, dict):
                text = as_json(values | changed)
            elif changed.startswith('"'):
                values.pop(changed.split('"')[1], None)
                text = as_json(values)[:-1] + f", {changed}}}"
            else:
                text = changed
            config.write_text(text, encoding="utf-8")

        return build

    for name, content in TENSORS.items():
        made = commands.render(seeds, more=("--weights", "weights"))
        yield with_tensors(content), "weights", described(made, name)
    for name, (part, changed) in CONFIGS.items():
        made = commands.render(seeds, more=("--weights", "weights"))
        yield with_config(part, changed), "weights", described(made, name)


_ROW = {
    **{"clip": "cleo", "video": "cleo.mp4", "split": "dev", "person": "cleo", "sound": "good"},
    **{"licence": "x", "num_frames": 60, "fps": "25", "start_s": 0.0, "has_sound": True},
    **{"eye_distance_px": 60.0, "yaw_deg": 0.0, "offset_frames": 0, "agreement": 0.9},
    "agreement_method": "loudness",
}
ROWS: dict[str, str] = {
    "a clip that leads out": as_json(_ROW | {"clip": "../../../../escape"}),
    "an absolute clip": as_json(_ROW | {"clip": "/dev/zero"}),
    "no name": as_json(_ROW | {"clip": ""}),
    "a clip of NUL": as_json(_ROW | {"clip": "a\0b"}),
    "rate 0": as_json(_ROW | {"fps": "0"}),
    "rate 1/0": as_json(_ROW | {"fps": "1/0"}),
    "rate of 5000 digits": as_json(_ROW | {"fps": "9" * 5000}),
    "rate below 0": as_json(_ROW | {"fps": "-25"}),
    "a billion frames": as_json(_ROW | {"num_frames": 10**9}),
    "text for numbers": as_json(_ROW | {"num_frames": "x", "agreement": [], "level": None}),
    "deep": "[" * DEEP,
    "digits": as_json(_ROW)[:-1] + ', "level": ' + "9" * 5000 + "}",
    "a list": "[1, 2]",
    "twice": as_json(_ROW) + "\n" + as_json(_ROW),
    "bytes that are no text": "\udcff",
    "blank lines": "\n\n\n",
}
TOMLS: dict[str, str] = {
    "deep list": "a = " + "[" * DEEP,
    "deep table": "a = " + "{b = " * 20_000,
    "dotted": ".".join(["a"] * DEEP) + " = 1",
    "digits": "[train]\nsteps = " + "9" * 5000,
    "NUL": "[train]\ndata = '\\u0000'",
    "a table for a number": "[train]\nsteps = {a = 1}",
    "[train] is a number": "train = 1",
    "large": "a = '''" + "x" * 2_000_000 + "'''",
}
LISTS: dict[str, str] = {
    "NUL": "file\na\0b.mp4\n",
    "a long field": "file\n" + "x" * 200_000 + "\n",
    "a long name": "file\n" + "x" * 300 + ".mp4\n",
    "more cells than columns": "file\na,b,c,d\n",
    "fewer cells": "file,audio\n\n",
    "no file": "id\nx\n",
    "quotes": 'file\n"a.mp4\n',
    "a huge level": "file,level\na.mp4," + "9" * 5000 + "\n",
    "another alphabet's digits": "file,level\na.mp4,\u0663\n",
    "leads out": "file,id\n../../../../etc/passwd,../../escape\n",
    "a device": "file\n/dev/zero\n",
    "an id of dots": "file,id\na.mp4,...\n",
    "a long id": "file,id\na.mp4," + "x" * 300 + "\n",
}


def text_cases(seeds: Seeds) -> Iterator[tuple[Builder, str, Case]]:
    """The same of manifests, settings and lists."""

    def with_rows(text: str) -> Builder:
        def build(path: Path) -> None:
            copy_tree(seeds.prepared, path)
            manifest = path / "manifest.jsonl"
            manifest.write_text(text + "\n", encoding="utf-8", errors="surrogateescape")

        return build

    def with_text(text: str) -> Builder:
        return lambda path: path.write_text(text, encoding="utf-8")

    for name, text in ROWS.items():
        for protocol in ("split", "mead-official"):
            made = commands.evaluate(seeds, "clips", more=("--protocol", protocol))
            yield with_rows(text), "clips", described(made, f"manifest: {name}")
    for name, text in TOMLS.items():
        yield with_text(text), "a.toml", described(commands.train("denoiser", "a.toml"), name)
    for path in seeds.settings:
        for at, value in ((k, v) for k in ("train", "model") for v in (10**400, float("nan"))):
            tables = json.loads(json.dumps(read_settings(path)))
            tables[at] = {
                key: value if isinstance(old, (int, float)) else old
                for key, old in tables.get(at, {}).items()
            }
            made = commands.train(task_of(path), "a.toml")
            yield (
                with_text(as_toml(tables)),
                "a.toml",
                described(
                    made,
                    f"{path.name}, [{at}] of {value:.3g}"
                    if value != value
                    else f"{path.name}, [{at}] of 10^400",
                ),
            )
    for name, text in LISTS.items():
        yield with_text(text), "list.csv", described(commands.prepare("list.csv"), name)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _link(target: str) -> Builder:
    return lambda path: path.symlink_to(target)


def place_cases(seeds: Seeds) -> Iterator[tuple[Builder, str, Case]]:
    """Yield paths that are no files, in the place of every input and of the output."""
    places: dict[str, Builder] = {
        "in": Path.mkdir,
        "ring": _link("ring"),
        "nowhere": _link("nothing"),
        "new\nline": lambda path: shutil.copy(seeds.face, path),
        "x" * 250: lambda path: shutil.copy(seeds.face, path),
    }
    if sys.platform != "win32":
        places |= {"pipe": _fifo, "zero": _link("/dev/zero"), "null": _link("/dev/null")}
        places |= {"random": _link("/dev/urandom"), "memory": _link("/proc/self/mem")}
        places |= {"terminal": _link("/dev/tty"), "full": _link("/dev/full")}
    for name, build in places.items():
        for made, suffix in (
            (lambda n: commands.render(seeds, face=n), ""),
            (lambda n: commands.render(seeds, face=n), ".mp4"),
            (lambda n: commands.render(seeds, audio=n), ""),
            (lambda n: commands.render(seeds, more=("--landmarks", n)), ".npz"),
            (lambda n: commands.render(seeds, more=("--pose", n)), ".json"),
            (lambda n: commands.render(seeds, more=("--weights", n)), ""),
            (lambda n: commands.landmarks(seeds, n), ""),
            (lambda n: commands.landmarks(seeds, n, more=("--detect",)), ".mp4"),
            (lambda n: commands.landmarks(seeds, more=("--face", n)), ""),
            (lambda n: commands.doctor(n), ""),
            (lambda n: commands.train("autoencoder", n), ".toml"),
            (lambda n: commands.evaluate(seeds, n), ""),
            (lambda n: Case("eval --compare", ("eval", "--compare", n, n)), ""),
            (_prepare_unless_folder, ""),
        ):
            whole = (
                f"{name}{suffix}" if len(name) < 200 else f"{name[: -len(suffix) or None]}{suffix}"
            )
            target = _link(whole) if name == "ring" else build
            yield target, whole, described(made(whole), repr(whole[:20]))
        for suffix in (".mp4", ".npz"):
            target = _link(f"{name}{suffix}") if name == "ring" else build
            yield target, f"{name[:240]}{suffix}", _writes_to(seeds, f"{name[:240]}{suffix}")


def _prepare_unless_folder(name: str) -> Case:
    return commands.prepare(name)


def _writes_to(seeds: Seeds, name: str) -> Case:
    """Write to what is there already: refused without --overwrite."""
    made = commands.render(seeds) if name.endswith(".mp4") else commands.landmarks(seeds)
    command = tuple(name if part == made.outputs[0] else part for part in made.command)
    # Through a link, what it points to is made.
    return Case(f"{made.what} -o {name[:20]!r}", command, ("nothing",), may_be_missing=True)

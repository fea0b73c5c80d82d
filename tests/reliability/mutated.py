"""Cases made of real files by damaging them."""

import csv
import dataclasses
import io
import json
import struct
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from talkhead.evaluation.scores import MEASURES, SCHEMA
from talkhead.evaluation.tables import NEVER_SEEN, summarise
from talkhead.weights.systems import (
    CONFIG_NAME,
    INDEX_NAME,
    SCHEDULER_CONFIG_NAME,
    TENSORS_NAME,
)
from tests.reliability import case as commands
from tests.reliability.case import Case, Maker, described
from tests.reliability.mutation import mutate
from tests.reliability.seeds import Seeds, copy_tree, read_settings, task_of
from tests.reliability.structure import as_csv, as_json, as_toml, edited, edits_of

Rng = np.random.Generator

_NUM_EDITS = 4000
"""Lists of edits to choose from for every kind; those that are wanted are drawn and kept."""

_LIST = (
    "file,id,split,person,sound,licence,transcript,audio,emotion,level,view\n"
    "one.mp4,one,train,anna,good,CC0,hello there,,happy,1,front\n"
    "two.mp4,two,dev,bert,good,CC0,,two.wav,,,\n"
)


def picture(seeds: Seeds, folder: Path, rng: Rng, number: int) -> Case:
    """A damaged picture, as a face."""
    name = _damaged(seeds.pictures, folder, rng)
    if number % 4 == 0:
        return described(commands.render(seeds, face=name), name)
    if number % 4 == 1:
        return described(commands.landmarks(seeds, more=("--face", name)), name)
    return described(commands.doctor(name), name)


def sound(seeds: Seeds, folder: Path, rng: Rng, number: int) -> Case:
    """A damaged sound."""
    name = _damaged(seeds.sounds, folder, rng)
    if number % 3 == 0:
        return described(commands.render(seeds, audio=name), name)
    return described(commands.landmarks(seeds, name), name)


def video(seeds: Seeds, folder: Path, rng: Rng, number: int) -> Case:
    """A damaged video: to dub, to look into, to listen to, to take the head's motion from."""
    name = _damaged(seeds.videos, folder, rng)
    made = (
        lambda: commands.render(seeds, face=name),
        lambda: commands.doctor(name),
        lambda: commands.landmarks(seeds, name, more=("--detect",)),
        lambda: commands.render(seeds, audio=name),
        lambda: commands.landmarks(seeds, more=("--pose", name)),
        lambda: commands.landmarks(seeds, more=("--pose", name)),
        lambda: commands.render(seeds, face=name),
        lambda: commands.landmarks(seeds, name, more=("--detect", "--preview", "see.mp4")),
    )
    chosen = made[number % len(made)]()
    if number % 41 == 40:
        chosen = commands.prepare(".")
    if "see.mp4" in chosen.command:
        chosen = Case(chosen.what, chosen.command, (*chosen.outputs, "see.mp4"))
    return described(chosen, name)


def track(seeds: Seeds, folder: Path, rng: Rng, number: int) -> Case:
    """A damaged track: as bytes, as JSON, or as the arrays of an archive."""
    way = int(rng.integers(3))
    if way == 0:
        name = _damaged(seeds.tracks, folder, rng)
    elif way == 1:
        name = "track.json"
        document = json.loads(seeds.tracks[0].read_text(encoding="utf-8"))
        changed = edited(document, edits_of(1, int(rng.integers(_NUM_EDITS))))
        (folder / name).write_text(as_json(changed), encoding="utf-8", errors="replace")
    else:
        name = "track.npz"
        _damage_archive(seeds.tracks[1], folder / name, rng)
    more = ("--landmarks", name) if number % 2 else ("--pose", name)
    return described(commands.render(seeds, more=more), f"{name} {more[0]}")


def settings(seeds: Seeds, folder: Path, rng: Rng, number: int) -> Case:
    """Settings of a training with strange values, or that are TOML no more."""
    path = seeds.settings[number % len(seeds.settings)]
    target = folder / "settings.toml"
    if number % 3:
        changed = edited(read_settings(path), edits_of(2, int(rng.integers(_NUM_EDITS))))
        target.write_text(as_toml(changed), encoding="utf-8", errors="surrogatepass")
    else:
        target.write_bytes(mutate(path.read_bytes(), [seeds.face.read_bytes()], rng))
    return described(commands.train(task_of(path), target.name), path.name)


def video_list(seeds: Seeds, folder: Path, rng: Rng, number: int) -> Case:
    """A list of videos that are not there, with strange cells."""
    target = folder / "list.csv"
    if number % 3:
        rows = edited(
            list(csv.reader(io.StringIO(_LIST))), edits_of(3, int(rng.integers(_NUM_EDITS)))
        )
        text = as_csv(rows if isinstance(rows, list) else [[rows]])
        target.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    else:
        target.write_bytes(mutate(_LIST.encode(), [seeds.face.read_bytes()], rng))
    return described(commands.prepare(target.name), "list.csv")


def manifest(seeds: Seeds, folder: Path, rng: Rng, number: int) -> Case:
    """A prepared folder with a damaged manifest, record or clip."""
    data = copy_tree(seeds.prepared, folder / "clips")
    chosen = number % 4
    if chosen == 0:
        path = data / "manifest.jsonl"
        path.write_bytes(mutate(path.read_bytes(), [seeds.face.read_bytes()], rng))
    elif chosen == 1:
        path = data / "manifest.jsonl"
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        rows[2] = edited(rows[2], edits_of(4, int(rng.integers(_NUM_EDITS))))
        text = "".join(f"{as_json(row)}\n" for row in rows)
        path.write_text(text, encoding="utf-8", errors="replace")
    elif chosen == 2:
        path = data / "clips" / "cleo.npz"
        whole = data / "whole.npz"
        path.rename(whole)
        _damage_archive(whole, path, rng)
        whole.unlink()
    else:
        path = data / "done" / "cleo.json"
        record = edited(
            json.loads(path.read_text(encoding="utf-8")), edits_of(5, int(rng.integers(_NUM_EDITS)))
        )
        path.write_text(as_json(record), encoding="utf-8", errors="replace")
    return described(commands.evaluate(seeds, "clips"), path.name)


def scores(seeds: Seeds, folder: Path, rng: Rng, number: int) -> Case:
    """Damaged scores, to compare."""
    values = {"m_ld": 0.1}
    clip = {
        **{"clip": "anna", "person": "anna", "is_seen_person": False, "system": "default"},
        **{"frames": 40, "frames_without_face": 0, "values": values},
    }
    measures = {key: dataclasses.asdict(MEASURES[key]) for key in ("m_ld", "fid")}
    document = {
        **{"schema": SCHEMA, "stage": "both", "talkhead": "0", "weights": {}},
        **{"protocol": {"name": "split", "fps": "25", "networks": {"lpips": "aa"}}},
        **{"measures": measures, "clips": [clip]},
        "groups": summarise([clip], measures, {NEVER_SEEN: {"default": {"fid": 9.0}}}),
    }
    (folder / "a.json").write_text(as_json(document), encoding="utf-8")
    target = folder / "b.json"
    if number % 3:
        changed = edited(document, edits_of(6, int(rng.integers(_NUM_EDITS))))
        target.write_text(as_json(changed), encoding="utf-8", errors="replace")
    else:
        target.write_bytes(mutate((folder / "a.json").read_bytes(), [b"[]"], rng))
    del seeds
    return Case("eval --compare: b.json", ("eval", "--compare", "a.json", "b.json"))


def weights(seeds: Seeds, folder: Path, rng: Rng, number: int) -> Case:
    """A folder of weights, damaged as bytes, in its configuration, or in the tensors' header."""
    pipeline = copy_tree(seeds.weights, folder / "weights")
    part = ("autoencoder", "denoiser", "landmark_generator")[int(rng.integers(3))]
    tensors, config = pipeline / part / TENSORS_NAME, pipeline / part / CONFIG_NAME
    if rng.random() < 0.3:
        index, scheduler = pipeline / INDEX_NAME, pipeline / "scheduler" / SCHEDULER_CONFIG_NAME
        config = index if rng.random() < 0.5 else scheduler
    way = number % 4
    if way == 0:
        path = tensors if rng.random() < 0.7 else config
        path.write_bytes(mutate(path.read_bytes(), [seeds.face.read_bytes()], rng))
    elif way == 1:
        path = tensors
        data = tensors.read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = as_json(
            edited(json.loads(data[8 : 8 + size]), edits_of(7, int(rng.integers(_NUM_EDITS))))
        )
        head = header.encode("utf-8", "replace")
        tensors.write_bytes(struct.pack("<Q", len(head)) + head + data[8 + size :])
    else:
        path = config
        changed = edited(
            json.loads(config.read_text(encoding="utf-8")),
            edits_of(8, int(rng.integers(_NUM_EDITS))),
        )
        config.write_text(as_json(changed), encoding="utf-8", errors="replace")
    made = commands.render(seeds, more=("--weights", "weights"))
    if part == "landmark_generator" and number % 3 == 0:
        made = commands.landmarks(seeds, more=("--weights", "weights"))
    return described(made, f"{part}/{path.name}" if path.parent.name == part else path.name)


def _damaged(paths: Sequence[Path], folder: Path, rng: Rng) -> str:
    """Write a damaged copy of one of some files, now and then with another's suffix."""
    path = paths[int(rng.integers(len(paths)))]
    others = [paths[int(rng.integers(len(paths)))].read_bytes() for _ in range(3)]
    suffix = path.suffix
    if rng.random() < 0.1:
        suffix = paths[int(rng.integers(len(paths)))].suffix
    target = folder / f"in{suffix}"
    target.write_bytes(mutate(path.read_bytes(), others, rng) or b"\0")
    return target.name


def _damage_archive(source: Path, target: Path, rng: Rng) -> None:
    """Damage an array of an archive, or the list of them, with checksums that are right."""
    with zipfile.ZipFile(source) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    chosen = int(rng.integers(len(members)))
    name, data = members[chosen]
    way = int(rng.integers(6))
    if way == 0:
        members[chosen] = str(rng.choice(["../x.npy", "x.npy", "points", ".npy"])), data
    elif way == 1:
        members.append((name, data))
    elif way == 2:
        del members[chosen]
    else:
        members[chosen] = name, _damage_array(data, rng)
    packing = zipfile.ZIP_DEFLATED if rng.random() < 0.5 else zipfile.ZIP_STORED
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w", packing) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice, on purpose
        for member, content in members:
            archive.writestr(member, content)


def _damage_array(data: bytes, rng: Rng) -> bytes:
    """Damage an array's bytes, or what its header says."""
    size = 10 + int.from_bytes(data[8:10], "little")
    header, body = data[10:size].decode("latin-1"), data[size:]
    swaps = (
        *(("<f4", "|O"), ("<f4", "<f8"), ("<f4", "<M8[s]"), ("<f4", ">f4"), ("<i8", "<f8")),
        *(("<i8", "<c16"), ("478, 3", "478, 3, 1"), ("478, 3", "3, 478"), ("(", "(1000000000, ")),
        *(("(", "(-1, "), ("(", "(0, "), ("False", "True"), ("descr", "descr2"), ("<", ">")),
        *(("shape", "__import__"), ("}", "} or 1"), ("False", "[" * 200)),
    )
    old, new = swaps[int(rng.integers(len(swaps)))]
    if rng.random() < 0.4 or old not in header:
        return mutate(data, [body or b"\0"], rng)
    changed = header.replace(old, new, 1).encode("latin-1")
    return data[:8] + struct.pack("<H", len(changed)) + changed + body


MUTATED: dict[str, Maker] = {
    "picture, damaged": picture,
    "sound, damaged": sound,
    "video, damaged": video,
    "track, damaged": track,
    "weights, damaged": weights,
    "settings (TOML), damaged": settings,
    "list (CSV), damaged": video_list,
    "prepared folder, damaged": manifest,
    "scores (JSON), damaged": scores,
}

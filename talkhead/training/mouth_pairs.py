"""Pairs for the mouth: a frame as the renderer draws it from another, and the true frame.

A picture makes a pair with itself: the renderer closes its mouth, and opens that again. Pairs are
made once, by worker processes, and kept in a folder as arrays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from talkhead.atomic import replacing
from talkhead.data.clips import Clip, ClipInfo, read_clip
from talkhead.errors import TalkheadError
from talkhead.geometry.crop import CROP_SIDE_PX, Crop
from talkhead.geometry.mesh import CLOSED_LIPS, mouth_opening
from talkhead.geometry.motion_basis import MotionBasis, identity_at_rest
from talkhead.landmarks2video.dubbing import DubbedFace, dub_frames
from talkhead.landmarks2video.mouth_denoiser import detail_of
from talkhead.landmarks2video.mouth_patch import cut_patches, lip_outlines, patch_placements
from talkhead.landmarks2video.renderer import LatentRenderer
from talkhead.media.workers import worker_pool

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

NEAR_FRAMES = 5
"""Frames up to this far apart are neighbours, as in dubbing."""
PART_CLIPS = 8
"""Clips whose pairs one worker makes at a time."""


@dataclass(frozen=True)
class PairInfo:
    """What is known about one pair."""

    clip: str
    person: str
    split: str
    source: int
    """Frame that was drawn from; -1 for a picture's own closed mouth."""
    target: int
    """Frame to be drawn."""
    reference: int
    """Frame whose mouth may be looked at; -1 as for `source`."""
    opening: float
    """Opening of the lips, in eye distances."""
    detail: float
    """From `detail_of` the true patch."""
    eye_distance_px: float


@dataclass
class Pairs:
    """Pairs of patches, uint8 (N, 128, 160, 3), and the lips in them, (N, 40, 2)."""

    drafts: Pixels
    reals: Pixels
    references: Pixels
    outlines: Floats
    infos: list[PairInfo] = field(default_factory=list)


ARRAYS = ("drafts", "reals", "references", "outlines")


def make_pairs(
    data: Path,
    rows: list[ClipInfo],
    weights: Path,
    per_clip: int,
    seed: int,
    folder: Path,
    workers: int,
) -> Iterator[int]:
    """Make the pairs of clips in worker processes; parts that exist are kept.

    Args:
        data: prepared with ``--side 512``.
        rows: its clips.
        weights: the pipeline that draws.
        per_clip: pairs of a clip; a picture makes one.
        seed: random seed.
        folder: where the parts go.
        workers: number of processes.

    Yields:
        The number of parts that are done, after each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = [rows[start : start + PART_CLIPS] for start in range(0, len(rows), PART_CLIPS)]
    waiting = [
        (number, part)
        for number, part in enumerate(parts)
        if not (folder / f"{number:05d}.jsonl").is_file()
    ]
    done = len(parts) - len(waiting)
    with worker_pool(workers) as pool:
        futures = [
            pool.submit(_make_part, data, part, weights, per_clip, seed, folder / f"{number:05d}")
            for number, part in waiting
        ]
        for future in as_completed(futures):
            future.result()
            done += 1
            yield done


def read_pairs(folder: Path) -> Pairs:
    """Read all parts of a folder."""
    parts = []
    for path in sorted(folder.glob("*.jsonl")):
        lines = path.read_text(encoding="utf-8").splitlines()
        if not lines:
            continue
        infos = [PairInfo(**json.loads(line)) for line in lines]
        with np.load(path.with_suffix(".npz")) as part:
            parts.append(Pairs(**{name: part[name] for name in ARRAYS}, infos=infos))
    if not parts:
        raise TalkheadError(f"{folder} has no pairs")
    return join_pairs(parts)


def join_pairs(parts: Sequence[Pairs]) -> Pairs:
    """Join pairs, of which there must be some."""
    return Pairs(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS},
        infos=[info for part in parts for info in part.infos],
    )


_drawers: dict[Path, tuple[LatentRenderer, MotionBasis]] = {}


def _drawer(weights: Path) -> tuple[LatentRenderer, MotionBasis]:
    from talkhead.device import resolve_device, resolve_dtype
    from talkhead.pipelines import TalkheadPipeline

    if weights not in _drawers:
        torch.set_num_threads(1)
        device = resolve_device("cpu")
        dtype = resolve_dtype("auto", device)
        pipeline = TalkheadPipeline.from_folder(weights, device=device, dtype=dtype)
        # What the painter learns to correct is the frame without it.
        renderer = replace(pipeline.renderer(), painter=None)
        _drawers[weights] = renderer, pipeline.landmark_generator.motion_basis()
    return _drawers[weights]


def _make_part(
    data: Path, rows: list[ClipInfo], weights: Path, per_clip: int, seed: int, path: Path
) -> None:
    renderer, basis = _drawer(weights)
    made: list[Pairs | None] = []
    for row in rows:
        clip = read_clip(data, row.clip)
        rng = np.random.default_rng([seed, *row.clip.encode()])
        if row.is_still:
            made.append(_pair_of_still(renderer, basis, row, clip))
        else:
            made.append(pairs_of_clip(renderer, row, clip, per_clip, rng))
    found = [pairs for pairs in made if pairs is not None]
    if found:
        with replacing(path.with_suffix(".npz")) as partial, partial.open("wb") as file:
            joined = join_pairs(found)
            np.savez(file, **{name: getattr(joined, name) for name in ARRAYS})
    lines = [json.dumps(asdict(info)) + "\n" for pairs in found for info in pairs.infos]
    with replacing(path.with_suffix(".jsonl")) as partial:
        partial.write_text("".join(lines), encoding="utf-8")


def _scale(picture: Pixels) -> np.float32:
    """Return the pixels of a stored crop per crop pixel."""
    return np.float32(picture.shape[0] / CROP_SIDE_PX)


def draw(
    renderer: LatentRenderer, pictures: list[Pixels], meshes: Floats, targets: Floats
) -> tuple[Pixels, Floats]:
    """Draw pictures with other meshes.

    Args:
        renderer: of the default system.
        pictures: crops, uint8 (S, S, 3).
        meshes: (B, 478, 3), the faces in them, pixels.
        targets: (B, 478, 3), the faces to draw, pixels.

    Returns:
        The frames, uint8 (B, S, S, 3), and their meshes after the skin registration.
    """
    side = pictures[0].shape[0]
    crop = Crop(side / 2, side / 2, float(side))
    faces = [DubbedFace(a, b, crop, 1.0) for a, b in zip(meshes, targets, strict=True)]
    frames = np.stack(list(dub_frames(renderer, zip(pictures, faces, strict=True))))
    registration = renderer.denoiser.registration()
    moved = [
        crop.to_picture(registration.apply(crop.to_crop(a), crop.to_crop(b)[None])[0])
        for a, b in zip(meshes, targets, strict=True)
    ]
    return frames, np.stack(moved)


def _pair_of_still(
    renderer: LatentRenderer, basis: MotionBasis, row: ClipInfo, clip: Clip
) -> Pairs | None:
    picture = clip.frame(0, None)
    mesh = clip.landmarks * _scale(picture)
    if mouth_opening(mesh)[0] < CLOSED_LIPS:
        return None
    rest, pose = identity_at_rest(mesh[0], basis)
    closed_mesh = pose.to_picture(rest[None])
    closed, _ = draw(renderer, [picture], mesh, closed_mesh)
    drafts, moved = draw(renderer, [closed[0]], closed_mesh, mesh)
    return _cut(row, drafts, picture[None], closed, mesh, moved, closed_mesh, [(-1, 0, -1)])


def pairs_of_clip(
    renderer: LatentRenderer, row: ClipInfo, clip: Clip, count: int, rng: np.random.Generator
) -> Pairs | None:
    """Return pairs of frames of a clip; None if its mouth is hardly ever opened."""
    opening = mouth_opening(clip.landmarks)
    opened = np.flatnonzero(opening > CLOSED_LIPS)
    if len(opened) < NEAR_FRAMES:
        return None
    order = opening.argsort()
    third = max(len(order) // 3, 1)
    wide = opened[opening[opened].argsort()][-max(len(opened) // 3, 1) :]
    chosen = []
    for _ in range(min(count, len(opened))):
        target = int(rng.choice(wide if rng.random() < 0.6 else opened))
        kind = rng.random()
        if kind < 0.5:
            source = int(order[rng.integers(third)])
        elif kind < 0.75:
            source = int(
                np.clip(target + rng.integers(-NEAR_FRAMES, NEAR_FRAMES + 1), 0, len(clip) - 1)
            )
        else:
            source = int(rng.integers(len(clip)))
        far = wide[np.abs(wide - target) > 2 * NEAR_FRAMES]
        reference = int(rng.choice(far)) if len(far) and rng.random() < 0.5 else source
        if abs(reference - target) <= 1:
            reference = int(order[0])
        chosen.append((source, target, reference))
    pictures = {k: clip.frame(k, None).copy() for k in {k for three in chosen for k in three}}
    scale = _scale(next(iter(pictures.values())))
    sources, targets, references = (
        clip.landmarks[[three[k] for three in chosen]] * scale for k in range(3)
    )
    drafts, moved = draw(renderer, [pictures[s] for s, _, _ in chosen], sources, targets)
    reals = np.stack([pictures[t] for _, t, _ in chosen])
    known = np.stack([pictures[r] for _, _, r in chosen])
    return _cut(row, drafts, reals, known, targets, moved, references, chosen)


def _cut(
    row: ClipInfo,
    drafts: Pixels,
    reals: Pixels,
    references: Pixels,
    meshes: Floats,
    moved: Floats,
    reference_meshes: Floats,
    chosen: list[tuple[int, int, int]],
) -> Pairs:
    placements = patch_placements(moved)

    def patches(images: Pixels, places: Floats) -> torch.Tensor:
        tensor = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        return cut_patches(tensor, torch.from_numpy(places)).clamp(0, 255).round()

    real = patches(reals, placements)
    detail = detail_of(real / 127.5 - 1)
    opening = mouth_opening(meshes)
    infos = [
        PairInfo(
            row.clip,
            row.person,
            row.split,
            *three,
            round(float(o), 4),
            round(float(d), 3),
            row.eye_distance_px,
        )
        for three, o, d in zip(chosen, opening, detail, strict=True)
    ]

    def bytes_of(tensor: torch.Tensor) -> Pixels:
        return np.asarray(tensor.byte().permute(0, 2, 3, 1).numpy())

    return Pairs(
        bytes_of(patches(drafts, placements)),
        bytes_of(real),
        bytes_of(patches(references, patch_placements(reference_meshes))),
        lip_outlines(moved, placements),
        infos,
    )

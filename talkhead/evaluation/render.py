"""Protocol of stage `render`: one frame of a clip and the true landmarks of others to their pixels.

What the second stage does alone: its landmarks are the real ones. Runs of consecutive frames are
made from the clip's frame that is nearest to rest, and compared with the clip on the lower face
(the mesh below the eyes), around the lips, and inside the mouth. Beside the denoiser stand the
plain warp of the frame, and the real frames through the autoencoder, which nothing that works on
its latents passes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from talkhead.errors import TalkheadError
from talkhead.evaluation.image_metrics import flicker, psnr, sharpness, ssim
from talkhead.evaluation.landmarks import ClipScores, identity_frame
from talkhead.face.composite import composite, prepare_canvas
from talkhead.face.crop import CROP_SIDE_PX, Crop
from talkhead.face.maps import draw_maps, draw_stage, warp_identity
from talkhead.face.masks import lower_face_mask
from talkhead.face.region import BOTTOM_PX, LEFT_PX, RIGHT_PX, TOP_PX, lower_face
from talkhead.synthesis import BATCH_FRAMES, Pipeline, render_frames
from talkhead.training.clips import ClipInfo, read_clip, read_manifest

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

WARP, CEILING = "plain warp", "autoencoder alone"
RUN_FRAMES = 12
"""Consecutive frames of a run; every clip has one in its first half and one in its second."""
APART_FRAMES = 5
"""Frames as near to the identity's as this are too easy: runs keep away from it."""
MIN_FRAMES = 2 * RUN_FRAMES + 2 * APART_FRAMES + 2
LIPS = (61, 291, 0, 17)
LIPS_ROOM_PX = 8
MIN_MOUTH_PIXELS = 40
"""Mouths that are open less far than this have no inside to score."""


def rendered_rows(
    data: Path, *, split: str = "dev", people: Sequence[str] = (), limit: int | None = None
) -> list[ClipInfo]:
    """Return the clips of a split that are long enough, with sound or without.

    Where nobody is named, clips of people who are in training are left out if there are others.

    Args:
        data: prepared folder.
        split: of the manifest.
        people: patterns as of a shell; any of them suffices; none for everybody unseen.
        limit: at most so many clips.

    Raises:
        TalkheadError: the folder was not prepared, or no clip is left.
    """
    rows = read_manifest(data)
    seen = {row.person for row in rows if row.split == "train"}
    fit = [row for row in rows if row.split == split and row.num_frames >= MIN_FRAMES]
    if people:
        fit = [row for row in fit if any(fnmatch(row.person, pattern) for pattern in people)]
    else:
        fit = [row for row in fit if row.person not in seen] or fit
    if not fit:
        raise TalkheadError(
            f"{data} has no clip to score: none of {split} with {MIN_FRAMES} frames or more"
        )
    return fit[:limit]


def score_render(
    data: Path,
    rows: Sequence[ClipInfo],
    pipelines: Mapping[str, Pipeline],
    steps: Sequence[int] = (1,),
    seed: int = 0,
) -> Iterator[ClipScores]:
    """Score denoisers with one or more numbers of sampling steps, and the baselines.

    Args:
        data: prepared folder.
        rows: see `rendered_rows`.
        pipelines: by the name that their rows get; not empty.
        steps: numbers of sampling steps, one system each.
        seed: of the diffusion noise.

    Raises:
        talkhead.errors.TalkheadError: a clip is damaged.
    """
    seen = {row.person for row in read_manifest(data) if row.split == "train"}
    for row in rows:
        clip = read_clip(data, row.clip)
        first = identity_frame(clip.landmarks)
        runs = _runs(len(clip), first)
        picture, mesh = clip.frame(first).copy(), clip.landmarks[first]
        truth = [np.stack([clip.frame(index) for index in run]) for run in runs]
        targets = [clip.landmarks[run.start : run.stop] for run in runs]
        places = [_places(mesh, points) for points in targets]
        for system, made, seconds in _systems(
            pipelines, picture, mesh, targets, truth, steps, seed
        ):
            values = _scores(made, truth, places)
            if seconds is not None:
                values["ms_per_frame"] = 1000 * seconds / sum(len(run) for run in runs)
            count = sum(len(run) for run in runs)
            yield ClipScores(row.clip, row.person, row.person in seen, system, count, values)


def _runs(count: int, identity: int) -> list[range]:
    """Return one run of each half of a clip that keeps away from the identity's frame."""
    runs = []
    for low, high in ((0, count // 2), (count // 2, count)):
        starts = [
            start
            for start in range(low, high - RUN_FRAMES + 1)
            if start > identity + APART_FRAMES or start + RUN_FRAMES <= identity - APART_FRAMES
        ]
        if starts:
            runs.append(range(starts[len(starts) // 2], starts[len(starts) // 2] + RUN_FRAMES))
    return runs


def _places(identity: Floats, targets: Floats) -> tuple[Mask, Mask, Mask]:
    """Return where frames are scored, (T, 256, 256) each: lower face, around lips, inside them."""
    mesh = torch.from_numpy(targets)
    _, maps = draw_maps(torch.from_numpy(identity)[None], mesh)

    def whole(mask: torch.Tensor) -> Mask:
        grown: Mask = (mask[:, 0] > 0.5).numpy().repeat(2, 1).repeat(2, 2)
        return grown

    face, inside = whole(lower_face_mask(mesh, maps)), whole(maps[:, :1])
    low = targets[:, LIPS, :2].min(1) - LIPS_ROOM_PX
    high = targets[:, LIPS, :2].max(1) + LIPS_ROOM_PX
    line = np.arange(CROP_SIDE_PX) + 0.5
    columns, rows = ((line > low[:, k, None]) & (line < high[:, k, None]) for k in (0, 1))
    return face, rows[:, :, None] & columns[:, None, :], inside


def _systems(
    pipelines: Mapping[str, Pipeline],
    picture: Pixels,
    mesh: Floats,
    targets: list[Floats],
    truth: list[Pixels],
    steps: Sequence[int],
    seed: int,
) -> Iterator[tuple[str, list[Pixels], float | None]]:
    """Yield every system's name, its frames, and the seconds they took."""
    for name, pipeline in pipelines.items():
        for num_steps in steps:
            started = time.perf_counter()
            made = []
            for points in targets:
                parts = (points[k : k + BATCH_FRAMES] for k in range(0, len(points), BATCH_FRAMES))
                frames = render_frames(
                    pipeline, picture, mesh, parts, num_steps=num_steps, seed=seed
                )
                made.append(np.concatenate(list(frames)))
            label = f"{name}, {num_steps} step{'s' if num_steps > 1 else ''}"
            yield label, made, time.perf_counter() - started
    yield WARP, [_plain_warp(picture, mesh, points) for points in targets], None
    yield CEILING, [_coded(pipeline, frames) for frames in truth], None


@torch.inference_mode()
def _plain_warp(picture: Pixels, mesh: Floats, targets: Floats) -> Pixels:
    """Warp the picture to landmarks as they were detected, with nothing corrected."""
    middle = CROP_SIDE_PX / 2
    whole = Crop(middle, middle, float(CROP_SIDE_PX))
    canvas = prepare_canvas(picture, mesh, torch.device("cpu"), whole)
    target = torch.from_numpy(targets)
    shift, grid, maps = draw_stage(canvas.mesh, target, canvas.bounds)
    small = canvas.small.expand(len(target), -1, -1, -1)
    warped = lower_face(warp_identity(small, grid, maps))
    return composite(canvas, shift, maps, target, warped, warped)


@torch.inference_mode()
def _coded(pipeline: Pipeline, frames: Pixels) -> Pixels:
    """Pass lower faces through the autoencoder, in full precision."""
    image = torch.from_numpy(frames).permute(0, 3, 1, 2).to(pipeline.device) / 127.5 - 1
    latents = pipeline.autoencoder.encode(lower_face(image))
    made = (pipeline.autoencoder.decode(latents).clamp(-1, 1) + 1) * 127.5
    out = frames.copy()
    region = slice(TOP_PX, BOTTOM_PX), slice(LEFT_PX, RIGHT_PX)
    out[:, region[0], region[1]] = made.round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return out


def _scores(
    made: list[Pixels], truth: list[Pixels], places: list[tuple[Mask, Mask, Mask]]
) -> dict[str, float]:
    """Score runs of frames; every run counts alike."""
    rows: list[dict[str, float]] = []
    for ours, real, (face, lips, inside) in zip(made, truth, places, strict=True):
        row = {
            "psnr": psnr(ours, real, face),
            "ssim": ssim(ours, real, face),
            "lips_psnr": psnr(ours, real, lips),
            "lips_sharpness": sharpness(ours, lips) / max(sharpness(real, lips), 1e-9),
            "flicker": flicker(ours, real, face),
        }
        is_open = inside.sum((1, 2)) >= MIN_MOUTH_PIXELS
        if is_open.any():
            row["mouth_psnr"] = psnr(ours[is_open], real[is_open], inside[is_open])
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}

"""From the crop back to the picture: full-resolution warp, corrected by the denoiser's change."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from talkhead.geometry.crop import CROP_SIDE_PX, STAGE_MARGIN_PX, STAGE_SIDE_PX, Crop, face_crop
from talkhead.geometry.face_areas import Area
from talkhead.landmarks2video.conditioning import cavity_shade
from talkhead.landmarks2video.eyes import blend_eyes
from talkhead.landmarks2video.masks import blur, seam_mask, soft_mask
from talkhead.landmarks2video.region import BOTTOM_PX, LEFT_PX, RIGHT_PX, TOP_PX
from talkhead.landmarks2video.warp import Bounds, still_grid, warp_image

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Canvas:
    """A picture and the part of it that is re-rendered in every frame.

    Attributes:
        picture: uint8 (H, W, 3).
        crop: the square that the networks work on, aligned to whole pixels.
        left: left edge of the stage's part within the picture, pixels.
        top: top edge, likewise.
        stage: (1, 3, h, w) in [0, 255], that part at the picture's own resolution.
        mesh: (1, 478, 3), mesh of the face in the picture, crop pixels.
        small: (1, 3, 256, 256) in [-1, 1], the crop as the networks see it.
        still: (1, h, w, 2), identity sampling grid of the stage.
        places: (1, h, w, 2), grid that reads the stage's maps at its pixels.
        bounds: the stage's part within the picture, crop pixels.
    """

    picture: Pixels
    crop: Crop
    left: int
    top: int
    stage: Tensor
    mesh: Tensor
    small: Tensor
    still: Tensor
    places: Tensor
    bounds: Bounds

    @property
    def crop_box(self) -> tuple[int, int, int]:
        """Left, top and side of the crop within the stage's part; it may extend beyond it."""
        side = round(self.crop.side)
        return (
            round(self.crop.x - side / 2) - self.left,
            round(self.crop.y - side / 2) - self.top,
            side,
        )


@dataclass(frozen=True)
class FrameLayers:
    """What `composite` turns into frames of a canvas.

    Attributes:
        shift: (B, 2, 208, 208), where the stage's pixels come from, from `draw_stage`.
        maps: (B, 9, 128, 128), conditioning maps.
        target: (B, 478, 3), meshes of the frames, crop pixels.
        warped: (B, 3, 160, 192), lower face of the warped crop, in [-1, 1].
        generated: (B, 3, 160, 192), the same lower face as the networks generated it.
        whole: (B, 3, 256, 256) in [-1, 1], whole crops that the networks generated, which replace
            everything else; None for lower faces only.
    """

    shift: Tensor
    maps: Tensor
    target: Tensor
    warped: Tensor
    generated: Tensor
    whole: Tensor | None = None

    def __getitem__(self, frames: slice) -> FrameLayers:
        return FrameLayers(
            self.shift[frames],
            self.maps[frames],
            self.target[frames],
            self.warped[frames],
            self.generated[frames],
            None if self.whole is None else self.whole[frames],
        )


def join_layers(parts: list[FrameLayers]) -> FrameLayers:
    """Join the layers of consecutive frames."""
    if len(parts) == 1:
        return parts[0]
    names = [
        field.name for field in fields(FrameLayers) if getattr(parts[0], field.name) is not None
    ]
    return FrameLayers(
        **{name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    )


MAX_CHUNK_PIXELS = 2**21
"""Frames of large pictures are composited in small chunks to bound memory."""
_ROOM_PX = 16
"""Margin around the lower face in which the change fades out."""
_WORK_TOP, _WORK_LEFT = TOP_PX - _ROOM_PX, LEFT_PX - _ROOM_PX
_WORK_HEIGHT, _WORK_WIDTH = BOTTOM_PX - _WORK_TOP, RIGHT_PX + _ROOM_PX - _WORK_LEFT
_SIDE_STEP = CROP_SIDE_PX // math.gcd(CROP_SIDE_PX, STAGE_MARGIN_PX, _ROOM_PX)
"""Side of a crop is a multiple of this, so that both margins are whole numbers of pixels."""


def prepare_canvas(
    picture: Pixels,
    identity: Floats,
    device: torch.device,
    crop: Crop | None = None,
    area: Area | None = None,
) -> Canvas:
    """Cut the stage around a face out of a picture; the crop is aligned to whole pixels.

    Args:
        picture: uint8 (H, W, 3).
        identity: (478, 3), mesh of the face, picture pixels.
        device: device of the tensors.
        crop: the square to work on; by default that of the mesh.
        area: the part of the picture that may change; None for all of it.
    """
    crop = crop or face_crop(identity)
    side = max(round(crop.side / _SIDE_STEP), 1) * _SIDE_STEP
    margin = side * STAGE_MARGIN_PX // CROP_SIDE_PX
    left, top = round(crop.x - side / 2), round(crop.y - side / 2)
    whole = Crop(left + side / 2, top + side / 2, float(side))
    small = _to_tensor(whole.extract(picture), device) / 127.5 - 1
    area = area or Area(0, 0, picture.shape[1], picture.shape[0])
    x0, x1 = (min(max(x, area.left), area.right) for x in (left - margin, left + side + margin))
    y0, y1 = (min(max(y, area.top), area.bottom) for y in (top - margin, top + side + margin))
    stage = _to_tensor(picture[y0:y1, x0:x1], device)
    corners = np.array([[x0, y0], [x1, y1]], np.float32)
    bounds = whole.to_crop(corners)
    half = STAGE_SIDE_PX / 2
    middle = (bounds.mean(0) - CROP_SIDE_PX / 2) / half
    reach = (bounds[1] - bounds[0]) / 2 / half
    still = still_grid(y1 - y0, x1 - x0, device)
    places = still * torch.tensor(reach, device=device) + torch.tensor(middle, device=device)
    low, high = bounds.tolist()
    mesh = torch.from_numpy(whole.to_crop(identity)).to(device)[None]
    return Canvas(picture, whole, x0, y0, stage, mesh, small, still, places, (*low, *high))


def composite(canvas: Canvas, layers: FrameLayers, onto: Pixels | None = None) -> Pixels:
    """Composite frames.

    Outside the mouth the picture keeps its own fine detail: it is warped at full resolution, and
    only the denoiser's change is added. The warp has no valid content inside the opened mouth, nor
    where lips close over an opening in the picture. There the denoiser's pixels replace it.

    Whole crops are placed in the picture, which fades in at those edges that are inside it.

    Args:
        canvas: the picture.
        layers: B frames.
        onto: frames of the same picture in which other faces have moved, uint8 (B, H, W, 3);
            changed in place. None for the picture itself.

    Returns:
        uint8 (B, H, W, 3).
    """
    out = np.repeat(canvas.picture[None], len(layers.shift), axis=0) if onto is None else onto
    if layers.whole is not None:
        return _placed(canvas, layers.whole, out)
    shift, maps, target = layers.shift, layers.maps, layers.target
    mask = soft_mask(target, maps)
    inside = blur(functional.max_pool2d(maps[:, :1], 3, stride=1, padding=1), 1)
    mouth = mask * torch.maximum(inside, seam_mask(canvas.mesh, target, maps))
    border = (_ROOM_PX, _ROOM_PX, _ROOM_PX, 0)
    change = functional.pad((layers.generated - layers.warped) * 127.5, border)
    replaced = functional.pad((layers.generated + 1) * 127.5, border)
    height, width = canvas.stage.shape[-2:]
    step = max(1, MAX_CHUNK_PIXELS // (height * width))
    parts = (shift, maps, target, mask, mouth, change, replaced)
    rows = slice(canvas.top, canvas.top + height)
    columns = slice(canvas.left, canvas.left + width)
    for start in range(0, len(shift), step):
        part = slice(start, start + step)
        out[part, rows, columns] = _blend(canvas, *(layer[part] for layer in parts))
    return out


def _placed(canvas: Canvas, whole: Tensor, out: Pixels) -> Pixels:
    """Put whole crops into frames, uint8 (B, H, W, 3), in place."""
    left, top, side = canvas.crop_box
    height, width = canvas.stage.shape[-2:]
    below, right = canvas.picture.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    room = side * _ROOM_PX / CROP_SIDE_PX

    def share(first: int, last: int, start: int, edge: int) -> Tensor:
        """Return the crop's share along one axis; it does not fade at the picture's own edge."""
        places = torch.arange(first, last, device=whole.device) + 0.5
        from_start = places - first if start + first > 0 else torch.full_like(places, room)
        from_end = last - places if start + last < edge else torch.full_like(places, room)
        return torch.minimum(from_start, from_end).div(room).clamp(max=1)

    mask = share(y0, y1, canvas.top, below)[:, None] * share(x0, x1, canvas.left, right)
    rows = slice(canvas.top + y0, canvas.top + y1)
    columns = slice(canvas.left + x0, canvas.left + x1)
    inside = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    for number, crop in enumerate(whole):
        shown = functional.interpolate(
            crop[None], (side, side), mode="bilinear", antialias=side < CROP_SIDE_PX
        )[..., inside[0], inside[1]]
        mixed = torch.lerp(canvas.stage[..., y0:y1, x0:x1], (shown + 1) * 127.5, mask)
        pixels = mixed.round().clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0)
        out[number, rows, columns] = pixels.cpu().numpy()
    return out


def _blend(
    canvas: Canvas,
    shift: Tensor,
    maps: Tensor,
    target: Tensor,
    mask: Tensor,
    mouth: Tensor,
    change: Tensor,
    replaced: Tensor,
) -> Pixels:
    """Return the stage's part of the frames, uint8 (B, h, w, 3)."""
    height, width = canvas.stage.shape[-2:]
    grid = stage_grid(canvas, shift)
    frames = warp_image(canvas.stage.expand(len(shift), -1, -1, -1), grid)
    left, top, side = canvas.crop_box
    corner = torch.tensor([left, top], device=shift.device)
    meshes = (canvas.mesh[..., :2], target[..., :2])
    source, goal = (points / canvas.crop.scale + corner for points in meshes)
    blend_eyes(frames, canvas.stage, grid, source, goal)
    # The denoiser changes only the lower face and its margin.
    enlarged = side / CROP_SIDE_PX
    left, top = left + round(_WORK_LEFT * enlarged), top + round(_WORK_TOP * enlarged)
    size = round(_WORK_HEIGHT * enlarged), round(_WORK_WIDTH * enlarged)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = max(min(left + size[1], width), x0), max(min(top + size[0], height), y0)
    inside = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)

    def enlarge(image: Tensor) -> Tensor:
        if image.shape[-2:] != size:
            image = functional.interpolate(
                image,
                size=size,
                mode="bilinear",
                align_corners=False,
                antialias=size[0] < image.shape[-2],
            )
        return image[..., inside[0], inside[1]]

    face = frames[..., y0:y1, x0:x1]
    face.mul_(enlarge(_work_area(cavity_shade(maps))))
    face.add_(enlarge(change) * enlarge(_work_area(mask)))
    face.lerp_(enlarge(replaced), enlarge(_work_area(mouth)))
    pixels = frames.round_().clamp_(0, 255).to(torch.uint8)
    blended: Pixels = pixels.permute(0, 2, 3, 1).cpu().numpy()
    return blended


def stage_grid(canvas: Canvas, shift: Tensor) -> Tensor:
    """Return where the pixels of frames come from in the stage, (B, h, w, 2).

    Args:
        canvas: the picture.
        shift: (B, 2, 208, 208), from `draw_stage`.
    """
    height, width = canvas.stage.shape[-2:]
    offsets = functional.grid_sample(
        shift,
        canvas.places.expand(len(shift), -1, -1, -1),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    unit = torch.tensor([width, height], device=shift.device) * (canvas.crop.scale / 2)
    return canvas.still + offsets.permute(0, 2, 3, 1) / unit


def move_alpha(
    canvas: Canvas, layers: FrameLayers, alpha: Pixels, onto: Pixels | None = None
) -> Pixels:
    """Return the alpha of frames, uint8 (B, H, W): it moves with the picture.

    Args:
        canvas: the picture.
        layers: B frames; whole crops that networks generated leave it as it is.
        alpha: (H, W), that of the picture.
        onto: the alpha that other faces have moved, (B, H, W); changed in place.
    """
    out = np.repeat(alpha[None], len(layers.shift), axis=0) if onto is None else onto
    if layers.whole is not None:
        return out
    height, width = canvas.stage.shape[-2:]
    rows, columns = slice(canvas.top, canvas.top + height), slice(canvas.left, canvas.left + width)
    stage = _to_tensor(alpha[rows, columns, None], layers.shift.device)
    for number in range(len(out)):  # one by one, which bounds memory
        grid = stage_grid(canvas, layers.shift[number : number + 1])
        moved = warp_image(stage, grid)[0, 0].round().clamp(0, 255).to(torch.uint8)
        out[number, rows, columns] = moved.cpu().numpy()
    return out


def _work_area(maps: Tensor) -> Tensor:
    """Cut the lower face and its margin from maps of the crop, (B, C, S, S)."""
    ratio = maps.shape[-1] / CROP_SIDE_PX
    rows, columns = (
        slice(round(first * ratio), round((first + size) * ratio))
        for first, size in ((_WORK_TOP, _WORK_HEIGHT), (_WORK_LEFT, _WORK_WIDTH))
    )
    return maps[..., rows, columns]


def _to_tensor(image: Pixels, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None].float()

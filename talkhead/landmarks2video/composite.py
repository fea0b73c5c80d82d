"""From the crop back to the picture: full-resolution warp, corrected by the denoiser's change."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from talkhead.geometry.crop import CROP_SIDE_PX
from talkhead.geometry.face_areas import Area
from talkhead.landmarks2video.batching import BatchLimit
from talkhead.landmarks2video.canvas import ROOM_PX, SIDE_STEP, Canvas, to_tensor
from talkhead.landmarks2video.conditioning import cavity_shade
from talkhead.landmarks2video.eyes import draw_eyes
from talkhead.landmarks2video.masks import blur, seam_mask, soft_mask
from talkhead.landmarks2video.region import BOTTOM_PX, LEFT_PX, RIGHT_PX, TOP_PX
from talkhead.landmarks2video.stage_warp import moving_area, place_reader, stage_grid, warp_stage
from talkhead.landmarks2video.warp import warp_image

Pixels = npt.NDArray[np.uint8]


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
"""Frames of large faces are composited in small chunks to bound memory."""
_WORK_TOP, _WORK_LEFT = TOP_PX - ROOM_PX, LEFT_PX - ROOM_PX
_WORK_HEIGHT, _WORK_WIDTH = BOTTOM_PX - _WORK_TOP, RIGHT_PX + ROOM_PX - _WORK_LEFT


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
    change = _Change.of(canvas, layers)
    device, count = layers.shift.device, len(layers.shift)
    limit = BatchLimit(max(1, MAX_CHUNK_PIXELS // canvas.crop_box[2] ** 2))
    start = 0
    while start < count:
        size = limit.num_frames
        part = slice(start, start + size)
        frames = canvas.cut(out[part])
        try:
            if device.type == "cpu":
                _blend(canvas, layers[part], change[part], torch.from_numpy(frames))
            else:
                pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(device)
                _blend(canvas, layers[part], change[part], pixels)
                frames[...] = pixels.cpu().numpy()
        except torch.OutOfMemoryError as error:
            limit.lower(device, error, size)
            continue
        start += size
    return out


def _placed(canvas: Canvas, whole: Tensor, out: Pixels) -> Pixels:
    """Put whole crops into frames, uint8 (B, H, W, 3), in place."""
    left, top, side = canvas.crop_box
    height, width = canvas.size
    below, right = canvas.picture.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    room = side * ROOM_PX / CROP_SIDE_PX

    def share(first: int, last: int, start: int, edge: int) -> Tensor:
        """Return the crop's share along one axis; it does not fade at the picture's own edge."""
        places = torch.arange(first, last, device=whole.device) + 0.5
        from_start = places - first if start + first > 0 else torch.full_like(places, room)
        from_end = last - places if start + last < edge else torch.full_like(places, room)
        return torch.minimum(from_start, from_end).div(room).clamp(max=1)

    mask = share(y0, y1, canvas.area.top, below)[:, None] * share(x0, x1, canvas.area.left, right)
    placed = canvas.cut(out)[:, y0:y1, x0:x1]
    inside = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    for number, crop in enumerate(whole):
        shown = functional.interpolate(
            crop[None], (side, side), mode="bilinear", antialias=side < CROP_SIDE_PX
        )[..., inside[0], inside[1]]
        mixed = torch.lerp(canvas.stage[..., y0:y1, x0:x1], (shown + 1) * 127.5, mask)
        pixels = mixed.round().clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0)
        placed[number] = pixels.cpu().numpy()
    return out


@dataclass(frozen=True)
class _Change:
    """What the denoiser changes in the lower faces of B frames.

    Attributes:
        mask: (B, 1, 88, 112), where anything is added.
        added: (B, 3, 176, 224), what is added to the warped picture, in [-255, 255].
        shade: (B, 1, 88, 112), factor that darkens the cavity of the mouth.
        mouth: (B, 1, 88, 112), where the mouth is replaced.
        replaced: (B, 3, 176, 224), what replaces it, in [0, 255].
    """

    mask: Tensor
    added: Tensor
    shade: Tensor
    mouth: Tensor
    replaced: Tensor

    @staticmethod
    def of(canvas: Canvas, layers: FrameLayers) -> _Change:
        """Prepare the change of frames."""
        maps, target = layers.maps, layers.target
        soft = soft_mask(target, maps)
        inside = blur(functional.max_pool2d(maps[:, :1], 3, stride=1, padding=1), 1)
        mouth = soft * torch.maximum(inside, seam_mask(canvas.mesh, target, maps))
        mask = _work_area(soft)
        border = (ROOM_PX, ROOM_PX, ROOM_PX, 0)
        added = functional.pad((layers.generated - layers.warped) * 127.5, border)
        added *= functional.interpolate(
            mask, scale_factor=2.0, mode="bilinear", align_corners=False
        )
        replaced = functional.pad((layers.generated + 1) * 127.5, border)
        return _Change(mask, added, _work_area(cavity_shade(maps)), _work_area(mouth), replaced)

    def __getitem__(self, frames: slice) -> _Change:
        return _Change(*(getattr(self, field.name)[frames] for field in fields(self)))


@dataclass(frozen=True)
class _Blocks:
    """A part of the work area in blocks: whole numbers of pixels in the crop and in the picture.

    Attributes:
        rows: first block, and the one behind the last.
        columns: likewise.
        area: the part of the stage that they cover.
        box: all of the blocks, which may reach beyond the stage, in its pixels.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    area: Area
    box: Area

    @staticmethod
    def around(canvas: Canvas, touched: Tensor) -> _Blocks | None:
        """Return the blocks around places of the work area; None if there are none.

        On other devices than the CPU that is all of it, because looking would wait for the device.

        Args:
            canvas: the picture.
            touched: bool, (B, 1, 88, 112).
        """
        left, top, side = canvas.crop_box
        side_px = side * SIDE_STEP // CROP_SIDE_PX
        # Interpolation reads the next map pixel, or more where it makes images smaller.
        reach = 2 + CROP_SIDE_PX // side
        ranges = []
        for axis, length in ((1, _WORK_HEIGHT), (0, _WORK_WIDTH)):
            first, last = 0, length // SIDE_STEP
            if touched.device.type == "cpu":
                places = touched.any(0)[0].any(axis).numpy().nonzero()[0]
                if not len(places):
                    return None
                cells = SIDE_STEP * touched.shape[2] // _WORK_HEIGHT
                first = max((int(places[0]) - reach) // cells, first)
                last = min((int(places[-1]) + reach) // cells + 1, last)
            ranges.append((first, last))
        rows, columns = ranges
        y0, y1 = (top + (_WORK_TOP // SIDE_STEP + block) * side_px for block in rows)
        x0, x1 = (left + (_WORK_LEFT // SIDE_STEP + block) * side_px for block in columns)
        height, width = canvas.size
        area = Area(max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))
        if area.left >= area.right or area.top >= area.bottom:
            return None
        return _Blocks(rows, columns, area, Area(x0, y0, x1, y1))

    def enlarge(self, image: Tensor) -> Tensor:
        """Cut the part from an image of the whole work area, at the picture's resolution."""
        side = image.shape[-2] * SIDE_STEP // _WORK_HEIGHT
        (y0, y1), (x0, x1) = self.rows, self.columns
        image = image[..., y0 * side : y1 * side, x0 * side : x1 * side]
        left, top, right, bottom = self.box
        size = bottom - top, right - left
        if image.shape[-2:] != size:
            image = functional.interpolate(
                image,
                size=size,
                mode="bilinear",
                align_corners=False,
                antialias=size[0] < image.shape[-2],
            )
        return _cut(image, self.area, self.box)


def _cut(image: Tensor, area: Area, box: Area) -> Tensor:
    """Cut an area from an image (..., h, w) of a box around it."""
    rows = slice(area.top - box.top, area.bottom - box.top)
    return image[..., rows, area.left - box.left : area.right - box.left]


def _blend(canvas: Canvas, layers: FrameLayers, change: _Change, frames: Tensor) -> None:
    """Re-render the stage's part of frames, uint8 (B, h, w, 3), in place."""
    area = moving_area(canvas, layers.shift)
    warp_stage(canvas, layers.shift, area, _view(frames, area))
    read_places = place_reader(canvas, layers.shift)
    target = canvas.to_stage(layers.target)
    eyes = draw_eyes(canvas, read_places, canvas.stage_mesh, target, area)
    for place, drawn, touched in eyes:
        shown = _view(frames, place)
        shown.copy_(torch.where(touched.permute(0, 2, 3, 1), _rounded(drawn), shown))
    # The denoiser changes only the lower face.
    blocks = _Blocks.around(canvas, (change.mask > 0) | (change.shade < 1))
    if blocks is None:
        return
    shown = _view(frames, blocks.area)
    face = shown.permute(0, 3, 1, 2).contiguous().float()
    opened = _Blocks.around(canvas, (change.mouth > 0) | (change.shade < 1))
    if opened is not None:
        mouth = _cut(face, opened.area, blocks.area)
        mouth *= opened.enlarge(change.shade)
    face += blocks.enlarge(change.added)
    if opened is not None:
        mouth.lerp_(opened.enlarge(change.replaced), opened.enlarge(change.mouth))
    shown.copy_(_rounded(face))


def _view(frames: Tensor, area: Area) -> Tensor:
    """Return an area of frames, (B, h, w, C)."""
    return frames[:, area.top : area.bottom, area.left : area.right]


def _rounded(values: Tensor) -> Tensor:
    """Round values (B, 3, h, w) in [0, 255] to pixels, uint8 (B, h, w, 3); changes them."""
    return values.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


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
    height, width = canvas.size
    stage = to_tensor(canvas.cut(alpha[..., None]), layers.shift.device)
    moved = canvas.cut(out[..., None])
    for number in range(len(out)):  # one by one, which bounds memory
        grid = stage_grid(canvas, layers.shift[number : number + 1], Area(0, 0, width, height))
        values = warp_image(stage, grid)[0, 0].round().clamp(0, 255).to(torch.uint8)
        moved[number, ..., 0] = values.cpu().numpy()
    return out


def _work_area(maps: Tensor) -> Tensor:
    """Cut the lower face and its margin from maps of the crop, (B, C, S, S)."""
    ratio = maps.shape[-1] / CROP_SIDE_PX
    rows, columns = (
        slice(round(first * ratio), round((first + size) * ratio))
        for first, size in ((_WORK_TOP, _WORK_HEIGHT), (_WORK_LEFT, _WORK_WIDTH))
    )
    return maps[..., rows, columns]

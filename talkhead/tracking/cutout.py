"""Cut people out of a picture or a video: the person's colours, and an alpha matte."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter, minimum_filter

from talkhead.errors import TalkheadError
from talkhead.tracking.closed_form import solve_alpha
from talkhead.tracking.matting import fit_to_edges, person_colours, resized
from talkhead.tracking.person_segmenter import PersonSegmenter

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

SOLVED_PX = 640
"""The matte of a still picture is solved at this longer side."""
FOLLOWED_PX = 320
"""The mask of a video's frame is fitted to its edges at this longer side."""
INNER, OUTER = 0.012, 0.025
"""How far inside and outside of the mask's edge pixels are open, relative to the longer side."""
SURE, SURE_NOT = 0.9, 0.1
"""The network's confidence in what counts as known."""
SETTLED = 0.6
"""Share of the new mask in the smoothed one; the rest is the earlier frames', against flicker."""
MAX_CHANGE = 0.06
"""Mean change of a mask from which on a frame counts as another scene."""
RADIUS = 0.02
"""Size of the neighbourhood of the guided filter, relative to the longer side."""
CLEAR = 0.05
"""Less alpha than this is haze and becomes 0; likewise near 1."""
MIN_PERSON = 0.005
"""Least part of the picture that is a person."""


class PersonCutter:
    """Cuts out all people; for a video, one frame after the other.

    Raises:
        TalkheadError: as `PersonSegmenter`.
    """

    def __init__(self) -> None:
        self._segmenter = PersonSegmenter()
        self._smoothed: Floats | None = None

    def __enter__(self) -> PersonCutter:
        return self

    def __exit__(self, *_: object) -> None:
        self._segmenter.close()

    def cut_picture(self, picture: Pixels) -> Pixels:
        """Cut the people out of a still picture; this takes seconds.

        Args:
            picture: uint8 (H, W, 3), RGB.

        Returns:
            uint8 (H, W, 4), RGBA: the people's own colours, not mixed with the background's.

        Raises:
            TalkheadError: no person is found.
        """
        whole = np.asarray(picture, np.float32) / 255
        small = resized(whole, SOLVED_PX)
        mask = self._segmenter.mask(_to_pixels(small))
        if (mask > SURE).mean() < MIN_PERSON:
            raise TalkheadError(
                "no person stands out from the background: choose another picture, or leave the"
                " background as it is"
            )
        side = max(mask.shape)
        inner, outer = (2 * max(1, round(part * side)) + 1 for part in (INNER, OUTER))
        is_person = minimum_filter(mask, inner) > SURE
        is_background = maximum_filter(mask, outer) < SURE_NOT
        start = np.where(is_person, 1, np.where(is_background, 0, mask)).astype(np.float32)
        alpha = solve_alpha(small, start, ~(is_person | is_background), mask > SURE)
        return _joined(whole, fit_to_edges(whole, small, alpha, 2))

    def cut_frame(self, frame: Pixels) -> Pixels:
        """Cut the people out of a video's next frame; nobody needs to be there.

        Args:
            frame: uint8 (H, W, 3), RGB.

        Returns:
            uint8 (H, W, 4), RGBA.
        """
        whole = np.asarray(frame, np.float32) / 255
        small = resized(whole, FOLLOWED_PX)
        mask = self._segmenter.mask(_to_pixels(small))
        last = self._smoothed
        if last is not None and float(np.abs(mask - last).mean()) < MAX_CHANGE:
            mask = last + SETTLED * (mask - last)
        self._smoothed = mask
        radius = max(1, round(RADIUS * max(mask.shape)))
        return _joined(whole, fit_to_edges(whole, small, mask, radius), is_fast=True)


def cut_by_alpha(picture: Pixels, alpha: Pixels) -> Pixels:
    """Undo that a transparent picture was laid on white.

    Args:
        picture: uint8 (H, W, 3), on white.
        alpha: uint8 (H, W).

    Returns:
        uint8 (H, W, 4). What was fully transparent has the colours of what is near.
    """
    whole, share = np.asarray(picture, np.float32) / 255, np.asarray(alpha, np.float32) / 255
    seen = share > 0
    own = whole.copy()
    own[seen] = (1 - (1 - whole[seen]) / share[seen, None]).clip(0, 1)
    colours = person_colours(own, share)
    colours[seen] = own[seen]
    return np.dstack([_to_pixels(colours), alpha])


def _joined(whole: Floats, alpha: Floats, *, is_fast: bool = False) -> Pixels:
    clear: Floats = ((alpha - CLEAR) / (1 - 2 * CLEAR)).clip(0, 1)
    return _to_pixels(np.dstack([person_colours(whole, clear, is_fast=is_fast), clear]))


def _to_pixels(values: Floats) -> Pixels:
    return np.asarray((values * 255).round().clip(0, 255), np.uint8)

"""Tell the pixels of people from those of the background, with mediapipe's selfie segmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from talkhead.errors import TalkheadError
from talkhead.tracking.landmarkers import native_logs_silenced, opencv_may_be_missing

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

_BLANK: Pixels = np.zeros((64, 64, 3), np.uint8)


class PersonSegmenter:
    """Gives a soft, coarse mask of all people in a picture: the network sees it at 256 x 256 px.

    Only mediapipe 0.10 brings the network; see `talkhead.tracking.landmarkers`.

    Raises:
        TalkheadError: mediapipe is missing or has no such network.
    """

    def __init__(self) -> None:
        with native_logs_silenced():
            try:
                with opencv_may_be_missing():
                    from mediapipe.python.solutions import selfie_segmentation
            except ModuleNotFoundError as error:
                if not (error.name or "").startswith("mediapipe"):
                    raise
                raise TalkheadError(
                    "the background can be replaced with Python 3.10 to 3.12 only: for newer"
                    " versions, mediapipe has no network that finds people in its package"
                ) from error
            self._graph: Any = selfie_segmentation.SelfieSegmentation(model_selection=0)
            self._graph.process(_BLANK)  # starts the threads here, as they log while starting

    def __enter__(self) -> PersonSegmenter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the native graph."""
        with native_logs_silenced():
            self._graph.close()

    def mask(self, picture: Pixels) -> Floats:
        """Return how sure each pixel shows a person, (H, W) in [0, 1].

        Args:
            picture: uint8 (H, W, 3), RGB.
        """
        found = self._graph.process(np.ascontiguousarray(picture)).segmentation_mask
        return np.asarray(found, np.float32)

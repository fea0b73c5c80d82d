"""A picture and a voice for a short render, and the frames that come out."""

from collections.abc import Generator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from talkhead.pipelines import TalkheadPipelineOutput
from tests.drawn_face import draw_face
from tests.tiny import voice

Pixels = npt.NDArray[np.uint8]
FACE = draw_face(256)
VOICE = voice(0.5)
NUM_FRAMES = 13  # half a second, rounded up


def pixels(output: TalkheadPipelineOutput) -> Pixels:
    return np.stack([np.asarray(frame) for frame in output.frames])


def streamed(output: TalkheadPipelineOutput) -> Generator[Pixels, None, None]:
    assert isinstance(output.frames, Generator)
    return output.frames


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))

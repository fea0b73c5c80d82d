"""What people stand in front of, in Python."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from talkhead.errors import TalkheadError
from talkhead.media.video import read_frames
from talkhead.pipelines import TalkheadPipeline, export_to_video
from tests.pipelines.outputs import FACE, VOICE, listing, pixels, streamed

pytestmark = pytest.mark.usefixtures("detector_is_here")


@pytest.fixture
def cut_face(tmp_path: Path) -> Path:
    """A face whose left third is transparent."""
    alpha = np.full(FACE.shape[:2], 255, np.uint8)
    alpha[:, : FACE.shape[1] // 3] = 0
    path = tmp_path / "cut.png"
    Image.fromarray(np.dstack([FACE, alpha])).save(path)
    return path


def alpha_of(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    assert frames.shape[-1] == 4
    return frames[..., 3]


def test_a_transparent_background_is_in_the_frames_and_in_the_file(
    pipeline: TalkheadPipeline, cut_face: Path, tmp_path: Path
) -> None:
    output = pipeline(cut_face, VOICE, background="transparent")
    assert output.is_transparent
    alpha = alpha_of(pixels(output))
    assert (alpha[:, :8, :8] == 0).all()
    assert (alpha[:, 100:150, 200:240] == 255).all()
    path = export_to_video(output, tmp_path / "out.webp")
    with Image.open(path) as written:
        assert written.has_transparency_data
    with pytest.raises(TalkheadError, match="cannot be transparent"):
        export_to_video(output, tmp_path / "out.mp4")
    assert listing(tmp_path) == ["cut.png", "out.webp"]


def test_a_colour_replaces_what_is_transparent(
    pipeline: TalkheadPipeline, cut_face: Path, tmp_path: Path
) -> None:
    output = pipeline(cut_face, VOICE, background="#00b140", output_type="generator")
    assert not output.is_transparent
    first = next(streamed(output))
    assert (first[:8, :8] == (0, 177, 64)).all()
    again = pipeline(cut_face, VOICE, background="#00b140")
    read = next(iter(read_frames(export_to_video(again, tmp_path / "green.mp4", crf=0))))
    assert np.abs(read[:8, :8].astype(int) - (0, 177, 64)).max() < 12


def test_an_unknown_background_is_refused(pipeline: TalkheadPipeline) -> None:
    with pytest.raises(TalkheadError, match="is not transparent, a colour"):
        pipeline(FACE, VOICE, background="sky-ish")

from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import pytest

from talkhead.errors import TalkheadError
from talkhead.media import playback
from talkhead.media.playback import play
from tests.media.numbered_frames import counting_frames, number_of, write

FPS = Fraction(25)
SIZE = (96, 64)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write(tmp_path / "v.mp4", counting_frames(7))


def played(video: Path, count: int, loop: str, num_frames: int = 7) -> list[int]:
    frames = list(play(video, FPS, num_frames, count, loop, SIZE))
    assert [number for number, _ in frames] == [number_of(frame) for _, frame in frames]
    return [number for number, _ in frames]


def test_a_video_is_played_forth_and_back(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    want = list(islice(cycle([0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1]), 31))
    assert played(video, 31, "pingpong") == want
    monkeypatch.setattr(playback, "BACKWARD_BYTES", 3 * 96 * 64 * 2)  # two frames per block
    assert played(video, 31, "pingpong") == want


def test_its_end_is_held(video: Path) -> None:
    assert played(video, 10, "hold") == [0, 1, 2, 3, 4, 5, 6, 6, 6, 6]


@pytest.mark.parametrize("loop", playback.LOOPS)
@pytest.mark.parametrize("count", [1, 5, 7])
def test_it_ends_with_shorter_sound(video: Path, loop: str, count: int) -> None:
    assert played(video, count, loop) == list(range(count))


@pytest.mark.parametrize("loop", ["pingpong", "hold"])
def test_one_frame_stands_still(tmp_path: Path, loop: str) -> None:
    video = write(tmp_path / "one.mp4", counting_frames(1))
    assert played(video, 4, loop, num_frames=1) == [0, 0, 0, 0]


def test_longer_sound_can_be_refused(video: Path) -> None:
    with pytest.raises(TalkheadError, match="has 7 frames, but the sound needs 8"):
        next(play(video, FPS, 7, 8, "error", SIZE))
    with pytest.raises(TalkheadError, match="not 'spin'"):
        next(play(video, FPS, 7, 8, "spin", SIZE))

from fractions import Fraction

import pytest

from talkhead.errors import TalkheadError
from talkhead.media.rates import num_frames, parse_fps


@pytest.mark.parametrize(
    ("text", "fps"),
    [
        ("25", Fraction(25)),
        ("30000/1001", Fraction(30000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        ("23.976", Fraction(24000, 1001)),
        (" 12.5 ", Fraction(25, 2)),
        ("1", Fraction(1)),
        ("120", Fraction(120)),
    ],
)
def test_a_frame_rate_is_read_exactly(text: str, fps: Fraction) -> None:
    assert parse_fps(text) == fps


@pytest.mark.parametrize(
    "text", ["0", "0.5", "121", "-25", "fast", "", "1/0", "nan", "inf", "25fps"]
)
def test_a_frame_rate_that_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(TalkheadError, match="give a number from 1 to 120"):
        parse_fps(text)


def test_frames_cover_the_duration_and_not_one_more() -> None:
    assert num_frames(Fraction(3), Fraction(25)) == 75
    assert num_frames(Fraction(3) + Fraction(1, 48_000), Fraction(25)) == 76
    assert num_frames(Fraction(1, 16_000), Fraction(25)) == 1
    assert num_frames(Fraction(0), Fraction(25)) == 0
    # 1001 / 30 s are 1000 frames of NTSC exactly; in floats they are 1000.0000000000001.
    assert num_frames(Fraction(1001, 30), Fraction(30000, 1001)) == 1000

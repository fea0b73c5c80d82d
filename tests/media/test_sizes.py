import pytest

from talkhead.errors import TalkheadError
from talkhead.media.sizes import DEFAULT_LIMIT, SizeLimit


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((3840, 2160), (3840, 2160)),
        ((2160, 3840), (2160, 3840)),
        ((4032, 3024), (3325, 2494)),
        ((3024, 4032), (2494, 3325)),
        ((12_000, 9_000), (3325, 2494)),
        ((2880, 2880), (2880, 2880)),
        ((4000, 500), (3840, 480)),
        ((64, 20_000), (12, 3840)),
    ],
)
def test_the_default_fits_what_phones_play(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert DEFAULT_LIMIT.fit(*size) == fitted
    # H.264 level 5.2: 36,864 blocks of 16 x 16 px per frame and 2,073,600 per second.
    blocks = -(-fitted[0] // 16) * -(-fitted[1] // 16)
    assert blocks <= 36_864
    assert blocks * 60 <= 2_073_600


def test_a_limit_never_gives_more_pixels_than_it_says() -> None:
    for width in range(3000, 5000, 37):
        for height in range(2000, 5000, 41):
            wide, high = DEFAULT_LIMIT.fit(width, height)
            assert wide * high <= 3840 * 2160
            assert max(wide, high) <= 3840


def test_a_limit_is_a_side_or_two() -> None:
    assert SizeLimit.parse("4096").fit(4032, 3024) == (4032, 3024)
    assert SizeLimit.parse("1080x1920").fit(3000, 4000) == (1247, 1662)
    assert SizeLimit.parse("1280 ").fit(2560, 1440) == (1280, 720)
    assert SizeLimit.parse("8192").fit(8192, 8192)[0] < 8192  # no H.264 level allows more
    for wrong in ("", "big", "63", "8193", "0x0", "100x", "-5", "1e3", "1920x20000"):
        with pytest.raises(TalkheadError, match="max-size"):
            SizeLimit.parse(wrong)

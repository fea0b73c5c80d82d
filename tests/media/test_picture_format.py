import pytest

from talkhead.errors import TalkheadError
from talkhead.media.picture_format import (
    PictureFormat,
    field_filters,
    parse_picture_format,
    rgb_filters,
    video_line,
)


def listing(pictures: str, *more: str) -> str:
    lines = ("Input #0, matroska,webm, from 'a.mkv':", f"  Stream #0:0(und): Video: {pictures}")
    return "\n".join([*lines, *more, "At least one output file must be specified\n"])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "h264 (High) (avc1 / 0x31637661), yuv420p(progressive), 640x360 [SAR 1:1 DAR 16:9]",
            PictureFormat("h264", "yuv420p", 640, 360),
        ),
        (
            "h264 (High), yuv420p(tv, bt709, top first), 1920x1080, 25 fps",
            PictureFormat("h264", "yuv420p", 1920, 1080, "bt709", "bt709", "bt709", "tv", "top"),
        ),
        (
            "hevc (Main 10) (hvc1 / 0x31637668), yuv420p10le(tv, bt2020nc/bt2020/arib-std-b67,"
            " progressive), 3840x2160, 9 kb/s",
            PictureFormat(
                "hevc", "yuv420p10le", 3840, 2160, "bt2020nc", "bt2020", "arib-std-b67", "tv"
            ),
        ),
        (
            "rawvideo (2vuy / 0x79757632), uyvy422(top coded first (swapped)), 720x576, SAR 1:1",
            PictureFormat("rawvideo", "uyvy422", 720, 576, first_field="top"),
        ),
        (
            "mpeg2video, yuv420p(10 bpc, tv, smpte170m/bt470m/unknown, bottom coded first"
            " (swapped)), 720x480",
            PictureFormat(
                "mpeg2video", "yuv420p", 720, 480, "smpte170m", "bt470m", "unknown", "tv", "bottom"
            ),
        ),
        ("dvvideo, yuv411p, 720x480 [SAR 8:9]", PictureFormat("dvvideo", "yuv411p", 720, 480)),
    ],
)
def test_the_list_of_streams_says_how_pictures_are_stored(
    line: str, expected: PictureFormat
) -> None:
    assert parse_picture_format(listing(line)) == expected


def test_covers_and_outputs_are_not_the_video() -> None:
    cover = "  Stream #0:0: Video: mjpeg, yuvj420p(pc), 600x600 (attached pic)"
    movie = "  Stream #0:1: Video: h264, yuv420p(tv, bt709), 64x48"
    output = "  Stream #0:0: Video: wrapped_avframe, gray, 32x32"
    found = parse_picture_format("\n".join((cover, movie, output)))
    assert (found.codec, found.pixel_format, found.width) == ("h264", "yuv420p", 64)
    assert video_line(cover) is None
    with pytest.raises(TalkheadError, match="does not report its pixel format"):
        parse_picture_format(cover)


@pytest.mark.parametrize("codec", ["vp8", "vp9"])
def test_transparency_in_webm_needs_another_decoder(codec: str) -> None:
    line = f"{codec}, yuv420p(tv, progressive), 64x48"
    assert parse_picture_format(listing(line)).decoder is None
    alpha = listing(line, "    Metadata:", "      alpha_mode      : 1")
    assert parse_picture_format(alpha).decoder == {"vp8": "libvpx", "vp9": "libvpx-vp9"}[codec]


@pytest.mark.parametrize(
    ("size", "details", "matrix"),
    [
        ((640, 360), {}, None),
        ((720, 576), {}, None),
        ((1280, 720), {}, "bt709"),
        ((1280, 534), {}, "bt709"),
        ((720, 1280), {}, "bt709"),
        ((1080, 1920), {"matrix": "smpte170m"}, None),
        ((1920, 1080), {"matrix": "reserved"}, "bt709"),
        ((640, 360), {"transfer": "smpte2084"}, "bt2020"),
        ((640, 360), {"primaries": "bt2020"}, "bt2020"),
        ((1920, 1080), {"codec": "vp8"}, None),
        ((1920, 1080), {"pixel_format": "rgb24"}, None),
        ((1920, 1080), {"pixel_format": "gray"}, None),
    ],
)
def test_a_matrix_is_assumed_only_where_none_is_stated(
    size: tuple[int, int], details: dict[str, str], matrix: str | None
) -> None:
    picture = PictureFormat(
        **{"codec": "h264", "pixel_format": "yuv420p", **details},  # type: ignore[arg-type]
        width=size[0],
        height=size[1],
    )
    scale = rgb_filters(picture, (64, 48))[0]
    assert scale.partition(":in_color_matrix=")[2] == (matrix or "")


def test_pictures_that_bwdif_would_convert_or_refuse_do_not_pass_it() -> None:
    for pixels in ("yuv420p", "yuvj422p", "yuv420p10le", "yuv444p12le", "yuv411p"):
        assert "bwdif" in field_filters(PictureFormat("h264", pixels, 64, 48))[-1]
    for pixels in ("rgb24", "bgr0", "nv12", "yuv420p10be", "yuv440p10le", "gbrap10le"):
        assert field_filters(PictureFormat("png", pixels, 64, 48)) == ["settb=intb/2"]
    assert field_filters(PictureFormat("h264", "yuv420p", 8, 8)) == ["settb=intb/2"]
    packed = PictureFormat("v210", "uyvy422", 64, 48, first_field="top")
    assert field_filters(packed) == ["bwdif=mode=send_frame:deint=interlaced"]

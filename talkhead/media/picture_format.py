"""How a video stores its pictures, and the filters that make the RGB out of them that players show.

Everything here is a pure function of ffmpeg's list of streams.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from talkhead.errors import TalkheadError

# Exact and independent of the processor's instruction set, so that bytes are reproducible.
SCALE_FLAGS = "flags=bicubic+accurate_rnd+full_chroma_int+bitexact"

REFERENCE_WHITE_NITS = 203
"""White paper in HDR, and what becomes SDR's white. Source: ITU-R BT.2408."""
PEAK_NITS = 1000
"""Brighter light becomes white. It is HLG's nominal peak, and that of most PQ masters."""
KNEE = 0.8
"""Below this share of the reference white, light stays as it is; above, it is compressed."""
MIN_BWDIF_SIDE_PX = 16
"""bwdif refuses planes of less than four rows or columns; chroma may have a quarter of luma's."""

_HDR_TRANSFERS = ("smpte2084", "arib-std-b67")
_WIDE_PRIMARIES = ("bt2020", "smpte431", "smpte432")
_UNSPECIFIED = ("unknown", "reserved")
_RGB_OR_GREY = re.compile(r"0?(rgb|bgr|gbr|argb|abgr|gray)|0(rgb|bgr)|x2|ya|pal8|mono")
_ALPHA = re.compile(r"yuva|gbrap|rgba|bgra|argb|abgr|ya\d|ayuv|vuya|uyva|pal8")
# The formats that bwdif takes as they are; any other would be converted first.
_BWDIF_FORMATS = re.compile(r"yuvj?4(10|11|20|22|40|44)p|yuv4(20|22|44)p(9|10|12|14|16)le")
# Their pictures do not say that they are interlaced; only the container does, of all of them.
_CODECS_WITHOUT_FIELDS = ("huffyuv", "ffvhuff", "hymt", "utvideo", "magicyuv")
_STREAM = re.compile(
    r": Video: (?P<codec>\w+).*?, (?P<pixels>\w+)(?:\((?P<details>.*?)\))?"
    r", (?P<width>\d+)x(?P<height>\d+)"
)


@dataclass(frozen=True)
class PictureFormat:
    """What a video stream says about its pictures, in ffmpeg's names.

    Width and height are as coded: not rotated, and pixels need not be square. Matrix, primaries,
    transfer and range (``tv`` or ``pc``) are ``unknown`` where the stream does not say.
    """

    codec: str
    pixel_format: str
    width: int
    height: int
    matrix: str = "unknown"
    primaries: str = "unknown"
    transfer: str = "unknown"
    range: str = "unknown"
    first_field: str | None = None
    """``top`` or ``bottom`` where the stream says that it is interlaced, which not each does."""
    has_side_alpha: bool = False
    """Transparency is a second stream inside WebM's packets, which only libvpx decodes."""

    @property
    def is_hdr(self) -> bool:
        """Whether it is brighter than white: PQ or HLG."""
        return self.transfer in _HDR_TRANSFERS

    @property
    def needs_colour_mapping(self) -> bool:
        """Whether its colours or its light do not fit into BT.709's."""
        return self.is_hdr or self.primaries in _WIDE_PRIMARIES

    @property
    def is_limited_grey(self) -> bool:
        """Whether black is 16 and white 235 of 255, which ffmpeg overlooks without chroma."""
        if not self.pixel_format.startswith("gray"):
            return False
        return self.range == "tv" or (
            self.range == "unknown" and self.codec in ("h264", "hevc", "vvc", "av1")
        )

    @property
    def decoder(self) -> str | None:
        """The decoder to use, None for ffmpeg's choice."""
        if not self.has_side_alpha:
            return None
        return {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(self.codec)


def video_line(listing: str) -> str | None:
    """The line of the first picture stream in ffmpeg's list of streams; covers are left out."""
    for line in re.findall(r"^\s*Stream #0:\d+.*", listing, re.MULTILINE):
        if ": Video: " in line and "(attached pic)" not in line:
            return str(line)
    return None


def parse_picture_format(listing: str) -> PictureFormat:
    """Read the format of the first picture stream from ffmpeg's list of streams.

    Raises:
        TalkheadError: there is none, it says nothing of its pictures, or its colours are those of
            Dolby Vision without a picture for other players.
    """
    found = _STREAM.search(video_line(listing) or "")
    if found is None:
        raise TalkheadError("ffmpeg does not say how its pictures are stored")
    if re.search(r"DOVI configuration record: .*compatibility id: 0\b", listing):
        raise TalkheadError("its colours are Dolby Vision's own, without HDR10, HLG or SDR")
    details = (found["details"] or "").split(", ")
    matrix, primaries, transfer = _colours(details)
    return PictureFormat(
        codec=found["codec"],
        pixel_format=found["pixels"],
        width=int(found["width"]),
        height=int(found["height"]),
        matrix=matrix,
        primaries=primaries,
        transfer=transfer,
        range=next((part for part in details if part in ("tv", "pc")), "unknown"),
        first_field=_first_field(details),
        has_side_alpha=re.search(r"^\s*alpha_mode\s*: 1$", listing, re.MULTILINE | re.IGNORECASE)
        is not None,
    )


def _colours(details: list[str]) -> tuple[str, str, str]:
    for part in details:
        names = part.split("/")
        if len(names) == 3:
            return names[0], names[1], names[2]
        # All three have the same number; then ffmpeg prints one name.
        if part in ("bt709", "bt470bg", "smpte170m", "smpte240m"):
            return part, part, part
    return "unknown", "unknown", "unknown"


def _first_field(details: list[str]) -> str | None:
    for part in details:
        # As ffmpeg's own decoders do, it takes the field that is coded first for the first one.
        found = re.match(r"(top|bottom) (coded )?first", part)
        if found is not None:
            return found[1]
    return None


def field_filters(picture: PictureFormat) -> list[str]:
    """Make whole pictures out of fields, and leave pictures without fields as they are.

    Only the pictures themselves say reliably whether they are interlaced: the list of streams looks
    at the first one, and DV says nothing there. For the others bwdif costs no time and no bytes, in
    the formats that it takes as they are.

    A container such as AVI counts time in whole frames. Half a second may be none of them: bwdif
    halves the unit, and so must a video without it.
    """
    large = min(picture.width, picture.height) >= MIN_BWDIF_SIDE_PX
    direct = _BWDIF_FORMATS.fullmatch(picture.pixel_format) is not None
    if not large or not (direct or picture.first_field):
        return ["settb=intb/2"]
    flag = []
    if picture.first_field and picture.codec in _CODECS_WITHOUT_FIELDS:
        flag = [f"setfield={picture.first_field[0]}ff"]
    return [*flag, "bwdif=mode=send_frame:deint=interlaced"]


def rgb_filters(picture: PictureFormat, size: tuple[int, int]) -> list[str]:
    """Scale to a size, and make the colours BT.709's in RGB: on white, without HDR."""
    matrix = _assumed_matrix(picture)
    scale = f"scale={size[0]}:{size[1]}:{SCALE_FLAGS}"
    if matrix is not None:
        scale += f":in_color_matrix={matrix}"
    if picture.needs_colour_mapping:
        return [scale, *_colour_mapping(picture)]
    if picture.is_limited_grey:
        levels = ":".join(f"{channel}=(val-16)*255/219+0.5" for channel in "rgb")
        return [scale, "format=rgb24", f"lutrgb={levels}"]
    # Raw pictures of four bytes a pixel leave the fourth unused as often as not.
    if picture.codec != "rawvideo" and (
        picture.decoder is not None or _ALPHA.match(picture.pixel_format)
    ):
        return [scale, "format=gbrap16le", "negate", "premultiply=inplace=1", "negate"]
    return [scale]


def _assumed_matrix(picture: PictureFormat) -> str | None:
    """The matrix of a stream that states none, as players assume it; None for ffmpeg's own choice.

    ffmpeg takes BT.601. Since HD, that is right for small pictures alone, and for VP8, which has no
    other.
    """
    if picture.matrix not in _UNSPECIFIED or _RGB_OR_GREY.match(picture.pixel_format):
        return None
    if picture.is_hdr or picture.primaries == "bt2020":
        return "bt2020"
    is_hd = picture.height >= 720 or picture.width >= 1280
    return "bt709" if is_hd and picture.codec not in ("vp8", "webp") else None


def _colour_mapping(picture: PictureFormat) -> list[str]:
    """Filters from RGB with the video's own primaries and light to BT.709.

    The matrix is undone before, by the scaler: zscale refuses odd sizes in 4:2:0.
    """
    primaries = picture.primaries if picture.primaries not in _UNSPECIFIED else "bt2020"
    stored = f"pin={primaries}:min=gbr:rin=full"
    shown = "t=bt709:p=bt709:m=gbr:r=full"
    if not picture.is_hdr:
        return ["format=gbrp16le", f"zscale=tin=bt709:{stored}:{shown}", "format=gbrp"]
    peak = PEAK_NITS / REFERENCE_WHITE_NITS
    return [
        "format=gbrp16le",
        f"zscale=tin={picture.transfer}:{stored}:t=linear:p=bt709:m=gbr:npl={REFERENCE_WHITE_NITS}",
        "format=gbrpf32le",
        f"tonemap=mobius:param={KNEE}:peak={peak:.4f}:desat=0",
        f"zscale={shown}",
        "format=gbrp",
    ]

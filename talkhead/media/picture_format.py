"""How a video stores its frames, and the filters that turn them into the RGB that players show.

Everything here is a pure function of ffmpeg's list of streams.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from talkhead.errors import TalkheadError

# Exact and independent of the processor's instruction set, so that bytes are reproducible.
SCALE_FLAGS = "flags=bicubic+accurate_rnd+full_chroma_int+bitexact"

REFERENCE_WHITE_NITS = 203
"""Luminance of white paper in HDR, mapped to SDR white. Source: ITU-R BT.2408."""
PEAK_NITS = 1000
"""Brighter light becomes white. This is the nominal peak of HLG and of most PQ masters."""
KNEE = 0.8
"""Below this fraction of the reference white, light is unchanged; above, it is compressed."""
MIN_BWDIF_SIDE_PX = 16
"""bwdif rejects planes of fewer than four rows or columns; chroma may have a quarter of luma's."""

_HDR_TRANSFERS = ("smpte2084", "arib-std-b67")
_WIDE_PRIMARIES = ("bt2020", "smpte431", "smpte432")
_UNSPECIFIED = ("unknown", "reserved")
_RGB_OR_GREY = re.compile(r"0?(rgb|bgr|gbr|argb|abgr|gray)|0(rgb|bgr)|x2|ya|pal8|mono")
_ALPHA = re.compile(r"yuva|gbrap|rgba|bgra|argb|abgr|ya\d|ayuv|vuya|uyva|pal8")
# The formats that bwdif accepts directly; any other would be converted first.
_BWDIF_FORMATS = re.compile(r"yuvj?4(10|11|20|22|40|44)p|yuv4(20|22|44)p(9|10|12|14|16)le")
# Their frames are not flagged as interlaced; only the container says so, for all frames at once.
_CODECS_WITHOUT_FIELDS = ("huffyuv", "ffvhuff", "hymt", "utvideo", "magicyuv")
_STREAM = re.compile(
    r": Video: (?P<codec>\w+).*?, (?P<pixels>\w+)(?:\((?P<details>.*?)\))?"
    r", (?P<width>\d+)x(?P<height>\d+)"
)


@dataclass(frozen=True)
class PictureFormat:
    """A video stream's frame format, in ffmpeg's terms.

    Width and height are as coded: not rotated, and pixels need not be square. Matrix, primaries,
    transfer and range (``tv`` or ``pc``) are ``unknown`` if the stream does not declare them.
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
    """``top`` or ``bottom`` if the stream declares itself interlaced, which not all such do."""
    has_side_alpha: bool = False
    """Whether WebM packets carry transparency as a second stream, which only libvpx decodes."""

    @property
    def is_hdr(self) -> bool:
        """Whether the transfer function is PQ or HLG."""
        return self.transfer in _HDR_TRANSFERS

    @property
    def needs_colour_mapping(self) -> bool:
        """Whether its colours or its luminance exceed BT.709."""
        return self.is_hdr or self.primaries in _WIDE_PRIMARIES

    @property
    def is_limited_grey(self) -> bool:
        """Whether black is 16 and white is 235, a range that ffmpeg ignores without chroma."""
        if not self.pixel_format.startswith("gray"):
            return False
        return self.range == "tv" or (
            self.range == "unknown" and self.codec in ("h264", "hevc", "vvc", "av1")
        )

    @property
    def decoder(self) -> str | None:
        """The decoder to use, or None for ffmpeg's choice."""
        if not self.has_side_alpha:
            return None
        return {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(self.codec)


def video_line(listing: str) -> str | None:
    """Return the line of the first video stream in ffmpeg's list of streams; ignore cover art."""
    for line in re.findall(r"^\s*Stream #0:\d+.*", listing, re.MULTILINE):
        if ": Video: " in line and "(attached pic)" not in line:
            return str(line)
    return None


def parse_picture_format(listing: str) -> PictureFormat:
    """Parse the format of the first video stream in ffmpeg's list of streams.

    Raises:
        TalkheadError: the list has no video stream or not its format, or the colours are Dolby
            Vision without a fallback for other players.
    """
    found = _STREAM.search(video_line(listing) or "")
    if found is None:
        raise TalkheadError("ffmpeg does not report its pixel format")
    if re.search(r"DOVI configuration record: .*compatibility id: 0\b", listing):
        raise TalkheadError("its Dolby Vision colours have no fallback to HDR10, HLG or SDR")
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
        # ffmpeg prints a single name if all three are the same.
        if part in ("bt709", "bt470bg", "smpte170m", "smpte240m"):
            return part, part, part
    return "unknown", "unknown", "unknown"


def _first_field(details: list[str]) -> str | None:
    for part in details:
        # Like ffmpeg's own decoders, take the field that is coded first as the first one.
        found = re.match(r"(top|bottom) (coded )?first", part)
        if found is not None:
            return found[1]
    return None


def field_filters(picture: PictureFormat) -> list[str]:
    """Return filters that deinterlace interlaced frames and leave the others unchanged.

    Only the frames themselves say reliably whether they are interlaced: the list of streams
    reflects the first one, and DV declares nothing there. On progressive frames, in the formats
    that it accepts directly, bwdif costs no time and changes no bytes.

    A container such as AVI counts time in whole frames, and half a second may fall between two.
    bwdif halves the time unit, so the filters without it must do the same.
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
    """Return filters that scale to a size and convert to BT.709 RGB: on white, without HDR."""
    matrix = _assumed_matrix(picture)
    scale = f"scale={size[0]}:{size[1]}:{SCALE_FLAGS}"
    if matrix is not None:
        scale += f":in_color_matrix={matrix}"
    if picture.needs_colour_mapping:
        return [scale, *_colour_mapping(picture)]
    if picture.is_limited_grey:
        levels = ":".join(f"{channel}=(val-16)*255/219+0.5" for channel in "rgb")
        return [scale, "format=rgb24", f"lutrgb={levels}"]
    # Raw video with four bytes per pixel often leaves the fourth unused.
    if picture.codec != "rawvideo" and (
        picture.decoder is not None or _ALPHA.match(picture.pixel_format)
    ):
        return [scale, "format=gbrap16le", "negate", "premultiply=inplace=1", "negate"]
    return [scale]


def _assumed_matrix(picture: PictureFormat) -> str | None:
    """Return the matrix that players assume if a stream declares none; None for ffmpeg's choice.

    ffmpeg assumes BT.601. Since HD, that is right only for small frames, and for VP8, which
    supports no other.
    """
    if picture.matrix not in _UNSPECIFIED or _RGB_OR_GREY.match(picture.pixel_format):
        return None
    if picture.is_hdr or picture.primaries == "bt2020":
        return "bt2020"
    is_hd = picture.height >= 720 or picture.width >= 1280
    return "bt709" if is_hd and picture.codec not in ("vp8", "webp") else None


def _colour_mapping(picture: PictureFormat) -> list[str]:
    """Return filters from RGB with the video's own primaries and transfer to BT.709.

    The scaler has undone the matrix before, because zscale rejects odd sizes in 4:2:0.
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

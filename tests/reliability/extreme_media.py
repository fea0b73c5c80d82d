"""Media built to do harm: small files that unpack to huge ones, and numbers that nobody expects."""

import io
import struct
import wave
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from talkhead.media import ffmpeg
from tests.reliability import case as commands
from tests.reliability.case import Case, described
from tests.reliability.seeds import Seeds

Builder = Callable[[Path], object]
"""Writes a hostile file under a name."""


def png_of_zeros(
    width: int, height: int, depth: int = 8, kind: int = 2, *, honest: bool = True
) -> bytes:
    """Write a PNG of zeros whose file is a thousandth of its pixels.

    The deflated block of a mebibyte of zeros is repeated, so that no memory is needed here.
    """
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    total = height * (1 + -(-width * depth * channels // 8)) if honest else 1000
    packer = zlib.compressobj(9)
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = packer.compress(bytes(total % (1 << 20))) + packer.flush(zlib.Z_FULL_FLUSH)
    end = b"\x03\x00" + struct.pack(">I", (total % 65521) << 16 | 1)  # Adler-32 of zeros
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    chunks = [(b"IHDR", header)]
    if kind == 3:
        chunks.append((b"PLTE", bytes(3 * 2 ** min(depth, 8))))
    data = start + block * (total >> 20) + rest + end
    chunks += [(b"IDAT", data[k : k + (1 << 24)]) for k in range(0, len(data), 1 << 24)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, [*chunks, (b"IEND", b"")]))


def _chunk(pair: tuple[bytes, bytes]) -> bytes:
    name, body = pair
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _png_with_chunk(name: bytes, content: bytes) -> bytes:
    """Write a small PNG with a chunk that unpacks to very much."""
    whole = png_of_zeros(200, 200)
    return whole[:33] + _chunk((name, content)) + whole[33:]


def _many_pictures(kind: str, count: int) -> Builder:
    def build(path: Path) -> None:
        frames = [Image.new("P", (160, 160), k % 2) for k in range(2)]
        more = (frames[k % 2] for k in range(count))
        frames[0].save(path, kind, save_all=True, append_images=more)

    return build


def _tiff_in_a_ring(path: Path) -> None:
    """A TIFF whose second directory is its first."""
    file = io.BytesIO()
    Image.new("RGB", (160, 160)).save(file, "TIFF")
    data = bytearray(file.getvalue())
    start = int.from_bytes(data[4:8], "little")
    end = start + 2 + 12 * int.from_bytes(data[start : start + 2], "little")
    data[end : end + 4] = struct.pack("<I", start)
    path.write_bytes(data)


def _large(kind: str, mode: str, side: int) -> Builder:
    def build(path: Path) -> None:
        Image.new(mode, (side, side)).save(path, kind)

    return build


def _bytes(make: Callable[[], bytes]) -> Builder:
    return lambda path: path.write_bytes(make())


def _jpeg_that_lies(path: Path) -> None:
    """A small JPEG whose header says 65,500 x 65,500 px."""
    file = io.BytesIO()
    Image.new("RGB", (160, 160)).save(file, "JPEG")
    path.write_bytes(file.getvalue().replace(b"\x00\xa0\x00\xa0", b"\xff\xdc\xff\xdc", 1))


def _svg_in_png(path: Path) -> None:
    path.write_text('<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaa">]><svg>&a;</svg>')


PICTURES: dict[str, Builder] = {
    "50000.png": _bytes(lambda: png_of_zeros(50_000, 50_000)),
    "50000-bits.png": _bytes(lambda: png_of_zeros(50_000, 50_000, 1, 0)),
    "20000.png": _bytes(lambda: png_of_zeros(20_000, 20_000)),
    "20000-clear.png": _bytes(lambda: png_of_zeros(20_000, 20_000, 8, 6)),
    "20000-deep.png": _bytes(lambda: png_of_zeros(20_000, 20_000, 16, 6)),
    "20000-grey.png": _bytes(lambda: png_of_zeros(20_000, 20_000, 16, 0)),
    "20000-bits.png": _bytes(lambda: png_of_zeros(20_000, 20_000, 1, 0)),
    "12000.png": _bytes(lambda: png_of_zeros(12_000, 12_000, 8, 6)),
    "long.png": _bytes(lambda: png_of_zeros(64, 20_000)),
    "longer.png": _bytes(lambda: png_of_zeros(64, 2**31 - 1, honest=False)),
    "lies.png": _bytes(lambda: png_of_zeros(19_000, 19_000, honest=False)),
    "profile.png": _bytes(
        lambda: _png_with_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(300_000_000), 9))
    ),
    "text.png": _bytes(
        lambda: _png_with_chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(300_000_000), 9))
    ),
    "many.gif": _many_pictures("GIF", 3000),
    "many.tif": _many_pictures("TIFF", 3000),
    "many.png": _many_pictures("PNG", 1000),
    "many.webp": _many_pictures("WEBP", 300),
    "ring.tif": _tiff_in_a_ring,
    "lies.jpg": _jpeg_that_lies,
    "12000.jpg": _large("JPEG", "CMYK", 12_000),
    "12000.jp2": _large("JPEG2000", "RGB", 9_000),
    "12000.tif": lambda path: Image.new("CMYK", (12_000, 12_000)).save(
        path, "TIFF", compression="tiff_adobe_deflate"
    ),
    "12000.webp": _large("WEBP", "RGB", 12_000),
    "9900.webp": _large("WEBP", "RGB", 9_900),
    "float.tif": _large("TIFF", "F", 3000),
    "65535.gif": _bytes(
        lambda: (
            b"GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;"
        )
    ),
    "1.ppm": _bytes(lambda: b"P6 20000 20000 65535\n"),
    "plain.ppm": _bytes(lambda: b"P3 16000 16000 255\n" + b"1 " * 3_000_000),
    "hugeband.bmp": _bytes(
        lambda: (
            b"BM"
            + struct.pack("<IIIIiiHHIIiiII", 99, 0, 54, 40, 19_999, -19_999, 1, 8, 1, 0, 0, 0, 0, 0)
        )
    ),
    "svg.png": _svg_in_png,
}


def _wav(rate_hz: int, channels: int, frames: int, *, stated: int | None = None) -> Builder:
    """Silence as 16-bit wav; `stated` is what the header says of the size in place of the truth."""

    def build(path: Path) -> None:
        size = 2 * channels * frames
        per_second = min(rate_hz * channels * 2, 2**32 - 1)
        layout = struct.pack("<HHIIHH", 1, channels, rate_hz, per_second, channels * 2 % 65536, 16)
        told = size if stated is None else stated
        head = b"RIFF" + struct.pack("<I", min(36 + told, 2**32 - 1)) + b"WAVEfmt \x10\0\0\0"
        rng = np.random.default_rng(0)
        noise = rng.integers(-3000, 3000, channels * frames).astype("<i2").tobytes()
        path.write_bytes(head + layout + b"data" + struct.pack("<I", told) + noise)

    return build


def _flac(seconds: int, rate_hz: int = 48_000, channels: int = 8) -> Builder:
    """Hours of silence in few bytes."""

    def build(path: Path) -> None:
        block = np.zeros((rate_hz, channels), np.int16)
        with soundfile.SoundFile(path, "w", rate_hz, channels, "PCM_16", format="FLAC") as file:
            for _ in range(seconds):
                file.write(block)

    return build


def _floats(value: float) -> Builder:
    def build(path: Path) -> None:
        sound = np.full(8000, value, np.float32)
        sound[::2] = 0.1
        soundfile.write(path, sound, 16_000, subtype="FLOAT", format="WAV")

    return build


def _empty_wav(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)


def _au(rate_hz: int, channels: int) -> Builder:
    def build(path: Path) -> None:
        head = struct.pack(">4sIIIII", b".snd", 24, 2**32 - 1, 3, rate_hz, channels)
        path.write_bytes(head + bytes(400_000))

    return build


SOUNDS: dict[str, Builder] = {
    "100-channels.wav": _wav(16_000, 100, 6000),
    "1024-channels.wav": _wav(16_000, 1024, 3000),
    "65535-channels.wav": _wav(16_000, 65_535, 2),
    "64-channels.wav": _wav(16_000, 64, 6000),
    "1-hz.wav": _wav(1, 1, 10),
    "1-hz-long.wav": _wav(1, 1, 100_000),
    "10-mhz.wav": _wav(10_000_000, 1, 1_000_000),
    "10-mhz-8.wav": _wav(10_000_000, 8, 100_000),
    "4-ghz.wav": _wav(2**32 - 1, 1, 10_000),
    "0-hz.wav": _wav(0, 1, 1000),
    "0-channels.wav": _wav(16_000, 0, 0),
    "empty.wav": _empty_wav,
    "lies.wav": _wav(16_000, 1, 8000, stated=2_000_000_000),
    "unsaid.wav": _wav(16_000, 1, 8000, stated=2**32 - 1),
    "zero-said.wav": _wav(16_000, 1, 8000, stated=0),
    "one-sample.wav": _wav(16_000, 1, 1),
    "nan.wav": _floats(float("nan")),
    "inf.wav": _floats(float("inf")),
    "loud.wav": _floats(3e38),
    "fast.flac": _flac(60, 655_350, 8),
    "long.flac": _flac(30, 48_000, 8),
    "1-hz.au": _au(1, 1),
    "200-channels.au": _au(16_000, 200),
    "huge.au": _au(2**31, 1),
    "list.m3u8": _bytes(lambda: b"#EXTM3U\n#EXTINF:10,\nfile:///dev/zero\n#EXT-X-ENDLIST\n"),
    "net.m3u8": _bytes(lambda: b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n"),
    "list.ffconcat": _bytes(lambda: b"ffconcat version 1.0\nfile voice.wav\nfile in\n"),
    "self.wav": _bytes(lambda: b"ffconcat version 1.0\n" + b"file self.wav\n" * 50),
    "sdp.wav": _bytes(lambda: b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n"),
}


def _video(*options: str, source: str = "color=gray:s=160x160:r=25", seconds: str = "1") -> Builder:
    def build(path: Path) -> None:
        made = [
            *("-y", "-loglevel", "error", "-f", "lavfi", "-i", source, "-t", seconds),
            *("-pix_fmt", "yuv420p", *options, str(path)),
        ]
        status, _, messages = ffmpeg.run_ffmpeg(made)
        if status != 0:
            raise RuntimeError(f"ffmpeg cannot make {path.name}: {messages}")

    return build


def _lying_mp4(old: bytes, new: bytes) -> Builder:
    def build(path: Path) -> None:
        _video()(path)
        data = path.read_bytes()
        path.write_bytes(data.replace(old, new))

    return build


def _lying_rate(path: Path) -> None:
    """An mp4 whose time scale says that its frames last for months."""
    _video()(path)
    data = bytearray(path.read_bytes())
    at = data.find(b"mdhd")
    data[at + 16 : at + 20] = struct.pack(">I", 1)
    path.write_bytes(data)


_LEAN = ("-preset", "ultrafast", "-threads", "1", "-refs", "1")  # of memory, to encode large ones
VIDEOS: dict[str, Builder] = {
    "1-fps.mp4": _video(source="color=gray:s=160x160:r=1", seconds="5"),
    "slow.mkv": _video(source="color=gray:s=160x160:r=1/100", seconds="1000"),
    "slow-2.mkv": _video(source="color=gray:s=160x160:r=1/2", seconds="10"),
    "1000-fps.mp4": _video(source="color=gray:s=160x160:r=1000"),
    "1000-fps.mkv": _video("-c:v", "ffv1", source="color=gray:s=160x160:r=1000"),
    "one-frame.mp4": _video("-frames:v", "1"),
    "no-frames.mp4": _video("-frames:v", "0"),
    "no-frames.mkv": _video("-frames:v", "0"),
    "2-px.mp4": _video(source="color=gray:s=2x2:r=25"),
    "odd.mkv": _video("-c:v", "ffv1", source="color=gray:s=161x163:r=25"),
    "wide.mp4": _video(source="color=gray:s=16384x16:r=25"),
    "64-million.mp4": _video(*_LEAN, "-frames:v", "3", source="color=gray:s=8000x8000"),
    "8k.mp4": _video(*_LEAN, "-frames:v", "12", source="color=gray:s=8192x4320"),
    "12000.png.mkv": _video("-c:v", "png", "-frames:v", "2", source="color=gray:s=12000x12000"),
    "stretched.mp4": _video("-vf", "setsar=1000/1"),
    "flat.mp4": _video("-vf", "setsar=1/1000"),
    "growing.mkv": _video("-c:v", "mjpeg", "-vf", "scale=w=160+8*n:h=160+8*n:eval=frame"),
    "lies-size.mp4": _lying_mp4(b"\x00\xa0\x00\xa0", b"\xff\xf0\xff\xf0"),
    "lies-length.mp4": _lying_mp4(b"stts\0\0\0\0\0\0\0\x01", b"stts\0\0\0\0\xff\xff\xff\xff"),
    "lies-scale.mp4": _lying_rate,
    "list.mp4": _bytes(lambda: b"#EXTM3U\n#EXTINF:10,\nfile:///dev/zero\n#EXT-X-ENDLIST\n"),
    "text.mp4": _bytes(lambda: b"hello\n" * 10_000),
    "concat.mkv": _bytes(lambda: b"ffconcat version 1.0\nfile /dev/zero\n"),
    "self.mkv": _bytes(lambda: b"ffconcat version 1.0\n" + b"file self.mkv\n" * 50),
}


def picture_cases(seeds: Seeds) -> Iterator[tuple[Builder, str, Case]]:
    """Yield what to build, its name and the command that gets it."""
    for name, build in PICTURES.items():
        yield build, name, described(commands.doctor(name), name)
        yield build, name, described(commands.render(seeds, face=name), name)


def sound_cases(seeds: Seeds) -> Iterator[tuple[Builder, str, Case]]:
    """The same of sounds."""
    for name, build in SOUNDS.items():
        yield build, name, described(commands.landmarks(seeds, name), name)
        yield build, name, described(commands.render(seeds, audio=name), name)


def video_cases(seeds: Seeds) -> Iterator[tuple[Builder, str, Case]]:
    """The same of videos."""
    for name, build in VIDEOS.items():
        yield build, name, described(commands.doctor(name), name)
        yield build, name, described(commands.render(seeds, face=name), name)
        yield build, name, described(commands.landmarks(seeds, name, more=("--detect",)), name)
    build = VIDEOS["1000-fps.mp4"]
    for fps in ("1", "120"):
        made = commands.render(seeds, face="1000-fps.mp4", more=("--fps", fps))
        yield build, "1000-fps.mp4", described(made, f"1000-fps.mp4 at {fps}")

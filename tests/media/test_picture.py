import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from talkhead.errors import TalkheadError
from talkhead.media.picture import read_picture, write_picture
from talkhead.media.sizes import SizeLimit
from tests.media.conftest import Refusal
from tests.reliability.extreme_media import png_of_zeros

Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def pixels() -> Pixels:
    """96 x 80: a different gradient in each channel, to reveal rotations and channel swaps."""
    y, x = np.mgrid[:80, :96]
    return np.asarray(np.stack([x * 2, y * 3, 255 - x - y], axis=-1), np.uint8)


def test_png_survives_the_file_and_jpeg_nearly(tmp_path: Path, pixels: Pixels) -> None:
    write_picture(tmp_path / "a.png", pixels)
    picture = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.original_size == (96, 80)
    write_picture(tmp_path / "a.jpg", pixels)
    jpeg = read_picture(tmp_path / "a.jpg").pixels
    assert np.abs(jpeg.astype(int) - pixels).max() <= 4


def test_writing_a_picture_twice_gives_the_same_bytes(tmp_path: Path, pixels: Pixels) -> None:
    for name in ("a.png", "a.jpeg"):
        write_picture(tmp_path / name, pixels)
        before = (tmp_path / name).read_bytes()
        write_picture(tmp_path / name, pixels)
        assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff"])
def test_the_camera_may_be_held_any_way(
    tmp_path: Path, pixels: Pixels, orientation: int, suffix: str
) -> None:
    # The stored pixels for each tag, so that applying the tag restores the picture.
    stored = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels),
        7: np.rot90(pixels, 2).transpose(1, 0, 2),
        8: np.rot90(pixels, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=98)
    picture = read_picture(path)
    assert picture.pixels.shape == pixels.shape
    assert picture.original_size == (96, 80)
    assert np.abs(picture.pixels.astype(int) - pixels).mean() < 2


def test_transparency_lies_on_white(tmp_path: Path, pixels: Pixels) -> None:
    alpha = np.zeros((80, 96, 1), np.uint8)
    alpha[:, 48:] = 255
    alpha[:, 24:48] = 51  # a fifth
    Image.fromarray(np.concatenate([pixels, alpha], axis=2)).save(tmp_path / "rgba.png")
    found = read_picture(tmp_path / "rgba.png").pixels
    np.testing.assert_array_equal(found[:, 48:], pixels[:, 48:])
    assert (found[:, :24] == 255).all()
    mixed = 0.2 * pixels[:, 24:48] + 0.8 * 255
    np.testing.assert_allclose(found[:, 24:48], mixed, atol=1)

    grey = np.concatenate([pixels[..., :1], alpha], axis=2)
    Image.fromarray(grey).save(tmp_path / "la.png")
    found = read_picture(tmp_path / "la.png").pixels
    assert (found[:, :24] == 255).all()
    np.testing.assert_array_equal(found[:, 48:], np.repeat(pixels[:, 48:, :1], 3, axis=2))

    palette = Image.fromarray((pixels[..., 0] // 64).astype(np.uint8), "L").convert("P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    for name in ("p.png", "p.gif"):
        palette.save(tmp_path / name, transparency=0)
        found = read_picture(tmp_path / name).pixels
        assert (found[:, :30] == 255).all()
        assert (found[:, 40:60] == (0, 255, 0)).all()


def test_grey_and_two_colours_become_rgb(tmp_path: Path, pixels: Pixels) -> None:
    grey = Image.fromarray(pixels[..., 0])
    for name in ("l.png", "l.jpg", "l.bmp", "l.webp"):
        grey.save(tmp_path / name, lossless=True, quality=100)
        found = read_picture(tmp_path / name).pixels
        expected = np.repeat(pixels[..., :1], 3, axis=2)
        np.testing.assert_allclose(found.astype(int), expected, atol=2)
    grey.point(lambda value: 255 * (value > 90)).convert("1").save(tmp_path / "1.png")
    assert set(np.unique(read_picture(tmp_path / "1.png").pixels)) == {0, 255}


@pytest.mark.parametrize("name", ["deep.png", "deep.tiff"])
def test_16_bits_are_scaled_not_clipped(tmp_path: Path, name: str) -> None:
    deep = np.linspace(0, 65_535, 64 * 100).astype(np.uint16).reshape(64, 100)
    Image.fromarray(deep).save(tmp_path / name)
    found = read_picture(tmp_path / name).pixels
    np.testing.assert_array_equal(found[..., 0], np.round(deep / 257.0))
    np.testing.assert_array_equal(found[..., 0], found[..., 2])


def test_cmyk_keeps_its_colours(tmp_path: Path) -> None:
    blocks = np.zeros((64, 128, 3), np.uint8)
    blocks[:, :64] = (200, 30, 60)
    blocks[:, 64:] = (20, 180, 90)
    for name in ("a.jpg", "a.tiff"):
        Image.fromarray(blocks).convert("CMYK").save(tmp_path / name)
        found = read_picture(tmp_path / name).pixels
        np.testing.assert_allclose(found[32, 16].astype(int), (200, 30, 60), atol=6)
        np.testing.assert_allclose(found[32, 110].astype(int), (20, 180, 90), atol=6)


def test_a_colour_profile_is_applied_and_a_broken_one_ignored(tmp_path: Path) -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(grey).save(tmp_path / "srgb.png", icc_profile=profile)
    np.testing.assert_array_equal(read_picture(tmp_path / "srgb.png").pixels, grey)
    Image.fromarray(grey).save(tmp_path / "broken.png", icc_profile=b"no profile")
    np.testing.assert_array_equal(read_picture(tmp_path / "broken.png").pixels, grey)
    # Store the same primaries in the order blue, green, red, so that the profile swaps channels.
    swapped = bytearray(profile)
    red, blue = swapped.index(b"rXYZ"), swapped.index(b"bXYZ")
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    swapped = swapped.replace(b"s\0R\0G\0B\0", b"t\0e\0s\0t\0").replace(b"sRGB", b"test")
    coloured = grey.copy()
    coloured[...] = (250, 128, 10)
    Image.fromarray(coloured).save(tmp_path / "swapped.png", icc_profile=bytes(swapped))
    found = read_picture(tmp_path / "swapped.png").pixels
    np.testing.assert_allclose(found[0, 0].astype(int), (10, 128, 250), atol=3)


def test_a_large_picture_is_bounded_and_keeps_its_shape(tmp_path: Path) -> None:
    y, x = np.mgrid[:600, :2400]
    wide = np.stack([x * 255 // 2399, y * 255 // 599, (x + y) % 7], axis=-1).astype(np.uint8)
    for name in ("wide.png", "wide.jpg"):
        write_picture(tmp_path / name, wide)
        picture = read_picture(tmp_path / name, limit=SizeLimit(500, 500 * 500))
        assert picture.pixels.shape == (125, 500, 3)
        assert picture.original_size == (2400, 600)
        expected = (np.arange(500) * 4.8 + 1.9) * 255 / 2399
        np.testing.assert_allclose(picture.pixels[60, 5:-5, 0], expected[5:-5], atol=2)


def test_20_000_pixels_are_read_and_more_refused(tmp_path: Path, refused: Refusal) -> None:
    # More pixels than Pillow allows by default; a JPEG is decoded at an eighth of its size.
    Image.new("L", (20_000, 9_000)).save(tmp_path / "long.jpg")
    picture = read_picture(tmp_path / "long.jpg", limit=SizeLimit.parse("1000"))
    assert picture.pixels.shape == (450, 1000, 3)
    assert Image.MAX_IMAGE_PIXELS is not None
    Image.new("1", (20_001, 64)).save(tmp_path / "longer.png")
    with refused(tmp_path / "longer.png", "20000 px"):
        read_picture(tmp_path / "longer.png")


def test_a_file_of_kilobytes_that_unpacks_to_gigabytes_is_refused(
    tmp_path: Path, refused: Refusal
) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png_of_zeros(16_000, 16_000))
    assert bomb.stat().st_size < 1_000_000
    with refused(bomb, "above the limit of 250 million"):
        read_picture(bomb)
    coded = tmp_path / "coded.webp"
    Image.new("L", (11_000, 10_000)).save(coded, method=0, quality=1)
    with refused(coded, "above the limit of 100 million"):
        read_picture(coded)


def test_decoders_do_not_write_past_python(
    tmp_path: Path, refused: Refusal, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.tif"
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8)
    Image.fromarray(noise).save(path, compression="tiff_lzw")
    data = bytearray(path.read_bytes())
    data[20:2000] = bytes(1980)
    path.write_bytes(bytes(data))
    with refused(path, "damaged"):
        read_picture(path)
    assert capfd.readouterr().err == ""


def test_small_pictures_are_refused_below_64_px(tmp_path: Path, refused: Refusal) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "small.png")
    assert read_picture(tmp_path / "small.png").pixels.shape == (64, 64, 3)
    Image.new("RGB", (640, 63)).save(tmp_path / "smaller.png")
    with refused(tmp_path / "smaller.png", "640 x 63"):
        read_picture(tmp_path / "smaller.png")


def test_what_is_no_picture_is_refused(tmp_path: Path, refused: Refusal) -> None:
    with refused(tmp_path / "absent.png", "does not exist"):
        read_picture(tmp_path / "absent.png")
    with refused(tmp_path, "is a directory"):
        read_picture(tmp_path)
    (tmp_path / "empty.png").touch()
    with refused(tmp_path / "empty.png", "is empty"):
        read_picture(tmp_path / "empty.png")
    for name in ("text.png", "text.jpg"):
        (tmp_path / name).write_text("no picture at all\n" * 99)
        with refused(tmp_path / name, "not a picture"):
            read_picture(tmp_path / name)
    (tmp_path / "print.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n")
    with refused(tmp_path / "print.png", "not a picture"):
        read_picture(tmp_path / "print.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_truncated_picture_is_refused(
    tmp_path: Path, refused: Refusal, kind: str, share: float
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    data = buffer.getvalue()
    path = tmp_path / f"cut.{kind.lower()}"
    path.write_bytes(data[: int(share * len(data))])
    with refused(path, ""):
        read_picture(path)


def test_a_picture_is_written_only_where_that_is_possible(
    tmp_path: Path, pixels: Pixels, refused: Refusal
) -> None:
    with refused(tmp_path / "a.txt", "end its name in"):
        write_picture(tmp_path / "a.txt", pixels)
    with pytest.raises(TalkheadError, match="create it first"):
        write_picture(tmp_path / "absent" / "a.png", pixels)

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from PIL import Image

from talkhead.errors import TalkheadError
from talkhead.media.in_memory import pixels_of, samples_of, sound_file
from talkhead.media.picture import read_picture

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (80, 100, 3)).astype(np.uint8)
SOUND = RNG.uniform(-0.5, 0.5, (900, 2)).astype(np.float32)


def saved(folder: Path, image: Image.Image, **options: Any) -> Path:
    path = folder / "image.png"
    image.save(path, **options)
    return path


# Pictures.


def test_an_array_a_pil_image_and_a_file_are_the_same_pixels(tmp_path: Path) -> None:
    image = Image.fromarray(PIXELS)
    path = saved(tmp_path, image)
    for given in (PIXELS, image, path, str(path)):
        assert np.array_equal(pixels_of(given), PIXELS)


def test_the_callers_array_is_copied() -> None:
    assert not np.shares_memory(pixels_of(PIXELS), PIXELS)
    mirrored = PIXELS[:, ::-1]
    assert np.array_equal(pixels_of(mirrored), mirrored)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_a_pil_image_of_any_mode_is_what_its_file_is(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(PIXELS[..., 0]))
    assert np.array_equal(pixels_of(image), read_picture(saved(tmp_path, image)).pixels)


def test_a_turned_pil_image_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path, Image.fromarray(PIXELS), exif=exif)
    with Image.open(path) as image:
        assert np.array_equal(pixels_of(image), np.rot90(PIXELS, -1))


def test_a_large_picture_is_scaled_down_as_a_file_is() -> None:
    with pytest.warns(UserWarning, match="8192 x 100 to 3840 x 47 px"):
        assert pixels_of(Image.new("RGB", (8192, 100))).shape == (47, 3840, 3)
    with pytest.warns(UserWarning, match="128 x 6144"):
        assert pixels_of(np.zeros((6144, 128, 3), np.uint8)).shape == (3840, 80, 3)


@pytest.mark.parametrize(
    "given",
    [
        PIXELS.astype(np.float32) / 255,
        PIXELS.transpose(2, 0, 1),
        PIXELS[..., 0],
        PIXELS[None],
        PIXELS.tolist(),
        None,
    ],
)
def test_what_is_no_picture_is_a_type_error(given: object) -> None:
    with pytest.raises(TypeError, match=r"^image is "):
        pixels_of(given)


def test_pictures_that_cannot_serve_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TalkheadError, match="image is 63 x 80 px"):
        pixels_of(PIXELS[:, :63])
    with pytest.raises(TalkheadError, match="image has mode F"):
        pixels_of(Image.new("F", (80, 80)))
    with pytest.raises(TalkheadError, match=r"a\.mp4 is a video: pass a picture"):
        pixels_of(tmp_path / "a.mp4")
    path = saved(tmp_path, Image.fromarray(PIXELS))
    path.write_bytes(path.read_bytes()[:9000])
    with Image.open(path) as image, pytest.raises(TalkheadError, match="cannot be decoded"):
        pixels_of(image)


# Sounds.


@pytest.mark.parametrize("given", [SOUND, SOUND.T, SOUND.astype(np.float64), SOUND[::-1][::-1]])
def test_the_longer_side_of_a_sound_is_time(given: npt.NDArray[np.float32]) -> None:
    samples = samples_of(given, 16_000)
    assert samples.dtype == np.float32
    assert samples.flags.c_contiguous
    assert np.array_equal(samples, SOUND)


def test_whole_numbers_are_scaled() -> None:
    assert samples_of(np.array([-(2**15), 0, 2**14], np.int16), 8000).tolist() == [-1, 0, 0.5]
    assert samples_of(np.array([-(2**31), 0, 2**30], np.int32), 8000).tolist() == [-1, 0, 0.5]


@pytest.mark.parametrize(
    ("given", "rate", "words"),
    [
        ([0.0, 0.1], 16_000, "audio is a list"),
        (None, 16_000, "audio is a NoneType"),
        (SOUND[None], 16_000, r"audio has shape \(1, 900, 2\)"),
        (np.float32(1), 16_000, "audio is a float32"),
        (SOUND.astype(np.uint8), 16_000, "audio is uint8"),
        (SOUND > 0, 16_000, "audio is bool"),
        (SOUND.astype(np.complex64), 16_000, "audio is complex64"),
        (SOUND, 16_000.0, "sampling_rate is 16000.0: it must be an integer"),
        (SOUND, True, "sampling_rate is True"),
        (SOUND, None, "sampling_rate is None"),
    ],
)
def test_what_is_no_sound_is_a_type_error(given: object, rate: int, words: str) -> None:
    with pytest.raises(TypeError, match=f"^{words}"):
        samples_of(given, rate)


@pytest.mark.parametrize(
    ("given", "rate", "words"),
    [
        (SOUND[:0], 16_000, "audio has no samples"),
        (SOUND[:0, 0], 16_000, "audio has no samples"),
        (np.zeros((100, 65), np.float32), 16_000, "audio has 65 channels"),
        (SOUND * np.float32(np.nan), 16_000, "audio contains NaN or infinite samples"),
        (SOUND.astype(np.float64) * 1e39, 16_000, "audio contains NaN or infinite samples"),
        (SOUND, 0, "sampling_rate is 0"),
        (SOUND, -16_000, "sampling_rate is -16,000"),
        (SOUND, 1_000_000, "sampling_rate is 1,000,000"),
    ],
)
def test_sounds_that_cannot_serve_are_refused(
    given: npt.NDArray[np.float32], rate: int, words: str
) -> None:
    with pytest.raises(TalkheadError, match=f"^{words}"):
        samples_of(given, rate)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_a_sounds_file_holds_it_exactly_and_goes_again(rate: int) -> None:
    with sound_file(SOUND, rate) as path:
        read, found = soundfile.read(path, dtype="float32")
        assert found == rate
        assert np.array_equal(read, SOUND)
    assert not path.parent.exists()

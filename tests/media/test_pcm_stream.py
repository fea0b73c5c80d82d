import io
import struct

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from talkhead.errors import TalkheadError
from talkhead.media.pcm_stream import PcmDecoder, PcmFormat, read_wav_header

SAMPLES = np.array([[0.5, -0.5], [0.25, 0.0], [-1.0, 0.75]], np.float32)
RAW = PcmFormat(16_000, 2)


def wav(subtype: str, samples: npt.NDArray[np.float32] = SAMPLES) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, subtype=subtype, format="WAV")
    return file.getvalue()


def decoded(data: bytes, size: int = 1) -> npt.NDArray[np.float32]:
    """Decode a wav stream that arrives in parts of `size` bytes."""
    stream = io.BytesIO(data)
    decoder = PcmDecoder(read_wav_header(stream.read))
    parts = []
    while part := stream.read(size):
        parts.append(decoder.decode(part))
    parts.append(decoder.decode(b"", is_last=True))
    return np.concatenate(parts)


@pytest.mark.parametrize(
    ("subtype", "precision"),
    [
        ("PCM_U8", 0.01),
        ("PCM_16", 1e-4),
        ("PCM_24", 1e-6),
        ("PCM_32", 1e-7),
        ("FLOAT", 0),
        ("DOUBLE", 0),
    ],
)
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_wav_streams_hold_their_samples(subtype: str, precision: float, size: int) -> None:
    np.testing.assert_allclose(decoded(wav(subtype), size), SAMPLES, atol=precision)


def with_length(data: bytes, num_bytes: int, after: bytes = b"") -> bytes:
    at = data.index(b"data") + 4
    return data[:at] + struct.pack("<I", num_bytes) + data[at + 4 :] + after


@pytest.mark.parametrize("num_bytes", [0, 0xFFFFFFFF, 0x7FFFFFFF, 4, 5, 1000])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_wrong_length_in_the_header_does_not_matter(num_bytes: int, size: int) -> None:
    data = with_length(wav("PCM_16"), num_bytes)
    if num_bytes == 5:  # the odd byte belongs to a sample
        size = 1000
    np.testing.assert_allclose(decoded(data, size), SAMPLES, atol=1e-4)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_what_follows_the_samples_in_a_file_is_no_sound(size: int) -> None:
    data = wav("PCM_16") + b"LIST\x04\x00\x00\x00INFO"
    np.testing.assert_allclose(decoded(data, size), SAMPLES, atol=1e-4)


def test_a_sample_that_is_cut_off_is_dropped() -> None:
    decoder = PcmDecoder(RAW)
    assert decoder.decode(b"\x00\x40\x00").shape == (0, 2)
    np.testing.assert_allclose(decoder.decode(b"\xc0\x01"), [[0.5, -0.5]])
    assert decoder.decode(b"", is_last=True).shape == (0, 2)


def test_values_that_are_not_finite_are_silence() -> None:
    samples = np.array([[np.nan, 1.0], [np.inf, -np.inf]], np.float32)
    np.testing.assert_array_equal(decoded(wav("FLOAT", samples)), [[0, 1], [0, 0]])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"fLaC" + bytes(100), "not a wav stream"),
        (wav("PCM_16")[:30], "within its header"),
        (b"RIFF\x00\x00\x00\x00WAVEdata\x00\x00\x00\x00", "no format"),
        (b"RIFF\x00\x00\x00\x00WAVELIST\xff\xff\xff\xff", "damaged header"),
        (wav("ALAW"), "encoding that cannot be read"),
    ],
)
def test_other_streams_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(TalkheadError, match=words):
        read_wav_header(io.BytesIO(data).read)


@pytest.mark.parametrize(("rate_hz", "channels"), [(100, 1), (16_000, 0), (16_000, 65)])
def test_formats_out_of_range_are_refused(rate_hz: int, channels: int) -> None:
    with pytest.raises(TalkheadError, match="outside the supported"):
        PcmFormat(rate_hz, channels)

import os
import time
from collections.abc import Iterator

import numpy as np
import pytest

from talkhead.errors import TalkheadError
from talkhead.media.live_source import MAX_HELD_S, LiveSource
from talkhead.media.pcm_stream import PcmFormat

RATE_HZ = 2000
TIMEOUT_S = 30


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def source_of(reading: int) -> LiveSource:
    return LiveSource(reading, PcmFormat(RATE_HZ))


def numbered(count: int, start: int = 0) -> bytes:
    return np.arange(start, start + count).astype("<i2").tobytes()


def test_samples_come_in_order_and_then_the_end(pipe: tuple[int, int]) -> None:
    source = source_of(pipe[0])
    os.write(pipe[1], numbered(10))
    os.close(pipe[1])
    source.wait_for_samples()
    taken = [source.take(3, TIMEOUT_S) for _ in range(4)]
    assert [len(part) for part in taken] == [3, 3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(taken)[:, 0] * 32768, np.arange(10))
    assert len(source.take(3, TIMEOUT_S)) == 0
    assert source.is_over


def test_a_source_that_sends_nothing_gives_nothing_and_goes_on(pipe: tuple[int, int]) -> None:
    source = source_of(pipe[0])
    os.write(pipe[1], numbered(2))
    assert source.wait(TIMEOUT_S)
    assert len(source.take(5, TIMEOUT_S)) == 2
    assert len(source.take(5, 0.01)) == 0
    assert not source.is_over
    os.write(pipe[1], numbered(3))
    assert len(source.take(5, TIMEOUT_S)) == 3
    os.close(pipe[1])


def test_a_source_that_is_faster_has_to_wait(pipe: tuple[int, int]) -> None:
    source = source_of(pipe[0])
    os.set_blocking(pipe[1], False)
    block = numbered(RATE_HZ)
    limit = time.monotonic() + 2
    while time.monotonic() < limit:
        try:
            os.write(pipe[1], block)
        except BlockingIOError:
            time.sleep(0.01)
    assert source.is_full
    assert source.num_waiting <= (MAX_HELD_S + 17) * RATE_HZ  # and one read of 64 KB
    os.close(pipe[1])
    source.close()


def test_a_closed_source_reads_no_more(pipe: tuple[int, int]) -> None:
    source = source_of(pipe[0])
    os.set_blocking(pipe[1], False)
    limit, written = time.monotonic() + 2, 0
    while time.monotonic() < limit:
        try:
            written += os.write(pipe[1], numbered(RATE_HZ))
        except BlockingIOError:
            time.sleep(0.01)
    assert source.is_full
    held = 2 * source.num_waiting
    source.close()
    time.sleep(0.2)
    os.close(pipe[1])
    left = b"".join(iter(lambda: os.read(pipe[0], 1 << 16), b""))
    assert len(left) >= written - held - (1 << 16) > 0  # one read was waiting for room


def test_old_sound_of_a_burst_is_kept(pipe: tuple[int, int]) -> None:
    source = source_of(pipe[0])
    os.write(pipe[1], numbered(2 * RATE_HZ))
    source.wait_for_samples()
    source.skip_old(0.1)
    assert source.num_waiting == 2 * RATE_HZ
    os.close(pipe[1])


def test_old_sound_of_a_microphone_is_dropped(pipe: tuple[int, int]) -> None:
    source = source_of(pipe[0])
    for start in range(0, 1000, 100):
        os.write(pipe[1], numbered(100, start))
        time.sleep(0.06)
    source.wait_for_samples()
    source.skip_old(0.1)
    taken = source.take(1000, TIMEOUT_S)
    np.testing.assert_array_equal(taken[:, 0] * 32768, np.arange(800, 1000))
    os.close(pipe[1])


@pytest.mark.parametrize("pcm", [None, PcmFormat(RATE_HZ)])
def test_an_empty_stream_is_refused(pcm: PcmFormat | None, pipe: tuple[int, int]) -> None:
    os.close(pipe[1])
    with pytest.raises(TalkheadError, match="is empty"):
        LiveSource(pipe[0], pcm).wait(TIMEOUT_S)

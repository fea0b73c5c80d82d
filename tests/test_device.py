import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from talkhead.device import is_bfloat16_fast, one_thread, resolve_device, resolve_dtype
from talkhead.errors import TalkheadError

CPU = torch.device("cpu")


def test_words_become_devices_and_dtypes() -> None:
    assert resolve_device("cpu") == CPU
    assert resolve_device("auto").type in ("cpu", "cuda", "mps")
    assert resolve_dtype("float32", CPU) == torch.float32
    assert resolve_dtype("bfloat16", CPU) == torch.bfloat16
    assert resolve_dtype("float16", CPU) == torch.float16


def test_auto_takes_bfloat16_only_where_the_hardware_has_it() -> None:
    expected = torch.bfloat16 if is_bfloat16_fast(CPU) else torch.float32
    assert resolve_dtype("auto", CPU) == expected
    assert resolve_dtype("auto", torch.device("mps")) == torch.float32


@pytest.mark.parametrize("name", ["cuda:99", "cuda:998"])
def test_a_device_that_is_not_there_is_an_error_with_the_way_out(name: str) -> None:
    with pytest.raises(TalkheadError, match=f"no {name} device: choose cpu, or auto"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:", "cuda:x", "cpu:-1", "meta", "cuda:0:1"])
def test_other_words_are_refused(name: str) -> None:
    with pytest.raises(TalkheadError, match=re.escape(f"unknown device {name!r}")):
        resolve_device(name)
    with pytest.raises(TalkheadError, match=re.escape(f"unknown precision {name!r}")):
        resolve_dtype(name, CPU)


def test_one_thread_computes_for_a_while_and_other_threads_keep_theirs() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with one_thread(), ThreadPoolExecutor(1) as pool:
            assert torch.get_num_threads() == 1
            assert pool.submit(torch.get_num_threads).result() == 3
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)

from pathlib import Path

import pytest

from tests.reliability.faults import FAULTS, NAMES, Inputs

pytestmark = [
    pytest.mark.usefixtures("detector_is_here"),
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc"),
]
OF_BATCHES = ("batch", "jobs", "ray")
"""Tested in test_kills.py and beside the batches: they take longer."""
COUNTS = {"SIGKILL": 4, "inputs": 2, "names": 2}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return Inputs.make(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in OF_BATCHES])
def test_a_fault_loses_nothing_and_leaves_nothing(fault: str, inputs: Inputs) -> None:
    row = FAULTS[fault](inputs, COUNTS.get(fault, 1), 7)
    assert row.findings == []
    assert row.tried == COUNTS.get(fault, 1)
    assert not list(inputs.folder.glob("trial-*"))


def test_no_odd_name_is_too_long_with_its_suffix() -> None:
    assert max(len(name.encode()) for name in NAMES) == 246

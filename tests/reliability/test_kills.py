from pathlib import Path

import pytest

from tests.reliability.kills import kill_batch

pytestmark = [
    pytest.mark.usefixtures("detector_is_here"),
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="kills as Linux does"),
]


def test_a_killed_batch_that_is_given_again_is_as_if_nobody_had_killed_it() -> None:
    row = kill_batch(4, seed=7)
    assert row.findings == []
    assert row.tried == 4

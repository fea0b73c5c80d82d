from pathlib import Path

import pytest

from tests.reliability.batches import large_batches
from tests.reliability.kills import kill_batch

pytestmark = [
    pytest.mark.usefixtures("detector_is_here"),
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="kills as Linux does"),
]


def test_a_killed_batch_that_is_given_again_is_as_if_nobody_had_killed_it() -> None:
    row = kill_batch(4, seed=7)
    assert row.findings == []
    assert row.tried == 4


def test_a_batch_on_two_jobs_makes_each_item_once() -> None:
    row = large_batches(1, on_ray=False, num_items=6)
    assert row.findings == []
    assert row.outcomes == {"complete, each item once": 1}

import importlib.util
import json
import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from talkhead.batch.journal import JOURNAL_NAME, LOCK_NAME
from talkhead.batch.ray_cluster import RayWorkers
from talkhead.batch.worker import Settings
from talkhead.errors import TalkheadError
from tests.batch.cluster import TOP, ray_cluster
from tests.cli.conftest import command_line, write_face
from tests.tiny import write_voice

NUM_ITEMS = 6
pytestmark = [
    pytest.mark.usefixtures("detector_is_here"),
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="ray is not installed (extra `ray`)"
    ),
    # What ray leaves open when it ends is its own affair.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_a_batch_survives_the_loss_of_one_of_two_workers(
    tiny_weights: Path, tmp_path: Path
) -> None:
    write_face(tmp_path / "face.png", 160, 160)
    for index in range(NUM_ITEMS):
        write_voice(tmp_path / f"{index}.wav", 0.4, index)
    with ray_cluster() as cluster:
        process = subprocess.Popen(
            command_line(
                *("render", "face.png", "[0-9].wav", "-o", "out/", "--weights", tiny_weights),
                *("--ray", cluster.address, "--json"),
            ),
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(TOP)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            first = process.stdout.readline()
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
            out, err = process.communicate(timeout=240)
        finally:
            process.kill()
    assert process.returncode == 0, err
    *items, summary = map(json.loads, [first, *out.splitlines()])
    assert Counter(item["output"] for item in items) == {
        f"out/{k}.mp4": 1 for k in range(NUM_ITEMS)
    }
    assert {item["state"] for item in items} == {"done"}
    assert (summary["done"], summary["undone"]) == (NUM_ITEMS, 0)
    lines = (tmp_path / "out" / JOURNAL_NAME).read_text().splitlines()
    done = [line["output"] for line in map(json.loads, lines) if line["state"] == "done"]
    assert sorted(done) == [f"{k}.mp4" for k in range(NUM_ITEMS)]
    found = {path.name for path in (tmp_path / "out").iterdir()}
    assert found == {*done, JOURNAL_NAME, LOCK_NAME}


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9: Connection refused"),
        ("ray://127.0.0.1:9", "no Ray cluster answers at ray://127.0.0.1:9: Connection refused"),
        (
            "cluster",
            "the Ray address must be auto, local, host:port or ray://host:port, not cluster",
        ),
        ("127.0.0.1:99999", "the Ray address must be auto"),
    ],
)
def test_an_address_where_no_cluster_is_is_refused_at_once(
    address: str, words: str, tiny_weights: Path
) -> None:
    settings = Settings(str(tiny_weights), "cpu", "float32", offline=True, shares=1)
    with pytest.raises(TalkheadError) as caught, RayWorkers(settings, address, 1, uses_gpu=False):
        pass
    assert words in str(caught.value)

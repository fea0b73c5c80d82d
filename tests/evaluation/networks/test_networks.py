import hashlib
from pathlib import Path

import pytest

from talkhead.errors import WeightsError
from talkhead.evaluation.networks import FAMILIES, Lpips, find_networks, i3d, inception, lpips
from talkhead.evaluation.networks import syncnet as sync
from talkhead.weights import WeightsList, installed_list
from tests.evaluation.networks.random_state import publish, random_frames, random_state

FILES = {
    "alexnet": lpips.BACKBONE_FILE,
    "lpips-alex": lpips.HEADS_FILE,
    "fid-inception": inception.FILE,
    "i3d-kinetics-400": i3d.FILE,
    "syncnet-v2": sync.FILE,
}


@pytest.fixture
def weights(tmp_path: Path) -> WeightsList:
    """A list of files that are not there, but for those of LPIPS."""
    cache = tmp_path / "cache"
    publish(cache / "alexnet" / lpips.BACKBONE_FILE, random_state(lpips.AlexNetFeatures))
    heads = {name: x.abs() for name, x in random_state(lpips.Heads).items()}
    publish(cache / "lpips-alex" / lpips.HEADS_FILE, heads)
    text = ""
    for name, file in FILES.items():
        path = cache / name / file
        content = path.read_bytes() if path.is_file() else b"elsewhere"
        text += f"""
[{name}]
kind = "asset"
about = "a network"
licence = "MIT"
origin = "made by the test"
where = "url"
url = "https://example.invalid/{file}"
files = [
  {{ path = "{file}", bytes = {len(content)}, sha256 = "{hashlib.sha256(content).hexdigest()}" }},
]
"""
    (tmp_path / "weights.toml").write_text(text)
    return WeightsList(tmp_path / "weights.toml", checkpoints=tmp_path, cache=cache)


def test_every_network_is_listed_with_the_file_that_its_loader_reads() -> None:
    listed = installed_list()
    assert {name for family in FAMILIES.values() for name in family.weights} == FILES.keys()
    for name, file in FILES.items():
        entry = listed.entry(name)
        assert entry.kind == "asset"
        assert [part.path for part in entry.files] == [file]
        assert entry.url is not None
        assert entry.url.rpartition("/")[2] == file


def test_what_is_here_is_loaded_and_of_the_rest_is_said_how_to_get_it(
    weights: WeightsList,
) -> None:
    loaded, missing = find_networks(weights=weights)
    assert loaded.keys() == {"lpips"}
    assert missing == {
        "fid": "not computed: run talkhead weights download fid-inception",
        "fvd": "not computed: run talkhead weights download i3d-kinetics-400",
        "sync": "not computed: run talkhead weights download syncnet-v2",
    }
    found = loaded["lpips"]
    assert found.digests == {
        name: weights.entry(name).files[0].sha256 for name in ("alexnet", "lpips-alex")
    }
    assert isinstance(found.network, Lpips)
    assert found.network.distances(random_frames(2, 64), random_frames(2, 64)).tolist() == [0, 0]


def test_only_the_files_that_lack_are_named(weights: WeightsList) -> None:
    (weights.cache / "lpips-alex" / lpips.HEADS_FILE).unlink()
    loaded, missing = find_networks(weights=weights)
    assert not loaded
    assert missing["lpips"] == "not computed: run talkhead weights download lpips-alex"


def test_a_damaged_file_is_an_error_and_is_not_read(weights: WeightsList) -> None:
    (weights.cache / "lpips-alex" / lpips.HEADS_FILE).write_bytes(b"something else")
    with pytest.raises(WeightsError, match="is corrupt"):
        find_networks(weights=weights)

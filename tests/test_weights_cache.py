"""Weights that were fetched before, and where they are kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from talkhead.errors import WeightsError
from talkhead.weights import cache_folder
from tests.weights_lists import REVISION, file_of, url_list, written


def test_a_fetched_file_is_used_from_the_cache_and_checked_there(tmp_path: Path) -> None:
    listed = url_list(tmp_path, b"abc")
    assert not listed.verify("asset")
    with pytest.raises(WeightsError, match="run `talkhead weights download asset` once"):
        listed.resolve("asset", offline=True)
    folder = tmp_path / "cache" / "asset"
    folder.mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"abc")
    assert listed.verify("asset")
    assert listed.resolve("asset") == folder
    (folder / "a.bin").write_bytes(b"abd")
    with pytest.raises(WeightsError, match=r"corrupt .*: remove it to download it again"):
        listed.resolve("asset")


def test_files_of_the_hub_are_found_in_its_cache_and_checked(tmp_path: Path) -> None:
    file = file_of(b"abc", "sub/a.bin")
    text = f"""
[net]
kind = "model"
about = "two files"
licence = "MIT"
origin = "elsewhere"
where = "hub"
repo = "owner/name"
revision = "{REVISION}"
files = [{{ path = "{file.path}", bytes = {file.num_bytes}, sha256 = "{file.sha256}" }}]
"""
    script = """
import sys
from pathlib import Path
from talkhead.errors import WeightsError
from talkhead.weights import WeightsList
here = Path(sys.argv[1])
try:
    print(WeightsList(here / "weights.toml", checkpoints=here, cache=here).resolve("net"))
except WeightsError as error:
    print(error)
"""
    written(tmp_path, text)
    snapshot = tmp_path / "hub" / "models--owner--name" / "snapshots" / REVISION

    def resolved() -> str:
        # huggingface_hub sets its cache folder at import.
        environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
        return subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    assert "net is not on this machine: run `talkhead weights download net`" in resolved()
    (snapshot / "sub").mkdir(parents=True)
    (snapshot / "sub" / "a.bin").write_bytes(b"abc")
    assert resolved() == str(snapshot)
    (snapshot / "sub" / "a.bin").write_bytes(b"abd")
    assert "a.bin is corrupt" in resolved()


def test_the_environment_can_forbid_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="asset is not on this machine"):
        url_list(tmp_path, b"abc").resolve("asset")


def test_the_cache_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TALKHEAD_CACHE", raising=False)
    assert cache_folder() == tmp_path / "talkhead"
    monkeypatch.setenv("TALKHEAD_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from talkhead.errors import WeightsError
from talkhead.networks import save_checkpoint
from talkhead.weights import (
    WeightsFile,
    WeightsList,
    cache_folder,
    format_list,
    installed_list,
    read_list,
)

PIPELINE = """
[default]
kind = "pipeline"
about = "a picture and a voice to frames"
licence = "Apache-2.0"
origin = "trained for talkhead"
where = "package"
components = ["autoencoder", "denoiser", "landmarks"]
"""
REVISION = "0123456789abcdef0123456789abcdef01234567"


@dataclasses.dataclass(frozen=True)
class TinyConfig:
    width: int


def model_entry(name: str) -> str:
    return f"""
[{name}]
kind = "model"
about = "one model"
licence = "Apache-2.0"
origin = "trained for talkhead"
where = "package"
files = []
"""


@pytest.fixture
def weights(tmp_path: Path) -> WeightsList:
    """A pipeline of three tiny models, listed and pinned."""
    checkpoints = tmp_path / "checkpoints"
    text = PIPELINE
    for name in ("autoencoder", "denoiser", "landmarks"):
        state = nn.Linear(2, 3).state_dict()
        save_checkpoint(
            checkpoints / name, architecture=name, config=TinyConfig(width=3), state=state
        )
        text += model_entry(name)
    listed = WeightsList(written(tmp_path, text), checkpoints=checkpoints, cache=tmp_path / "cache")
    listed.pin()
    return listed


def written(folder: Path, text: str) -> Path:
    path = folder / "weights.toml"
    path.write_text(text)
    return path


def file_of(content: bytes, path: str = "a.bin") -> WeightsFile:
    return WeightsFile(path, len(content), hashlib.sha256(content).hexdigest())


def test_pinning_counts_and_digests_what_is_shipped(weights: WeightsList) -> None:
    entry = read_list(weights.path)["denoiser"]
    assert [file.path for file in entry.files] == ["config.json", "model.safetensors"]
    for file in entry.files:
        content = (weights.checkpoints / "denoiser" / file.path).read_bytes()
        assert file == file_of(content, file.path)


def test_pinning_again_follows_replaced_weights_and_leaves_the_other_entries(
    weights: WeightsList,
) -> None:
    before = dict(weights.entries)
    save_checkpoint(
        weights.checkpoints / "landmarks",
        architecture="landmarks",
        config=TinyConfig(width=3),
        state={"weight": torch.zeros(7)},
    )
    with pytest.raises(WeightsError, match="is corrupt"):
        weights.verify("landmarks")
    weights.pin("landmarks")
    assert weights.verify("landmarks")
    after = read_list(weights.path)
    assert {name for name in after if after[name] != before[name]} == {"landmarks"}
    assert list(after) == list(before)


def test_only_shipped_files_can_be_pinned(weights: WeightsList) -> None:
    with pytest.raises(WeightsError, match="default has no shipped files"):
        weights.pin("default")
    (weights.checkpoints / "denoiser" / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"config\.json cannot be read"):
        weights.pin("denoiser")


def test_a_model_and_a_pipeline_resolve_to_their_folders(weights: WeightsList) -> None:
    assert weights.resolve("denoiser") == weights.checkpoints / "denoiser"
    assert weights.resolve("default") == weights.checkpoints
    assert weights.verify("default")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_one_changed_byte_is_found(weights: WeightsList, name: str) -> None:
    path = weights.checkpoints / "landmarks" / name
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    for asked in ("landmarks", "default"):
        with pytest.raises(WeightsError, match=f"{name} is corrupt .*: install talkhead again"):
            weights.resolve(asked)


def test_a_missing_file_is_named(weights: WeightsList) -> None:
    (weights.checkpoints / "denoiser" / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"denoiser/model\.safetensors is missing: install"):
        weights.resolve("default")


def test_an_entry_without_files_is_not_taken_for_intact(tmp_path: Path) -> None:
    listed = WeightsList(
        written(tmp_path, model_entry("denoiser")), checkpoints=tmp_path, cache=tmp_path
    )
    with pytest.raises(WeightsError, match="run `talkhead weights pin denoiser`"):
        listed.verify("denoiser")


def test_an_unknown_name_lists_the_known_ones(weights: WeightsList) -> None:
    with pytest.raises(
        WeightsError,
        match="no weights named 'defualt' and no such folder: choose one of default, autoencoder",
    ):
        weights.resolve("defualt")
    with pytest.raises(WeightsError, match="no weights named 'defualt'"):
        weights.verify("defualt")


def test_a_folder_of_the_users_own_is_a_model_or_a_whole_pipeline(
    weights: WeightsList, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    shutil.copytree(weights.checkpoints, own)
    assert weights.resolve(own) == own
    assert weights.resolve(str(own / "denoiser")) == own / "denoiser"
    shutil.rmtree(own / "landmarks")
    (own / "autoencoder" / "model.safetensors").unlink()
    with pytest.raises(
        WeightsError, match="own is not a folder of weights: it lacks autoencoder, la"
    ):
        weights.resolve(own)


def test_what_is_written_is_read_back_equal(tmp_path: Path) -> None:
    hub = f"""
[mask-noise_2]
kind = "model"
about = 'with "quotes", a \\ and an é'
licence = "MIT"
origin = "elsewhere"
where = "hub"
repo = "owner/name"
revision = "{REVISION}"
files = [{{ path = "sub/a.bin", bytes = 3, sha256 = "{"0f" * 32}" }}]
"""
    entries = read_list(written(tmp_path, PIPELINE + hub + "".join(map(model_entry, PARTS))))
    assert entries["mask-noise_2"].about == 'with "quotes", a \\ and an é'
    assert entries["mask-noise_2"].num_bytes == 3
    assert read_list(written(tmp_path, format_list(entries))) == entries


PARTS = ("autoencoder", "denoiser", "landmarks")
FILE = '{ path = "a.bin", bytes = 1, sha256 = "' + "a" * 64 + '" }'


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('kind = "model"\n', "", "'kind' is missing"),
        ('kind = "model"', 'kind = "net"', "kind 'net' or where 'package' is unknown"),
        ('kind = "model"', 'kind = "model"\nsize = 3', "unknown key 'size'"),
        ('licence = "Apache-2.0"', "licence = 2", "'licence' is missing or not a text"),
        ('where = "package"', 'where = "url"', "url is required with"),
        (
            'where = "package"',
            'where = "url"\nurl = "http://example.org/a"',
            "url must start with https://",
        ),
        ('where = "package"', 'where = "hub"\nrepo = "a/b"', "repo and revision are required with"),
        (
            'where = "package"',
            'where = "hub"\nrepo = "a/b"\nrevision = "main"',
            "revision must be a commit of 40",
        ),
        (
            'where = "package"',
            'where = "package"\ncomponents = ["x"]',
            "components are required in",
        ),
        ("files = []", 'files = [{ path = "a.bin" }]', "a file needs path, bytes and sha256"),
        ("files = []", f"files = [{FILE}]".replace("a.bin", "../a"), "is not a relative path"),
        ("files = []", f"files = [{FILE}]".replace("aaaa", "AAAA"), "is not a digest"),
        ("files = []", f"files = [{FILE}]".replace("= 1", '= "1"'), "is not a size"),
        (
            'where = "package"\nfiles = []',
            f'where = "url"\nurl = "https://example.org/a"\nfiles = [{FILE}, {FILE}]',
            "exactly one file",
        ),
        ("[denoiser]", '["de noiser"]', "a name consists of letters"),
        ("[denoiser]", "[denoiser", "is not valid TOML"),
    ],
)
def test_a_list_that_is_wrong_is_refused(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    text = model_entry("denoiser")
    assert before in text
    with pytest.raises(WeightsError, match=message):
        read_list(written(tmp_path, text.replace(before, after)))


def test_a_pipeline_needs_components_that_are_shipped(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="'default' needs 'autoencoder', which is not shipped"):
        read_list(written(tmp_path, PIPELINE))


def url_list(tmp_path: Path, content: bytes) -> WeightsList:
    file = file_of(content)
    text = f"""
[asset]
kind = "asset"
about = "one file"
licence = "MIT"
origin = "elsewhere"
where = "url"
url = "https://example.org/a.bin"
files = [{{ path = "a.bin", bytes = {file.num_bytes}, sha256 = "{file.sha256}" }}]
"""
    return WeightsList(written(tmp_path, text), checkpoints=tmp_path, cache=tmp_path / "cache")


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


def test_the_shipped_list_is_as_pinning_writes_it() -> None:
    weights = installed_list()
    assert weights.path.read_text(encoding="utf-8") == format_list(weights.entries)


def test_everything_that_is_shipped_is_listed_and_intact() -> None:
    weights = installed_list()
    shipped = {entry.name for entry in weights.entries.values() if entry.where == "package"}
    for name in shipped:
        assert weights.verify(name), name
    folders = {path.parent for path in weights.checkpoints.rglob("model.safetensors")}
    assert folders == {
        weights.shipped_folder(entry)
        for entry in weights.entries.values()
        if entry.where == "package" and entry.kind == "model"
    }
    assert all((folder / "README.md").is_file() for folder in folders)


def test_what_another_pipeline_has_alone_is_in_a_folder_of_its_name(tmp_path: Path) -> None:
    def pipeline(name: str, *parts: str) -> str:
        return PIPELINE.replace("[default]", f"[{name}]").replace(
            '["autoencoder", "denoiser", "landmarks"]', json.dumps(parts)
        )

    names = {"denoiser": "denoiser", "landmarks": "landmarks", "video": "second/video"}
    for name, place in names.items():
        save_checkpoint(
            tmp_path / place,
            architecture=name,
            config=TinyConfig(width=3),
            state={"weight": torch.zeros(3)},
        )
    text = pipeline("default", "denoiser", "landmarks") + pipeline("second", "landmarks", "video")
    text += "".join(model_entry(name) for name in names)
    weights = WeightsList(written(tmp_path, text), checkpoints=tmp_path, cache=tmp_path / "cache")
    weights.pin()
    assert weights.resolve("default") == tmp_path
    assert weights.resolve("second") == tmp_path / "second"
    assert weights.resolve("video") == tmp_path / "second" / "video"
    assert weights.resolve("landmarks") == tmp_path / "landmarks"
    assert weights.verify("second")
    (tmp_path / "second/video/model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"second/video/model\.safetensors is corrupt"):
        weights.resolve("second")

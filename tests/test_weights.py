import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from talkhead.errors import WeightsError
from talkhead.landmarks2video.denoiser import Denoiser
from talkhead.weights import (
    WeightsFile,
    WeightsList,
    cache_folder,
    format_list,
    installed_list,
    read_list,
)
from talkhead.weights.systems import NETWORK_FILES, PIPELINE_FILES, TENSORS_NAME
from tests.tiny import write_tiny_mask_noise

PIPELINE = """
[default]
kind = "pipeline"
about = "a picture and a voice to frames"
licence = "Apache-2.0"
origin = "trained for talkhead"
where = "package"
components = ["autoencoder", "denoiser", "landmark_generator"]
files = []
"""
COMPONENTS = ("autoencoder", "denoiser", "landmark_generator")
REVISION = "0123456789abcdef0123456789abcdef01234567"


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
def weights(tmp_path: Path, tiny_weights: Path) -> WeightsList:
    """A pipeline of three tiny networks, listed and pinned."""
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(tiny_weights, checkpoints / "talkhead")
    text = PIPELINE + "".join(map(model_entry, COMPONENTS))
    listed = WeightsList(written(tmp_path, text), checkpoints=checkpoints, cache=tmp_path / "cache")
    listed.pin()
    return listed


def written(folder: Path, text: str) -> Path:
    path = folder / "weights.toml"
    path.write_text(text)
    return path


def file_of(content: bytes, path: str = "a.bin") -> WeightsFile:
    return WeightsFile(path, len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("name", "folder", "paths"),
    [("denoiser", "talkhead/denoiser", NETWORK_FILES), ("default", "talkhead", PIPELINE_FILES)],
)
def test_pinning_counts_and_digests_what_is_shipped(
    weights: WeightsList, name: str, folder: str, paths: tuple[str, ...]
) -> None:
    entry = read_list(weights.path)[name]
    assert tuple(file.path for file in entry.files) == paths
    for file in entry.files:
        content = (weights.checkpoints / folder / file.path).read_bytes()
        assert file == file_of(content, file.path)


def test_pinning_again_follows_replaced_weights_and_leaves_the_other_entries(
    weights: WeightsList,
) -> None:
    before = dict(weights.entries)
    folder = weights.resolve("denoiser")
    network = Denoiser.from_pretrained(folder)
    torch.nn.init.zeros_(network.conv_out.weight)
    network.save_pretrained(folder)
    with pytest.raises(WeightsError, match="is corrupt"):
        weights.verify("denoiser")
    weights.pin("denoiser")
    assert weights.verify("denoiser")
    after = read_list(weights.path)
    assert {name for name in after if after[name] != before[name]} == {"denoiser"}
    assert list(after) == list(before)


def test_only_shipped_files_can_be_pinned(weights: WeightsList, tmp_path: Path) -> None:
    elsewhere = url_list(tmp_path, b"abc")
    with pytest.raises(WeightsError, match="asset has no shipped files"):
        elsewhere.pin("asset")
    for name, path in (("denoiser", "denoiser/config.json"), ("default", "model_index.json")):
        (weights.checkpoints / "talkhead" / path).unlink()
        with pytest.raises(WeightsError, match=f"{path} cannot be read"):
            weights.pin(name)


def test_a_network_and_a_pipeline_resolve_to_their_folders(weights: WeightsList) -> None:
    assert weights.resolve("denoiser") == weights.checkpoints / "talkhead" / "denoiser"
    assert weights.resolve("default") == weights.checkpoints / "talkhead"
    assert weights.verify("default")


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("landmark_generator/config.json", ("landmark_generator", "default")),
        (f"landmark_generator/{TENSORS_NAME}", ("landmark_generator", "default")),
        ("model_index.json", ("default",)),
        ("scheduler/scheduler_config.json", ("default",)),
    ],
)
def test_one_changed_byte_is_found(weights: WeightsList, path: str, names: tuple[str, ...]) -> None:
    file = weights.checkpoints / "talkhead" / path
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    for name in names:
        with pytest.raises(WeightsError, match=f"{path} is corrupt .*: install talkhead again"):
            weights.resolve(name)
        with pytest.raises(WeightsError, match=f"{path} is corrupt"):
            weights.verify(name)


def test_a_missing_file_is_named(weights: WeightsList) -> None:
    for path in ("scheduler/scheduler_config.json", f"denoiser/{TENSORS_NAME}"):
        (weights.checkpoints / "talkhead" / path).unlink()
        with pytest.raises(WeightsError, match=f"{path} is missing: install"):
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


def test_a_folder_of_the_users_own_is_a_network_or_a_whole_pipeline(
    weights: WeightsList, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    shutil.copytree(weights.checkpoints / "talkhead", own)
    assert weights.resolve(own) == own
    assert weights.resolve(str(own / "denoiser")) == own / "denoiser"
    (own / "autoencoder" / TENSORS_NAME).unlink()
    with pytest.raises(WeightsError, match=f"own is not whole: autoencoder/{TENSORS_NAME} is mi"):
        weights.resolve(own)
    for index in ('{"_class_name": "StableDiffusionPipeline"}', "{}", "[]", "{"):
        (own / "model_index.json").write_text(index)
        with pytest.raises(
            WeightsError, match=r"own/model_index\.json (describes|cannot be read|is not a JSON)"
        ):
            weights.resolve(own)
    (own / "model_index.json").unlink()
    with pytest.raises(WeightsError, match=r"own is not a pipeline: it has no model_index\.json$"):
        weights.resolve(own)
    (own / "landmarks").mkdir()
    with pytest.raises(WeightsError, match="can be converted: `talkhead weights convert`"):
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
    entries = read_list(written(tmp_path, PIPELINE + hub + "".join(map(model_entry, COMPONENTS))))
    assert entries["mask-noise_2"].about == 'with "quotes", a \\ and an é'
    assert entries["mask-noise_2"].num_bytes == 3
    assert read_list(written(tmp_path, format_list(entries))) == entries


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
    listed = {
        weights.shipped_folder(entry) / file.path
        for entry in weights.entries.values()
        if entry.where == "package"
        for file in entry.files
    }
    present = {path for path in weights.checkpoints.rglob("*") if path.is_file()}
    assert listed == {path for path in present if path.suffix != ".md"}
    folders = {path.parent for path in listed if path.name == TENSORS_NAME}
    assert all((folder / "README.md").is_file() for folder in folders)


def test_what_another_pipeline_has_alone_is_in_a_folder_of_its_name(
    tmp_path: Path, tiny_weights: Path
) -> None:
    checkpoints = tmp_path / "checkpoints"
    default, second = checkpoints / "talkhead", checkpoints / "second"
    shutil.copytree(tiny_weights, default)
    shutil.rmtree(write_tiny_mask_noise(second) / "landmark_generator")
    alone = ("emotion_classifier", "expressions", "video_denoiser")
    components = json.dumps(["landmark_generator", *alone])
    text = PIPELINE + PIPELINE.replace("[default]", "[second]").replace(
        '["autoencoder", "denoiser", "landmark_generator"]', components
    )
    text += "".join(map(model_entry, (*COMPONENTS, *alone)))
    listed = WeightsList(written(tmp_path, text), checkpoints=checkpoints, cache=tmp_path / "cache")
    listed.pin()
    assert listed.resolve("default") == default
    assert listed.resolve("second") == second
    assert listed.resolve("video_denoiser") == second / "video_denoiser"
    assert listed.resolve("landmark_generator") == default / "landmark_generator"
    assert listed.verify("second")
    # A third pipeline has another network for the same component.
    third = write_tiny_mask_noise(checkpoints / "third")
    for component in ("landmark_generator", "emotion_classifier", "expressions"):
        shutil.rmtree(third / component)
    for component in ("emotion_classifier", "expressions"):
        shutil.move(second / component, default / component)
    text = text.replace(
        'components = ["auto', 'components = ["emotion_classifier", "expressions", "auto', 1
    )
    suffixed = components.replace("video_denoiser", "video_denoiser-own")
    text += PIPELINE.replace("[default]", "[third]").replace(
        '["autoencoder", "denoiser", "landmark_generator"]', suffixed
    )
    text += model_entry("video_denoiser-own")
    listed = WeightsList(written(tmp_path, text), checkpoints=checkpoints, cache=tmp_path / "cache")
    listed.pin()
    assert listed.resolve("third") == third
    assert listed.resolve("video_denoiser-own") == third / "video_denoiser"
    assert listed.resolve("video_denoiser") == second / "video_denoiser"
    (second / "video_denoiser" / TENSORS_NAME).write_bytes(b"")
    assert listed.verify("third")
    with pytest.raises(WeightsError, match=f"second/video_denoiser/{TENSORS_NAME} is corrupt"):
        listed.resolve("second")

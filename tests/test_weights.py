import json
import shutil
from pathlib import Path

import pytest
import torch

from talkhead.errors import WeightsError
from talkhead.landmarks2video.denoiser import Denoiser
from talkhead.weights import (
    WeightsList,
    format_list,
    installed_list,
    read_list,
)
from talkhead.weights.systems import NETWORK_FILES, PIPELINE_FILES, TENSORS_NAME
from tests.tiny import write_tiny_mask_noise
from tests.weights_lists import COMPONENTS, PIPELINE, file_of, model_entry, url_list, written


@pytest.fixture
def weights(tmp_path: Path, tiny_weights: Path) -> WeightsList:
    """A pipeline of three tiny networks, listed and pinned."""
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(tiny_weights, checkpoints / "talkhead")
    text = PIPELINE + "".join(map(model_entry, COMPONENTS))
    listed = WeightsList(written(tmp_path, text), checkpoints=checkpoints, cache=tmp_path / "cache")
    listed.pin()
    return listed


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

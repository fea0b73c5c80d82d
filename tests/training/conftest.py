from pathlib import Path
from typing import Any

import pytest

from talkhead.training.autoencoder import AutoencoderTask, AutoencoderTaskConfig
from tests.prepared import write_prepared
from tests.tiny import TINY_AUTOENCODER, write_tiny_weights
from tests.training.recordings import write_recordings
from tests.training.settings import TINY, WriteSettings, as_toml


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of three people. Read-only, shared by many tests."""
    return write_prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="session")
def tiny_autoencoder(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of an untrained autoencoder: its principal components."""
    run = tmp_path_factory.mktemp("autoencoder")
    task = AutoencoderTask(prepared, TINY_AUTOENCODER, AutoencoderTaskConfig(), seed=0)
    task.save(run, task.model)
    return run / "checkpoint"


@pytest.fixture(scope="session")
def mouth_pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings that let all tests share pairs of mouths; the first one makes them."""
    folder = tmp_path_factory.mktemp("mouths")
    weights = write_tiny_weights(folder / "weights")
    return {"weights": str(weights), "pairs": str(folder / "pairs")}


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Acted emotions of five people from both corpora. Read-only, shared by many tests."""
    return write_recordings(tmp_path_factory.mktemp("recordings"))


@pytest.fixture
def write_settings(
    tmp_path: Path,
    prepared: Path,
    recordings: Path,
    tiny_autoencoder: Path,
    mouth_pairs: dict[str, str],
) -> WriteSettings:
    """Write settings for a few steps of a tiny model; keywords change the [train] table."""

    def write(name: str, **changes: Any) -> Path:
        model, task = TINY[name]
        data = recordings if name == "emotion" else prepared
        loop = {"data": str(data), "run": "run", "steps": 4, "batch_size": 2}
        loop |= {"learning_rate": 1e-3, "warmup_steps": 1, "precision": "float32"}
        loop |= {"num_workers": 0, "log_every": 1, "validate_every": 4, "save_every": 2}
        paths = {"autoencoder": str(tiny_autoencoder)} if name == "denoiser" else {}
        paths = mouth_pairs if name == "mouth-denoiser" else paths
        tables = {
            "train": loop | changes,
            "model": model,
            "task": task | paths,
        }
        path = tmp_path / f"{name}.toml"
        path.write_text(as_toml(tables))
        return path

    return write

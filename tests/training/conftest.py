from pathlib import Path

import pytest

from talkhead.landmarks2video import autoencoder
from talkhead.training.autoencoder import AutoencoderTask, AutoencoderTaskConfig
from tests.prepared import write_prepared
from tests.training.recordings import write_recordings


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of three people. Read-only, shared by many tests."""
    return write_prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="session")
def tiny_autoencoder(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of an untrained autoencoder: its principal components."""
    folder = tmp_path_factory.mktemp("autoencoder")
    task = AutoencoderTask(prepared, autoencoder.TINY, AutoencoderTaskConfig(), seed=0)
    task.save(folder, task.model)
    return folder


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Acted emotions of five people from both corpora. Read-only, shared by many tests."""
    return write_recordings(tmp_path_factory.mktemp("recordings"))

from pathlib import Path

import pytest

from tests.tiny import write_tiny_weights


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for `--weights`, read by many tests and changed by none."""
    return write_tiny_weights(tmp_path_factory.mktemp("weights"))

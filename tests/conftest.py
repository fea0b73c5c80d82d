import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch

from talkhead.audio2landmarks.emotion_classifier import EmotionClassifier
from talkhead.errors import TalkheadError, WeightsError
from talkhead.tracking.face_detector import FaceDetector
from tests.tiny import (
    TINY_EMOTION_CLASSIFIER,
    tiny_expressions,
    tiny_pipeline,
    write_tiny_mask_noise,
    write_tiny_weights,
)

Refusal = Callable[[Path, str], AbstractContextManager[None]]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Shells start background jobs with SIGINT ignored, and the commands would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for `--weights`, shared by many tests; tests must not change it."""
    return write_tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def tiny_mask_noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for the second system."""
    return write_tiny_mask_noise(tmp_path_factory.mktemp("mask-noise"))


@pytest.fixture(scope="session")
def emotional_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_weights` plus the optional components; a happy face has a wide mouth."""
    folder = tmp_path_factory.mktemp("emotional")
    pipeline = tiny_pipeline()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        pipeline.register_modules(
            emotion_classifier=EmotionClassifier(**TINY_EMOTION_CLASSIFIER).eval(),
            expressions=tiny_expressions().eval(),
        )
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def detector_is_here() -> None:
    """mediapipe 1.x needs its networks, and tests do not download."""
    patch = pytest.MonkeyPatch()
    patch.setenv("HF_HUB_OFFLINE", "1")
    try:
        FaceDetector().close()
    except WeightsError:
        pytest.skip("mediapipe 1.x needs its networks, and they have not been downloaded")
    finally:
        patch.undo()


@pytest.fixture
def refused() -> Refusal:
    """A block that must raise a one-line TalkheadError with the file and the reason."""

    @contextmanager
    def block(path: Path, reason: str) -> Iterator[None]:
        with pytest.raises(TalkheadError) as caught:
            yield
        message = str(caught.value)
        assert str(path) in message
        assert reason in message
        assert "\n" not in message
        assert caught.value.exit_code == 2

    return block

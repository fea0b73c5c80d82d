from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from talkhead.audio2landmarks.animation import MotionOptions, animate, predict_speech
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.errors import TalkheadError
from talkhead.geometry.mesh import LOWER_INNER_LIP, OUTER_LIPS, UPPER_INNER_LIP, mouth_opening
from talkhead.geometry.motion_basis import identity_at_rest
from talkhead.media.audio import write_waveform
from talkhead.media.rates import DEFAULT_FPS
from talkhead.pipelines.loading import load_landmark_generator
from tests.meshes import mean_mesh, opened
from tests.tiny import write_silence, write_voice

Floats = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def generator(tiny_weights: Path) -> LandmarkGenerator:
    return load_landmark_generator(tiny_weights, torch.device("cpu"))


@pytest.fixture
def short(tmp_path: Path) -> Path:
    return write_voice(tmp_path / "voice.wav", 0.5)


def identity(width: int = 201, height: int = 177) -> Floats:
    """Return a mesh whose crop lies inside the picture."""
    return mean_mesh(40, width / 2, height / 2)


def landmarks(
    generator: LandmarkGenerator,
    audio: Path,
    face: Floats,
    *,
    fps: Fraction = DEFAULT_FPS,
    **motion: Any,
) -> Floats:
    speech = predict_speech(generator, audio, face, fps)
    options = MotionOptions(**motion)
    points = np.concatenate(list(animate(generator, face, speech, options)))
    assert len(points) == len(speech.coefficients)
    return points


@pytest.mark.parametrize(
    ("fps", "expected"),
    [(Fraction(25), 13), (Fraction(30_000, 1001), 15), (Fraction(10), 5), (Fraction(60), 30)],
)
def test_there_are_as_many_meshes_as_cover_the_sound(
    generator: LandmarkGenerator, short: Path, fps: Fraction, expected: int
) -> None:
    assert landmarks(generator, short, identity(), fps=fps).shape == (expected, 478, 3)


def test_silence_gives_a_resting_face(generator: LandmarkGenerator, tmp_path: Path) -> None:
    audio = write_silence(tmp_path / "silence.wav", 0.6)
    face = opened(identity(), 4)
    points = landmarks(generator, audio, face, pose="still", blink_per_minute=0)
    assert len(points) == 15
    rest, head = identity_at_rest(face, generator.motion_basis())
    np.testing.assert_allclose(points, head.to_picture(rest)[None].repeat(15, 0), atol=1e-3)
    assert mouth_opening(points).max() < 0.02


@pytest.mark.parametrize("kind", ["noise", "clipped", "faint", "one click", "constant"])
def test_strange_sound_gives_finite_landmarks(
    generator: LandmarkGenerator, tmp_path: Path, kind: str
) -> None:
    rng = np.random.default_rng(0)
    waveform = {
        "noise": rng.uniform(-1, 1, 8000),
        "clipped": np.sign(np.sin(np.arange(8000) / 9)),
        "faint": 1e-4 * rng.normal(size=8000),
        "one click": np.eye(1, 8000, 4000)[0],
        "constant": np.full(8000, 0.5),
    }[kind]
    audio = tmp_path / "strange.wav"
    write_waveform(audio, waveform.astype(np.float32))
    points = landmarks(generator, audio, identity())
    assert points.shape == (13, 478, 3)
    assert np.isfinite(points).all()
    assert np.ptp(points, axis=0).max() < 40


def test_the_same_seed_gives_the_same_landmarks_and_another_seed_others(
    generator: LandmarkGenerator, short: Path
) -> None:
    one = landmarks(generator, short, identity(), seed=5)
    np.testing.assert_array_equal(landmarks(generator, short, identity(), seed=5), one)
    assert np.abs(landmarks(generator, short, identity(), seed=6) - one).max() > 0.05


def test_the_first_frame_has_the_pose_of_the_picture(
    generator: LandmarkGenerator, short: Path
) -> None:
    face = identity()
    face[LOWER_INNER_LIP] = face[UPPER_INNER_LIP]
    first = landmarks(generator, short, face)[0]
    eyes = [33, 133, 362, 263, 168]
    np.testing.assert_allclose(first[eyes], face[eyes], atol=0.5)


def test_a_still_head_moves_its_lips_only(generator: LandmarkGenerator, short: Path) -> None:
    points = landmarks(generator, short, identity(), pose="still", blink_per_minute=0)
    moved = np.ptp(points, axis=0).max(-1)
    assert moved[OUTER_LIPS].max() > 0.3
    assert moved[[133, 362, 168, 10, 151, 4]].max() < 1e-3
    still = landmarks(generator, short, identity(), pose_strength=0.0, blink_per_minute=0)
    np.testing.assert_array_equal(still, points)


def test_pose_and_expression_have_their_strengths(
    generator: LandmarkGenerator, short: Path
) -> None:
    face = identity()

    def spread(index: int, **options: Any) -> float:
        points = landmarks(generator, short, face, blink_per_minute=0, **options)
        return float(np.abs(points[:, index] - points[0, index]).max())

    assert spread(168, pose_strength=3.0) > 2 * spread(168, pose_strength=1.0)
    quiet = landmarks(
        generator, short, face, pose="still", expression_strength=0.0, blink_per_minute=0
    )
    assert np.ptp(quiet, axis=0).max() < 1e-3
    assert spread(17, pose="still", expression_strength=2.0) > 1.3 * spread(17, pose="still")


def test_lips_never_cross(generator: LandmarkGenerator, short: Path) -> None:
    points = landmarks(generator, short, identity(), pose="still", expression_strength=3.0)
    gap = points[:, LOWER_INNER_LIP, 1] - points[:, UPPER_INNER_LIP, 1]
    assert gap.min() > -1e-2


def test_blinks_close_the_eyes(generator: LandmarkGenerator, tmp_path: Path) -> None:
    audio = write_silence(tmp_path / "silence.wav", 4)
    points = landmarks(generator, audio, identity(), pose="still", blink_per_minute=60, seed=1)
    opening = points[:, 145, 1] - points[:, 159, 1]
    assert opening[0] > 2
    assert opening.min() < 0.3 * opening[0]
    assert opening.min() > -0.5


def test_an_unknown_pose_is_refused(generator: LandmarkGenerator, short: Path) -> None:
    with pytest.raises(TalkheadError, match="natural or still, not 'wild'"):
        landmarks(generator, short, identity(), pose="wild")

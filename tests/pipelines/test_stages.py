"""The stage functions, and the emotion that they show."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from talkhead.audio2landmarks.animation import MotionOptions
from talkhead.emotions import EMOTIONS
from talkhead.errors import TalkheadError, WeightsError
from talkhead.geometry.mesh import mouth_width
from talkhead.landmarks2video.sampling import SamplerOptions
from talkhead.pipelines import FacePipeline
from talkhead.pipelines.stages import Rendering, animate, dub, emotion_probabilities
from talkhead.tracking.landmark_track import LandmarkTrack
from talkhead.tracking.shots import FaceTrack, Stretch
from tests.meshes import mean_mesh
from tests.tiny import voice, write_silence, write_voice

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
CPU = torch.device("cpu")
FPS = Fraction(25)
EYES_PX = 40
WIDTH, HEIGHT = 200, 176


def load(folder: Path) -> FacePipeline:
    return FacePipeline.from_folder(folder, device=CPU, dtype=torch.float32)


@pytest.fixture(scope="module")
def plain(tiny_weights: Path) -> FacePipeline:
    return load(tiny_weights)


@pytest.fixture(scope="module")
def emotional(emotional_weights: Path) -> FacePipeline:
    return load(emotional_weights)


@pytest.fixture(scope="module")
def mask_noise(tiny_mask_noise: Path) -> FacePipeline:
    return load(tiny_mask_noise)


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    return write_voice(tmp_path / "voice.wav", 0.3)


def picture() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def identity() -> Floats:
    return mean_mesh(EYES_PX, WIDTH / 2, HEIGHT / 2)


def track(num_frames: int) -> LandmarkTrack:
    points = identity() + np.arange(num_frames, dtype=np.float32)[:, None, None] / 4
    return LandmarkTrack(points, FPS, (WIDTH, HEIGHT), "drawn")


def rendered(
    pipeline: FacePipeline, audio: Path, **options: Any
) -> tuple[Floats, Pixels, Rendering]:
    """Return the meshes, the frames, and what is known about them."""
    seen: list[Floats] = []
    rendering = animate(
        pipeline, picture(), identity(), audio, fps=FPS, windows_seen=seen, **options
    )
    frames = np.stack(list(rendering.frames))
    assert len(frames) == rendering.num_frames == sum(map(len, seen))
    return np.concatenate(seen), frames, rendering


def test_frames_come_one_by_one_with_the_facts(plain: FacePipeline, audio: Path) -> None:
    points, frames, rendering = rendered(plain, audio)
    assert rendering.facts == {"speech": True, "silent": False}
    assert points.shape == (8, 478, 3)
    assert frames.shape == (8, HEIGHT, WIDTH, 3)
    assert frames.dtype == np.uint8


def test_seeds_of_motion_and_of_sampling_are_two_settings(plain: FacePipeline, audio: Path) -> None:
    points, frames, _ = rendered(plain, audio)
    other, moved, _ = rendered(plain, audio, motion=MotionOptions(seed=1))
    assert np.abs(other - points).max() > 0.01
    assert not np.array_equal(moved, frames)
    same, sampled, _ = rendered(plain, audio, sampler=SamplerOptions(num_steps=2, seed=1))
    assert np.array_equal(same, points)
    assert not np.array_equal(sampled, frames)


def test_a_track_is_followed_as_it_is_and_its_last_frame_is_held(
    plain: FacePipeline, mask_noise: FacePipeline, audio: Path
) -> None:
    given = track(5)
    expected = np.concatenate([given.points, np.repeat(given.points[4:], 3, axis=0)])
    points, _, rendering = rendered(plain, audio, track=given)
    assert np.array_equal(points, expected)
    assert rendering.facts == {}
    frames = {}
    for name in ("happy", "neutral"):
        points, frames[name], rendering = rendered(mask_noise, audio, track=given, emotion=name)
        assert np.array_equal(points, expected)  # the emotion conditions the network only
        assert rendering.facts == {"emotion": name}
    assert not np.array_equal(frames["happy"], frames["neutral"])


# Emotions.


def test_a_face_is_left_as_it_is_unless_an_emotion_is_named(
    plain: FacePipeline, emotional: FacePipeline, audio: Path
) -> None:
    points, frames, rendering = rendered(emotional, audio)
    assert "emotion" not in rendering.facts
    others = {
        None: rendered(plain, audio),
        "neutral": rendered(emotional, audio, emotion="neutral"),
    }
    for name, (same_points, same_frames, other) in others.items():
        assert np.array_equal(same_points, points)
        assert np.array_equal(same_frames, frames)
        assert other.facts.get("emotion") == name


def test_a_happy_face_has_a_wide_mouth(
    emotional: FacePipeline, mask_noise: FacePipeline, audio: Path
) -> None:
    for pipeline in (emotional, mask_noise):
        still = MotionOptions(pose="still", blink_per_minute=0)
        neutral, calm, _ = rendered(pipeline, audio, motion=still, emotion="neutral")
        happy, smiling, rendering = rendered(pipeline, audio, motion=still, emotion="happy")
        assert rendering.facts["emotion"] == "happy"
        wider = (mouth_width(happy) - mouth_width(neutral)) * EYES_PX
        assert wider == pytest.approx(np.full(8, 0.2 * EYES_PX), rel=0.1)
        changed = np.flatnonzero((smiling != calm).any((0, -1)).any(1))
        assert changed.min() > identity()[[33, 263], 1].mean()


def test_auto_is_the_emotion_of_the_voice(
    emotional: FacePipeline, mask_noise: FacePipeline, tmp_path: Path
) -> None:
    silence = write_silence(tmp_path / "silence.wav", 0.3)
    for pipeline in (emotional, mask_noise):
        assert rendered(pipeline, silence, emotion="auto")[2].facts["emotion"] == "neutral"
        found = emotion_probabilities(pipeline, voice(2.0), "auto")
        assert found is not None
        assert float(found.sum()) == pytest.approx(1)
        assert found[EMOTIONS.index("contempt")] == 0  # not measured
        assert 0 < float(found.max()) < 1
    assert emotion_probabilities(emotional, voice(0.3), None) is None
    default, auto = (emotion_probabilities(mask_noise, voice(2.0), n) for n in (None, "auto"))
    assert default is not None
    assert auto is not None
    assert np.array_equal(default, auto)


def test_an_emotion_that_cannot_be_shown_is_refused(
    plain: FacePipeline, emotional: FacePipeline, audio: Path
) -> None:
    with pytest.raises(WeightsError, match="these weights have no emotions: leave the emotion out"):
        rendered(plain, audio, emotion="happy")
    with pytest.raises(WeightsError, match="these weights have no contempt face"):
        rendered(emotional, audio, emotion="contempt")
    with pytest.raises(TalkheadError, match=r"must be one of auto, angry.* not 'bored'"):
        rendered(emotional, audio, emotion="bored")


# Dubbing.


def video(num_frames: int) -> tuple[FaceTrack, list[Pixels]]:
    """Return a still face in the middle of a video, and the frames."""
    meshes = np.repeat(identity()[None], num_frames, axis=0)
    stretches = [Stretch(0, num_frames - 1, fades_in=False, fades_out=False)]
    faces = FaceTrack(FPS, (WIDTH, HEIGHT), 1, stretches, "test", meshes)
    return faces, [picture() for _ in range(num_frames)]


def test_a_video_is_dubbed_and_frames_without_a_face_are_counted(
    plain: FacePipeline, audio: Path
) -> None:
    faces, frames = video(8)
    rendering = dub(plain, faces, (each for each in enumerate(frames)), audio, fps=FPS, total=8)
    dubbed = list(rendering.frames)
    assert len(dubbed) == rendering.num_frames == 8
    assert [np.array_equal(*pair) for pair in zip(dubbed, frames, strict=True)] == [
        *[False] * 7,
        True,
    ]
    assert rendering.facts == {
        "shots": 1,
        "uncertain_shots": 0,
        "frames_without_face": 1,
        "speech": True,
        "silent": False,
    }


def test_a_track_is_dubbed_into_a_video(plain: FacePipeline, audio: Path) -> None:
    faces, frames = video(8)

    def dubbed(given: LandmarkTrack | None) -> Pixels:
        playing = (each for each in enumerate(frames))
        made = dub(plain, faces, playing, audio, fps=FPS, total=8, track=given)
        dubbed = np.stack(list(made.frames))
        assert ("speech" in made.facts) == (given is None)
        return dubbed

    followed = dubbed(track(8))
    assert not np.array_equal(followed, dubbed(track(1)))
    assert not np.array_equal(followed, dubbed(None))


def test_only_the_default_system_dubs(mask_noise: FacePipeline, audio: Path) -> None:
    faces, frames = video(8)
    with pytest.raises(WeightsError, match="mask-noise animates pictures only"):
        dub(mask_noise, faces, (each for each in enumerate(frames)), audio, fps=FPS, total=8)

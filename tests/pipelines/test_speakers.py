"""Several people in one call: a dictionary of faces and sounds."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from talkhead.audio2landmarks.animation import MotionOptions, predict_speech
from talkhead.errors import NoFaceError, TalkheadError
from talkhead.geometry.face_areas import face_areas
from talkhead.geometry.mesh import mouth_opening
from talkhead.media.audio_clip import AudioClip
from talkhead.media.video import probe_video
from talkhead.pipelines import FacePipeline, TalkheadPipeline, export_to_video
from talkhead.pipelines.speakers import render_speakers
from talkhead.pipelines.stages import PictureFace, animate, move_face
from tests.drawn_face import draw_face
from tests.meshes import mean_mesh
from tests.tiny import level_of, voice, write_voice

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
FPS = Fraction(25)
SIDE = 160
SIZE = (320, 170)


@pytest.fixture(scope="module")
def pipeline(tiny_weights: Path) -> TalkheadPipeline:
    return TalkheadPipeline.from_folder(
        tiny_weights, device=torch.device("cpu"), dtype=torch.float32
    )


def clip(seconds: float, seed: int) -> AudioClip:
    return AudioClip.from_samples(voice(seconds, seed), 16_000)


def people() -> list[PictureFace]:
    picture = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3)).astype(np.uint8)
    meshes = [mean_mesh(36, 90, 80), mean_mesh(36, 225, 85)]
    areas = face_areas(meshes, SIZE)
    return [PictureFace(picture, mesh, area=area) for mesh, area in zip(meshes, areas, strict=True)]


def test_each_person_looks_as_alone_with_their_own_sound_and_seed(
    pipeline: FacePipeline,
) -> None:
    faces, clips = people(), [clip(0.6, 1), clip(0.6, 2)]
    made = render_speakers(pipeline, faces, clips, fps=FPS, motion=MotionOptions(seed=4))
    both = np.stack(list(made.frames))
    assert made.num_frames == len(both) == 15
    assert [set(each) for each in made.facts["speakers"]] == [{"speech", "silent"}] * 2
    for number, face in enumerate(faces):
        alone = animate(
            pipeline, face, clips[number], fps=FPS, motion=MotionOptions(seed=4 + number)
        )
        assert face.area is not None
        left, top, right, bottom = face.area
        own = slice(None), slice(top, bottom), slice(left, right)
        # The noise of the latents has the sampler's seed, of which one step takes next to nothing.
        frames = np.stack(list(alone.frames))
        assert np.abs(both[own].astype(int) - frames[own]).max() <= 3


def test_who_has_finished_rests_but_stays_alive(pipeline: FacePipeline) -> None:
    face = people()[0]
    options = MotionOptions(blink_per_minute=0)
    moving, total, _ = move_face(
        pipeline, face, clip(0.6, 1), fps=FPS, motion=options, least_frames=75
    )
    meshes = np.concatenate(list(moving.windows))
    assert total == len(meshes) == 75
    speech = predict_speech(pipeline.landmark_generator, clip(0.6, 1), face.identity, FPS)
    longer = speech.lasting(75)
    assert np.array_equal(longer.coefficients[:15], speech.coefficients)
    assert not longer.coefficients[25:].any()
    opening = mouth_opening(meshes)
    assert np.ptp(opening[:15]) > 5 * np.ptp(opening[25:])
    nose = meshes[25:, 1, :2]
    assert np.abs(np.diff(nose, axis=0)).max() > 0.01  # the head still moves


@pytest.fixture
def picture(detector_is_here: None) -> Pixels:
    face = draw_face(SIDE)
    return np.concatenate([face, face[:, ::-1]], axis=1)


def test_a_dictionary_of_sounds_makes_a_video_with_all_of_them(
    pipeline: TalkheadPipeline, picture: Pixels, tmp_path: Path
) -> None:
    path = write_voice(tmp_path / "a.wav", 0.3, 1)
    output = pipeline(picture, {"left": path, "right": voice(0.5, 2)}, seed=3)
    assert isinstance(output.frames, np.ndarray)
    assert output.frames.shape == (13, SIDE, 2 * SIDE, 3)
    assert output.landmarks is None
    assert isinstance(output.audio, dict)
    assert list(output.audio) == ["left", "right"]
    assert output.audio["left"] == path
    made = export_to_video(output, tmp_path / "o.mp4")
    assert float(probe_video(made).duration_s) == pytest.approx(0.52, abs=0.05)
    assert level_of(made) > level_of(path)
    streamed = pipeline(
        picture,
        {"left": path, "right": voice(0.5, 2)},
        seed=3,
        output_type="generator",
    )
    again = [np.asarray(frame) for frame in streamed.frames]
    assert np.array_equal(np.stack(again), output.frames)


def test_what_cannot_be_is_refused(pipeline: TalkheadPipeline, picture: Pixels) -> None:
    sound = voice(0.2)
    for sounds, words in (
        ({}, "audio has 0 sounds"),
        ({"left": sound, "1": sound}, "left and 1 are the same face"),
        ({"left": sound, "middle": sound}, "cannot choose a face by 'middle'"),
        ({"left": sound, "3": sound}, "no face 3"),
    ):
        with pytest.raises(TalkheadError) as caught:
            pipeline(picture, sounds)
        assert words in str(caught.value)
    with pytest.raises(TalkheadError, match="for one face"):
        pipeline(picture, {"left": sound}, choose="left")
    with pytest.raises(NoFaceError):
        pipeline(np.full((SIDE, SIDE, 3), 128, np.uint8), {"left": sound})
    with pytest.raises(TypeError, match="not a text"):
        pipeline(picture, {1: sound})  # type: ignore[dict-item]

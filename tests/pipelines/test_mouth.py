"""A pipeline with a mouth denoiser."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from talkhead.geometry.mesh import mouth_opening
from talkhead.landmarks2video.sampling import SamplerOptions
from talkhead.media.audio_clip import AudioClip
from talkhead.media.video import VideoWriter
from talkhead.pipelines import TalkheadPipeline
from talkhead.pipelines.stages import PictureFace, VideoFace, animate, dub
from talkhead.tracking.face_track import FaceTrack, Stretch
from talkhead.tracking.landmark_track import LandmarkTrack
from talkhead.weights.systems import paths_in, pipeline_files
from tests.meshes import mean_mesh, opened
from tests.tiny import tiny_mouth_denoiser, tiny_pipeline, write_silence

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
CPU = torch.device("cpu")
FPS = Fraction(25)
WIDTH, HEIGHT = 200, 176
COUNT = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pipeline with a mouth denoiser."""
    whole = tiny_pipeline()
    whole.register_modules(mouth_denoiser=tiny_mouth_denoiser())
    place = tmp_path_factory.mktemp("weights") / "mouth"
    whole.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> TalkheadPipeline:
    return TalkheadPipeline.from_folder(folder, device=CPU, dtype=torch.float32)


@pytest.fixture
def audio(tmp_path: Path) -> AudioClip:
    return AudioClip.open(write_silence(tmp_path / "silence.wav", COUNT / 25))


def picture() -> Pixels:
    noise = np.random.default_rng(0).integers(90, 160, (HEIGHT, WIDTH, 3))
    return noise.astype(np.uint8)


def speaking(*openings: float) -> LandmarkTrack:
    face = mean_mesh(50, WIDTH / 2, HEIGHT / 2 - 20)
    points = np.stack([opened(face, by) for by in openings])
    return LandmarkTrack(points, FPS, (WIDTH, HEIGHT), "test")


def frames(pipeline: TalkheadPipeline, audio: AudioClip, seed: int = 0, steps: int = 2) -> Pixels:
    """Render four frames of an opening mouth."""
    track = speaking(0.0, 3.0, 6.0, 9.0)
    face = PictureFace(picture(), track.points[0])
    sampler = SamplerOptions(steps, seed=seed)
    made = animate(pipeline, face, audio, fps=FPS, track=track, sampler=sampler)
    return np.stack(list(made.frames))


def test_its_folder_is_whole(folder: Path) -> None:
    assert "mouth_denoiser/config.json" in pipeline_files(paths_in(folder))


def test_another_seed_has_other_teeth_in_the_same_face(
    pipeline: TalkheadPipeline, audio: AudioClip
) -> None:
    one, other = frames(pipeline, audio), frames(pipeline, audio, seed=1)
    assert np.array_equal(one, frames(pipeline, audio))
    changed = (one != other).any(-1)
    lips = speaking(9.0).points[0, [78, 308, 13, 14], :2]
    rows, columns = changed[3].nonzero()
    assert rows.size > 20
    assert rows.min() > lips[2, 1] - 7
    assert rows.max() < lips[3, 1] + 7
    assert columns.min() > lips[0, 0] - 7
    assert columns.max() < lips[1, 0] + 7


def test_steps_are_those_of_the_mouth(pipeline: TalkheadPipeline, audio: AudioClip) -> None:
    changed = (frames(pipeline, audio) != frames(pipeline, audio, steps=5)).any(-1)
    assert 0 < changed[3].mean() < 0.05


def test_without_it_the_rest_of_the_face_is_the_same(
    pipeline: TalkheadPipeline, audio: AudioClip, folder: Path
) -> None:
    plain = TalkheadPipeline.from_folder(
        folder, device=CPU, dtype=torch.float32, mouth_denoiser=None
    )
    assert plain.renderer().painter is None
    changed = (frames(pipeline, audio) != frames(plain, audio, steps=1)).any(-1)
    assert 0 < changed[3].mean() < 0.05


def test_a_dubbed_mouth_refers_to_one_that_the_video_shows_opened(
    pipeline: TalkheadPipeline, audio: AudioClip, tmp_path: Path
) -> None:
    points = speaking(0.0, 2.0, 8.0, 1.0).points

    def dubbed(teeth: int) -> Pixels:
        """Dub a video whose widely opened mouth has a colour."""
        path = tmp_path / f"{teeth}.mp4"
        with VideoWriter(path, size=(WIDTH, HEIGHT), fps=FPS, sound=None) as writer:
            for index in range(COUNT):
                frame = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
                if index == 2:
                    y, x = points[2, [13, 14, 78, 308]][:, 1], points[2, [78, 308]][:, 0]
                    frame[int(y[0]) : int(y[1]), int(x[0]) : int(x[1])] = teeth
                writer.write(frame)
        stretch = Stretch(0, COUNT, False, False)
        track = FaceTrack(FPS, (WIDTH, HEIGHT), 1, [stretch], "test", points.copy())
        assert mouth_opening(points).argmax() == track.speaking_frame() == 2
        face = VideoFace(path, track, "hold")
        made = dub(pipeline, face, audio, fps=FPS, track=speaking(*[6.0] * COUNT))
        return np.stack(list(made.frames))

    bright, dark = dubbed(240), dubbed(20)
    first = (bright[0].astype(int) - dark[0]).max()
    assert first > 8, "frame 0 is the same in both videos, but not its teeth"

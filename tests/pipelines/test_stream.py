from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from talkhead import TalkheadPipeline
from talkhead.errors import TalkheadError, WeightsError
from talkhead.media.video import VideoWriter
from talkhead.pipelines.live_stream import FaceStream
from talkhead.pipelines.stages import PictureFace
from tests.drawn_face import draw_face
from tests.meshes import mean_mesh
from tests.tiny import tiny_mask_noise_pipeline, tiny_mouth_denoiser, tiny_pipeline, voice

SIDE = 96
FACE = PictureFace(
    np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8),
    mean_mesh(26, SIDE / 2, SIDE / 2),
)
Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def pipeline() -> TalkheadPipeline:
    made = tiny_pipeline()
    made.register_modules(mouth_denoiser=tiny_mouth_denoiser())
    return made


def frames_of(
    pipeline: TalkheadPipeline, parts: list[npt.NDArray[np.float32]], rate_hz: int = 16_000
) -> Pixels:
    with FaceStream(pipeline, FACE, fps=Fraction(25), sampling_rate=rate_hz) as stream:
        frames = [frame for part in parts for frame in stream.push(part)]
        return np.stack(frames + stream.finish())


@pytest.mark.parametrize("rate_hz", [16_000, 8000, 48_000])
def test_frames_do_not_depend_on_how_the_sound_is_cut(
    pipeline: TalkheadPipeline, rate_hz: int
) -> None:
    count = round(0.9 * rate_hz)
    sound = np.interp(np.arange(count) * 16_000 / rate_hz, np.arange(16_000), voice(1.0))
    whole = frames_of(pipeline, [np.asarray(sound, np.float32)], rate_hz)
    assert whole.shape == (23, SIDE, SIDE, 3)
    cuts = np.arange(0, count, 777)[1:].tolist()
    np.testing.assert_array_equal(
        frames_of(pipeline, np.split(np.asarray(sound, np.float32), cuts), rate_hz), whole
    )
    assert np.abs(np.diff(whole.astype(int), axis=0)).mean() > 0.1


def test_frames_that_are_left_out_do_not_change_the_others(pipeline: TalkheadPipeline) -> None:
    sound = voice(0.8)
    whole = frames_of(pipeline, [sound])
    with FaceStream(pipeline, FACE, fps=Fraction(25), sampling_rate=16_000) as stream:
        due = [*stream.hear(sound), *stream.hear_end()]
        some = {frame.number: stream.render(frame) for frame in due if frame.number % 3 == 0}
    assert [frame.number for frame in due] == list(range(20))
    for number, frame in some.items():
        np.testing.assert_array_equal(frame, whole[number])


def test_a_video_is_dubbed_as_long_as_the_voice_lasts(
    pipeline: TalkheadPipeline, detector_is_here: None, tmp_path: Path
) -> None:
    video = tmp_path / "face.mp4"
    with VideoWriter(video, size=(192, 192), fps=Fraction(25), sound=None) as writer:
        writer.write(np.stack([draw_face(192)] * 6))
    with pipeline.stream(video, sampling_rate=16_000) as stream:
        frames = stream.push(voice(0.8)) + stream.finish()
    assert np.stack(frames).shape == (20, 192, 192, 3)


def test_a_picture_is_opened_and_its_stream_ends_once(
    pipeline: TalkheadPipeline, detector_is_here: None
) -> None:
    stream = pipeline.stream(draw_face(192), fps=10, seed=3)
    with stream:
        assert (stream.size, stream.fps) == ((192, 192), Fraction(10))
        assert len(stream.push(voice(0.4)) + stream.finish()) == 4
        with pytest.raises(ValueError, match="finished"):
            stream.push(voice(0.1))


def test_no_sound_makes_no_frames(pipeline: TalkheadPipeline) -> None:
    with FaceStream(pipeline, FACE, fps=Fraction(25), sampling_rate=16_000) as stream:
        assert stream.push(np.zeros(0, np.float32)) == []
        assert stream.finish() == []


def test_what_cannot_be_streamed_is_refused(pipeline: TalkheadPipeline) -> None:
    face = draw_face(192)
    with pytest.raises(TalkheadError, match="name one"):
        pipeline.stream(face, emotion="auto")
    with pytest.raises(WeightsError, match="no emotions"):
        pipeline.stream(face, emotion="happy")
    with pytest.raises(TalkheadError, match="loop"):
        pipeline.stream(face, loop="error")  # type: ignore[arg-type]
    with pytest.raises(TalkheadError, match="sampling_rate"):
        pipeline.stream(face, sampling_rate=100)
    with pytest.raises(WeightsError, match="default weights live"):
        tiny_mask_noise_pipeline().stream(face)
    stream = FaceStream(pipeline, FACE, fps=Fraction(25), sampling_rate=16_000)
    with stream, pytest.raises(ValueError, match="mix the channels"):
        stream.push(np.zeros((5, 2), np.float32))

import dataclasses
import os
import subprocess
import sys
import weakref
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import talkhead
from talkhead.audio2landmarks.animation import animate, predict_speech
from talkhead.errors import NoFaceError, TalkheadError
from talkhead.landmarks2video.renderer import render_frames
from talkhead.media.audio_clip import AudioClip
from talkhead.pipelines import TalkheadPipeline, TalkheadPipelineOutput
from talkhead.tracking.face_detector import FaceDetector
from talkhead.tracking.landmark_track import LandmarkTrack
from tests.meshes import mean_mesh
from tests.pipelines.outputs import FACE, NUM_FRAMES, VOICE, pixels, streamed
from tests.tiny import voice

pytestmark = pytest.mark.usefixtures("detector_is_here")
CPU = torch.device("cpu")


def track_of(output: TalkheadPipelineOutput) -> LandmarkTrack:
    assert output.landmarks is not None
    return output.landmarks


# Outputs.


def test_the_output_says_what_was_made(output: TalkheadPipelineOutput, tiny_weights: Path) -> None:
    assert isinstance(output.frames, np.ndarray)
    assert output.frames.dtype == np.uint8
    assert output.frames.shape == (NUM_FRAMES, 256, 256, 3)
    assert track_of(output).points.shape == (NUM_FRAMES, 478, 3)
    assert track_of(output).fps == output.fps == 25
    assert track_of(output).size == output.size == (256, 256)
    assert output.num_frames == NUM_FRAMES
    assert isinstance(output.audio, np.ndarray)
    assert np.array_equal(output.audio, VOICE)
    assert (output.sampling_rate, output.seed) == (16_000, 0)
    assert output.weights == str(tiny_weights)


def test_fields_are_found_as_in_outputs_of_diffusers(output: TalkheadPipelineOutput) -> None:
    assert output[0] is output["frames"] is output.frames
    names = output.keys()
    assert output.to_tuple() == tuple(output[name] for name in names)
    with pytest.raises(KeyError, match="images"):
        output["images"]


def test_frames_are_those_of_the_functions_beneath(
    output: TalkheadPipelineOutput, tiny_weights: Path, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "voice.wav", VOICE, 16_000, subtype="FLOAT")
    below = TalkheadPipeline.from_folder(tiny_weights, device=CPU, dtype=torch.float32)
    with FaceDetector() as detector:
        (identity,) = detector.detect(FACE)
    speech = predict_speech(
        below.landmark_generator, AudioClip.open(tmp_path / "voice.wav"), identity
    )
    windows = animate(below.landmark_generator, identity, speech)
    made = np.concatenate(list(render_frames(below.renderer(), FACE.copy(), identity, windows)))
    assert np.array_equal(pixels(output), made)


def test_every_kind_of_output_has_the_same_frames(
    pipeline: TalkheadPipeline, output: TalkheadPipelineOutput
) -> None:
    pictures = pipeline(FACE, VOICE, output_type="pil")
    assert isinstance(pictures.frames, list)
    assert isinstance(pictures.frames[0], Image.Image)
    assert np.array_equal(pixels(pictures), pixels(output))
    one_by_one = pipeline(FACE, VOICE, output_type="generator")
    assert (one_by_one.landmarks, one_by_one.num_frames) == (None, NUM_FRAMES)
    assert np.array_equal(np.stack(list(streamed(one_by_one))), pixels(output))


def test_steps_and_rate_and_motion_are_those_asked_for(
    pipeline: TalkheadPipeline, output: TalkheadPipelineOutput
) -> None:
    assert pipeline(FACE, VOICE, fps=29.97).fps == Fraction(30_000, 1001)
    assert pipeline(FACE, VOICE, fps="10").num_frames == 5
    assert not np.array_equal(pixels(pipeline(FACE, VOICE, num_inference_steps=2)), pixels(output))
    still = track_of(pipeline(FACE, VOICE, pose="still", expression_strength=0, blink_per_minute=0))
    assert np.ptp(still.points, axis=0).max() < 1e-3
    assert np.ptp(track_of(output).points, axis=0).max() > 0.1


# Inputs.


def test_a_picture_may_be_a_file_a_pil_image_or_an_array(
    pipeline: TalkheadPipeline, output: TalkheadPipelineOutput, tmp_path: Path
) -> None:
    image = Image.fromarray(FACE)
    image.save(tmp_path / "face.png")
    for given in (image, tmp_path / "face.png", str(tmp_path / "face.png")):
        assert np.array_equal(pixels(pipeline(given, VOICE)), pixels(output))


def test_a_sound_may_be_a_file_or_any_waveform(
    pipeline: TalkheadPipeline, output: TalkheadPipelineOutput, tmp_path: Path
) -> None:
    path = tmp_path / "voice.wav"
    soundfile.write(path, VOICE, 16_000, subtype="FLOAT")
    tensor = torch.from_numpy(VOICE)
    given: list[Any] = [
        path,
        str(path),
        tensor,
        tensor[None],
        tensor.expand(2, -1),
        tensor.double(),
    ]
    for audio in given:
        assert np.array_equal(pixels(pipeline(FACE, audio)), pixels(output))
    from_file = pipeline(FACE, path)
    assert (from_file.audio, from_file.sampling_rate) == (path, None)


def test_a_waveform_at_another_rate_is_resampled_as_its_file_is(
    pipeline: TalkheadPipeline, tmp_path: Path
) -> None:
    samples = (np.repeat(VOICE, 3)[:, None] * [0.9, 0.5] * 32_767).astype(np.int16)
    soundfile.write(tmp_path / "voice.wav", samples, 48_000, subtype="PCM_16")
    from_file = pipeline(FACE, tmp_path / "voice.wav")
    from_array = pipeline(FACE, samples.T, sampling_rate=48_000)
    assert from_array.num_frames == NUM_FRAMES
    assert np.array_equal(track_of(from_array).points, track_of(from_file).points)


def test_landmarks_that_are_given_back_make_the_same_frames(
    pipeline: TalkheadPipeline, output: TalkheadPipelineOutput
) -> None:
    again = pipeline(FACE, VOICE, landmarks=track_of(output))
    assert np.array_equal(pixels(again), pixels(output))
    short = dataclasses.replace(track_of(output), points=track_of(output).points[:4])
    held = track_of(pipeline(FACE, VOICE, landmarks=short))
    assert held.num_frames == NUM_FRAMES
    assert np.array_equal(held.points[4:], np.repeat(short.points[3:], NUM_FRAMES - 4, axis=0))


def test_a_seed_or_a_generator_decides_everything_random(
    pipeline: TalkheadPipeline, output: TalkheadPipelineOutput
) -> None:
    def made(number: int) -> TalkheadPipelineOutput:
        return pipeline(FACE, VOICE, generator=torch.Generator().manual_seed(number))

    first = made(5)
    assert np.array_equal(pixels(first), pixels(made(5)))
    assert np.array_equal(pixels(first), pixels(pipeline(FACE, VOICE, seed=first.seed)))
    assert not np.array_equal(pixels(first), pixels(made(6)))
    assert np.array_equal(pixels(pipeline(FACE, VOICE, seed=0)), pixels(output))
    going_on = torch.Generator().manual_seed(5)
    seeds = [pipeline(FACE, VOICE, generator=going_on).seed for _ in range(2)]
    assert seeds[0] == first.seed != seeds[1]


def test_global_generators_are_left_alone(pipeline: TalkheadPipeline) -> None:
    def states() -> tuple[bytes, str]:
        numbers = np.random.get_state(legacy=False)  # noqa: NPY002 - only inspects the state
        return torch.get_rng_state().numpy().tobytes(), repr(numbers)

    before = states()
    pipeline(FACE, VOICE, generator=torch.Generator().manual_seed(1))
    assert states() == before


# Errors.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"output_type": "latent"}, "output_type is 'latent': choose np, pil, generator"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0: choose 1 to 50"),
        ({"num_inference_steps": 51}, "num_inference_steps is 51"),
        ({"pose_strength": -0.1}, "pose_strength is -0.1: choose 0 to 3"),
        ({"expression_strength": float("nan")}, "expression_strength is nan"),
        ({"blink_per_minute": 61}, "blink_per_minute is 61: choose 0 to 60"),
        ({"fps": 0}, "frame rate '0' is out of range"),
        ({"fps": "fast"}, "frame rate 'fast' is not a number"),
        ({"pose": "dancing"}, "pose must be natural or still, not 'dancing'"),
        ({"choose": "2"}, "no face 2: 1 face was found, numbered from the left"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, "seed is 9223372036854775808"),
        ({"seed": 1, "generator": torch.Generator()}, "generator and seed are both given"),
        ({"sampling_rate": 10}, "sampling_rate is 10"),
        ({"audio": Path("nowhere.wav")}, "nowhere.wav does not exist"),
        ({"image": "nowhere.png"}, "nowhere.png does not exist"),
        ({"landmarks": LandmarkTrack(mean_mesh(40, 99, 99)[None], Fraction(25), (200, 200), "x")},
         "landmarks belong to a picture of 200 x 200 px, but image has 256 x 256"),
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_one_clear_line(
    pipeline: TalkheadPipeline, options: dict[str, Any], words: str
) -> None:
    arguments: dict[str, Any] = {"image": FACE, "audio": VOICE} | options
    with pytest.raises(TalkheadError) as caught:
        pipeline(**arguments)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_inference_steps": 1.0}, "num_inference_steps is 1.0, not a whole number"),
        ({"num_inference_steps": True}, "num_inference_steps is True"),
        ({"pose_strength": "1"}, "pose_strength is '1', not a number"),
        ({"fps": [25]}, "fps is a list"),
        ({"pose": Path("head.npz")}, "pose is a "),
        ({"landmarks": np.zeros((3, 478, 3))}, "landmarks are a ndarray, not a LandmarkTrack"),
        ({"seed": 0.5}, "seed is 0.5, not a whole number"),
        ({"generator": [torch.Generator()]}, "generator is a list, not a torch.Generator"),
        ({"audio": [0.0] * 16_000}, "audio is a list"),
        ({"image": FACE / 255}, "image is float64"),
    ],
)
def test_what_is_of_another_type_is_a_type_error(
    pipeline: TalkheadPipeline, options: dict[str, Any], words: str
) -> None:
    arguments: dict[str, Any] = {"image": FACE, "audio": VOICE} | options
    with pytest.raises(TypeError) as caught:
        pipeline(**arguments)
    assert str(caught.value).startswith(words)


def test_a_picture_without_a_face_says_so(pipeline: TalkheadPipeline) -> None:
    with pytest.raises(NoFaceError, match="no face found"):
        pipeline(np.full((128, 128, 3), 120, np.uint8), VOICE)


# Streaming frames.


def test_frames_that_were_read_are_let_go(pipeline: TalkheadPipeline) -> None:
    windows: list[weakref.ref[Any]] = []
    most_alive = 0
    made = streamed(pipeline(FACE, voice(8.0), output_type="generator"))
    for frame in made:
        if not windows or windows[-1]() is not frame.base:
            windows.append(weakref.ref(frame.base))
        most_alive = max(most_alive, sum(window() is not None for window in windows))
    assert len(windows) >= 12  # 200 frames, at most 16 at a time
    assert most_alive <= 2


def test_a_process_that_stops_reading_frames_ends_well(tiny_weights: Path, tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from talkhead import TalkheadPipeline
from tests.drawn_face import draw_face
from tests.tiny import voice

pipeline = TalkheadPipeline.from_pretrained({str(tiny_weights)!r}, device="cpu")
output = pipeline(draw_face(256), voice(20.0), output_type="generator")
next(output.frames)
print("read one")
"""
    top = Path(talkhead.__file__).parents[1]
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(top)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "read one\n"), ended.stderr


def test_the_bar_is_off_until_it_is_asked_for(
    tiny_weights: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pipeline = TalkheadPipeline.from_pretrained(tiny_weights, device="cpu")
    pipeline(FACE, VOICE)
    assert capfd.readouterr() == ("", "")
    pipeline.set_progress_bar_config(disable=False)
    pipeline(FACE, VOICE)
    out, err = capfd.readouterr()
    assert out == ""
    assert "13/13" in err

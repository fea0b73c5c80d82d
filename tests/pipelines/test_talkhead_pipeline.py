import dataclasses
import hashlib
import os
import subprocess
import sys
import weakref
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch
from PIL import Image

import talkhead
from talkhead.audio2landmarks.animation import animate, predict_speech
from talkhead.errors import NoFaceError, TalkheadError, WeightsError
from talkhead.landmarks2video.renderer import render_frames
from talkhead.media import ffmpeg
from talkhead.media.audio_clip import AudioClip
from talkhead.media.video import probe_video, read_frames
from talkhead.pipelines import TalkheadPipeline, TalkheadPipelineOutput, export_to_video
from talkhead.tracking.face_detector import FaceDetector
from talkhead.tracking.landmark_track import LandmarkTrack
from talkhead.weights import installed_list, resolve_weights
from talkhead.weights.systems import TENSORS_NAME
from tests.drawn_face import draw_face
from tests.meshes import mean_mesh
from tests.tiny import voice, write_tiny_weights

Pixels = npt.NDArray[np.uint8]
pytestmark = pytest.mark.usefixtures("detector_is_here")
FACE = draw_face(256)
VOICE = voice(0.5)
NUM_FRAMES = 13  # half a second, rounded up
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pipeline(tiny_weights: Path) -> TalkheadPipeline:
    return TalkheadPipeline.from_pretrained(tiny_weights, device="cpu")


@pytest.fixture(scope="module")
def output(pipeline: TalkheadPipeline) -> TalkheadPipelineOutput:
    return pipeline(FACE, VOICE)


def pixels(output: TalkheadPipelineOutput) -> Pixels:
    return np.stack([np.asarray(frame) for frame in output.frames])


def streamed(output: TalkheadPipelineOutput) -> Generator[Pixels, None, None]:
    assert isinstance(output.frames, Generator)
    return output.frames


def track_of(output: TalkheadPipelineOutput) -> LandmarkTrack:
    assert output.landmarks is not None
    return output.landmarks


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# Outputs.


def test_the_output_says_what_was_made(output: TalkheadPipelineOutput, tiny_weights: Path) -> None:
    assert isinstance(output.frames, np.ndarray)
    assert output.frames.dtype == np.uint8
    assert output.frames.shape == (NUM_FRAMES, 256, 256, 3)
    assert track_of(output).points.shape == (NUM_FRAMES, 478, 3)
    assert track_of(output).fps == output.fps == 25
    assert track_of(output).size == output.size == (256, 256)
    assert output.num_frames == NUM_FRAMES
    assert not isinstance(output.audio, Path)
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
        ({"fps": None}, "fps is a NoneType"),
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
    made = streamed(pipeline(FACE, voice(4.0), output_type="generator"))
    for frame in made:
        if not windows or windows[-1]() is not frame.base:
            windows.append(weakref.ref(frame.base))
        most_alive = max(most_alive, sum(window() is not None for window in windows))
    assert len(windows) >= 12  # 100 frames, at most 8 at a time
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


# Folders.


def test_a_saved_pipeline_has_the_same_tensors_and_makes_the_same_frames(
    pipeline: TalkheadPipeline, output: TalkheadPipelineOutput, tiny_weights: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "mine"
    pipeline.save_pretrained(folder)
    assert listing(tmp_path / "new") == [
        "mine",
        *(f"mine/{name}" for name in listing(tiny_weights)),
    ]
    assert resolve_weights(folder) == folder  # as --weights does
    assert digests(folder) == digests(tiny_weights)
    assert np.array_equal(
        pixels(TalkheadPipeline.from_pretrained(folder)(FACE, VOICE)), pixels(output)
    )


def test_the_published_weights_saved_as_float16_are_the_published_files(tmp_path: Path) -> None:
    TalkheadPipeline.from_pretrained(device="cpu").save_pretrained(
        tmp_path / "copy", torch_dtype=torch.float16
    )
    expected = digests(installed_list().checkpoints / "talkhead")
    assert digests(tmp_path / "copy") == expected  # including the model cards


def test_saving_replaces_networks_and_leaves_other_files(
    pipeline: TalkheadPipeline, tmp_path: Path
) -> None:
    folder = write_tiny_weights(tmp_path / "mine")
    (folder / "denoiser" / "notes.txt").write_text("mine")
    (folder / "denoiser" / TENSORS_NAME).write_bytes(b"old")
    pipeline.save_pretrained(folder)
    assert (folder / "denoiser" / "notes.txt").read_text() == "mine"
    TalkheadPipeline.from_pretrained(folder)


def test_a_folder_that_cannot_be_written_is_one_line_and_leaves_nothing(
    pipeline: TalkheadPipeline, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(TalkheadError, match="mine cannot be written"):
        pipeline.save_pretrained(tmp_path / "file" / "mine")
    with pytest.raises(TalkheadError, match="file is not a folder: choose another"):
        pipeline.save_pretrained(tmp_path / "file")
    assert listing(tmp_path) == ["file"]


def test_weights_that_are_not_there_are_refused(tiny_weights: Path) -> None:
    with pytest.raises(WeightsError, match="no weights named 'nonsense'"):
        TalkheadPipeline.from_pretrained("nonsense")
    with pytest.raises(WeightsError, match=r"is not a pipeline: it has no model_index\.json"):
        TalkheadPipeline.from_pretrained(tiny_weights / "denoiser")


# Devices.


def test_device_and_precision_are_told_and_changed(tiny_weights: Path) -> None:
    pipeline = TalkheadPipeline.from_pretrained(tiny_weights, device="cpu", torch_dtype="bfloat16")
    assert (pipeline.device, pipeline.dtype) == (CPU, torch.bfloat16)
    assert pipeline.to(torch.float32) is pipeline
    assert pipeline.to("cpu", torch.bfloat16).dtype == torch.bfloat16
    assert pipeline.to(device=CPU, dtype=torch.float32).dtype == torch.float32
    with pytest.raises(TalkheadError, match=r"the networks do not support torch\.int8"):
        pipeline.to(torch.int8)
    with pytest.raises(TalkheadError, match="unknown device 'gpu'"):
        pipeline.to("gpu")
    with pytest.raises(TalkheadError, match="unknown precision 'half'"):
        TalkheadPipeline.from_pretrained(tiny_weights, torch_dtype="half")
    assert (pipeline.device, pipeline.dtype) == (CPU, torch.float32)


def test_in_bfloat16_frames_are_nearly_the_same(
    tiny_weights: Path, output: TalkheadPipelineOutput
) -> None:
    pipeline = TalkheadPipeline.from_pretrained(
        tiny_weights, device="cpu", torch_dtype=torch.bfloat16
    )
    difference = np.abs(pixels(pipeline(FACE, VOICE)).astype(int) - pixels(output))
    assert 0 < difference.mean() < 1


# Videos.


def test_a_video_has_frames_sound_and_the_note(
    output: TalkheadPipelineOutput, tiny_weights: Path, tmp_path: Path
) -> None:
    path = export_to_video(output, tmp_path / "out.mp4", crf=0)
    info = probe_video(path)
    assert (info.width, info.height, info.has_audio) == (256, 256, True)
    assert info.fps == 25
    read = np.stack(list(read_frames(path)))
    assert len(read) == NUM_FRAMES
    assert np.abs(read.astype(int) - pixels(output)).mean() < 3  # encoding loses colour detail
    assert float(AudioClip.open(path).duration_s) == pytest.approx(0.5, abs=0.07)
    messages = ffmpeg.run_ffmpeg(ffmpeg.list_streams_args(path))[2]
    assert f"Synthetic: made by talkhead {talkhead.__version__}, weights unlisted, " in messages
    assert str(tiny_weights) not in messages


def test_the_video_of_a_generator_of_pictures_and_of_arrays_is_the_same(
    pipeline: TalkheadPipeline, output: TalkheadPipelineOutput, tmp_path: Path
) -> None:
    expected = export_to_video(output, tmp_path / "np.mp4").read_bytes()
    for kind in ("pil", "generator"):
        made = pipeline(FACE, VOICE, output_type=kind)
        assert export_to_video(made, str(tmp_path / f"{kind}.mp4")).read_bytes() == expected


def test_frames_that_were_read_before_are_missed_and_nothing_is_written(
    pipeline: TalkheadPipeline, tmp_path: Path
) -> None:
    output = pipeline(FACE, VOICE, output_type="generator")
    next(streamed(output))
    with pytest.raises(TalkheadError, match=r"would have 12 of 13 frames, .* were already read"):
        export_to_video(output, tmp_path / "out.mp4")
    assert listing(tmp_path) == []


def test_a_video_that_is_there_is_replaced_only_if_asked(
    output: TalkheadPipelineOutput, tmp_path: Path
) -> None:
    path = tmp_path / "out.mp4"
    path.write_text("mine")
    with pytest.raises(TalkheadError, match="exists"):
        export_to_video(output, path)
    assert path.read_text() == "mine"
    export_to_video(output, path, overwrite=True)
    assert probe_video(path).width == 256


def test_odd_sizes_and_stereo_become_a_video(pipeline: TalkheadPipeline, tmp_path: Path) -> None:
    stereo = np.repeat(VOICE, 3)[None] * np.array([[1], [0.5]], np.float32)
    output = pipeline(FACE[:255, :253], stereo, sampling_rate=48_000)
    assert (output.size, pixels(output).shape[1:3]) == ((253, 255), (255, 253))
    path = export_to_video(output, tmp_path / "out.mp4")
    assert (probe_video(path).width, probe_video(path).height) == (252, 254)
    streams = ffmpeg.run_ffmpeg(ffmpeg.list_streams_args(path))[2]
    assert "48000 Hz, stereo" in streams

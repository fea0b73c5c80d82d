from pathlib import Path

import numpy as np
import pytest

import talkhead
from talkhead.errors import TalkheadError
from talkhead.media import ffmpeg
from talkhead.media.audio_clip import AudioClip
from talkhead.media.video import probe_video, read_frames
from talkhead.pipelines import TalkheadPipeline, TalkheadPipelineOutput, export_to_video
from tests.pipelines.outputs import FACE, NUM_FRAMES, VOICE, listing, pixels, streamed

pytestmark = pytest.mark.usefixtures("detector_is_here")


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

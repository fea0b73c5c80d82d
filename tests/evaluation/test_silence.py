import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from talkhead.data.clips import Clip, encode_frames, read_manifest, write_clip, write_manifest
from talkhead.errors import TalkheadError
from talkhead.evaluation.aggregate import aggregate_scores, write_report
from talkhead.evaluation.clip_scoring import score_videos
from talkhead.evaluation.landmark_metrics import inner_opening
from talkhead.evaluation.nonspeech import SOUNDS, music
from talkhead.evaluation.plan import Plan, begin
from talkhead.evaluation.scores import IDENTITY, REAL
from talkhead.evaluation.silence import OWN_SPEECH, score_moving_mouths, silence_generators
from talkhead.evaluation.systems import EvalClip
from talkhead.evaluation.tables import NEVER_SEEN
from talkhead.evaluation.video_scorer import FrameScores
from talkhead.evaluation.videos import generate_videos
from talkhead.media.audio_clip import AudioClip
from talkhead.pipelines import FacePipeline, TalkheadPipeline
from talkhead.tracking.face_detector import FaceDetector
from talkhead.weights import resolve_weights
from tests.evaluation.talking_video import batches, read_all, talking_frames, written
from tests.prepared import describe_clip, voice

Pixels = npt.NDArray[np.uint8]

NUM_FRAMES = 50
pytestmark = pytest.mark.usefixtures("detector_is_here")


@pytest.fixture(scope="module")
def frames() -> Pixels:
    return talking_frames(NUM_FRAMES)


@pytest.fixture(scope="module")
def eval_clip(frames: Pixels) -> EvalClip:
    """A face that talks and makes a noise all the time."""
    with FaceDetector(video=True) as detector:
        points = np.stack([detector.detect(frame)[0] for frame in frames])
    jpeg, offsets = encode_frames(list(frames))
    sound = voice(np.full(NUM_FRAMES, 0.05, np.float32), 0)
    clip = Clip(
        landmarks=points,
        crops=np.tile(np.array([128, 128, 256], np.float32), (NUM_FRAMES, 1)),
        waveform=(sound * 32767).round().clip(-32768, 32767).astype(np.int16),
        jpeg=jpeg,
        jpeg_offsets=offsets,
    )
    return EvalClip(describe_clip("face", clip, split="dev"), clip)


def share_of(eval_clip: EvalClip, frames: Pixels, folder: Path) -> float:
    """Return the share of frames with a moving mouth, in percent, after the codec."""
    coded = read_all(written(folder, "video", frames, crf=18))
    result = score_moving_mouths(eval_clip, {"video": iter(batches(coded))})["video"]
    assert isinstance(result, FrameScores)
    return result.values["moving_share"]


def test_a_still_video_does_not_move_and_a_talking_one_does(
    eval_clip: EvalClip, frames: Pixels, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("still", "half", "talking")]
    for folder in folders:
        folder.mkdir()
    assert share_of(eval_clip, np.repeat(frames[:1], NUM_FRAMES, 0), folders[0]) == 0
    half = NUM_FRAMES // 2
    stops = np.concatenate([frames[:half], np.repeat(frames[half - 1 : half], half, 0)])
    assert 40 <= share_of(eval_clip, stops, folders[1]) <= 56
    assert share_of(eval_clip, frames, folders[2]) >= 80


def test_frames_in_which_the_real_person_pauses_do_not_count(
    eval_clip: EvalClip, frames: Pixels
) -> None:
    half = NUM_FRAMES // 2
    waveform = eval_clip.clip.waveform.copy()
    waveform[len(waveform) // 2 :] = 0
    paused = EvalClip(eval_clip.info, dataclasses.replace(eval_clip.clip, waveform=waveform))
    stops = np.concatenate([frames[:half], np.repeat(frames[half - 1 : half], half, 0)])
    result = score_moving_mouths(paused, {"video": iter([stops])})["video"]
    assert isinstance(result, FrameScores)
    assert result.values["moving_share"] >= 60


def test_every_frame_must_be_there(eval_clip: EvalClip, frames: Pixels) -> None:
    error = score_moving_mouths(eval_clip, {"short": iter([frames[:-1]])})["short"]
    assert isinstance(error, TalkheadError)
    assert str(error) == f"it has {NUM_FRAMES - 1} frames, but the real clip has {NUM_FRAMES}"


def test_the_shipped_weights_close_a_talking_mouth_in_silence(eval_clip: EvalClip) -> None:
    pipeline = TalkheadPipeline.from_folder(
        resolve_weights("default"), device=torch.device("cpu"), dtype=torch.float32
    )
    first = EvalClip(eval_clip.info, eval_clip.clip.beginning(20, Fraction(25)))
    generate = silence_generators({"ours": pipeline})["ours, digital silence"]
    result = score_moving_mouths(first, {"ours": generate(first), REAL: first.frames()})
    ours, real = result["ours"], result[REAL]
    assert isinstance(ours, FrameScores)
    assert isinstance(real, FrameScores)
    assert inner_opening(ours.points).max() < 0.5 * inner_opening(real.points).min()


def test_a_whole_silence_test(eval_clip: EvalClip, tiny_weights: Path, tmp_path: Path) -> None:
    pipeline = FacePipeline.from_folder(
        tiny_weights, device=torch.device("cpu"), dtype=torch.float32
    )
    write_clip(tmp_path / "data", eval_clip.info, eval_clip.clip)
    write_manifest(tmp_path / "data")
    rows = tuple(read_manifest(tmp_path / "data"))
    protocol = {"name": "split", "data": "data", "fps": "25", "networks": {}}
    facts = {"talkhead": "0", "stage": "silence", "protocol": protocol, "weights": {}}
    plan = Plan(
        tmp_path / "report", tmp_path / "data", "silence", rows, frozenset(), facts, max_s=1.2
    )
    begin(plan, overwrite=False)
    generators = silence_generators({"ours": pipeline}, seed=5)
    names = [*(f"ours, {kind}" for kind in (*SOUNDS, OWN_SPEECH)), IDENTITY, REAL]
    assert list(generators) == names
    list(generate_videos(plan, generators, []))
    list(score_videos(plan, generators, num_workers=1))
    result = aggregate_scores(plan)
    write_report(plan, result)
    assert (result["broken"], result["not_computed"]) == ([], {})
    systems = result["groups"][NEVER_SEEN]["systems"]
    assert list(systems) == names
    assert {one["frames"] for one in systems.values()} == {30}  # 1.2 s
    assert systems[REAL]["values"]["moving_share"]["mean"] >= 70
    assert systems[IDENTITY]["values"]["moving_share"]["mean"] == 0
    # Each video has the sound with which it was dubbed.
    with AudioClip.open(plan.video("ours, digital silence", "face")) as sound:
        assert np.abs(sound.waveform()).max() < 1e-3
    with AudioClip.open(plan.video("ours, music", "face")) as sound:
        expected = music(round(1.2 * 16000), 5)
        found = sound.waveform()[: len(expected)]
        assert np.corrcoef(found, expected[: len(found)])[0, 1] > 0.9

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from talkhead.data.clips import Clip, ClipInfo, encode_frames, write_clip, write_manifest
from talkhead.errors import NoFaceError, TalkheadError, WeightsError
from talkhead.jobs.adapt_card import licence_of
from talkhead.jobs.adapt_clips import CLIPS, VIDEOS, prepare_footage
from talkhead.jobs.adapt_job import AdaptJob, adapt, check_job
from talkhead.media.video import VideoWriter
from talkhead.pipelines import TalkheadPipeline
from talkhead.training import adaptation
from talkhead.weights.systems import CARD_NAME
from tests.prepared import describe_clip, make_clip
from tests.tiny import tiny_mouth_denoiser, tiny_pipeline

CPU, FLOAT32 = torch.device("cpu"), torch.float32


def write_wall(path: Path, seconds: float = 21) -> Path:
    """Write a video that shows no face, at two frames per second."""
    with VideoWriter(path, size=(64, 64), fps=Fraction(2), sound=None) as writer:
        writer.write(np.full((round(2 * seconds), 64, 64, 3), 120, np.uint8))
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights with a mouth denoiser, and a card."""
    folder = tmp_path_factory.mktemp("weights") / "base"
    pipeline = tiny_pipeline()
    pipeline.register_modules(mouth_denoiser=tiny_mouth_denoiser())
    pipeline.save_pretrained(folder)
    (folder / CARD_NAME).write_text("---\nlicense: cc-by-nc-sa-4.0\n---\n\n# base\n")
    return folder


def named(name: str, clip: Clip, start_s: float = 9) -> ClipInfo:
    """Describe a clip of talk.mp4."""
    row = describe_clip(name, clip, person="person")
    return replace(row, video="talk.mp4", start_s=start_s)


@pytest.fixture
def prepared(tmp_path: Path, detector_is_here: None) -> AdaptJob:
    """A job whose clips are prepared: 16.8 s of a drawn face, in two clips."""
    video, work = write_wall(tmp_path / "talk.mp4"), tmp_path / "work"
    for name, seed, start_s in (("00-talk", 0, 0.0), ("00-talk.1", 1, 8.4)):
        clip = make_clip(210, seed)
        write_clip(work / CLIPS, named(name, clip, start_s), clip)
    write_manifest(work / CLIPS)
    record = {"clips": ["00-talk", "00-talk.1"], "dropped": ""}
    (work / CLIPS / "done").mkdir()
    (work / CLIPS / "done" / "00-talk.json").write_text(json.dumps(record))
    (work / VIDEOS).write_text(json.dumps([[str(video.resolve()), video.stat().st_size]]))
    return AdaptJob((video,), tmp_path / "mine", steps=2, work=work)


def run(job: AdaptJob, base: Path, **given: Any) -> dict[str, Any]:
    check_job(job, base)
    return adapt(job, base, device=CPU, dtype=FLOAT32, **given)


def test_weights_that_are_better_are_saved_whole_with_their_card(
    prepared: AdaptJob, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptation, "LEARNING_RATE", 1e-3)
    stages: dict[str, float] = {}
    job = AdaptJob(**prepared.__dict__ | {"steps": 15, "weights": str(base)})
    result = run(job, base, report=lambda stage, share: stages.update({stage: share}))
    assert result["saved"], result["reason"]
    assert result["steps"] == {"denoiser": 15, "mouth_denoiser": 15}
    before, after = result["scores"]["before"], result["scores"]["after"]
    assert after["inside_psnr"] > before["inside_psnr"]
    assert set(before) == set(after)
    assert set(stages.values()) == {1.0}
    # A tenth of 420 frames is held out, and the gap before them is 10 frames.
    assert (result["train_s"], result["held_out_s"]) == (14.72, 1.68)

    assert {path.name for path in tmp_path.iterdir()} == {"talk.mp4", "work", "mine"}
    saved = TalkheadPipeline.from_pretrained(tmp_path / "mine", device="cpu")
    old = TalkheadPipeline.from_pretrained(base, device="cpu")
    for name in ("denoiser", "mouth_denoiser", "autoencoder"):
        kept = all(
            torch.equal(value.half(), getattr(saved, name).state_dict()[key].half())
            for key, value in getattr(old, name).state_dict().items()
        )
        assert kept == (name == "autoencoder"), name
    card = (tmp_path / "mine" / CARD_NAME).read_text()
    assert "consent" in card
    assert "The weights `base`" in card
    assert str(tmp_path) not in card
    assert f"| {before['inside_psnr']:.2f} | {after['inside_psnr']:.2f} |" in card
    assert licence_of(tmp_path / "mine") == "cc-by-nc-sa-4.0"
    assert "Adapted to one person" in (tmp_path / "mine" / "denoiser" / CARD_NAME).read_text()


def test_weights_that_are_worse_are_not_saved(
    prepared: AdaptJob, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptation, "MOUTH_LEARNING_RATE", 30.0)
    monkeypatch.setattr(adaptation, "LEARNING_RATE", 30.0)
    result = run(prepared, base)
    assert not result["saved"]
    assert result["reason"].startswith("the mouth is no better (")
    assert {path.name for path in tmp_path.iterdir()} == {"talk.mp4", "work"}


def test_a_run_that_fails_leaves_nothing(prepared: AdaptJob, base: Path, tmp_path: Path) -> None:
    def stop(stage: str, share: float) -> None:
        if stage == "pairs":
            raise KeyboardInterrupt

    job = AdaptJob(**prepared.__dict__ | {"work": None})
    with pytest.raises(NoFaceError, match="no video has a stretch"):
        run(job, base)
    with pytest.raises(KeyboardInterrupt):
        run(prepared, base, report=stop)
    assert {path.name for path in tmp_path.iterdir()} == {"talk.mp4", "work"}


Change = Callable[[AdaptJob, Path], dict[str, Any]]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            lambda job, place: {"videos": (write_wall(place / "short.mp4", 5),)},
            TalkheadError,
            "5.0 s of video are too little to learn from",
        ),
        (
            lambda job, place: {"videos": (write_wall(place / "long.mp4", 700),)},
            TalkheadError,
            "12 minutes of video are more than needed",
        ),
        (lambda job, place: {"videos": job.videos * 2}, TalkheadError, "is given twice"),
        (
            lambda job, place: {"videos": (place / "none.mp4",)},
            TalkheadError,
            "none.mp4 does not exist",
        ),
        (
            lambda job, place: {"output": job.videos[0]},
            TalkheadError,
            "talk.mp4 is not a folder",
        ),
        (
            lambda job, place: {"output": place / "a" / "b"},
            TalkheadError,
            "does not exist: create it first",
        ),
        (
            lambda job, place: {"output": job.work, "overwrite": True},
            TalkheadError,
            "work exists: choose another name",
        ),
        (lambda job, place: {"work": job.videos[0]}, TalkheadError, "is not a folder"),
        (lambda job, place: {"minutes": 0.5}, TalkheadError, "1 to 1440 minutes, not 0.5"),
        (lambda job, place: {"minutes": float("inf")}, TalkheadError, "minutes, not inf"),
    ],
)
def test_what_cannot_work_is_refused_before_slow_work(
    prepared: AdaptJob,
    base: Path,
    tmp_path: Path,
    change: Change,
    error: type[TalkheadError],
    words: str,
) -> None:
    job = AdaptJob(**prepared.__dict__ | change(prepared, tmp_path))
    with pytest.raises(error, match=words) as caught:
        check_job(job, base)
    assert "\n" not in str(caught.value)


def test_weights_are_only_replaced_if_that_is_allowed(prepared: AdaptJob, base: Path) -> None:
    job = AdaptJob(**prepared.__dict__ | {"output": base})
    with pytest.raises(TalkheadError, match=r"base exists: .* or allow overwriting"):
        check_job(job, base)
    check_job(AdaptJob(**job.__dict__ | {"overwrite": True}), base)


def test_another_system_is_refused(prepared: AdaptJob, tiny_mask_noise: Path) -> None:
    with pytest.raises(WeightsError, match="mask-noise cannot be adapted"):
        check_job(prepared, tiny_mask_noise)


def test_a_stretch_of_somebody_else_is_left_out(prepared: AdaptJob, base: Path) -> None:
    assert prepared.work is not None
    folder = prepared.work / CLIPS
    clip = make_clip(50, 2)
    tint = np.array([0.3, 1, 1])
    frames = [(clip.frame(k) * tint).astype(np.uint8) for k in range(50)]  # blue skin
    jpeg, offsets = encode_frames(frames)
    blue = replace(clip, jpeg=jpeg, jpeg_offsets=offsets)
    write_clip(folder, named("00-talk.2", blue), blue)
    write_manifest(folder)
    notes: list[str] = []
    footage = prepare_footage(
        prepared.videos, prepared.work, base, lambda stage, share: None, notes.append
    )
    assert notes == ["talk.mp4: 2.0 s look like somebody else, and are left out"]
    clips = [part.info.clip for video in footage.videos for part in video.train]
    assert clips == ["00-talk", "00-talk.1"]


def test_clips_of_other_videos_are_not_used(prepared: AdaptJob, base: Path, tmp_path: Path) -> None:
    other = AdaptJob(**prepared.__dict__ | {"videos": (write_wall(tmp_path / "other.mp4"),)})
    with pytest.raises(TalkheadError, match="holds clips of other videos"):
        run(other, base)

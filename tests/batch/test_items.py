import dataclasses
import os
from pathlib import Path

import pytest

from talkhead.batch.items import check_items, check_names, key_of
from talkhead.batch.journal import Entry, Journal
from talkhead.errors import TalkheadError
from talkhead.jobs.render_job import RenderJob
from talkhead.jobs.speakers import Speaker
from tests.batch.conftest import MakeJob

DIGESTS = {"denoiser/model.safetensors": "d1"}


def state(job: RenderJob, *, skip_existing: bool = False) -> tuple[str, str]:
    (item,) = check_items([job], DIGESTS, skip_existing=skip_existing)
    return item.state, item.why


def record(job: RenderJob, content: bytes = b"video", **changes: object) -> None:
    """Let a video be there as a batch makes it."""
    job.output.parent.mkdir(exist_ok=True)
    job.output.write_bytes(content)
    found = job.output.stat()
    entry = Entry(
        "done", job.output.name, key_of(job, DIGESTS), found.st_size, found.st_mtime_ns, {}
    )
    with Journal(job.output.parent) as journal:
        journal.write(dataclasses.replace(entry, **changes))  # type: ignore[arg-type]


def test_what_was_made_is_skipped_while_nothing_has_changed(make_job: MakeJob) -> None:
    job = make_job()
    assert state(job) == ("waiting", "")
    record(job)
    assert state(job) == ("skipped", "already rendered")
    assert state(dataclasses.replace(job, overwrite=True)) == ("skipped", "already rendered")
    job.output.unlink()
    assert state(job) == ("waiting", "")


@pytest.mark.parametrize("changes", [{"seed": 1}, {"pose": "still"}, {"crf": 20}])
def test_other_options_need_leave_to_overwrite(
    make_job: MakeJob, changes: dict[str, object]
) -> None:
    record(make_job())
    job = make_job(**changes)
    assert state(job)[0] == "failed"
    assert "was rendered from other files, options or weights" in state(job)[1]
    assert state(dataclasses.replace(job, overwrite=True)) == ("waiting", "")
    assert state(job, skip_existing=True) == ("skipped", "exists")


def test_a_changed_input_or_other_weights_need_leave_to_overwrite(make_job: MakeJob) -> None:
    job = make_job()
    record(job)
    (item,) = check_items([job], {"denoiser/model.safetensors": "d2"}, skip_existing=False)
    assert item.state == "failed"
    os.utime(job.audio, ns=(7, 7))
    assert "was rendered from other files" in state(job)[1]


def test_a_video_that_somebody_changed_or_brought_is_not_replaced(make_job: MakeJob) -> None:
    job = make_job()
    record(job)
    job.output.write_bytes(b"another video")
    assert "exists and was not written by this batch" in state(job)[1]
    other = make_job("b")
    other.output.write_bytes(b"precious")
    assert "exists and was not written by this batch" in state(other)[1]
    assert state(other, skip_existing=True) == ("skipped", "exists")
    assert state(dataclasses.replace(other, overwrite=True)) == ("waiting", "")


def test_a_video_named_just_before_a_kill_is_known_and_one_brought_after_it_is_not(
    make_job: MakeJob,
) -> None:
    job = make_job()
    record(job, state="made")
    assert state(job) == ("skipped", "already rendered")
    os.utime(job.output, ns=(9, 9))
    assert "exists and was not written by this batch" in state(job)[1]


def test_the_key_knows_a_file_by_its_place_size_and_time_however_it_is_written(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job = make_job()
    monkeypatch.chdir(tmp_path)
    relative = dataclasses.replace(job, audio=Path("a.wav"), output=Path("elsewhere.mp4"))
    assert key_of(job, DIGESTS) == key_of(relative, DIGESTS)
    assert key_of(job, DIGESTS) != key_of(make_job("b"), DIGESTS)
    track = tmp_path / "walk.npz"
    track.write_bytes(b"1")
    posed = make_job(pose=str(track))
    before = key_of(posed, DIGESTS)
    track.write_bytes(b"12")
    assert key_of(posed, DIGESTS) != before
    assert key_of(make_job(background="white"), DIGESTS) != key_of(job, DIGESTS)
    wall = tmp_path / "wall.png"
    wall.write_bytes(b"1")
    walled = make_job(background=str(wall))
    before = key_of(walled, DIGESTS)
    wall.write_bytes(b"12")
    assert key_of(walled, DIGESTS) != before


def test_every_fault_is_found_before_anything_is_made(make_job: MakeJob, tmp_path: Path) -> None:
    (tmp_path / "out" / "dir.mp4").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    jobs = [
        make_job(),
        make_job("b", audio=tmp_path / "absent.wav"),
        make_job("c", face=tmp_path),
        make_job("d", pose="wild"),
        make_job("e", output=tmp_path / "out" / "dir.mp4"),
        make_job("f", output=tmp_path / "file" / "f.mp4"),
        make_job("g", output=tmp_path / f"{'é' * 126}.mp4"),
        make_job("h", landmarks=tmp_path / "absent.npz"),
    ]
    items = check_items(jobs, DIGESTS, skip_existing=False)
    assert [item.state for item in items] == ["waiting"] + ["failed"] * 7
    words = [
        *("absent.wav does not exist", "is a directory", "pose must be", "is a directory"),
        *("file is not a folder", "more than 255 bytes", "absent.npz does not exist"),
    ]
    for item, word in zip(items[1:], words, strict=True):
        assert word in item.why
        assert item.exit_code == 2


def test_outputs_that_are_one_file_or_an_input_are_refused(
    make_job: MakeJob, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "out")
    (tmp_path / "out").mkdir()
    job, twin = make_job(), make_job("b", output=tmp_path / "link" / "a.mp4")
    with pytest.raises(TalkheadError, match=r"a.wav and .*b.wav would both be written to"):
        check_names([job, twin])
    chain = make_job("b", face=job.output)
    with pytest.raises(TalkheadError, match="is also an input"):
        check_names([job, chain])
    with pytest.raises(TalkheadError, match="is not a supported video file"):
        check_names([make_job(output=tmp_path / "a.txt")])


def test_a_thousand_items_are_checked_in_a_few_seconds(make_job: MakeJob) -> None:
    import time

    jobs = [make_job(f"{number:04}") for number in range(1000)]
    started = time.process_time()
    items = check_items(jobs, DIGESTS, skip_existing=False)
    assert {item.state for item in items} == {"waiting"}
    assert time.process_time() - started < 5


@pytest.mark.parametrize("folder", ["x" * 300, "x/" * 3000], ids=["long", "deep"])
def test_a_folder_with_too_long_a_name_fails_its_item_alone(
    make_job: MakeJob, tmp_path: Path, folder: str
) -> None:
    jobs = [make_job("a", output=tmp_path / folder / "a.mp4"), make_job("b")]
    first, second = check_items(jobs, DIGESTS, skip_existing=False)
    assert (first.state, second.state) == ("failed", "waiting")
    assert "File name too long" in first.why


def test_no_video_is_given_a_name_that_is_removed_as_a_leftover(make_job: MakeJob) -> None:
    job = make_job(output=Path(".talkhead-batch-0123456789ab.mp4"))
    with pytest.raises(TalkheadError, match="talkhead deletes files named"):
        check_names([job])


def test_speakers_and_their_sounds_decide_whether_a_video_is_made_again(
    make_job: MakeJob, tmp_path: Path
) -> None:
    job = make_job()
    other = tmp_path / "b.wav"
    other.write_bytes(b"words")
    plain = key_of(job, DIGESTS)
    both = dataclasses.replace(job, speakers=(Speaker("left", job.audio), Speaker("2", other)))
    key = key_of(both, DIGESTS)
    assert key != plain
    swapped = (Speaker("2", job.audio), Speaker("left", other))
    assert key_of(dataclasses.replace(job, speakers=swapped), DIGESTS) != key
    other.write_bytes(b"other words")
    assert key_of(both, DIGESTS) != key
    other.unlink()
    assert state(both)[0] == "failed"
    assert str(other) in state(both)[1]
    with pytest.raises(TalkheadError, match="is also an input"):
        check_names([dataclasses.replace(both, output=other)])

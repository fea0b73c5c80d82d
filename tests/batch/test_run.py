from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from talkhead.batch.items import Item, check_items
from talkhead.batch.journal import JOURNAL_NAME, LOCK_NAME, read_entries
from talkhead.batch.run import Journals, Result, known_results, run_batch
from talkhead.batch.worker import Outcome, RenderWorker, Settings, Task
from talkhead.pipelines.render_job import RenderJob
from tests.drawn_face import draw_face
from tests.tiny import write_voice

DIGESTS = {"denoiser": "d1"}
OWN = {JOURNAL_NAME, LOCK_NAME}
pytestmark = pytest.mark.usefixtures("detector_is_here")


class Here:
    """One worker, in this process: it makes an item when somebody waits for it."""

    def __init__(self, weights: Path) -> None:
        self._maker = RenderWorker(Settings(str(weights), "cpu", "float32", offline=True, shares=1))
        self._task: Task | None = None

    def has_room(self) -> bool:
        return self._task is None

    def start(self, task: Task) -> None:
        self._task = task

    def finished(self) -> Iterator[Outcome | Task]:
        assert self._task is not None
        task, self._task = self._task, None
        yield self._maker.make(task)


@pytest.fixture
def jobs(tmp_path: Path) -> list[RenderJob]:
    """A sound, one that is none, and another sound."""
    Image.fromarray(draw_face(160)).save(tmp_path / "face.png")
    write_voice(tmp_path / "a.wav", 0.2)
    (tmp_path / "b.wav").write_bytes(b"no sound")
    write_voice(tmp_path / "c.wav", 0.2, seed=1)
    return [
        RenderJob(tmp_path / "face.png", tmp_path / f"{name}.wav", tmp_path / f"out/{name}.mp4")
        for name in "abc"
    ]


def look_at(jobs: list[RenderJob]) -> list[Item]:
    return check_items(jobs, DIGESTS, skip_existing=False)


def run(items: list[Item], weights: Path, *, keep_going: bool = True) -> list[Result]:
    with Journals(items) as journals:
        return list(run_batch(items, journals, Here(weights), keep_going=keep_going))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - OWN


def test_what_fails_stops_nothing_and_what_is_done_is_in_the_journal(
    jobs: list[RenderJob], tiny_weights: Path, tmp_path: Path
) -> None:
    results = run(look_at(jobs), tiny_weights)
    assert [result.state for result in results] == ["done", "failed", "done"]
    assert (results[1].exit_code, "b.wav" in results[1].error) == (2, True)
    assert results[0].facts["output"] == str(jobs[0].output)
    assert results[0].facts["frames"] == 5
    assert names(tmp_path / "out") == {"a.mp4", "c.mp4"}
    entries = read_entries(tmp_path / "out")
    assert {name: entry.state for name, entry in entries.items()} == {
        "a.mp4": "done",
        "c.mp4": "done",
    }
    assert entries["a.mp4"].size == jobs[0].output.stat().st_size
    # The same items again: what is made is known, with its facts.
    again = look_at(jobs)
    assert [item.state for item in again] == ["skipped", "waiting", "skipped"]
    known = list(known_results(again))
    assert [result.facts for result in known] == [results[0].facts, results[2].facts]


def test_without_keeping_on_nothing_is_begun_after_a_failure(
    jobs: list[RenderJob], tiny_weights: Path, tmp_path: Path
) -> None:
    results = run(look_at(jobs), tiny_weights, keep_going=False)
    assert [result.state for result in results] == ["done", "failed"]
    assert names(tmp_path / "out") == {"a.mp4"}


def test_a_file_that_came_meanwhile_is_not_replaced_unless_it_may_be(
    jobs: list[RenderJob], tiny_weights: Path, tmp_path: Path
) -> None:
    items = look_at(jobs[:1])
    jobs[0].output.parent.mkdir()
    jobs[0].output.write_bytes(b"precious")
    (result,) = run(items, tiny_weights)
    assert (result.state, result.exit_code) == ("failed", 2)
    assert "cannot be written (File exists)" in result.error
    assert jobs[0].output.read_bytes() == b"precious"
    assert names(tmp_path / "out") == {"a.mp4"}
    # The journal's line about the video without a name is not taken for the user's file.
    assert look_at(jobs[:1])[0].state == "failed"
    (result,) = run(look_at([replace(jobs[0], overwrite=True)]), tiny_weights)
    assert result.state == "done"
    assert jobs[0].output.read_bytes() != b"precious"


def test_who_stops_in_the_middle_leaves_nothing_half_made(
    jobs: list[RenderJob], tiny_weights: Path, tmp_path: Path
) -> None:
    items = look_at([jobs[0], jobs[2]])
    with Journals(items) as journals:
        results = run_batch(items, journals, Here(tiny_weights), keep_going=True)
        assert next(results).state == "done"
        results.close()
    assert names(tmp_path / "out") == {"a.mp4"}
    assert [item.state for item in look_at([jobs[0], jobs[2]])] == ["skipped", "waiting"]


def test_a_worker_that_is_lost_costs_no_item(
    jobs: list[RenderJob], tiny_weights: Path, tmp_path: Path
) -> None:
    class LostOnce(Here):
        has_lost = False

        def finished(self) -> Iterator[Outcome | Task]:
            for outcome in super().finished():
                assert self._task is None
                if not self.has_lost:
                    self.has_lost = True
                    assert isinstance(outcome, Outcome)
                    item = items[outcome.number - 1]
                    yield Task(item.number, item.job, item.job.output)
                else:
                    yield outcome

    items = look_at([jobs[0], jobs[2]])
    with Journals(items) as journals:
        results = list(run_batch(items, journals, LostOnce(tiny_weights), keep_going=True))
    assert sorted(result.item.number for result in results) == [1, 2]
    assert {result.state for result in results} == {"done"}
    assert names(tmp_path / "out") == {"a.mp4", "c.mp4"}

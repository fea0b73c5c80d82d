import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from talkhead.batch.processes import Processes
from talkhead.batch.worker import Outcome, Settings, Task
from talkhead.jobs.render_job import RenderJob
from tests.drawn_face import draw_face
from tests.tiny import write_voice

pytestmark = [
    pytest.mark.usefixtures("detector_is_here"),
    pytest.mark.skipif(sys.platform == "win32", reason="kills as Unix does"),
]


@pytest.fixture
def tasks(tmp_path: Path) -> list[Task]:
    """Two short sounds, one that is none, and one that takes long."""
    Image.fromarray(draw_face(160)).save(tmp_path / "face.png")
    for number, seconds in enumerate((0.2, 0.2, 0.2, 120.0)):
        write_voice(tmp_path / f"{number}.wav", seconds, seed=number)
    (tmp_path / "2.wav").write_bytes(b"no sound")
    return [
        Task(
            number,
            RenderJob(tmp_path / "face.png", tmp_path / f"{number}.wav", tmp_path / "never.mp4"),
            tmp_path / f"{number}.mp4",
        )
        for number in range(4)
    ]


@pytest.fixture
def settings(tiny_weights: Path) -> Iterator[Settings]:
    yield Settings(str(tiny_weights), "cpu", "float32", offline=True, shares=2)
    assert not multiprocessing.active_children()


def outcome(processes: Processes) -> Outcome:
    (end,) = processes.finished()
    assert isinstance(end, Outcome)
    return end


def test_a_worker_that_dies_fails_its_item_alone_and_another_takes_its_place(
    settings: Settings, tasks: list[Task]
) -> None:
    good, other, broken, long = tasks
    with Processes(settings, 1) as processes:
        assert processes.has_room()
        processes.start(good)
        assert not processes.has_room()
        end = outcome(processes)
        assert (end.number, end.error) == (0, "")
        assert good.staged.is_file()
        processes.start(broken)
        end = outcome(processes)
        assert (end.number, end.facts, end.exit_code) == (2, None, 2)
        # Killed at work: its item fails.
        processes.start(long)
        (worker,) = multiprocessing.active_children()
        os.kill(worker.pid or 0, signal.SIGKILL)
        end = outcome(processes)
        assert (end.number, end.facts, end.exit_code) == (3, None, 2)
        assert "killed, possibly for lack of memory: try fewer processes" in end.error
        processes.start(other)
        # Killed while it has nothing to do: nobody notices.
        assert outcome(processes).facts is not None
        (worker,) = multiprocessing.active_children()
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join()
        other.staged.unlink()
        processes.start(other)
        assert outcome(processes).facts is not None
    assert {path.suffix for path in good.staged.parent.iterdir()} == {".png", ".wav", ".mp4"}
    assert not long.staged.exists()


def test_an_error_ends_workers_at_work_and_nothing_of_theirs_is_left(
    settings: Settings, tasks: list[Task], tmp_path: Path
) -> None:
    before = set(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt), Processes(settings, 1) as processes:  # noqa: PT012
        processes.start(tasks[0])
        assert outcome(processes).facts is not None  # it works, and has all it needs
        processes.start(tasks[3])
        raise KeyboardInterrupt
    assert set(tmp_path.iterdir()) == before | {tasks[0].staged}

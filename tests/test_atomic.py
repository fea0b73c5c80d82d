import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from talkhead.atomic import check_output, replacing
from tests.conftest import Refusal

PACKAGE_FOLDER = Path(__file__).resolve().parents[1]
READ_ONLY = Path("/sys")  # not even root can write here


@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
def test_a_link_that_leads_to_itself_is_no_output(tmp_path: Path, refused: Refusal) -> None:
    ring = tmp_path / "ring.mp4"
    ring.symlink_to("ring.mp4")
    with refused(ring, "is a circular symbolic link"):
        check_output(ring, overwrite=True)


def test_a_null_character_is_in_no_output(tmp_path: Path, refused: Refusal) -> None:
    with refused(tmp_path, "null"):
        check_output(tmp_path / "a\0b", overwrite=True)


def test_an_output_needs_a_folder_that_exists(tmp_path: Path, refused: Refusal) -> None:
    with refused(tmp_path / "absent", "create it first"):
        check_output(tmp_path / "absent" / "out.mp4", overwrite=False)
    with refused(tmp_path, "is a directory"):
        check_output(tmp_path, overwrite=True)


@pytest.mark.skipif(not READ_ONLY.is_dir(), reason="needs Linux's /sys")
def test_an_output_folder_that_cannot_be_written_to_is_refused(refused: Refusal) -> None:
    with refused(READ_ONLY, "cannot be written to"):
        check_output(READ_ONLY / "out.mp4", overwrite=False)


def test_an_output_that_exists_needs_permission(tmp_path: Path, refused: Refusal) -> None:
    target = tmp_path / "out.mp4"
    check_output(target, overwrite=False)
    target.write_text("precious")
    with refused(target, "exists"):
        check_output(target, overwrite=False)
    check_output(target, overwrite=True)
    assert target.read_text() == "precious"


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs /dev/null")
def test_a_device_is_never_replaced_by_a_file(refused: Refusal) -> None:
    with refused(Path("/dev/null"), "not a regular file"):
        check_output(Path("/dev/null"), overwrite=True)


WRITE = """
import os, sys
if "plain" in sys.argv:
    os.__dict__.pop("O_TMPFILE", None)
from pathlib import Path
from talkhead.atomic import PendingFile
pending = PendingFile(Path(sys.argv[1]))
pending.path.write_text("whole")
"""
SYSTEMS = ["plain"] if not hasattr(os, "O_TMPFILE") else ["plain", "unnamed"]


def run_writer(code: str, target: Path, system: str) -> subprocess.CompletedProcess[str]:
    """Write a file in a separate process, on a system with or without unnamed files."""
    command = [sys.executable, "-c", WRITE + code, str(target), system]
    return subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE_FOLDER, check=False)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_published_whole_and_replaces_another_only_if_it_may(
    tmp_path: Path, system: str, overwrite: bool
) -> None:
    target = tmp_path / "out"
    publish = f"""
try:
    pending.publish(overwrite={overwrite})
finally:
    pending.close()
"""
    assert run_writer(publish, target, system).stderr == ""
    assert target.read_text() == "whole"
    target.write_text("precious")
    ended = run_writer(publish, target, system)
    assert ("FileExistsError" in ended.stderr) == (not overwrite)
    assert target.read_text() == ("whole" if overwrite else "precious")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path, system: str) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far/real").write_text("old")
    link = tmp_path / "link"
    link.symlink_to("far/real")
    ended = run_writer("pending.publish(overwrite=True)\npending.close()", link, system)
    assert ended.stderr == ""
    assert link.is_symlink()
    assert (tmp_path / "far/real").read_text() == "whole"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["far", "link", "real"]


@pytest.mark.skipif("unnamed" not in SYSTEMS, reason="files without a name are Linux's")
def test_a_process_that_is_killed_leaves_nothing_of_a_file(tmp_path: Path) -> None:
    ended = run_writer("import signal; os.kill(os.getpid(), signal.SIGKILL)", tmp_path / "out", "")
    assert ended.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "track.npz"

    def write_half() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert list(tmp_path.iterdir()) == []

    with replacing(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"

from pathlib import Path

import pytest

from talkhead.media.files import check_input, check_output, replacing
from tests.media.conftest import Refusal

READ_ONLY = Path("/sys")  # nobody can write here, root neither


def test_what_is_no_file_with_content_is_no_input(tmp_path: Path, refused: Refusal) -> None:
    empty = tmp_path / "empty.wav"
    empty.touch()
    with refused(tmp_path / "absent.wav", "does not exist"):
        check_input(tmp_path / "absent.wav")
    with refused(tmp_path, "is a directory"):
        check_input(tmp_path)
    with refused(empty, "is empty"):
        check_input(empty)
    with refused(tmp_path, "File name too long"):
        check_input(tmp_path / ("x" * 300))


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
        assert temporary.suffix == ".npz"
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"

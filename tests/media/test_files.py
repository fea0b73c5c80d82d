import os
from pathlib import Path

import pytest

from talkhead.media.files import check_input
from tests.media.conftest import Refusal


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes that have a name")
def test_a_pipe_or_a_device_is_refused_at_once_and_not_waited_for(
    tmp_path: Path, refused: Refusal
) -> None:
    os.mkfifo(tmp_path / "pipe.wav")  # nothing ever writes to it
    (tmp_path / "endless.wav").symlink_to("/dev/zero")
    for name in ("pipe.wav", "endless.wav"):
        with refused(tmp_path / name, "not a regular file"):
            check_input(tmp_path / name)

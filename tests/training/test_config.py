import os
from pathlib import Path

import pytest

from talkhead.errors import TalkheadError
from talkhead.training.config import MAX_SETTINGS_BYTES, read_toml


def test_settings_are_read_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[train]\nsteps = 7\nname = '\u00e9'\n", encoding="utf-8")
    assert read_toml(path) == {"train": {"steps": 7, "name": "\u00e9"}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[train", "Expected"),
        (b"\xff\xfe", "decode"),
        (b"a = " + b"[" * 10_000, ""),
        (b"a = " + b"{b = " * 10_000, ""),
        (b"a = " + b"9" * 5000, "5000 digits"),
        (b"a" + b".a" * MAX_SETTINGS_BYTES + b" = 1", "larger than 64,000 bytes"),
    ],
)
def test_what_is_no_settings_is_refused_in_one_line(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    with pytest.raises(TalkheadError, match="cannot read the settings") as caught:
        read_toml(path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes that have a name")
def test_a_pipe_is_no_settings(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.toml")
    with pytest.raises(TalkheadError, match="not a regular file"):
        read_toml(tmp_path / "a.toml")

"""`talkhead app`: its options; tests/app starts the page."""

import socket
from pathlib import Path

import pytest

from talkhead.cli.app_page import LOGIN_VARIABLE, is_loopback, read_logins
from talkhead.errors import TalkheadError
from tests.cli.conftest import Run, RunHere, refused


def test_users_and_passwords_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    path.write_text("ann:pass:word\n\nbob:ü 7\n", encoding="utf-8")
    assert read_logins(path) == [("ann", "pass:word"), ("bob", "ü 7")]


def test_without_a_file_they_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LOGIN_VARIABLE, raising=False)
    assert read_logins(None) == []
    monkeypatch.setenv(LOGIN_VARIABLE, "ann:secret")
    assert read_logins(None) == [("ann", "secret")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("ann", "line 1"), ("ann:a\n:b", "line 2"), ("ann:", "line 1"), ("\n", "names no user")],
)
def test_a_file_that_would_open_the_page_to_all_is_refused(
    tmp_path: Path, text: str, reason: str
) -> None:
    path = tmp_path / "users.txt"
    path.write_text(text)
    with pytest.raises(TalkheadError, match=reason) as caught:
        read_logins(path)
    assert "ann:" not in str(caught.value)


def test_only_loopback_addresses_are_private() -> None:
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert is_loopback("localhost")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("example.org")


def test_a_missing_file_of_users_is_an_error(run_here: RunHere) -> None:
    refused(run_here("app", "--auth", "missing.txt"), 2, "missing.txt does not exist")


def test_missing_weights_are_noticed_before_the_page_opens(run_here: RunHere) -> None:
    refused(run_here("app", "--weights", "nothing-here"), 4, "nothing-here")


def test_a_port_in_use_is_an_error(run_talkhead: Run, tiny_weights: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = run_talkhead("app", "--port", port, "--weights", str(tiny_weights))
    refused(ended, 2, f"port {port}")

"""Downloads from a local server that fails in the ways real servers do."""

import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from talkhead.errors import WeightsError
from talkhead.weights import WeightsFile
from talkhead.weights.fetch import download
from tests.web_certificate import write_web_certificate
from tests.weights_server import Served, WeightsServer

CONTENT = random.Random(0).randbytes(300_000)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightsServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1")
    with WeightsServer() as started:
        yield started


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "entry" / "a.bin"


def listed(content: bytes = CONTENT) -> WeightsFile:
    return WeightsFile("a.bin", len(content), hashlib.sha256(content).hexdigest())


def part_of(target: Path) -> Path:
    return target.with_name("a.bin.part")


def test_a_file_arrives_whole_and_leaves_no_part(server: WeightsServer, target: Path) -> None:
    server.files["/a"] = Served(CONTENT)
    download(server.url + "/a", target, listed())
    assert target.read_bytes() == CONTENT
    assert not part_of(target).exists()
    download(server.url + "/a", target, listed())
    assert len(server.asked) == 1  # existing files are not requested


def test_a_connection_that_is_cut_is_taken_up_where_it_broke(
    server: WeightsServer, target: Path
) -> None:
    server.files["/a"] = Served(CONTENT, cut_after=70_000)
    download(server.url + "/a", target, listed())
    assert target.read_bytes() == CONTENT
    starts = [asked.get("range") for asked in server.asked]
    assert starts == [None, *(f"bytes={70_000 * n}-" for n in range(1, 5))]


def test_a_server_without_ranges_starts_anew(server: WeightsServer, target: Path) -> None:
    target.parent.mkdir(parents=True)
    part_of(target).write_bytes(b"x" * 1000)
    server.files["/a"] = Served(CONTENT, knows_range=False)
    download(server.url + "/a", target, listed())
    assert target.read_bytes() == CONTENT
    assert server.asked[0]["range"] == "bytes=1000-"


def test_a_server_that_always_cuts_is_given_up_and_the_part_is_kept_for_later(
    server: WeightsServer, target: Path
) -> None:
    server.files["/a"] = Served(CONTENT, knows_range=False, cut_after=70_000)
    with pytest.raises(WeightsError, match="broke after 70000 of 300000 bytes; try again to re"):
        download(server.url + "/a", target, listed())
    assert not target.exists()
    assert part_of(target).read_bytes() == CONTENT[:70_000]
    server.asked.clear()
    server.files["/a"] = Served(CONTENT)
    download(server.url + "/a", target, listed())
    assert target.read_bytes() == CONTENT
    assert [asked["range"] for asked in server.asked] == ["bytes=70000-"]


def test_a_part_that_is_whole_already_needs_no_network(server: WeightsServer, target: Path) -> None:
    target.parent.mkdir(parents=True)
    part_of(target).write_bytes(CONTENT)
    download(server.url + "/a", target, listed())
    assert target.read_bytes() == CONTENT
    assert server.asked == []


def test_other_content_of_the_same_size_is_thrown_away(server: WeightsServer, target: Path) -> None:
    server.files["/a"] = Served(CONTENT[::-1])
    with pytest.raises(WeightsError, match=r"sent 300000 bytes with sha256 .*, not the listed"):
        download(server.url + "/a", target, listed())
    assert not target.exists()
    assert not part_of(target).exists()


def test_a_spoilt_part_is_found_by_its_digest_and_fetched_anew(
    server: WeightsServer, target: Path
) -> None:
    server.files["/a"] = Served(CONTENT)
    target.parent.mkdir(parents=True)
    part_of(target).write_bytes(b"x" * 1000)
    with pytest.raises(WeightsError, match="not the listed"):
        download(server.url + "/a", target, listed())
    download(server.url + "/a", target, listed())
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("length", [len(CONTENT) + 1, 10**15, 5])
def test_a_file_of_another_size_is_refused_before_it_is_read(
    server: WeightsServer, target: Path, length: int
) -> None:
    server.files["/a"] = Served(CONTENT, stated_length=length)
    with pytest.raises(WeightsError, match=f"has {length} bytes, not the listed 300000"):
        download(server.url + "/a", target, listed())
    assert not target.exists()
    assert not part_of(target).exists()


def test_a_server_that_never_ends_is_read_no_further_than_the_list_says(
    server: WeightsServer, target: Path
) -> None:
    short = CONTENT[:1000]
    server.files["/a"] = Served(CONTENT * 100, states_length=False)
    download(server.url + "/a", target, listed(short))
    assert target.read_bytes() == short
    with pytest.raises(WeightsError, match="not the listed 1000"):
        download(server.url + "/a", target.with_name("b"), listed(short[::-1]))
    assert {path.name for path in target.parent.iterdir() if path.suffix != ".lock"} == {"a.bin"}


def test_a_server_that_hangs_is_given_up(server: WeightsServer, target: Path) -> None:
    server.files["/a"] = Served(hangs=True)
    started = time.monotonic()
    with pytest.raises(WeightsError, match="no data for 1 s; try again"):
        download(server.url + "/a", target, listed())
    assert time.monotonic() - started < 15
    assert not target.exists()


def test_a_slow_server_that_sends_is_waited_for(server: WeightsServer, target: Path) -> None:
    server.files["/a"] = Served(CONTENT[:100], pause_s=0.2)
    started = time.monotonic()
    download(server.url + "/a", target, listed(CONTENT[:100]))
    assert time.monotonic() - started > 1  # longer than the timeout for a silent server
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "returned 403 Forbidden"),
        (404, "returned 404 Not Found"),
        (418, "returned 418 I'm a Teapot"),
        (503, "returned 503 Service Unavailable; try again"),
    ],
)
def test_a_server_that_refuses_is_quoted(
    server: WeightsServer, target: Path, status: int, message: str
) -> None:
    server.files["/a"] = Served(status=status)
    with pytest.raises(WeightsError, match=message) as raised:
        download(server.url + "/a", target, listed())
    assert "\n" not in str(raised.value)
    assert {path.suffix for path in target.parent.iterdir()} <= {".lock"}


def test_nobody_listening_is_one_line(target: Path, server: WeightsServer) -> None:
    with pytest.raises(WeightsError, match=r"cannot fetch http://127\.0\.0\.1:1/a: .*; try again"):
        download("http://127.0.0.1:1/a", target, listed())


@pytest.mark.parametrize("elsewhere", ["file:///etc/hostname", "ftp://127.0.0.1/a"])
def test_a_redirect_to_something_else_than_the_web_is_not_followed(
    server: WeightsServer, target: Path, elsewhere: str
) -> None:
    server.files["/a"] = Served(leads_to=elsewhere)
    with pytest.raises(WeightsError, match=f"cannot fetch .*'{elsewhere}'"):
        download(server.url + "/a", target, listed())
    server.files["/b"] = Served(leads_to="/c")
    server.files["/c"] = Served(CONTENT)
    download(server.url + "/b", target, listed())
    assert target.read_bytes() == CONTENT


def test_certificates_are_checked(target: Path, tmp_path: Path) -> None:
    certificate = write_web_certificate(tmp_path / "server.pem")
    with WeightsServer(certificate) as server:
        server.files["/a"] = Served(CONTENT)
        for trust, code in (("", 1), (str(certificate), 0)):
            with fetching(server.url + "/a", target, SSL_CERT_FILE=trust) as process:
                _, stderr = process.communicate(timeout=60)
            assert process.returncode == code, stderr
            assert ("certificate" in stderr) == (code == 1)
    assert target.read_bytes() == CONTENT


FETCH = """
import resource, sys
from pathlib import Path
from talkhead.errors import WeightsError
from talkhead.weights import WeightsFile
from talkhead.weights.fetch import download
url, target, num_bytes, sha256, limit = sys.argv[1:]
if limit != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
try:
    download(url, Path(target), WeightsFile("a.bin", int(num_bytes), sha256))
except WeightsError as error:
    sys.exit(f"{error}")
"""


def fetching(
    url: str, target: Path, *, limit: int = 0, **environment: str
) -> "subprocess.Popen[str]":
    file = listed()
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, url, target, str(file.num_bytes), file.sha256, str(limit)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])} | environment,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on file sizes needs POSIX")
def test_a_full_disk_is_one_line_and_the_rest_is_fetched_when_there_is_room(
    server: WeightsServer, target: Path
) -> None:
    server.files["/a"] = Served(CONTENT)
    with fetching(server.url + "/a", target, limit=100_000) as process:
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"cannot write {part_of(target)}: File too large; free some space" in stderr
    assert stderr.count("\n") == 1
    assert not target.exists()
    kept = part_of(target).read_bytes()
    assert kept == CONTENT[: len(kept)]
    download(server.url + "/a", target, listed())
    assert target.read_bytes() == CONTENT


def test_two_processes_that_want_one_file_fetch_it_once(
    server: WeightsServer, target: Path
) -> None:
    server.files["/a"] = Served(CONTENT, pause_s=0.1)
    both = [fetching(server.url + "/a", target) for _ in range(2)]
    assert [process.communicate(timeout=60)[1] for process in both] == ["", ""]
    assert [process.returncode for process in both] == [0, 0]
    assert target.read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_a_download_that_is_killed_goes_on_where_it_was(
    server: WeightsServer, target: Path
) -> None:
    server.files["/a"] = Served(CONTENT, pause_s=0.3)
    process = fetching(server.url + "/a", target)
    deadline = time.monotonic() + 30
    while not (part_of(target).is_file() and part_of(target).stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.communicate(timeout=60)
    assert not target.exists()
    here = part_of(target).stat().st_size
    assert 0 < here < len(CONTENT)
    server.asked.clear()
    server.files["/a"].pause_s = 0
    download(server.url + "/a", target, listed())
    assert target.read_bytes() == CONTENT
    assert [asked["range"] for asked in server.asked] == [f"bytes={here}-"]


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_cache_that_cannot_be_written_is_named(server: WeightsServer, target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.parent.chmod(0o500)
    with pytest.raises(WeightsError, match=r"cannot write to .* TALKHEAD_CACHE"):
        download(server.url + "/a", target, listed())


def test_a_cache_below_a_file_is_named(server: WeightsServer, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(WeightsError, match=r"cannot write to .*cache.*TALKHEAD_CACHE"):
        download(server.url + "/a", tmp_path / "cache" / "entry" / "a.bin", listed())

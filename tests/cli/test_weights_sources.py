"""Third-party weights: from a hub, a web server or a folder, and published to a hub."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from talkhead.weights.listing import PIPELINE_FILES
from tests.cli.conftest import PACKAGE, listing, refused
from tests.tiny import write_tiny_weights
from tests.web_certificate import write_web_certificate
from tests.weights_server import HubServer, Served, WeightsServer

REVISION = "0123456789abcdef0123456789abcdef01234567"
REPO = "somebody/their-pipeline"
ADDRESS = f"{REPO}@{REVISION}"
MODELS = ("denoiser", "autoencoder", "landmarks")

Talkhead = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline with its model cards, shared by all tests."""
    folder = write_tiny_weights(tmp_path_factory.mktemp("pipeline"))
    for name in MODELS:
        (folder / name / "README.md").write_text(f"# {name}\n")
    return folder


@pytest.fixture
def talkhead(tmp_path: Path) -> Talkhead:
    """Run the command with separate caches; `more` adds environment variables."""

    def run(*arguments: object, **more: str) -> "subprocess.CompletedProcess[str]":
        environment = {name: value for name, value in os.environ.items() if "HF_" not in name}
        environment |= {
            "PYTHONPATH": str(PACKAGE.parent),
            "TALKHEAD_CACHE": str(tmp_path / "cache"),
            "HF_HOME": str(tmp_path / "hub"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        return subprocess.run(
            [sys.executable, "-m", "talkhead", *map(str, arguments)],
            cwd=tmp_path,
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def hub(pipeline: Path) -> Iterator[HubServer]:
    """A hub with a third-party pipeline, and files that must not be downloaded."""
    with HubServer() as server:
        files = {path: (pipeline / path).read_bytes() for path in PIPELINE_FILES}
        server.repos[REPO] = {REVISION: files | {"run.py": b"import os", "data.zip": b"PK"}}
        yield server


def test_a_pipeline_of_the_hub_is_fetched_once_and_nothing_but_its_files(
    talkhead: Talkhead, hub: HubServer, pipeline: Path
) -> None:
    offline = talkhead("weights", "path", ADDRESS, "--offline", HF_ENDPOINT=hub.url)
    refused(offline, 4, "is not on this machine", f"talkhead weights path {ADDRESS}")
    found = talkhead("weights", "path", ADDRESS, HF_ENDPOINT=hub.url)
    assert found.returncode == 0, found.stderr
    folder = Path(found.stdout.strip())
    assert {name for name in listing(folder) if "/" in name} == set(PIPELINE_FILES)
    for path in PIPELINE_FILES:
        assert (folder / path).read_bytes() == (pipeline / path).read_bytes()
    hub.asked.clear()
    again = talkhead("weights", "path", ADDRESS, HF_ENDPOINT=hub.url)
    assert again.stdout == found.stdout
    assert hub.asked == []


def test_a_pipeline_of_the_hub_hears(talkhead: Talkhead, hub: HubServer, tmp_path: Path) -> None:
    examples = PACKAGE.parent / "examples"
    track = talkhead(
        *("landmarks", examples / "speech.wav", "-o", "track.json", "--weights", ADDRESS, "-q"),
        HF_ENDPOINT=hub.url,
    )
    assert track.returncode == 0, track.stderr
    assert len(json.loads((tmp_path / "track.json").read_text())["points"]) == 198


def test_what_a_hub_refuses_is_one_line(talkhead: Talkhead, hub: HubServer) -> None:
    wrong = talkhead("weights", "path", f"{REPO}@main", HF_ENDPOINT=hub.url)
    refused(wrong, 4, "a commit of 40 hexadecimal digits, not 'main'")
    unknown = talkhead("weights", "path", f"{REPO}@{'a' * 40}", HF_ENDPOINT=hub.url)
    refused(unknown, 4, "the hub has no such revision")
    nobody = talkhead("weights", "path", f"no/body@{REVISION}", HF_ENDPOINT=hub.url)
    refused(nobody, 4, "hf auth login")
    hub.gated.add(REPO)
    gated = talkhead("weights", "path", ADDRESS, HF_ENDPOINT=hub.url)
    refused(gated, 4, "accept the conditions on its page")
    let_in = talkhead("weights", "path", ADDRESS, HF_ENDPOINT=hub.url, HF_TOKEN=hub.TOKEN)
    assert let_in.returncode == 0, let_in.stderr


def test_a_damaged_or_oversized_file_of_the_hub_is_not_kept(
    talkhead: Talkhead, hub: HubServer
) -> None:
    path = "denoiser/model.safetensors"
    content = hub.repos[REPO][REVISION][path]
    hub.breaks[path] = Served(stated_length=10**12)
    large = talkhead("weights", "path", ADDRESS, HF_ENDPOINT=hub.url)
    refused(large, 4, "1000000000000 bytes")
    hub.breaks[path] = Served(content[::-1])
    other = talkhead("weights", "path", ADDRESS, HF_ENDPOINT=hub.url)
    refused(other, 4, path)
    del hub.repos[REPO][REVISION][path], hub.breaks[path]
    without = talkhead("weights", "path", ADDRESS, HF_ENDPOINT=hub.url)
    assert without.returncode == 4


def test_an_added_folder_has_a_name_until_it_is_removed(
    talkhead: Talkhead, pipeline: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(pipeline, tmp_path / "mine")
    added = talkhead(
        *("weights", "add", "mine-1", folder, "--about", "our speakers", "--licence", "CC0"),
        "--json",
    )
    assert added.returncode == 0, added.stderr
    entry = json.loads(added.stdout)
    assert (entry["about"], entry["licence"], entry["kind"]) == ("our speakers", "CC0", "pipeline")
    assert {file["path"] for file in entry["files"]} == set(PIPELINE_FILES)
    rows = json.loads(talkhead("weights", "list", "--json").stdout)
    assert "mine-1" in [row["name"] for row in rows]
    located = talkhead("weights", "path", "mine-1")
    assert located.stdout == f"{folder}\n"
    refused(talkhead("weights", "add", "Mine-1", folder), 4, "the name mine-1 is already taken")
    with (folder / "denoiser" / "model.safetensors").open("ab") as file:
        file.write(b"x")
    refused(talkhead("weights", "path", "mine-1"), 4, "corrupt")
    removed = talkhead("weights", "remove", "mine-1")
    assert (removed.returncode, removed.stdout) == (0, "mine-1 removed\n")
    assert (folder / "denoiser" / "model.safetensors").is_file()
    refused(talkhead("weights", "path", "mine-1"), 4, "no such folder")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("default", "belongs to talkhead"),
        ("../out", "letters, digits"),
        ("con", "is not a Windows device"),
        ("a" * 101, "at most 100 letters"),
    ],
)
def test_a_name_that_would_do_harm_is_refused(
    talkhead: Talkhead, pipeline: Path, tmp_path: Path, name: str, words: str
) -> None:
    refused(talkhead("weights", "add", name, pipeline), 4, words)
    assert listing(tmp_path) == set()


def test_what_is_no_pipeline_is_not_added(
    talkhead: Talkhead, pipeline: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    refused(talkhead("weights", "add", "a", "empty"), 4, "empty")
    refused(talkhead("weights", "add", "a", "nowhere"), 4, "no such folder")
    broken = shutil.copytree(pipeline, tmp_path / "broken")
    (broken / "landmarks" / "model.safetensors").write_bytes(b"PK\3\4 an archive")
    refused(talkhead("weights", "add", "a", "broken"), 4, "model.safetensors")
    refused(talkhead("weights", "add", "a", "http://127.0.0.1/a/"), 4, "https://")
    refused(talkhead("weights", "add", "a", "https://127.0.0.1/..%2f"), 4, "not a valid file name")
    refused(talkhead("weights", "remove", "a"), 4, "no added weights named 'a'")
    refused(talkhead("weights", "remove", "default"), 4, "belongs to talkhead")
    assert not (tmp_path / "cache" / "a").exists()


def test_a_pipeline_of_the_hub_gets_a_name(talkhead: Talkhead, hub: HubServer) -> None:
    added = talkhead("weights", "add", "theirs", ADDRESS, "--json", HF_ENDPOINT=hub.url)
    assert added.returncode == 0, added.stderr
    entry = json.loads(added.stdout)
    assert (entry["where"], entry["repo"], entry["revision"]) == ("hub", REPO, REVISION)
    hub.asked.clear()
    verified = talkhead("weights", "verify", "theirs", "--json", HF_ENDPOINT=hub.url)
    assert json.loads(verified.stdout) == {"theirs": "ok"}
    assert hub.asked == []
    offline = talkhead("weights", "add", "again", ADDRESS, HF_HUB_OFFLINE="1")
    refused(offline, 4, "HF_HUB_OFFLINE forbids the network")


def test_a_pipeline_of_a_web_server_is_fetched_whole_or_not_at_all(
    talkhead: Talkhead, pipeline: Path, tmp_path: Path
) -> None:
    certificate = write_web_certificate(tmp_path / "server.pem")
    with WeightsServer(certificate) as server:
        for path in PIPELINE_FILES:
            server.files[f"/p/{path}"] = Served((pipeline / path).read_bytes(), cut_after=60_000)
        last = server.files.pop("/p/denoiser/model.safetensors")
        trust = {"SSL_CERT_FILE": str(certificate)}
        refused(talkhead("weights", "add", "web", f"{server.url}/p/", **trust), 4, "returned 404")
        assert not (tmp_path / "cache" / "web").exists()
        server.files["/p/denoiser/model.safetensors"] = last
        untrusted = talkhead("weights", "add", "web", f"{server.url}/p/")
        refused(untrusted, 4, "certificate")
        added = talkhead("weights", "add", "web", f"{server.url}/p/", **trust)
        assert added.returncode == 0, added.stderr
        folder = Path(talkhead("weights", "path", "web").stdout.strip())
        for path in PIPELINE_FILES:
            assert (folder / path).read_bytes() == (pipeline / path).read_bytes()
        (folder / "denoiser" / "model.safetensors").unlink()
        fetched = talkhead("weights", "download", "web", **trust)
        assert fetched.returncode == 0, fetched.stderr
        content = (pipeline / "denoiser" / "model.safetensors").read_bytes()
        assert (folder / "denoiser" / "model.safetensors").read_bytes() == content
    assert talkhead("weights", "remove", "web").returncode == 0
    assert not folder.exists()


def test_what_is_published_is_what_others_get(
    talkhead: Talkhead, hub: HubServer, pipeline: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(pipeline, tmp_path / "mine")
    (folder / "notes.txt").write_text("for us alone")
    (folder / "README.md").write_text("# Ours\n")
    planned = talkhead("weights", "publish", folder, "me/ours", "--dry-run", "--json")
    facts = json.loads(planned.stdout)
    assert facts["weights"] is None
    assert {file["path"] for file in facts["files"]} == {*PIPELINE_FILES, "README.md"}
    log_in = {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.TOKEN}
    published = talkhead("weights", "publish", folder, "me/ours", "--private", "--json", **log_in)
    assert published.returncode == 0, published.stderr
    facts = json.loads(published.stdout)
    assert facts["weights"] == f"me/ours@{facts['revision']}"
    assert set(hub.repos["me/ours"][facts["revision"]]) == {*PIPELINE_FILES, "README.md"}
    assert hub.private["me/ours"]
    found = talkhead("weights", "path", facts["weights"], **log_in)
    assert found.returncode == 0, found.stderr
    for path in PIPELINE_FILES:
        assert (Path(found.stdout.strip()) / path).read_bytes() == (folder / path).read_bytes()


def test_what_must_not_be_published_is_not(
    talkhead: Talkhead, hub: HubServer, pipeline: Path, tmp_path: Path
) -> None:
    log_in = {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.TOKEN}
    folder = shutil.copytree(pipeline, tmp_path / "mine")
    refused(talkhead("weights", "publish", folder, "ours", **log_in), 4, "owner/name")
    stranger = talkhead("weights", "publish", folder, "me/ours", HF_ENDPOINT=hub.url)
    refused(stranger, 4, "hf auth login")
    public = talkhead("weights", "publish", folder, REPO, "--private", **log_in)
    refused(public, 4, "public", "a private one was requested")
    offline = talkhead("weights", "publish", folder, "me/ours", HF_HUB_OFFLINE="1")
    refused(offline, 4, "forbids the network")
    (folder / "landmarks" / "README.md").unlink()
    refused(talkhead("weights", "publish", folder, "me/ours", **log_in), 4, "write the card")
    assert set(hub.repos) == {REPO}
    assert set(hub.repos[REPO]) == {REVISION}

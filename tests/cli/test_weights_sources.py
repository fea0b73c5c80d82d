"""Pipelines of a hub: resolved, downloaded, cached and published."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from talkhead.weights import cache_folder
from talkhead.weights.systems import TENSORS_NAME, pipeline_files
from tests.cli.conftest import PACKAGE, listing, refused, write_face
from tests.tiny import write_tiny_mask_noise, write_tiny_weights, write_voice
from tests.weights_server import HubServer, Served

REVISION = "0123456789abcdef0123456789abcdef01234567"
REPO = "somebody/their-pipeline"
ADDRESS = f"{REPO}@{REVISION}"
NEWER = "fedcba9876543210fedcba9876543210fedcba98"
NETWORKS = ("denoiser", "autoencoder", "landmark_generator")
CARDS = tuple(f"{name}/README.md" for name in NETWORKS)
PIPELINE_FILES = (*pipeline_files(()), *CARDS)

Talkhead = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline with its model cards, shared by all tests."""
    folder = write_tiny_weights(tmp_path_factory.mktemp("pipeline"))
    for name in NETWORKS:
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
    refused(offline, 4, "nor in the hub's cache", f"talkhead weights path {ADDRESS}")
    found = talkhead("weights", "path", ADDRESS, HF_ENDPOINT=hub.url)
    assert found.returncode == 0, found.stderr
    folder = Path(found.stdout.strip())
    assert {name for name in listing(folder) if (folder / name).is_file()} == set(PIPELINE_FILES)
    for path in PIPELINE_FILES:
        assert (folder / path).read_bytes() == (pipeline / path).read_bytes()
    hub.asked.clear()
    again = talkhead("weights", "path", ADDRESS, HF_ENDPOINT=hub.url)
    assert again.stdout == found.stdout
    assert hub.asked == []


def test_a_pipeline_of_the_hub_predicts_landmarks(
    talkhead: Talkhead, hub: HubServer, tmp_path: Path
) -> None:
    examples = PACKAGE.parent / "examples"
    track = talkhead(
        *("landmarks", examples / "speech.wav", "-o", "track.json", "--weights", ADDRESS, "-q"),
        HF_ENDPOINT=hub.url,
    )
    assert track.returncode == 0, track.stderr
    assert len(json.loads((tmp_path / "track.json").read_text())["points"]) == 198


@pytest.mark.usefixtures("detector_is_here")
def test_a_video_names_the_commit_of_its_weights(
    talkhead: Talkhead, hub: HubServer, tmp_path: Path
) -> None:
    face = write_face(tmp_path / "face.png")
    speech = write_voice(tmp_path / "speech.wav", 0.5)
    made = talkhead(
        *("render", face, speech, "-o", "out.mp4", "--weights", REPO, "-q"),
        HF_ENDPOINT=hub.url,
        TALKHEAD_CACHE=str(cache_folder()),
    )
    assert made.returncode == 0, made.stderr
    assert f"talkhead: weights {ADDRESS}" in made.stderr.splitlines()
    note = json.loads(talkhead("inspect", "out.mp4", "--json").stdout)["note"]
    assert note["weights"] == ADDRESS


def test_what_a_hub_refuses_is_one_line(talkhead: Talkhead, hub: HubServer) -> None:
    for revision in ("v2", "a" * 40):
        unknown = talkhead("weights", "path", f"{REPO}@{revision}", HF_ENDPOINT=hub.url)
        refused(unknown, 4, f"{REPO}@{revision}", "the hub has no such revision")
    for address in ("no/body", f"no/body@{REVISION}"):
        nobody = talkhead("weights", "path", address, HF_ENDPOINT=hub.url)
        refused(nobody, 4, f"{address}", "is not a folder", "no such repository", "hf auth login")
    unsafe = talkhead("weights", "path", f"{REPO}@../main", HF_ENDPOINT=hub.url)
    refused(unsafe, 4, "no such folder")
    hub.repos["some/data"] = {REVISION: {"denoiser/config.json": b"{}", "run.py": b""}}
    other = talkhead("weights", "path", "some/data", HF_ENDPOINT=hub.url)
    refused(other, 4, "does not hold a pipeline: it lacks model_index.json, scheduler/")
    hub.gated.add(REPO)
    gated = talkhead("weights", "path", ADDRESS, HF_ENDPOINT=hub.url)
    refused(gated, 4, "accept the conditions on its page")
    let_in = talkhead("weights", "path", ADDRESS, HF_ENDPOINT=hub.url, HF_TOKEN=hub.TOKEN)
    assert let_in.returncode == 0, let_in.stderr


def test_a_damaged_or_oversized_file_of_the_hub_is_not_kept(
    talkhead: Talkhead, hub: HubServer
) -> None:
    path = f"denoiser/{TENSORS_NAME}"
    content = hub.repos[REPO][REVISION][path]
    hub.breaks[path] = Served(stated_length=10**12)
    large = talkhead("weights", "path", ADDRESS, HF_ENDPOINT=hub.url)
    refused(large, 4, "1000000000000 bytes")
    hub.breaks[path] = Served(content[::-1])
    other = talkhead("weights", "path", ADDRESS, HF_ENDPOINT=hub.url)
    refused(other, 4, path)


def test_a_cached_file_that_changed_is_refused(talkhead: Talkhead, hub: HubServer) -> None:
    found = talkhead("weights", "path", ADDRESS, HF_ENDPOINT=hub.url)
    tensors = Path(found.stdout.strip()) / "denoiser" / TENSORS_NAME
    tensors.write_bytes(tensors.read_bytes()[::-1])
    for address in (ADDRESS, REPO):
        again = talkhead("weights", "path", address, HF_ENDPOINT=hub.url)
        refused(again, 4, f"{TENSORS_NAME} is corrupt", "to download it again")


@pytest.mark.parametrize("revision", ["", "@refs/pr/2"])
def test_a_branch_means_its_commit_of_the_day(
    talkhead: Talkhead, hub: HubServer, revision: str
) -> None:
    def path(*options: str, **more: str) -> "tuple[str, str]":
        ended = talkhead("weights", "path", REPO + revision, *options, **more)
        assert ended.returncode == 0, ended.stderr
        return Path(ended.stdout.strip()).name, ended.stderr

    branch = revision[1:] or "main"
    hub.branches[REPO] = {branch: REVISION}
    assert path(HF_ENDPOINT=hub.url) == (REVISION, f"talkhead: weights {ADDRESS}\n")
    hub.repos[REPO][NEWER] = hub.repos[REPO][REVISION] | {"denoiser/README.md": b"# newer\n"}
    hub.branches[REPO] = {branch: NEWER}
    assert path("--offline") == (REVISION, f"talkhead: weights {ADDRESS}\n")
    assert path(HF_ENDPOINT=hub.url) == (NEWER, f"talkhead: weights {REPO}@{NEWER}\n")
    assert path(HF_HUB_OFFLINE="1")[0] == NEWER


def test_a_branch_that_was_never_downloaded_needs_the_network(
    talkhead: Talkhead, hub: HubServer
) -> None:
    assert talkhead("weights", "path", ADDRESS, HF_ENDPOINT=hub.url).returncode == 0
    offline = talkhead("weights", "path", REPO, "--offline", HF_ENDPOINT=hub.url)
    refused(offline, 4, f"{REPO}@main is neither a folder nor in the hub's cache")
    unreachable = talkhead("weights", "path", REPO, HF_ENDPOINT="http://127.0.0.1:1")
    refused(unreachable, 4, "cannot be found on the hub", "try again")


def test_a_folder_takes_precedence_over_the_hub(
    talkhead: Talkhead, hub: HubServer, pipeline: Path, tmp_path: Path
) -> None:
    shutil.copytree(pipeline, tmp_path / REPO)
    found = talkhead("weights", "path", REPO, "--json", HF_ENDPOINT=hub.url)
    assert json.loads(found.stdout) == {"name": REPO, "revision": None, "path": REPO}
    assert found.stderr == ""
    shutil.rmtree(tmp_path / REPO / "denoiser")
    broken = talkhead("weights", "path", REPO, HF_ENDPOINT=hub.url)
    refused(broken, 4, "is not whole: denoiser/")
    assert hub.asked == []


@pytest.fixture
def log_in(hub: HubServer) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.TOKEN}


def test_what_is_published_is_what_others_get(
    talkhead: Talkhead, hub: HubServer, log_in: dict[str, str], pipeline: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(pipeline, tmp_path / "mine")
    (folder / "notes.txt").write_text("for us alone")
    (folder / "README.md").write_text("# Ours\n")
    planned = talkhead("weights", "publish", folder, "me/ours", "--dry-run", "--json")
    facts = json.loads(planned.stdout)
    assert facts["weights"] is None
    assert {file["path"] for file in facts["files"]} == {*PIPELINE_FILES, "README.md"}
    published = talkhead("weights", "publish", folder, "me/ours", "--private", "--json", **log_in)
    assert published.returncode == 0, published.stderr
    facts = json.loads(published.stdout)
    assert facts["weights"] == f"me/ours@{facts['revision']}"
    uploaded = hub.repos["me/ours"][facts["revision"]].keys() - {".gitattributes"}
    assert uploaded == {*PIPELINE_FILES, "README.md"}
    stranger = talkhead("weights", "path", "me/ours", HF_ENDPOINT=hub.url)
    refused(stranger, 4, "it is private", "hf auth login")
    for address in ("me/ours", "me/ours@main", facts["weights"]):
        found = talkhead("weights", "path", address, **log_in)
        assert found.returncode == 0, found.stderr
        assert found.stderr == f"talkhead: weights {facts['weights']}\n"
        for path in (*PIPELINE_FILES, "README.md"):
            assert (Path(found.stdout.strip()) / path).read_bytes() == (folder / path).read_bytes()


def test_a_card_is_generated_once_for_a_pipeline_without_one(
    talkhead: Talkhead, hub: HubServer, log_in: dict[str, str], tmp_path: Path
) -> None:
    folder = write_tiny_mask_noise(tmp_path / "mine")
    published = talkhead("weights", "publish", folder, "me/ours", **log_in)
    assert published.returncode == 0, published.stderr
    first = list(hub.repos["me/ours"].values())[-1]
    files = {path: first[path] for path in first.keys() - {"README.md", ".gitattributes"}}
    assert files == {path: (folder / path).read_bytes() for path in listing(folder) if "." in path}
    card = ModelCard(first["README.md"].decode())
    for line in ("library_name: diffusers", "license: unknown", "- talkhead", "- mask-noise"):
        assert line in str(card.data).splitlines()
    assert "--weights me/ours\n" in card.text
    assert "Training data and its licences**: not stated" in card.text
    found = talkhead("weights", "path", "me/ours", **log_in)
    assert listing(Path(found.stdout.strip())) >= set(files)
    first["README.md"] = b"# By the author\n"
    again = talkhead("weights", "publish", folder, "me/ours", **log_in)
    assert again.returncode == 0, again.stderr
    assert len(hub.repos["me/ours"]) == 3
    assert list(hub.repos["me/ours"].values())[-1] == first  # the author's card is left alone


def test_what_must_not_be_published_is_not(
    talkhead: Talkhead, hub: HubServer, log_in: dict[str, str], pipeline: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(pipeline, tmp_path / "mine")
    refused(talkhead("weights", "publish", folder, "ours", **log_in), 4, "owner/name")
    stranger = talkhead("weights", "publish", folder, "me/ours", HF_ENDPOINT=hub.url)
    refused(stranger, 4, "hf auth login")
    public = talkhead("weights", "publish", folder, REPO, "--private", **log_in)
    refused(public, 4, "public", "a private one was requested")
    offline = talkhead("weights", "publish", folder, "me/ours", HF_HUB_OFFLINE="1")
    refused(offline, 4, "forbids the network")
    one = talkhead("weights", "publish", folder / "denoiser", "me/ours", **log_in)
    refused(one, 4, "only whole pipelines can be published")
    (folder / "landmark_generator" / TENSORS_NAME).write_bytes(b"PK\3\4 an archive")
    refused(talkhead("weights", "publish", folder, "me/ours", **log_in), 4, TENSORS_NAME)
    (folder / "landmark_generator" / "README.md").write_text("")
    refused(talkhead("weights", "publish", folder, "me/ours", **log_in), 4, "README.md is empty")
    assert set(hub.repos) == {REPO}
    assert set(hub.repos[REPO]) == {REVISION}

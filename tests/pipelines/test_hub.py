"""Pipelines that diffusers' `push_to_hub` uploads, and `from_pretrained` loads again."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import talkhead
from talkhead.errors import WeightsError
from talkhead.pipelines import MaskNoisePipeline, TalkheadPipeline
from talkhead.weights import resolve_weights
from talkhead.weights.systems import CARD_NAME, TENSORS_NAME, paths_in, pipeline_files
from tests.pipelines.test_convert import check_same
from tests.tiny import tiny_expressions, tiny_mask_noise_pipeline, tiny_pipeline
from tests.weights_server import HubServer

OURS = "me/ours"
SECOND = "me/second"


def in_own_process(function: Callable[[], None], folder: Path, hub: HubServer) -> list[str]:
    """Run a function of this file and return what it prints.

    huggingface_hub reads its environment when it is imported.
    """
    environment = {name: value for name, value in os.environ.items() if "HF_" not in name}
    environment |= {
        "PYTHONPATH": str(Path(talkhead.__file__).parents[1]),
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": hub.TOKEN,
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    script = f"from tests.pipelines import test_hub; test_hub.{function.__name__}()"
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()


def test_a_copy_keeps_the_cards_of_what_it_holds(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    pipeline = tiny_pipeline()
    pipeline.register_modules(expressions=tiny_expressions())
    pipeline.save_pretrained(old)
    for name in (".", "denoiser", "expressions"):
        (old / name / CARD_NAME).write_text(f"# {name}\n")
    loaded = TalkheadPipeline.from_pretrained(old, device="cpu", expressions=None)
    loaded.save_pretrained(new)
    assert (new / CARD_NAME).read_text() == "# .\n"
    assert (new / "denoiser" / CARD_NAME).read_text() == "# denoiser\n"
    assert not (new / "expressions").exists()
    check_same(TalkheadPipeline.from_pretrained(new, device="cpu"), loaded)


def test_what_is_pushed_is_what_others_load(tmp_path: Path) -> None:
    with HubServer() as hub:
        first, newer, second = in_own_process(push_and_load, tmp_path, hub)
    assert list(hub.repos[OURS])[1:] == [first, newer]
    assert list(hub.repos[SECOND])[1:] == [second]
    assert hub.private == {OURS: False, SECOND: True}
    for repo in (OURS, SECOND):
        files = list(hub.repos[repo].values())[-1]
        assert files.keys() - {".gitattributes"} == set(pipeline_files(files.keys()))
        assert b"library_name: diffusers" in files["README.md"]


def push_and_load() -> None:
    """Push two versions of a pipeline and one of the other system; print their commits."""
    ours = tiny_pipeline()
    ours.push_to_hub(OURS)
    found = TalkheadPipeline.from_pretrained(OURS, device="cpu")
    repo, at, first = found.weights.partition("@")
    assert (repo, at, len(first)) == (OURS, "@", 40), found.weights
    check_same(found, ours)

    changed = tiny_pipeline()
    torch.nn.init.zeros_(changed.denoiser.conv_out.weight)
    changed.save_pretrained("changed", push_to_hub=True, repo_id=OURS)
    offline = TalkheadPipeline.from_pretrained(OURS, device="cpu", offline=True)
    assert offline.weights == f"{OURS}@{first}", "a branch moved without the network"
    found = TalkheadPipeline.from_pretrained(OURS, device="cpu")
    newer = found.weights.partition("@")[2]
    assert newer != first
    check_same(found, changed)
    for name, revision in ((OURS, first), (f"{OURS}@{first}", None)):
        found = TalkheadPipeline.from_pretrained(name, device="cpu", revision=revision)
        assert found.weights == f"{OURS}@{first}"
        check_same(found, ours)

    other = tiny_mask_noise_pipeline()
    other.push_to_hub(SECOND, private=True)
    loaded = MaskNoisePipeline.from_pretrained(SECOND, device="cpu", revision="main")
    check_same(loaded, other)
    with pytest.raises(WeightsError, match="holds mask-noise, but lgd is needed"):
        TalkheadPipeline.from_pretrained(SECOND, device="cpu", offline=True)
    with pytest.raises(WeightsError, match="has no such revision"):
        TalkheadPipeline.from_pretrained(OURS, device="cpu", revision="v2")
    commits = (first, newer, loaded.weights.partition("@")[2])
    sys.stdout.write(" ".join(commits))

    folder = resolve_weights(OURS, offline=True)
    for path in pipeline_files(paths_in(folder)):
        file = (folder / path).resolve()
        content = file.read_bytes()
        file.write_bytes(content[::-1])
        for is_offline in (True, False):
            with pytest.raises(WeightsError, match=f"{path} is corrupt: remove .* again"):
                TalkheadPipeline.from_pretrained(OURS, device="cpu", offline=is_offline)
        file.write_bytes(content)
    check_same(TalkheadPipeline.from_pretrained(OURS, device="cpu"), changed)
    (folder / "denoiser" / TENSORS_NAME).unlink()
    with pytest.raises(WeightsError, match="nor in the hub's cache"):
        TalkheadPipeline.from_pretrained(OURS, device="cpu", offline=True)
    check_same(TalkheadPipeline.from_pretrained(OURS, device="cpu"), changed)

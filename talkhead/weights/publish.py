"""Upload a pipeline folder to a hub repository in one commit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from talkhead.errors import WeightsError
from talkhead.weights.folders import kind_of
from talkhead.weights.hub import LOG_IN, http_error, hub_error
from talkhead.weights.listing import (
    WeightsFile,
    measure_file,
)
from talkhead.weights.names import HubAddress, is_commit, repo_fault
from talkhead.weights.systems import CARD_NAME, System, paths_in, pipeline_files, system_of

_CARD = """\
---
{metadata}
---

# {name}

A {system} pipeline for [talkhead](https://pypi.org/project/talkhead/), which animates a face from a
voice:

```sh
talkhead render face.png speech.wav -o out.mp4 --weights {repo}
```

*The author has not yet completed this card.*

- **Training data and its licences**: not stated
- **Licence of the weights**: not stated
- **Training recipe**: not stated
- **Scores** (`talkhead eval`): not stated
- **Limits**: not stated
"""


def plan_publication(folder: Path, repo: str) -> tuple[WeightsFile, ...]:
    """Find the files to publish from a pipeline folder, without using the network.

    These are the models and any cards. The caller checks whether the tensors fit their networks.

    Raises:
        WeightsError: the folder does not hold a whole pipeline, a card is empty, or the
            repository's name is invalid.
    """
    if fault := repo_fault(repo):
        raise WeightsError(f"cannot publish: {fault}")
    if not folder.is_dir():
        raise WeightsError(f"folder {folder} does not exist: check the path")
    if kind_of(folder) != "pipeline":
        raise WeightsError(f"{folder} is a single model: only whole pipelines can be published")
    files = tuple(measure_file(folder, path) for path in pipeline_files(paths_in(folder)))
    for file in files:
        if file.num_bytes == 0:
            raise WeightsError(f"{folder / file.path} is empty: write it")
    return files


def publish(
    folder: Path, repo: str, *, private: bool = False, files: Sequence[WeightsFile]
) -> HubAddress:
    """Upload a pipeline in one commit, creating the repository if needed.

    If neither the folder nor the repository has a model card, one for the author to complete is
    added.

    Args:
        folder: the pipeline's folder.
        repo: ``owner/name``.
        private: create a private repository.
        files: what to upload, from `plan_publication`.

    Returns:
        The address of the published weights, with the new commit.

    Raises:
        WeightsError: the hub fails or refuses, or the repository is public although `private` is
            set (nothing is uploaded then).
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    what = f"cannot publish to {repo}"
    try:
        api.create_repo(repo, private=private or None, exist_ok=True)
        if private and not api.repo_info(repo).private:
            raise WeightsError(
                f"{what}: it already exists and is public, but a private one was requested"
            )
        operations = [CommitOperationAdd(file.path, folder / file.path) for file in files]
        has_card = any(file.path == CARD_NAME for file in files)
        if not has_card and not api.file_exists(repo, CARD_NAME):
            card = generate_card(repo, system_of(folder))
            operations.append(CommitOperationAdd(CARD_NAME, card.encode()))
        commit = api.create_commit(
            repo, operations=operations, commit_message="Upload a talkhead pipeline"
        )
    except (OSError, ValueError, RuntimeError, http_error()) as error:
        cause = error
        while isinstance(cause, RuntimeError) and isinstance(cause.__cause__, Exception):
            cause = cause.__cause__  # an upload in a thread
        raise hub_error(what, cause) from error
    if not is_commit(commit.oid):
        raise WeightsError(
            f"{what}: the hub returned no commit; check the repository, and {LOG_IN}"
        )
    return HubAddress(repo, commit.oid)


def generate_card(repo: str, system: System) -> str:
    """Return a model card that leaves data, licence and scores for the author to fill in."""
    from huggingface_hub import ModelCardData

    metadata = ModelCardData(
        license="unknown",
        library_name="diffusers",
        pipeline_tag="image-to-video",
        tags=["talkhead", system.label, "talking-head", "lip-sync"],
    )
    return _CARD.format(
        metadata=metadata.to_yaml(), name=repo.split("/")[1], repo=repo, system=system.label
    )

"""Upload a pipeline folder to a hub repository in one commit."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from talkhead.errors import WeightsError
from talkhead.weights.folders import kind_of
from talkhead.weights.hub import LOG_IN, PIPELINE_FILES, hub_error
from talkhead.weights.listing import (
    WeightsFile,
    measure_file,
)
from talkhead.weights.names import REVISION, HubAddress, repo_fault
from talkhead.weights.systems import CARD_NAME


class Upload(NamedTuple):
    """The files to upload, and the repository."""

    repo: str
    folder: Path
    files: tuple[WeightsFile, ...]


def plan_upload(folder: Path, repo: str) -> Upload:
    """Find the files to publish from a pipeline folder, without using the network.

    These are the models, their cards, and the pipeline's own card, if the folder has one. The
    caller checks whether the tensors fit their networks.

    Raises:
        WeightsError: the folder does not hold a pipeline, a card is missing or empty, or the
            repository's name is invalid.
    """
    if fault := repo_fault(repo):
        raise WeightsError(f"cannot publish: {fault}")
    if not folder.is_dir():
        raise WeightsError(f"folder {folder} does not exist: check the path")
    if kind_of(folder) != "pipeline":
        raise WeightsError(f"{folder} is a single model: only whole pipelines can be published")
    if is_mask_noise(folder):
        raise WeightsError(f"{folder} is a mask-noise pipeline: only lgd can be published")
    paths = [*PIPELINE_FILES]
    if (folder / CARD_NAME).is_file():
        paths.append(CARD_NAME)
    files = []
    for path in paths:
        is_card = path.endswith(CARD_NAME)
        if is_card and not (folder / path).is_file():
            raise WeightsError(
                f"{folder / path} is missing: write the card (data with licences, recipe, scores,"
                " limits)"
            )
        file = measure_file(folder, path)
        if is_card and file.num_bytes == 0:
            raise WeightsError(f"{folder / path} is empty: write the card")
        files.append(file)
    return Upload(repo, folder, tuple(files))


def upload(planned: Upload, *, private: bool) -> HubAddress:
    """Upload a pipeline in one commit, creating the repository if needed.

    Raises:
        WeightsError: the hub fails or refuses, a file has changed since it was checked, or the
            repository is public although `private` is set (nothing is uploaded then).
    """
    from huggingface_hub import CommitOperationAdd, HfApi, errors

    # What its HTTP library raises when a connection breaks; requests raises OSErrors.
    broken: type[Exception] = getattr(errors, "HTTPError", OSError)
    api = HfApi()
    what = f"cannot publish to {planned.repo}"
    try:
        api.create_repo(planned.repo, private=private or None, exist_ok=True)
        if private and not api.repo_info(planned.repo).private:
            raise WeightsError(
                f"{what}: it already exists and is public, but a private one was requested"
            )
        for file in planned.files:
            if measure_file(planned.folder, file.path) != file:
                raise WeightsError(f"{planned.folder / file.path} has just changed: try again")
        commit = api.create_commit(
            planned.repo,
            operations=[
                CommitOperationAdd(file.path, planned.folder / file.path) for file in planned.files
            ],
            commit_message="Upload a talkhead pipeline",
        )
    except (OSError, ValueError, RuntimeError, broken) as error:
        cause = error
        while isinstance(cause, RuntimeError) and isinstance(cause.__cause__, Exception):
            cause = cause.__cause__  # an upload in a thread
        raise hub_error(what, cause) from error
    if not REVISION.fullmatch(commit.oid):
        raise WeightsError(
            f"{what}: the hub returned no commit; check the repository, and {LOG_IN}"
        )
    return HubAddress(planned.repo, commit.oid)

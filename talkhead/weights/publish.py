"""A pipeline folder of the user's own to a repository of the hub, at one commit."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from talkhead.errors import WeightsError
from talkhead.weights.folders import kind_of
from talkhead.weights.hub import LOG_IN, hub_error
from talkhead.weights.listing import (
    CARD_NAME,
    PIPELINE_FILES,
    WeightsFile,
    is_mask_noise,
    measure_file,
)
from talkhead.weights.names import REVISION, HubAddress, repo_fault


class Upload(NamedTuple):
    """What would be uploaded, and where to."""

    repo: str
    folder: Path
    files: tuple[WeightsFile, ...]


def plan_upload(folder: Path, repo: str) -> Upload:
    """Find the files of a pipeline that belong in its repository; the network is not used.

    These are the models and their cards, and the card of the whole, where the folder has one.
    Whether the tensors fit their networks is the caller's to check.

    Raises:
        WeightsError: the folder is no pipeline, a card is missing or empty, or the name is none.
    """
    if fault := repo_fault(repo):
        raise WeightsError(f"cannot publish: {fault}")
    if not folder.is_dir():
        raise WeightsError(f"there is no folder {folder}: check the path")
    if kind_of(folder) != "pipeline":
        raise WeightsError(f"{folder} is one model: a pipeline of three is published")
    if is_mask_noise(folder):
        raise WeightsError(f"{folder} is of mask-noise: only pipelines of lgd are published")
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
    """Upload a pipeline in one commit; the repository is made where it is not there.

    Raises:
        WeightsError: the hub fails or refuses, a file has changed since it was checked, or the
            repository is public and a private one is asked for (nothing is uploaded then).
    """
    from huggingface_hub import CommitOperationAdd, HfApi, errors

    # What its HTTP library raises where a connection breaks; requests has OSErrors.
    broken: type[Exception] = getattr(errors, "HTTPError", OSError)
    api = HfApi()
    what = f"cannot publish to {planned.repo}"
    try:
        api.create_repo(planned.repo, private=private or None, exist_ok=True)
        if private and not api.repo_info(planned.repo).private:
            raise WeightsError(f"{what}: it is there already and public, --private was asked for")
        for file in planned.files:
            if measure_file(planned.folder, file.path) != file:
                raise WeightsError(f"{planned.folder / file.path} has changed meanwhile: try again")
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
        raise WeightsError(f"{what}: the hub names no commit; look at the repository, and {LOG_IN}")
    return HubAddress(planned.repo, commit.oid)

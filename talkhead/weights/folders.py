"""Resolve a name or a user's own folder to a folder whose files match their digests."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from talkhead.atomic import replacing
from talkhead.errors import WeightsError
from talkhead.weights import hub
from talkhead.weights.fetch import cache_folder, download, is_offline
from talkhead.weights.hub import MissingFileError
from talkhead.weights.listing import (
    WeightsEntry,
    format_list,
    measure_file,
    read_list,
)
from talkhead.weights.names import HubAddress, parse_hub_address
from talkhead.weights.systems import (
    CHECKPOINTS,
    NETWORK_FILES,
    PACKAGE,
    PIPELINE_FILES,
    SHIPPED_DEFAULT,
    TENSORS_NAME,
    network_folders,
)

DEFAULT = "default"


@dataclasses.dataclass(frozen=True)
class ResolvedWeights:
    """Where weights are, and exactly which they are.

    `name` is a listed name, a folder, or a repository on the hub, and `revision` is the commit of
    the latter. As a text, they name the same weights again, even if a branch moves on.
    """

    folder: Path
    name: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.name if self.revision is None else f"{self.name}@{self.revision}"


class WeightsList:
    """A weights.toml with the folders that hold its entries.

    Args:
        path: the weights.toml.
        checkpoints: the folder of the shipped entries.
        cache: the folder of the entries downloaded from a URL.

    Raises:
        WeightsError: the file is missing or not in the format of this talkhead version.
    """

    def __init__(self, path: Path, *, checkpoints: Path, cache: Path) -> None:
        self.path = path
        self.checkpoints = checkpoints
        self.cache = cache
        self.entries = read_list(path)

    def resolve(self, name_or_folder: str | Path, *, offline: bool = False) -> Path:
        """Return the folder of weights: see `locate`."""
        return self.locate(name_or_folder, offline=offline).folder

    def locate(self, name_or_folder: str | Path, *, offline: bool = False) -> ResolvedWeights:
        """Find weights, download missing files, and compare every file with its digest.

        Args:
            name_or_folder: a listed name; or a user's own folder: a network or a pipeline, as
                diffusers saves them; or ``owner/name`` or
                ``owner/name@revision``: a pipeline on the hub at a branch, a tag or a commit, by
                default at the branch main. A folder of that name takes precedence. The user's own
                files have no known digests.
            offline: never use the network; HF_HUB_OFFLINE=1 has the same effect.

        Returns:
            The folder, for a pipeline the one that holds its components, and the commit of a
            pipeline on the hub.

        Raises:
            WeightsError: the name, folder or repository does not exist, or a file is missing,
                differs from its digest or cannot be downloaded.
        """
        name = str(name_or_folder)
        offline = offline or is_offline()
        if name in self.entries:
            return ResolvedWeights(self._listed(self.entries[name], offline=offline), name)
        address = parse_hub_address(name)
        if address is None or Path(name).exists():
            return ResolvedWeights(self._own_folder(Path(name)), name)
        folder = hub.fetch_pipeline(address, offline=offline)
        return ResolvedWeights(folder, address.repo, folder.name)

    def resolve_network(self, name: str, *, offline: bool = False) -> Path:
        """Return the folder of a network for training: a listed one, or one in the hub's layout.

        Args:
            name: a listed name, or ``owner/name`` or ``owner/name@revision`` on the hub.
            offline: never use the network; HF_HUB_OFFLINE=1 has the same effect.

        Raises:
            WeightsError: as for `locate`.
        """
        offline = offline or is_offline()
        address = parse_hub_address(name)
        if name in self.entries or address is None:
            return self.resolve(name, offline=offline)
        return hub.fetch_network(address, offline=offline)

    def verify(self, name: str) -> bool:
        """Compare the files of an entry with their digests, without using the network.

        Returns:
            False if the entry is downloaded on demand and is not on this machine yet.

        Raises:
            WeightsError: the name is unknown, or a file is missing or differs.
        """
        entry = self.entry(name)
        if entry.components:
            for component in entry.components:
                self.verify(component)
        try:
            folder = self._fetched(entry, offline=True)
        except MissingFileError:
            return False
        _check_files(entry, folder)
        return True

    def entry(self, name: str) -> WeightsEntry:
        """Look up a name; raises WeightsError if it is not listed."""
        if name not in self.entries:
            raise WeightsError(f"no weights named {name!r}: {self._choices()}")
        return self.entries[name]

    def pin(self, *names: str) -> list[WeightsEntry]:
        """Measure shipped files again and rewrite weights.toml; for maintainers.

        Args:
            names: entries with ``where = "package"``; none means all of them.

        Returns:
            The updated entries.

        Raises:
            WeightsError: an entry is not listed or not shipped, or one of its two files is missing.
        """
        chosen = [self.entry(name) for name in names] or [
            entry for entry in self.entries.values() if entry.where == "package"
        ]
        pinned = []
        for entry in chosen:
            if entry.where != "package":
                raise WeightsError(f"{entry.name} has no shipped files: only those can be pinned")
            paths = PIPELINE_FILES if entry.kind == "pipeline" else NETWORK_FILES
            files = tuple(measure_file(self.shipped_folder(entry), path) for path in paths)
            pinned.append(dataclasses.replace(entry, files=files))
        self.entries |= {entry.name: entry for entry in pinned}
        with replacing(self.path) as partial:
            partial.write_text(format_list(self.entries), encoding="utf-8")
        return pinned

    def shipped_folder(self, entry: WeightsEntry) -> Path:
        """Return a shipped network's folder, inside its pipeline's; or that of a pipeline.

        A second network for the same component has a suffix: video_denoiser-paper.
        """
        if entry.kind == "pipeline":
            return self._pipeline_folder(entry)
        shared = self.entries[DEFAULT].components if DEFAULT in self.entries else ()
        for pipeline in self.entries.values():
            if entry.name in pipeline.components and entry.name not in shared:
                return self._pipeline_folder(pipeline) / entry.name.partition("-")[0]
        return self.checkpoints / SHIPPED_DEFAULT / entry.name

    def _pipeline_folder(self, entry: WeightsEntry) -> Path:
        return self.checkpoints / (SHIPPED_DEFAULT if entry.name == DEFAULT else entry.name)

    def _choices(self) -> str:
        return (
            f"choose one of {', '.join(self.entries)}, or name a folder or a repository on the hub"
            " (owner/name)"
        )

    def _own_folder(self, folder: Path) -> Path:
        if not folder.is_dir():
            raise WeightsError(
                f"no weights named {str(folder)!r} and no such folder: {self._choices()}"
            )
        kind_of(folder)
        return folder

    def _listed(self, entry: WeightsEntry, *, offline: bool) -> Path:
        """Return the folder of an entry, with all files present and verified."""
        if entry.components:
            for component in entry.components:
                self._listed(self.entries[component], offline=offline)
        folder = self._fetched(entry, offline=offline)
        _check_files(entry, folder)
        return folder

    def _fetched(self, entry: WeightsEntry, *, offline: bool) -> Path:
        """Return the folder of an entry, with all files present but not verified."""
        if entry.where == "package":
            return self.shipped_folder(entry)
        if entry.repo is not None and entry.revision is not None:
            address = HubAddress(entry.repo, entry.revision)
            try:
                return hub.fetch_files(address, entry.files, offline=offline)
            except MissingFileError as error:
                raise self._absent(entry) if offline else error from error
        folder = self.cache / entry.name
        for file in entry.files:
            target = folder / file.path
            if target.is_file():
                continue
            if offline:
                raise self._absent(entry)
            download(entry.url or "", target, file)
        return folder

    @staticmethod
    def _absent(entry: WeightsEntry) -> MissingFileError:
        return MissingFileError(
            f"{entry.name} is not on this machine: run `talkhead weights download {entry.name}`"
            " once while online"
        )


def kind_of(folder: Path) -> Literal["model", "pipeline"]:
    """Return whether a user's folder holds a network or a pipeline.

    Raises:
        WeightsError: it holds neither.
    """
    if (folder / TENSORS_NAME).is_file():
        return "model"
    network_folders(folder)
    return "pipeline"


def installed_list() -> WeightsList:
    """Return the list of this installation: in the package, or at the top of a checkout."""
    beside, top = PACKAGE / "weights.toml", PACKAGE.parent / "weights.toml"
    return WeightsList(
        beside if beside.is_file() else top, checkpoints=CHECKPOINTS, cache=cache_folder()
    )


def list_entries() -> list[WeightsEntry]:
    """Return the entries of the installed list, in its order."""
    return list(installed_list().entries.values())


def resolve_weights(name_or_folder: str | Path, *, offline: bool = False) -> Path:
    """Resolve weights of the installed list, a folder or a repository to a folder.

    See `WeightsList.locate`.
    """
    return installed_list().resolve(name_or_folder, offline=offline)


def locate_weights(name_or_folder: str | Path, *, offline: bool = False) -> ResolvedWeights:
    """Resolve weights like `resolve_weights`, and say at which commit: `WeightsList.locate`."""
    return installed_list().locate(name_or_folder, offline=offline)


def resolve_network(name: str, *, offline: bool = False) -> Path:
    """Resolve a network that training uses to a folder: see `WeightsList.resolve_network`."""
    return installed_list().resolve_network(name, offline=offline)


def verify(name: str) -> bool:
    """Check an entry of the installed list: see `WeightsList.verify`."""
    return installed_list().verify(name)


def _check_files(entry: WeightsEntry, folder: Path) -> None:
    cure = (
        "install talkhead again" if entry.where == "package" else "remove it to download it again"
    )
    if not entry.files:
        raise WeightsError(f"{entry.name} lists no files: run `talkhead weights pin {entry.name}`")
    for file in entry.files:
        path = folder / file.path
        if not path.is_file():
            raise WeightsError(f"{path} is missing: {cure}")
        found = measure_file(folder, file.path)
        if found != file:
            raise WeightsError(
                f"{path} is corrupt ({found.num_bytes} bytes, sha256 {found.sha256[:12]}...;"
                f" listed: {file.num_bytes}, {file.sha256[:12]}...): {cure}"
            )

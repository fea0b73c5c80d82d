"""Resolve a name or a user's own folder to a folder whose files match their digests."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from talkhead.errors import WeightsError
from talkhead.weights import hub
from talkhead.weights.fetch import MissingFileError, Watch, cache_folder, download, is_offline
from talkhead.weights.listing import (
    WeightsEntry,
    WeightsFile,
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
ADDED_NAME = "weights.toml"
"""File name of the user's own list, in the cache folder."""


class WeightsList:
    """A weights.toml with the folders that hold its entries.

    Args:
        path: the weights.toml.
        checkpoints: the folder of the shipped entries.
        cache: the folder of the entries downloaded from a URL.
        added: the user's own entries by name; a published entry of the same name takes precedence.

    Raises:
        WeightsError: the file is missing or not in the format of this talkhead version.
    """

    def __init__(
        self,
        path: Path,
        *,
        checkpoints: Path,
        cache: Path,
        added: Mapping[str, WeightsEntry] | None = None,
    ) -> None:
        self.path = path
        self.checkpoints = checkpoints
        self.cache = cache
        self.published = read_list(path)
        self.added = {
            name: entry for name, entry in (added or {}).items() if name not in self.published
        }

    @property
    def entries(self) -> dict[str, WeightsEntry]:
        """All entries by name: the published ones, then the user's own."""
        return self.published | self.added

    def resolve(
        self, name_or_folder: str | Path, *, offline: bool = False, watch: Watch | None = None
    ) -> Path:
        """Find weights, download missing files, and compare every file with its digest.

        Args:
            name_or_folder: a listed name; or a user's own folder: a model (config.json and
                model.safetensors) or a pipeline (one sub-folder per part); or
                ``owner/name@revision``: a pipeline on the hub at a commit of 40 digits. The user's
                own files have no known digests.
            offline: never use the network; HF_HUB_OFFLINE=1 has the same effect.
            watch: progress callback for https downloads; the hub shows its own progress bars.

        Returns:
            The folder. For a pipeline, the folder that holds its components.

        Raises:
            WeightsError: the name, folder or repository does not exist, or a file is missing,
                differs from its digest or cannot be downloaded.
        """
        entry = self.entries.get(str(name_or_folder))
        offline = offline or is_offline()
        if entry is None:
            address = parse_hub_address(str(name_or_folder))
            if address is None or Path(name_or_folder).is_dir():
                return self.own_folder(Path(name_or_folder))
            return hub.fetch_pipeline(address, offline=offline)
        if entry.components:
            for component in entry.components:
                self.resolve(component, offline=offline)
            _check_files(entry, self.shipped_folder(entry))
            return self.shipped_folder(entry)
        folder = self._fetched(entry, offline=offline, watch=watch)
        _check_files(entry, folder)
        return folder

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
            _check_files(entry, self.shipped_folder(entry))
            return True
        try:
            folder = self._fetched(entry, offline=True, watch=None)
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
            entry for entry in self.published.values() if entry.where == "package"
        ]
        pinned = []
        for entry in chosen:
            if entry.where != "package":
                raise WeightsError(f"{entry.name} has no shipped files: only those can be pinned")
            paths = PIPELINE_FILES if entry.kind == "pipeline" else NETWORK_FILES
            files = tuple(measure_file(self.shipped_folder(entry), path) for path in paths)
            pinned.append(dataclasses.replace(entry, files=files))
        self.published |= {entry.name: entry for entry in pinned}
        part = self.path.with_name(f".{self.path.name}.part")
        part.write_text(format_list(self.published), encoding="utf-8")
        part.replace(self.path)
        return pinned

    def shipped_folder(self, entry: WeightsEntry) -> Path:
        """Return a shipped network's folder, inside its pipeline's; or that of a pipeline."""
        if entry.kind == "pipeline":
            return self._pipeline_folder(entry)
        shared = self.published[DEFAULT].components if DEFAULT in self.published else ()
        for pipeline in self.published.values():
            if entry.name in pipeline.components and entry.name not in shared:
                return self._pipeline_folder(pipeline) / entry.name
        return self.checkpoints / SHIPPED_DEFAULT / entry.name

    def _pipeline_folder(self, entry: WeightsEntry) -> Path:
        return self.checkpoints / (SHIPPED_DEFAULT if entry.name == DEFAULT else entry.name)

    def _choices(self) -> str:
        return f"choose one of {', '.join(self.entries)}, or name a folder"

    def own_folder(self, folder: Path) -> Path:
        """Check and return a user's folder; raises WeightsError if it holds no weights."""
        if not folder.is_dir():
            repo, at, revision = str(folder).rpartition("@")
            if at and repo.count("/") == 1 and not repo.startswith((".", "/", "~")):
                raise WeightsError(
                    f"{str(folder)!r} is not a folder, and a pipeline on the hub must be"
                    f" owner/name@ and a commit of 40 hexadecimal digits, not {revision!r}"
                )
            raise WeightsError(
                f"no weights named {str(folder)!r} and no such folder: {self._choices()}"
            )
        kind_of(folder)
        return folder

    def _fetched(self, entry: WeightsEntry, *, offline: bool, watch: Watch | None) -> Path:
        """Return the folder of an entry, with all files present but not verified."""
        if entry.where == "package":
            return self.shipped_folder(entry)
        if entry.folder is not None:
            return Path(entry.folder)
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
            download(_url_of(entry, file), target, file, watch=watch)
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
    cache = cache_folder()
    return WeightsList(
        beside if beside.is_file() else top,
        checkpoints=CHECKPOINTS,
        cache=cache,
        added=read_added(cache),
    )


def read_added(cache: Path) -> dict[str, WeightsEntry]:
    """Read the list of weights that the user added.

    Raises:
        WeightsError: it cannot be read, or `talkhead weights add` did not write an entry.
    """
    path = cache / ADDED_NAME
    if not path.is_file():
        return {}
    try:
        entries = read_list(path)
    except WeightsError as error:
        raise WeightsError(f"{error}; remove {path} and add your weights again") from error
    for entry in entries.values():
        if entry.where == "package":
            raise WeightsError(f"{path}: {entry.name!r} claims to be shipped: remove its entry")
    return entries


def list_entries() -> list[WeightsEntry]:
    """Return the entries of the installed list, in its order."""
    return list(installed_list().entries.values())


def resolve_weights(name_or_folder: str | Path, *, offline: bool = False) -> Path:
    """Resolve weights of the installed list or a user's folder: see `WeightsList.resolve`."""
    return installed_list().resolve(name_or_folder, offline=offline)


def verify(name: str) -> bool:
    """Check an entry of the installed list: see `WeightsList.verify`."""
    return installed_list().verify(name)


def _url_of(entry: WeightsEntry, file: WeightsFile) -> str:
    url = entry.url or ""
    return url + file.path if url.endswith("/") else url


def _check_files(entry: WeightsEntry, folder: Path) -> None:
    cure = {
        "package": "install talkhead again",
        "hub": "remove it to download it again",
        "url": "remove it to download it again",
        "folder": f"if you changed it, run `talkhead weights remove {entry.name}` and add it again",
    }[entry.where]
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

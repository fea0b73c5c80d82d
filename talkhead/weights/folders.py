"""From a name, or a folder of the user's own, to a folder whose files match their digests."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from talkhead.errors import WeightsError
from talkhead.weights import hub
from talkhead.weights.fetch import MissingFileError, Watch, cache_folder, download, is_offline
from talkhead.weights.listing import (
    CHECKPOINTS,
    MODEL_FILES,
    PACKAGE,
    WeightsEntry,
    WeightsFile,
    format_list,
    measure_file,
    parts_of,
    read_list,
)
from talkhead.weights.names import HubAddress, parse_hub_address

DEFAULT = "default"
ADDED_NAME = "weights.toml"
"""The user's own list, in the cache folder."""


class WeightsList:
    """A weights.toml with the folders that its entries live in.

    Args:
        path: the weights.toml.
        checkpoints: the folder of the entries that are shipped.
        cache: the folder of the entries that are fetched from a URL.
        added: entries of the user's own, by name; those that are shipped hide them.

    Raises:
        WeightsError: the file is missing or not what this version of talkhead writes.
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
        """All entries by name, the user's own behind the published ones."""
        return self.published | self.added

    def resolve(
        self, name_or_folder: str | Path, *, offline: bool = False, watch: Watch | None = None
    ) -> Path:
        """Find weights, fetch what is not here yet, and compare every file with its digest.

        Args:
            name_or_folder: a name of the list, or else a folder of the user's own: a model
                (config.json and model.safetensors) or a pipeline (a sub-folder for each of its
                parts), or ``owner/name@revision``: a pipeline on the hub at a commit of
                40 digits. Of the user's own files no digest is known.
            offline: never use the network; HF_HUB_OFFLINE=1 has the same effect.
            watch: told of what arrives over https; the hub shows bars of its own.

        Returns:
            The folder. For a pipeline, the folder that holds its components.

        Raises:
            WeightsError: no such name, folder or repository, a file that is missing, differs from
                its digest or cannot be fetched.
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
            return self._pipeline_folder(entry)
        folder = self._fetched(entry, offline=offline, watch=watch)
        _check_files(entry, folder)
        return folder

    def verify(self, name: str) -> bool:
        """Compare the files of an entry with their digests, without the network.

        Returns:
            False where the entry is fetched on demand and has not been fetched yet.

        Raises:
            WeightsError: no such name, or a file that is missing or differs.
        """
        entry = self.entry(name)
        if entry.components:
            for component in entry.components:
                self.verify(component)
            return True
        try:
            folder = self._fetched(entry, offline=True, watch=None)
        except MissingFileError:
            return False
        _check_files(entry, folder)
        return True

    def entry(self, name: str) -> WeightsEntry:
        """Look up a name; raises WeightsError for one that is not listed."""
        if name not in self.entries:
            raise WeightsError(f"there are no weights named {name!r}: {self._choices()}")
        return self.entries[name]

    def pin(self, *names: str) -> list[WeightsEntry]:
        """Count and digest shipped files again and rewrite weights.toml: for maintainers.

        Args:
            names: entries with ``where = "package"``; none means all of them.

        Returns:
            The entries as they are now.

        Raises:
            WeightsError: an entry is not listed or not shipped, or one of its two files is missing.
        """
        chosen = [self.entry(name) for name in names] or [
            entry
            for entry in self.published.values()
            if entry.where == "package" and entry.kind != "pipeline"
        ]
        pinned = []
        for entry in chosen:
            if entry.where != "package" or entry.kind == "pipeline":
                raise WeightsError(f"{entry.name} has no shipped files: only those are pinned here")
            files = tuple(measure_file(self.shipped_folder(entry), path) for path in MODEL_FILES)
            pinned.append(dataclasses.replace(entry, files=files))
        self.published |= {entry.name: entry for entry in pinned}
        part = self.path.with_name(f".{self.path.name}.part")
        part.write_text(format_list(self.published), encoding="utf-8")
        part.replace(self.path)
        return pinned

    def shipped_folder(self, entry: WeightsEntry) -> Path:
        """Return where a shipped model is: a part of the default's, or of another pipeline."""
        shared = self.published[DEFAULT].components if DEFAULT in self.published else ()
        for pipeline in self.published.values():
            if entry.name in pipeline.components and entry.name not in shared:
                return self._pipeline_folder(pipeline) / entry.name
        return self.checkpoints / entry.name

    def _pipeline_folder(self, entry: WeightsEntry) -> Path:
        return self.checkpoints if entry.name == DEFAULT else self.checkpoints / entry.name

    def _choices(self) -> str:
        return f"choose one of {', '.join(self.entries)}, or name a folder"

    def own_folder(self, folder: Path) -> Path:
        """Return a folder of the user's own; raises WeightsError where it holds no weights."""
        if not folder.is_dir():
            repo, at, revision = str(folder).rpartition("@")
            if at and repo.count("/") == 1 and not repo.startswith((".", "/", "~")):
                raise WeightsError(
                    f"{str(folder)!r} is no folder, and for the hub it has to be owner/name@ and a"
                    f" commit of 40 hexadecimal digits, not {revision!r}"
                )
            raise WeightsError(
                f"there are no weights named {str(folder)!r} and no such folder: {self._choices()}"
            )
        kind_of(folder)
        return folder

    def _fetched(self, entry: WeightsEntry, *, offline: bool, watch: Watch | None) -> Path:
        """Return the folder of an entry whose files are all here, unchecked."""
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
            " once with the network"
        )


def kind_of(folder: Path) -> Literal["model", "pipeline"]:
    """Say whether a folder of the user's own is a model or a pipeline.

    Raises:
        WeightsError: it is neither.
    """
    if (folder / "model.safetensors").is_file():
        return "model"
    parts = parts_of(folder)
    lacking = [part for part, where in parts.items() if not (where / "model.safetensors").is_file()]
    if lacking:
        raise WeightsError(
            f"{folder} is no folder of weights: it lacks {', '.join(lacking)}"
            " (each with config.json and model.safetensors)"
        )
    return "pipeline"


def installed_list() -> WeightsList:
    """The list that belongs to this talkhead: beside its modules, or at the top of a checkout."""
    beside, top = PACKAGE / "weights.toml", PACKAGE.parent / "weights.toml"
    cache = cache_folder()
    return WeightsList(
        beside if beside.is_file() else top,
        checkpoints=CHECKPOINTS,
        cache=cache,
        added=read_added(cache),
    )


def read_added(cache: Path) -> dict[str, WeightsEntry]:
    """Read the list of weights that the user has added.

    Raises:
        WeightsError: it cannot be read, or an entry is not one that `talkhead weights add` writes.
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
            raise WeightsError(f"{path}: {entry.name!r} is not shipped: remove its entry")
    return entries


def list_entries() -> list[WeightsEntry]:
    """The entries of the installed list, in its order."""
    return list(installed_list().entries.values())


def resolve_weights(name_or_folder: str | Path, *, offline: bool = False) -> Path:
    """Find weights of the installed list or a folder of the user's own: `WeightsList.resolve`."""
    return installed_list().resolve(name_or_folder, offline=offline)


def verify(name: str) -> bool:
    """Check an entry of the installed list: `WeightsList.verify`."""
    return installed_list().verify(name)


def _url_of(entry: WeightsEntry, file: WeightsFile) -> str:
    url = entry.url or ""
    return url + file.path if url.endswith("/") else url


def _check_files(entry: WeightsEntry, folder: Path) -> None:
    cure = {
        "package": "install talkhead again",
        "hub": "remove it, and it is fetched again",
        "url": "remove it, and it is fetched again",
        "folder": f"if that is meant, `talkhead weights remove {entry.name}` and add it again",
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

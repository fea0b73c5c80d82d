"""From a name, or a folder of the user's own, to a folder whose files match their digests."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import cast

from talkhead.errors import WeightsError
from talkhead.weights.fetch import cache_folder, download, fetch_from_hub, is_offline
from talkhead.weights.listing import WeightsEntry, format_list, measure_file, read_list

PACKAGE = Path(__file__).resolve().parents[1]
CHECKPOINTS = PACKAGE / "checkpoints"
PIPELINE_PARTS = ("autoencoder", "denoiser", "landmarks")
DEFAULT = "default"


class WeightsList:
    """A weights.toml with the folders that its entries live in.

    Args:
        path: the weights.toml.
        checkpoints: the folder of the entries that are shipped.
        cache: the folder of the entries that are fetched from a URL.

    Raises:
        WeightsError: the file is missing or not what this version of talkhead writes.
    """

    def __init__(self, path: Path, *, checkpoints: Path, cache: Path) -> None:
        self.path = path
        self.checkpoints = checkpoints
        self.cache = cache
        self.entries = read_list(path)

    def resolve(self, name_or_folder: str | Path, *, offline: bool = False) -> Path:
        """Find weights, fetch what is not here yet, and compare every file with its digest.

        Args:
            name_or_folder: a name of the list, or else a folder of the user's own: a model
                (config.json and model.safetensors) or a pipeline (a sub-folder for each of
                `PIPELINE_PARTS`). Of the user's own files no digest is known.
            offline: never use the network; HF_HUB_OFFLINE=1 has the same effect.

        Returns:
            The folder. For a pipeline, the folder that holds its components.

        Raises:
            WeightsError: no such name or folder, a file that is missing, differs from its digest or
                cannot be fetched.
        """
        entry = self.entries.get(str(name_or_folder))
        if entry is None:
            return self._own_folder(Path(name_or_folder))
        if entry.kind == "pipeline":
            for component in entry.components:
                self.resolve(component, offline=offline)
            return self.checkpoints
        folder = self._fetched(entry, offline=offline or is_offline())
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
        if entry.kind == "pipeline":
            for component in entry.components:
                self.verify(component)
            return True
        if entry.where != "package":
            try:
                folder = self._fetched(entry, offline=True)
            except WeightsError:
                return False
            _check_files(entry, folder)
            return True
        _check_files(entry, self.checkpoints / name)
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
            for entry in self.entries.values()
            if entry.where == "package" and entry.kind != "pipeline"
        ]
        pinned = []
        for entry in chosen:
            if entry.where != "package" or entry.kind == "pipeline":
                raise WeightsError(f"{entry.name} has no shipped files: only those are pinned here")
            files = tuple(
                measure_file(self.checkpoints / entry.name, path)
                for path in ("config.json", "model.safetensors")
            )
            pinned.append(dataclasses.replace(entry, files=files))
        self.entries = self.entries | {entry.name: entry for entry in pinned}
        part = self.path.with_name(f".{self.path.name}.part")
        part.write_text(format_list(self.entries), encoding="utf-8")
        part.replace(self.path)
        return pinned

    def _choices(self) -> str:
        return f"choose one of {', '.join(self.entries)}, or name a folder"

    def _own_folder(self, folder: Path) -> Path:
        if not folder.is_dir():
            raise WeightsError(
                f"there are no weights named {str(folder)!r} and no such folder: {self._choices()}"
            )
        if (folder / "model.safetensors").is_file():
            return folder
        lacking = [
            part for part in PIPELINE_PARTS if not (folder / part / "model.safetensors").is_file()
        ]
        if lacking:
            raise WeightsError(
                f"{folder} is no folder of weights: it lacks {', '.join(lacking)}"
                " (each with config.json and model.safetensors)"
            )
        return folder

    def _fetched(self, entry: WeightsEntry, *, offline: bool) -> Path:
        if entry.where == "package":
            return self.checkpoints / entry.name
        if entry.where == "hub":
            return fetch_from_hub(entry, offline=offline)
        folder = self.cache / entry.name
        (file,) = entry.files
        target = folder / file.path
        if target.is_file():
            return folder
        if offline:
            raise WeightsError(
                f"{entry.name} is not on this machine: run `talkhead weights download {entry.name}`"
                " once with the network"
            )
        download(cast("str", entry.url), target, file)
        return folder


def installed_list() -> WeightsList:
    """The list that belongs to this talkhead: beside its modules, or at the top of a checkout."""
    beside, top = PACKAGE / "weights.toml", PACKAGE.parent / "weights.toml"
    return WeightsList(
        beside if beside.is_file() else top, checkpoints=CHECKPOINTS, cache=cache_folder()
    )


def list_entries() -> list[WeightsEntry]:
    """The entries of the installed list, in its order."""
    return list(installed_list().entries.values())


def resolve_weights(name_or_folder: str | Path, *, offline: bool = False) -> Path:
    """Find weights of the installed list or a folder of the user's own: `WeightsList.resolve`."""
    return installed_list().resolve(name_or_folder, offline=offline)


def verify(name: str) -> bool:
    """Check an entry of the installed list: `WeightsList.verify`."""
    return installed_list().verify(name)


def _check_files(entry: WeightsEntry, folder: Path) -> None:
    cure = {
        "package": "install talkhead again",
        "hub": "remove it, and it is fetched again",
        "url": "remove it, and it is fetched again",
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

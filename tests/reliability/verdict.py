"""Whether a command ended as every command has to end, and left nothing where it should not."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from tests.reliability.case import Case
from tests.reliability.worker import MAX_MB, MAX_SECONDS, Ended

KNOWN_CODES = frozenset({0, 2, 3, 4, 5, 130})
_CACHES = ("__pycache__", ".cache", "home")
_LEFTOVER = re.compile(r"^\.talkhead-|\.partial$|\.part$|^\.model\.safetensors\.|^\.config\.json\.")


@dataclass(frozen=True)
class Snapshot:
    """Every path below a folder, with what changes when somebody writes there."""

    entries: dict[str, tuple[int, int, int]]

    @classmethod
    def of(cls, folder: Path) -> "Snapshot":
        """Look at a folder; links are not followed, and nothing is opened."""
        entries: dict[str, tuple[int, int, int]] = {}
        waiting = [folder]
        while waiting:
            for entry in os.scandir(waiting.pop()):
                if entry.name in _CACHES:
                    continue
                state = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                    entries[entry.path] = (state.st_ino, 0, 0)
                else:
                    entries[entry.path] = (state.st_ino, state.st_size, state.st_mtime_ns)
        return cls(entries)

    def changed_since(self, before: "Snapshot") -> list[str]:
        """Return the paths that are new, gone or different."""
        paths = before.entries.keys() | self.entries.keys()
        return sorted(path for path in paths if before.entries.get(path) != self.entries.get(path))


def outcome_of(ended: Ended) -> str:
    """Name how a command ended."""
    if ended.code is not None:
        return f"exit {ended.code}"
    if ended.megabytes > MAX_MB:
        return f"over {MAX_MB:.0f} MB"
    return f"over {MAX_SECONDS:.0f} s" if ended.seconds > MAX_SECONDS else "died"


def judge(case: Case, ended: Ended, before: Snapshot, after: Snapshot, folder: Path) -> list[str]:
    """Return what is not as it should be, one line each."""
    faults = _ending_faults(case, ended)
    if ended.code is not None:
        if ended.megabytes > MAX_MB:
            faults.append(f"{ended.megabytes:.0f} MB")
        if ended.seconds > MAX_SECONDS:
            faults.append(f"{ended.seconds:.0f} s")
    return faults + _file_faults(case, ended, before, after, folder)


def _ending_faults(case: Case, ended: Ended) -> list[str]:
    """Look at the exit code and at what was said."""
    outcome = outcome_of(ended)
    if ended.code not in KNOWN_CODES:
        return [f"{outcome} ({_last_line(ended.stderr)})"]
    if "Traceback (most recent call last)" in ended.stderr:
        return [f"a traceback with {outcome} ({_last_line(ended.stderr)})"]
    if ended.code == 0:
        return []
    lines = ended.stderr.splitlines()
    # A batch tells of its items first.
    is_said = bool(lines) and lines[-1].startswith("talkhead: ")
    if is_said and (len(lines) == 1 or case.may_keep):
        return []
    return [f"{outcome} with {len(lines)} lines: {ended.stderr[:300]!r}"]


def _file_faults(
    case: Case, ended: Ended, before: Snapshot, after: Snapshot, folder: Path
) -> list[str]:
    """Look at what was written, and what was not."""
    outcome, faults = outcome_of(ended), []
    allowed = [str(folder / name) for name in case.outputs]
    for path in after.changed_since(before):
        if not any(path == name or path.startswith(name + os.sep) for name in allowed):
            faults.append(f"changed {os.path.relpath(path, folder)!r}, {outcome}")
    for name in case.outputs:
        is_there = (folder / name).exists()
        if ended.code == 0 and not is_there and not case.may_be_missing:
            faults.append(f"exit 0 without {name}")
        if ended.code not in (0, None) and is_there and not case.may_keep:
            faults.append(f"{outcome}, but {name} is there")
    if ended.code is not None:
        left = [path for path in after.entries if _LEFTOVER.search(Path(path).name)]
        faults += [f"left {os.path.relpath(path, folder)!r}, {outcome}" for path in left]
    return faults


def _last_line(text: str) -> str:
    """Return what a traceback says, and where in talkhead it was."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return "nothing on stderr"
    ours = [line for line in lines if line.startswith("File") and "talkhead" in line]
    return f"{lines[-1][:200]}; {ours[-1] if ours else ''}"

"""What was tried and what happened: the rows of a report, as JSON and as a Markdown table."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Row:
    """One kind of fault."""

    kind: str
    tried: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    """How often what happened: `exit 2`, for example."""
    worst_s: float = 0.0
    worst_mb: float = 0.0
    findings: list[str] = field(default_factory=list)
    """What was not as it should be, one line each."""

    def add(self, outcome: str, seconds: float, megabytes: float, findings: Iterable[str]) -> None:
        """Count one trial."""
        self.tried += 1
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self.worst_s = max(self.worst_s, round(seconds, 2))
        self.worst_mb = max(self.worst_mb, round(megabytes, 1))
        self.findings += findings


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a report."""
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")


def read_rows(path: Path) -> list[Row]:
    """Read a report."""
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def as_markdown(rows: Iterable[Row]) -> str:
    """Write rows as a table; those of one kind become one."""
    merged: dict[str, Row] = {}
    for row in rows:
        into = merged.setdefault(row.kind, Row(row.kind))
        into.tried += row.tried
        for outcome, count in row.outcomes.items():
            into.outcomes[outcome] = into.outcomes.get(outcome, 0) + count
        into.worst_s = max(into.worst_s, row.worst_s)
        into.worst_mb = max(into.worst_mb, row.worst_mb)
        into.findings += row.findings
    lines = [
        "| what was tried | how often | what happened | worst memory | worst time | findings |",
        "|---|---:|---|---:|---:|---:|",
    ]
    for row in merged.values():
        outcomes = ", ".join(f"{name}: {count}" for name, count in sorted(row.outcomes.items()))
        lines.append(
            f"| {row.kind} | {row.tried} | {outcomes} | {row.worst_mb:.0f} MB | {row.worst_s:.1f} s"
            f" | {len(row.findings)} |"
        )
    return "\n".join(lines) + "\n"

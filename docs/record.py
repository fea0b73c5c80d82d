"""Run a command that prints JSON, and store the result for the tables of the documentation.

Usage: python docs/record.py NAME talkhead eval data -o report --json ...
       python docs/record.py NAME --file report.json python -m tests.reliability fuzz ...

Writes docs/results/NAME.json: the command, the date, the commit, the machine, and the result.
Then `python docs/build.py` puts it into the tables.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent


def main() -> int:
    """Run the command and store its result; return the exit status."""
    name, *command = sys.argv[1:]
    file = None
    if command[0] == "--file":
        _, file, *command = command
    if subprocess.check_output(["git", "status", "--porcelain", "--", "talkhead"], cwd=DOCS.parent):
        sys.stderr.write("talkhead/ has changes that are not committed: commit them first\n")
        return 2
    commit = subprocess.check_output(["git", "rev-parse", "--short=9", "HEAD"], cwd=DOCS.parent)
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if ended.returncode:
        return ended.returncode
    record = {
        "command": shlex.join([Path(command[0]).name, *command[1:]]),
        "date": datetime.date.today().isoformat(),
        "commit": commit.decode().strip(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "result": json.loads(Path(file).read_bytes() if file else ended.stdout),
    }
    target = DOCS / "results" / f"{name}.json"
    target.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    sys.stderr.write(f"{target}\n")
    return 0


def processor() -> str:
    """Return the processor's name and the matrix instructions that decide its speed here."""
    listing = Path("/proc/cpuinfo")
    if not listing.is_file():
        return platform.processor() or platform.machine()
    lines = listing.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition(":") for line in lines)
    facts = {key.strip(): value.strip() for key, _, value in pairs}
    flags = facts.get("flags", "").split()
    known = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 BF16", "avx512f": "AVX-512", "avx2": "AVX2"}
    best = next((title for flag, title in known.items() if flag in flags), platform.machine())
    name = facts.get("model name", platform.machine()).replace("(R)", "").removesuffix(" Processor")
    return f"{name}, {best}"


if __name__ == "__main__":
    sys.exit(main())

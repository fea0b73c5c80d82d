"""`python -m tests` runs all checks of the project and fails if any of them fails."""

import os
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
SCRIPTS = Path(sysconfig.get_path("scripts"))
CHECKS = {
    "lint": [sys.executable, "-m", "ruff", "check", "."],
    "format": [sys.executable, "-m", "ruff", "format", "--check", "."],
    "types": [sys.executable, "-m", "mypy"],
    "imports": [str(SCRIPTS / "lint-imports")],
    # Keep each file in one process, so that its fixtures are built only once.
    "tests": [
        *(sys.executable, "-m", "pytest", "-q", "--durations=10"),
        *("--numprocesses=2", "--dist=loadfile"),
    ],
}


def main() -> int:
    failed = []
    for name, command in CHECKS.items():
        sys.stderr.write(f"== {name}\n")
        start = time.monotonic()
        # Idle threads sleep instead of spinning, as the test processes share the cores.
        environment = {"OMP_WAIT_POLICY": "passive", **os.environ}
        if subprocess.run(command, cwd=TOP, env=environment, check=False).returncode:
            failed.append(name)
        sys.stderr.write(f"== {name}: {time.monotonic() - start:.0f} s\n\n")
    sys.stderr.write(f"failed: {', '.join(failed)}\n" if failed else "everything passed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

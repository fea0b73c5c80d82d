"""`python -m tests.reliability`: hostile input, faults of the machine, and the table of both."""

import argparse
import sys
from pathlib import Path

from tests.reliability import fuzz
from tests.reliability.table import as_markdown, read_rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    fuzz.add_arguments(commands.add_parser("fuzz", help="give the command line hostile input"))
    # The faults' own parser takes what follows: it is imported only where it is wanted.
    commands.add_parser("faults", help="kill the command line, fill its disk", add_help=False)
    table = commands.add_parser("table", help="print reports as one Markdown table")
    table.add_argument("reports", nargs="+", type=Path, metavar="FILE.json")
    if sys.argv[1:2] == ["faults"]:
        from tests.reliability import faults

        return faults.main(sys.argv[2:])
    options = parser.parse_args()
    if options.command == "table":
        rows = [row for path in options.reports for row in read_rows(path)]
        sys.stdout.write(as_markdown(rows))
        return 0
    return fuzz.main(options)


if __name__ == "__main__":
    sys.exit(main())

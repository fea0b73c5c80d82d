"""`python -m talkhead` does what the `talkhead` command does."""

from __future__ import annotations

from talkhead.cli.app import main

main()

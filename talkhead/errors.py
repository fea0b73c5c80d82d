"""Errors that the user can act on, and the exit code of each kind."""

from __future__ import annotations

from typing import ClassVar


class TalkheadError(Exception):
    """An error that the user can act on: what is wrong, with which file, and the next step.

    The message is one line without a full stop. The command line prints it after ``talkhead:`` and
    exits with `exit_code`. Any other exception is a bug and keeps its traceback.
    """

    exit_code: ClassVar[int] = 2


class NoFaceError(TalkheadError):
    """A picture has no face, or not the one that was asked for."""

    exit_code: ClassVar[int] = 3


class WeightsError(TalkheadError):
    """Weights are missing, corrupt, or do not fit the code that reads them."""

    exit_code: ClassVar[int] = 4


class BatchError(TalkheadError):
    """Part of a batch failed; the rest is done."""

    exit_code: ClassVar[int] = 5

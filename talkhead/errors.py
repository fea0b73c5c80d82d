"""The errors a user can act on, and the exit code of each kind."""

from __future__ import annotations

from typing import ClassVar


class TalkheadError(Exception):
    """Something the user can act on: what is wrong, with which file, and what to do about it.

    The message is one line, without a full stop at its end. The command line prints it after
    ``talkhead:`` and exits with `exit_code`. Anything that is not a `TalkheadError` is a bug and
    keeps its traceback.
    """

    exit_code: ClassVar[int] = 2


class NoFaceError(TalkheadError):
    """No face was found in a picture, or not the face that was asked for."""

    exit_code: ClassVar[int] = 3


class WeightsError(TalkheadError):
    """Weights are missing, corrupt, or do not fit the code that reads them."""

    exit_code: ClassVar[int] = 4


class BatchError(TalkheadError):
    """Part of a batch failed; the rest of it is done."""

    exit_code: ClassVar[int] = 5

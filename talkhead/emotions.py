"""Names of emotions: MEAD's, for rendering, and those that the voice classifier predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from talkhead.errors import TalkheadError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

NEUTRAL = "neutral"
EMOTIONS = ("angry", "contempt", "disgusted", "fear", "happy", NEUTRAL, "sad", "surprised")
"""MEAD's emotions, by name because their numbers differ between repositories."""
VOICE_LABELS = ("angry", "bored", "calm", "disgusted", "fear", "happy", NEUTRAL, "sad", "surprised")
"""Labels in the corpora of emotional speech, all together; none of them has contempt."""
AS_MEAD = {"bored": NEUTRAL, "calm": NEUTRAL}
"""Voice labels that MEAD does not have, and the emotions they count as."""
AUTO = "auto"
"""Stands for the emotion of the voice."""


def check_emotion(name: str) -> None:
    """Refuse an unknown emotion.

    Raises:
        TalkheadError: the name is neither auto nor one of MEAD's.
    """
    if name not in (AUTO, *EMOTIONS):
        raise TalkheadError(
            f"the emotion must be one of {AUTO}, {', '.join(EMOTIONS)}, not {name!r}"
        )


def one_hot(name: str) -> npt.NDArray[np.float32]:
    """Return probabilities that are 1 for one of MEAD's emotions, zeros for "", shape = (8,)."""
    import numpy as np

    return np.array([float(emotion == name) for emotion in EMOTIONS], np.float32)

"""Names of emotions: MEAD's, for rendering, and those that the voice classifier predicts."""

from talkhead.errors import TalkheadError

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

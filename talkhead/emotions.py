"""Names of emotions: MEAD's, which a renderer has, and those that a voice is sorted into."""

from talkhead.errors import TalkheadError

NEUTRAL = "neutral"
EMOTIONS = ("angry", "contempt", "disgusted", "fear", "happy", NEUTRAL, "sad", "surprised")
"""MEAD's. By name, as the numbers that stand for them differ between repositories."""
VOICE_LABELS = ("angry", "bored", "calm", "disgusted", "fear", "happy", NEUTRAL, "sad", "surprised")
"""What the corpora of emotional speech teach between them; none of them has contempt."""
AS_MEAD = {"bored": NEUTRAL, "calm": NEUTRAL}
"""Labels of voices that MEAD does not have, and what they count as."""
AUTO = "auto"
"""In place of a name: as the voice sounds."""


def check_emotion(name: str) -> None:
    """Refuse what is no emotion.

    Raises:
        TalkheadError: it is neither auto nor one of MEAD's names.
    """
    if name not in (AUTO, *EMOTIONS):
        raise TalkheadError(f"--emotion takes {AUTO}, {', '.join(EMOTIONS)}, not {name!r}")

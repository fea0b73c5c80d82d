# ruff: noqa: RUF001 - this file is about letters that look alike
"""Phoneme classes: the sounds of many languages, reduced to those the speech encoder learns.

A class is one sound of the International Phonetic Alphabet. Diphthongs and affricates become two
consecutive classes. Length, stress, tone and other marks are dropped. Rare sounds map to the
closest common one, giving priority to the lips.
"""

from __future__ import annotations

import unicodedata

PAUSE = 0
"""Class of silence."""

CLASSES = (
    *(" ", "p", "b", "m", "f", "v", "w", "θ", "ð", "t", "d", "n", "s", "z", "l", "ɹ", "r"),
    *("ʃ", "ʒ", "ç", "j", "k", "ɡ", "ŋ", "x", "h"),
    *("i", "ɪ", "e", "ɛ", "a", "ɑ", "ɒ", "ɔ", "o", "ʊ", "u", "ʌ", "ə", "ɜ", "y", "ø"),
)
"""Symbol of every class; the first is the pause."""
NUM_CLASSES = len(CLASSES)

_FOLDED = {
    **dict.fromkeys("ɓʙ", "b"),
    **dict.fromkeys("ɱ", "m"),
    **dict.fromkeys("ɸ", "f"),
    **dict.fromkeys("ʋⱱβ", "v"),
    **dict.fromkeys("ʍɥ", "w"),
    **dict.fromkeys("ʈ", "t"),
    **dict.fromkeys("ɖɗ", "d"),
    **dict.fromkeys("ɲɳ", "n"),
    **dict.fromkeys("ʂɕ", "ʃ"),
    **dict.fromkeys("ʐʑ", "ʒ"),
    **dict.fromkeys("ɫɭʎɬɮʟ", "l"),
    **dict.fromkeys("ɻɚ", "ɹ"),
    **dict.fromkeys("ɾɽʀʁ", "r"),
    **dict.fromkeys("ʝ", "j"),
    **dict.fromkeys("cq", "k"),
    **dict.fromkeys("gɟɠɢ", "ɡ"),
    **dict.fromkeys("ɴ", "ŋ"),
    **dict.fromkeys("χɣɰ", "x"),
    **dict.fromkeys("ɦħʕ", "h"),
    **dict.fromkeys("ɨᵻ", "ɪ"),
    **dict.fromkeys("ε", "ɛ"),  # the Greek letter, used by some espeak-ng voices
    **dict.fromkeys("æɐ", "a"),
    **dict.fromkeys("ɵɘ", "ə"),
    **dict.fromkeys("ɤɯ", "ʊ"),
    **dict.fromkeys("ʉ", "u"),
    **dict.fromkeys("ʏ", "y"),
    **dict.fromkeys("œɶ", "ø"),
    **dict.fromkeys("ɝɞ", "ɜ"),
}
_INDEX = {symbol: index for index, symbol in enumerate(CLASSES)}


def classes_of(phoneme: str) -> tuple[int, ...]:
    """Return the consecutive classes of a phoneme in IPA; a pause if it has none.

    A glottal stop is a pause. Symbols that are not sounds are ignored, as are espeak-ng's marks of
    a language switch, such as (en).
    """
    if phoneme.startswith("("):
        return (PAUSE,)
    plain = "".join(c if c in _INDEX else unicodedata.normalize("NFD", c) for c in phoneme)
    found = [_INDEX.get(_FOLDED.get(symbol, symbol), PAUSE) for symbol in plain]
    return tuple(index for index in found if index != PAUSE) or (PAUSE,)

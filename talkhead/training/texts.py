"""Random texts for speech synthesis: listed English words and pseudo-words."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LANGUAGES = (
    *("en", "en-us", "en-gb-scotland", "de", "fr", "es", "it", "pt", "pt-br", "nl", "sv"),
    *("nb", "da", "pl", "cs", "hu", "ro", "fi", "tr", "id", "sw", "ca", "hr", "la", "sq", "eo"),
)
"""Voices of espeak-ng whose languages use the Latin alphabet."""
HELD_OUT_LANGUAGES = ("sk", "et", "af")
"""Languages held out for scoring."""
VARIANTS = ("", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7", "+f1", "+f2", "+f3", "+f4")
HELD_OUT_VARIANTS = ("+m8", "+f5")
ENGLISH_SHARE = 0.35
"""Share of English sentences; most of the recordings available for later stages are English."""

_ENGLISH = """
about above across after again against almost along already always among animal another answer
anyone apple around because become before began behind believe below better between beyond black
blood blue board body book both bottom bought boy bread break breath bridge bright bring brother
brown build burn business came camp captain care carry catch cause center certain chair chance
change chief child choose church circle city clean clear climb close cloud coast cold come common
company complete corn could country course cover cross crowd cry current dance danger dark daughter
deal dear death decide deep demand develop die difference dinner direct doctor does dollar double
down draw dream dress drink drive drop during each early earth east eight either electric else
empty end engine enough enter evening ever every example except exercise expect experience eye face
fact family farm fast father favour fear feel few field fifty fight figure fill final find finger
finish fire first five floor flow flower follow foot force foreign forest forget forward found four
free fresh friend front full game garden general gentle give glass gold good govern grass great
green ground group grow guess half hand happen happy hard have head hear heart heavy help here high
hold home hope horse hot hour house how hundred hurry ice important inch instead interest iron
island join journey judge jump keep kind king knew know ladder lake land language large last laugh
law lay lead learn leave left less letter level life lift light line list little live long look
love low machine make man many map mark market matter may mean measure meat meet member middle
might mile milk mind minute miss modern moment money month moon more morning mother mountain mouth
move much music must name nation near never new next night noise north nothing notice number
object ocean offer often old once open opinion orange order other out over own page pain paint
paper part pass past path pay peace people perhaps person picture piece place plain plan plane
plant play please plural poem point poor popular port position possible power present press pretty
problem promise proper provide public pull push put question quick quiet quite rain raise reach
read ready reason receive record remember repeat reply rest result rich ride right ring river road
rock room rose round rule run safe said sail same sand save school science sea season second see
seem sell send sense serve settle seven several shall shape share sharp she ship shoe shop short
should shout show side sight sign silver similar simple since sing sister size skill sky sleep slow
small smile smooth snow soft soldier some song soon sound south speak special speech spell spend
spoke spring square stand star start state stay steam step still stone stood stop story straight
strange street stretch strong student study such sudden sugar summer sun supply suppose sure
surface surprise swim table take talk teach tell temple ten thank that their them then there these
they thing think third this those though thought thousand three through throw thus time together
tomorrow took top total touch toward town trade train travel tree trouble true trust truth try turn
twenty two under understand unit until upon use usual valley value various very village visit voice
vowel wait walk wall want war warm watch water wave way wear weather week weigh welcome well went
were west what wheel when where whether which while white who whole whose why wide wife wild will
wind window winter wish with woman wonder wood word work world would wrong year yellow yes young
"""
_ONSETS = """
b bl br c ch cl cr d dr f fl fr g gl gr h j k kl kr l m n p pl pr qu r s sch sk sl sm sn sp spr st
str t tr v w z
"""
_NUCLEI = "a e i o u a e i o u ai au ei eu ie oa ou oi ea ee oo y"
_CODAS = "b ck d f g k l ld lm lp lt m mp n nd ng nk nt p r rk rm rn rt s st t x z"


def _split(words: str) -> npt.NDArray[np.str_]:
    return np.array(words.split())


_WORDS, _STARTS, _MIDDLES, _ENDS = map(_split, (_ENGLISH, _ONSETS, _NUCLEI, _CODAS))


def draw_text(language: str, rng: np.random.Generator) -> str:
    """Draw a sentence of a few words, to be pronounced by the given language's rules."""
    listed = 0.75 if language.startswith("en") else 0.0
    words = [
        str(rng.choice(_WORDS)) if rng.random() < listed else _pseudo_word(rng)
        for _ in range(rng.integers(3, 11))
    ]
    if rng.random() < 0.35:
        words[len(words) // 2] += ","
    return " ".join(words) + str(rng.choice([".", "?", "!"]))


def _pseudo_word(rng: np.random.Generator) -> str:
    word = ""
    for _ in range(rng.choice([1, 2, 2, 3])):
        if rng.random() < 0.85:
            word += str(rng.choice(_STARTS))
        word += str(rng.choice(_MIDDLES))
    return word + (str(rng.choice(_ENDS)) if rng.random() < 0.5 else "")

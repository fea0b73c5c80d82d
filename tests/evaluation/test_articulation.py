import numpy as np
import pytest
from scipy.signal import resample_poly

from talkhead.data.espeak import Voice, speak
from talkhead.evaluation.articulation import closing_moments
from talkhead.media.rates import SAMPLE_RATE_HZ

TEXT = "place blue by b four now"


@pytest.mark.parametrize(
    ("voice", "words_per_minute"), [("en", 175), ("en+f3", 150), ("en+m5", 210)]
)
def test_closing_sounds_are_found_in_another_voice(voice: str, words_per_minute: int) -> None:
    spoken = speak(TEXT, Voice(voice, words_per_minute=words_per_minute))
    waveform = resample_poly(spoken.waveform, SAMPLE_RATE_HZ, spoken.rate_hz).astype(np.float32)
    lead_s = 0.4
    waveform = np.pad(waveform, round(lead_s * SAMPLE_RATE_HZ))
    moments = closing_moments(waveform, TEXT)
    truth = [
        lead_s + start
        for phoneme, start in zip(spoken.phonemes, spoken.starts_s, strict=True)
        if phoneme.startswith(("p", "b", "m"))
    ]
    assert len(truth) == len(moments) == 4
    for (begin, end), start in zip(moments, truth, strict=True):
        assert begin <= end
        assert begin - 0.08 <= start <= end + 0.08


def test_a_text_without_such_sounds_has_no_moments() -> None:
    waveform = np.zeros(SAMPLE_RATE_HZ, np.float32)
    assert closing_moments(waveform, "a red hat") == []

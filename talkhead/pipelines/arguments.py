"""Check the arguments of callers: words, numbers, generators and waveforms."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from talkhead.audio2landmarks.animation import POSES
from talkhead.device import DTYPES, resolve_dtype
from talkhead.errors import TalkheadError
from talkhead.limits import MAX_BLINKS, MAX_SPEAKERS, MAX_STRENGTH
from talkhead.media.files import check_input
from talkhead.media.in_memory import samples_of
from talkhead.media.rates import parse_fps
from talkhead.tracking.landmark_track import LandmarkTrack

Samples = npt.NDArray[np.float32]

OUTPUT_TYPES = ("np", "pil", "generator")


def dtype_of(given: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """Return the precision that a word or dtype names; float32 for None.

    Raises:
        TalkheadError: the networks do not support it.
    """
    word = "float32" if given is None else str(given).removeprefix("torch.")
    if isinstance(given, torch.dtype) and word not in DTYPES:
        raise TalkheadError(f"the networks do not support {given}: choose {', '.join(DTYPES)}")
    return resolve_dtype(word, device)


def seed_of(generator: torch.Generator | None, seed: int | None) -> int:
    """Return the given seed, one drawn from a generator, or 0.

    Raises:
        TalkheadError: both are given, or the seed is negative.
        TypeError: the generator is not a torch.Generator, or the seed is not a whole number.
    """
    if generator is None:
        seed = 0 if seed is None else whole(seed, "seed")
        if not 0 <= seed < 2**63:
            raise TalkheadError(f"seed is {seed}: choose a whole number from 0 to 2**63 - 1")
        return seed
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator is a {type(generator).__name__}, not a torch.Generator")
    if seed is not None:
        raise TalkheadError("generator and seed are both given: leave one of them out")
    # Advances the generator, as in diffusers: the next call gets another seed.
    drawn = torch.randint(2**63 - 1, (), generator=generator, device=generator.device)
    return int(drawn)


def rate_of(fps: float | str | Fraction) -> Fraction:
    """Return a frame rate as a fraction.

    Raises:
        TalkheadError: it is outside 1 to 120.
        TypeError: it is neither a number nor a text.
    """
    if isinstance(fps, bool) or not isinstance(fps, (int, float, str, Fraction)):
        raise TypeError(f"fps is a {type(fps).__name__}, not a number or a text")
    return parse_fps(str(fps))


def sound_of(audio: Any, sampling_rate: int) -> Path | Samples:
    """Return the path of an existing file, or the samples of a waveform.

    Raises:
        TalkheadError: the file is missing, or the samples are not valid audio.
        TypeError: the argument is neither a path nor a waveform.
    """
    if isinstance(audio, (str, os.PathLike)):
        path = Path(audio)
        check_input(path)
        return path
    if isinstance(audio, torch.Tensor):
        audio = audio.detach().cpu()
        # numpy has no bfloat16.
        audio = (audio.float() if audio.is_floating_point() else audio).numpy()
    return samples_of(audio, sampling_rate)


def speakers_of(
    sounds: Mapping[str, Any], choose: str, landmarks: LandmarkTrack | None
) -> dict[str, Any]:
    """Return the sound of each face, in the given order.

    Args:
        sounds: faces, as for `choose_face`, and what they say.
        choose: the `choose` argument of the call.
        landmarks: its `landmarks` argument.

    Raises:
        TalkheadError: there is no sound, too many, or an argument is for one face only.
        TypeError: a face is not a text.
    """
    if not 1 <= len(sounds) <= MAX_SPEAKERS:
        raise TalkheadError(f"audio has {len(sounds)} sounds: give 1 to {MAX_SPEAKERS}")
    if choose != "largest" or landmarks is not None:
        raise TalkheadError("choose and landmarks are for one face: leave them out")
    for which in sounds:
        if not isinstance(which, str):
            raise TypeError(f"audio has the face {which!r}, which is not a text")
    return dict(sounds)


def whole(number: Any, name: str) -> int:
    """Return a whole number; raises TypeError for anything else."""
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
        raise TypeError(f"{name} is {number!r}, not a whole number")
    return int(number)


def check_range(number: Any, name: str, low: float, high: float) -> None:
    """Refuse a number out of range.

    Raises:
        TalkheadError: it is out of range.
        TypeError: it is not a number.
    """
    if isinstance(number, bool) or not isinstance(number, (int, float, np.number)):
        raise TypeError(f"{name} is {number!r}, not a number")
    if not low <= number <= high:  # NaN too
        raise TalkheadError(f"{name} is {number:g}: choose {low:g} to {high:g}")


def check_word(word: Any, name: str, choices: Sequence[str]) -> None:
    """Refuse a word that is not among the choices; raises TalkheadError."""
    if word not in choices:
        raise TalkheadError(f"{name} is {word!r}: choose {', '.join(choices)}")


def check_tracks(pose: Any, landmarks: Any) -> None:
    """Refuse an invalid `pose` or `landmarks` argument.

    Raises:
        TalkheadError: the pose is an unknown word.
        TypeError: one of them has the wrong type.
    """
    if not isinstance(pose, (str, LandmarkTrack)):
        raise TypeError(f"pose is a {type(pose).__name__}, not natural, still or a LandmarkTrack")
    if landmarks is not None and not isinstance(landmarks, LandmarkTrack):
        raise TypeError(f"landmarks are a {type(landmarks).__name__}, not a LandmarkTrack")
    if isinstance(pose, str) and pose not in POSES:
        raise TalkheadError(f"pose must be {' or '.join(POSES)}, not {pose!r}")


def check_strengths(
    pose_strength: float, expression_strength: float, blink_per_minute: float
) -> None:
    """Refuse strengths and rates that are out of range; raises as `check_range`."""
    check_range(pose_strength, "pose_strength", 0, MAX_STRENGTH)
    check_range(expression_strength, "expression_strength", 0, MAX_STRENGTH)
    check_range(blink_per_minute, "blink_per_minute", 0, MAX_BLINKS)

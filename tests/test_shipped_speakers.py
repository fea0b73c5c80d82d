"""The shipped weights, with `examples/face.png` twice in a picture: each follows its own voice."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch
from PIL import Image

from talkhead.audio2landmarks.animation import animate, predict_speech
from talkhead.geometry.mesh import mouth_opening
from talkhead.media.audio_clip import AudioClip
from talkhead.pipelines import TalkheadPipeline
from talkhead.pipelines.speakers import find_speakers, render_speakers
from talkhead.pipelines.stages import PictureFace
from talkhead.tracking.face_detector import FaceDetector
from talkhead.weights import resolve_weights

Floats = npt.NDArray[np.float32]
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SIDE = 224
FPS = Fraction(25)
PARTS_S = ((0.8, 2.4), (4.0, 5.6))
"""Of `examples/speech.wav`: what the left and the right face say."""


def clip(part: tuple[float, float]) -> AudioClip:
    samples, rate = soundfile.read(EXAMPLES / "speech.wav", dtype="float32")
    return AudioClip.from_samples(samples[round(part[0] * rate) : round(part[1] * rate)], rate)


@pytest.mark.usefixtures("detector_is_here")
def test_each_pair_of_lips_follows_its_own_sound() -> None:
    with Image.open(EXAMPLES / "face.png") as face:
        small = np.asarray(face.convert("RGB").resize((SIDE, SIDE)))
    pipeline = TalkheadPipeline.from_folder(
        resolve_weights("default"), device=torch.device("cpu"), dtype=torch.float32
    )
    picture = np.concatenate([small, small[:, ::-1]], axis=1)
    faces = find_speakers(picture, ["left", "right"], fps=FPS, loop="pingpong")
    clips = [clip(part) for part in PARTS_S]
    frames = np.stack(list(render_speakers(pipeline, faces, clips, fps=FPS).frames))
    first = faces[0]
    assert isinstance(first, PictureFace)
    wanted = []
    for each in clips:
        speech = predict_speech(pipeline.landmark_generator, each, first.identity, FPS)
        windows = animate(pipeline.landmark_generator, first.identity, speech)
        wanted.append(mouth_opening(np.concatenate(list(windows))))
    with FaceDetector() as detector:
        for number, half in enumerate((frames[:, :, :SIDE], frames[:, :, SIDE:])):
            seen = [
                float(mouth_opening(detector.detect(frame)[0][None])[0])
                for frame in np.ascontiguousarray(half)
            ]
            own, other = (float(np.corrcoef(seen, wanted[n])[0, 1]) for n in (number, 1 - number))
            assert own > 0.7
            assert other < 0.3

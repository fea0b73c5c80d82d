"""The product: a voice to landmarks, and landmarks with a picture to frames."""

from talkhead.synthesis.animation import POSES, animate, check_pose, predict_landmarks
from talkhead.synthesis.frames import correct, correct_frames, draw_noise, render_frames
from talkhead.synthesis.hearing import (
    CONTEXT_FRAMES,
    LEAD_S,
    WINDOW_FRAMES,
    Speech,
    generate_coefficients,
    listen,
    resample,
    speech_features,
)
from talkhead.synthesis.networks import (
    BATCH_FRAMES,
    COMPONENTS,
    Pipeline,
    basis_of,
    head_style_of,
    load_generator,
    load_pipeline,
    registration_of,
)

__all__ = [
    "BATCH_FRAMES",
    "COMPONENTS",
    "CONTEXT_FRAMES",
    "LEAD_S",
    "POSES",
    "WINDOW_FRAMES",
    "Pipeline",
    "Speech",
    "animate",
    "basis_of",
    "check_pose",
    "correct",
    "correct_frames",
    "draw_noise",
    "generate_coefficients",
    "head_style_of",
    "listen",
    "load_generator",
    "load_pipeline",
    "predict_landmarks",
    "registration_of",
    "render_frames",
    "resample",
    "speech_features",
]

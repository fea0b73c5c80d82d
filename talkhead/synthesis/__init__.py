"""Synthesis: landmarks from a voice, and frames from landmarks and a picture."""

from talkhead.synthesis.animation import (
    POSES,
    animate,
    check_pose,
    predict_landmarks,
    predict_speech,
)
from talkhead.synthesis.feeling import certainly, feel, hear_emotion, shown
from talkhead.synthesis.frames import correct, correct_frames, draw_noise, render_frames
from talkhead.synthesis.hearing import (
    CONTEXT_FRAMES,
    LEAD_S,
    WINDOW_FRAMES,
    Speech,
    generate_coefficients,
    generate_motion,
    listen,
    resample,
    speech_features,
)
from talkhead.synthesis.networks import (
    BATCH_FRAMES,
    AnyPipeline,
    MaskNoisePipeline,
    Pipeline,
    basis_of,
    head_style_of,
    load_any_pipeline,
    load_generator,
    load_pipeline,
    registration_of,
)
from talkhead.synthesis.video import START_STEP

__all__ = [
    "BATCH_FRAMES",
    "CONTEXT_FRAMES",
    "LEAD_S",
    "POSES",
    "START_STEP",
    "WINDOW_FRAMES",
    "AnyPipeline",
    "MaskNoisePipeline",
    "Pipeline",
    "Speech",
    "animate",
    "basis_of",
    "certainly",
    "check_pose",
    "correct",
    "correct_frames",
    "draw_noise",
    "feel",
    "generate_coefficients",
    "generate_motion",
    "head_style_of",
    "hear_emotion",
    "listen",
    "load_any_pipeline",
    "load_generator",
    "load_pipeline",
    "predict_landmarks",
    "predict_speech",
    "registration_of",
    "render_frames",
    "resample",
    "shown",
    "speech_features",
]

"""The tab that renders one video."""

from __future__ import annotations

import gradio as gr

from talkhead.app.buttons import Buttons
from talkhead.app.face_choice import FaceChoice
from talkhead.app.fields import examples, face_inputs, options, result_fields, sound_input
from talkhead.app.handlers import Handlers
from talkhead.app.limits import Limits
from talkhead.app.shown import FORGET_PROGRESS


def video_tab(handlers: Handlers, limits: Limits) -> None:
    """Lay out the tab, and connect its events."""
    with gr.Row(equal_height=False):
        with gr.Column():
            picture, video = face_inputs()
            faces = FaceChoice("", limits)
            sound = sound_input("voice")
            examples(picture, sound)
            choices = options()
            buttons = Buttons("Generate", "generate")
        with gr.Column():
            result, state, details = result_fields()
    faces.connect((picture, video), choices[0])
    buttons.connect(
        handlers.render,
        [picture, video, sound, *choices],
        [result, state, details],
        state,
        limits,
        api_name="render",
        on_failure=FORGET_PROGRESS,
    )

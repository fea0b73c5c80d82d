"""The tab that renders one face with several sounds."""

from __future__ import annotations

import gradio as gr

from talkhead.app.buttons import Buttons
from talkhead.app.face_choice import FaceChoice
from talkhead.app.fields import face_inputs, options
from talkhead.app.handlers import Handlers
from talkhead.app.limits import Limits
from talkhead.app.shown import KEEP_ROWS


def batch_tab(handlers: Handlers, limits: Limits) -> None:
    """Lay out the tab, and connect its events."""
    with gr.Row(equal_height=False):
        with gr.Column():
            picture, video = face_inputs("batch-")
            faces = FaceChoice("batch-", limits)
            sounds = gr.File(
                label=f"Voices, up to {limits.max_sounds}",
                file_count="multiple",
                file_types=["audio", "video"],
                elem_id="voices",
            )
            choices = options()
            buttons = Buttons("Generate all", "generate-all", "batch-")
        with gr.Column():
            state = gr.HTML(label="states", elem_id="states")
            results = gr.File(
                label="Videos", file_count="multiple", interactive=False, elem_id="videos"
            )
            stopped = gr.HTML(label="stopped")
    faces.connect((picture, video), choices[0])
    buttons.connect(
        handlers.batch,
        [picture, video, sounds, *choices],
        [results, state],
        state,
        limits,
        api_name="batch",
        on_failure=KEEP_ROWS,
        stopped=stopped,
    )

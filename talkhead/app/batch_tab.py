"""The tab that renders one face with several sounds."""

from __future__ import annotations

import gradio as gr

from talkhead.app.fields import face_inputs, options
from talkhead.app.handlers import Handlers
from talkhead.app.limits import Limits
from talkhead.app.shown import CANCELLED


def batch_tab(handlers: Handlers, limits: Limits) -> None:
    """Lay out the tab, and connect its events."""
    with gr.Row(equal_height=False):
        with gr.Column():
            picture, video = face_inputs("batch-")
            sounds = gr.File(
                label=f"Voices, up to {limits.max_sounds}",
                file_count="multiple",
                file_types=["audio", "video"],
                elem_id="voices",
            )
            choices = options()
            with gr.Row():
                start = gr.Button(
                    "Generate all", variant="primary", scale=3, elem_id="generate-all"
                )
                stop = gr.Button("Cancel", variant="stop", scale=1)
        with gr.Column():
            state = gr.HTML(label="states", elem_id="states")
            results = gr.File(
                label="Videos", file_count="multiple", interactive=False, elem_id="videos"
            )
            stopped = gr.HTML(label="stopped")
    rendering = start.click(lambda: "", None, stopped, queue=False, api_visibility="private").then(
        handlers.batch,
        [picture, video, sounds, *choices],
        [results, state],
        show_progress="minimal",
        show_progress_on=state,
        concurrency_id="render",
        concurrency_limit=limits.renders_at_once,
        trigger_mode="once",
        api_name="batch",
    )
    stop.click(
        lambda: CANCELLED, None, stopped, cancels=rendering, queue=False, api_visibility="private"
    )

"""The tab that renders one face with several sounds."""

from __future__ import annotations

import gradio as gr

from talkhead.app.fields import face_inputs, options
from talkhead.app.handlers import Handlers
from talkhead.app.limits import Limits
from talkhead.app.shown import CANCELLED, KEEP_ROWS, SHOW_IN_LINE


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
    start.click(None, None, stopped, js="() => ''", api_visibility="private")
    start.click(None, None, state, js=SHOW_IN_LINE, api_visibility="private")
    rendering = start.click(
        handlers.batch,
        [picture, video, sounds, *choices],
        [results, state],
        show_progress="hidden",
        concurrency_id="render",
        concurrency_limit=limits.renders_at_once,
        trigger_mode="once",
        api_name="batch",
    )
    rendering.failure(None, state, state, js=KEEP_ROWS, api_visibility="private")
    # The line comes after the last one of the cancelled render.
    stop.click(None, cancels=rendering, queue=False, api_visibility="private").then(
        lambda: CANCELLED, None, stopped, queue=False, api_visibility="private"
    )

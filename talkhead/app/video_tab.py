"""The tab that renders one video."""

from __future__ import annotations

import gradio as gr

from talkhead.app.fields import examples, face_inputs, options
from talkhead.app.handlers import Handlers, choose_face
from talkhead.app.limits import Limits
from talkhead.app.shown import CANCELLED, EMPTY, FORGET_PROGRESS, SHOW_IN_LINE


def video_tab(handlers: Handlers, limits: Limits) -> None:
    """Lay out the tab, and connect its events."""
    with gr.Row(equal_height=False):
        with gr.Column():
            picture, video = face_inputs()
            found = gr.State(time_to_live=limits.keep_s)
            hint = gr.Markdown(container=False)
            preview = gr.Image(
                show_label=False,
                elem_id="faces",
                visible=False,
                interactive=False,
                buttons=[],
                format="jpeg",
            )
            sound = gr.Audio(
                label="Voice", type="filepath", sources=["upload", "microphone"], elem_id="voice"
            )
            examples(picture, sound)
            choices = options()
            with gr.Row():
                start = gr.Button("Generate", variant="primary", scale=3, elem_id="generate")
                stop = gr.Button("Cancel", variant="stop", scale=1, elem_id="cancel")
        with gr.Column():
            result = gr.Video(
                label="Result", interactive=False, buttons=["download"], elem_id="result"
            )
            state = gr.HTML(EMPTY, label="summary", elem_id="state")
            with gr.Accordion("Details", open=False):
                details = gr.JSON(label="facts", show_label=False)
    for face in (picture, video):
        face.change(
            handlers.faces,
            [face, found],
            [found, preview, hint, choices[0]],
            show_progress="hidden",
            concurrency_id="faces",
            api_visibility="private",
        )
    preview.select(
        choose_face,
        found,
        [preview, choices[0]],
        show_progress="hidden",
        queue=False,
        api_visibility="private",
    )
    start.click(None, None, state, js=SHOW_IN_LINE, api_visibility="private")
    rendering = start.click(
        handlers.render,
        [picture, video, sound, *choices],
        [result, state, details],
        show_progress="hidden",
        concurrency_id="render",
        concurrency_limit=limits.renders_at_once,
        trigger_mode="once",
        api_name="render",
    )
    rendering.failure(None, state, state, js=FORGET_PROGRESS, api_visibility="private")
    # The line comes after the last one of the cancelled render.
    stop.click(None, cancels=rendering, queue=False, api_visibility="private").then(
        lambda: CANCELLED, None, state, queue=False, api_visibility="private"
    )

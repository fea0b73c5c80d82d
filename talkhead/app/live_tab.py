"""The tab where a face speaks while the visitor does."""

from __future__ import annotations

import gradio as gr

from talkhead.app.face_choice import FaceChoice
from talkhead.app.fields import face_inputs, file_of, options
from talkhead.app.limits import Limits
from talkhead.app.live import CHUNK_S, LiveHandlers
from talkhead.app.shown import EMPTY, FORGET_PROGRESS

_SCREEN = '<div class="screen"><img alt=""></div>'
_SHOW = """const image = element.querySelector('img');
watch('value', () => {
  if (props.value) image.src = props.value;
  else image.removeAttribute('src');
});"""


def live_tab(handlers: LiveHandlers, limits: Limits) -> None:
    """Lay out the tab, and connect its events."""
    with gr.Row(equal_height=False):
        with gr.Column():
            picture, video = face_inputs("live-")
            faces = FaceChoice("live-", limits)
            microphone = gr.Audio(
                label="Microphone",
                sources=["microphone"],
                streaming=True,
                type="filepath",
                elem_id="microphone",
            )
            microphone.preprocess = file_of
            choices = options(with_background=False)
        with gr.Column():
            screen = gr.HTML(
                "", html_template=_SCREEN, js_on_load=_SHOW, label="face", elem_id="screen"
            )
            state = gr.HTML(EMPTY, label="state", elem_id="live-state")
            gr.Markdown(
                "Add a face, then press Record. It follows your voice a moment later, for up to"
                f" {limits.live_s / 60:g} minutes. The video is not stored.",
                container=False,
            )
    faces.connect((picture, video), choices[0])
    shown = microphone.start_recording(
        handlers.show,
        [picture, video, *choices],
        [screen, state],
        show_progress="hidden",
        concurrency_id="live",
        # One more than can be served, so that the next visitor is told so at once.
        concurrency_limit=limits.renders_at_once + 1,
        # A microphone that is closed ends the browser's part of the event without a message.
        trigger_mode="multiple",
        api_visibility="private",
    )
    shown.failure(None, state, state, js=FORGET_PROGRESS, api_visibility="private")
    microphone.stream(
        handlers.hear,
        microphone,
        None,
        stream_every=CHUNK_S,
        concurrency_limit=None,
        time_limit=limits.live_s,
        show_progress="hidden",
        api_visibility="private",
    )
    microphone.stop_recording(handlers.stop, None, state, queue=False, api_visibility="private")

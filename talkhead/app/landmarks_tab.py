"""The tab that draws the motion of a face, and renders a track that was changed elsewhere."""

from __future__ import annotations

import gradio as gr

from talkhead.app.buttons import Buttons
from talkhead.app.face_choice import FaceChoice
from talkhead.app.fields import facts_field, options, picture_input, result_fields, sound_input
from talkhead.app.handlers import Handlers
from talkhead.app.limits import Limits
from talkhead.app.shown import EMPTY, FORGET_PROGRESS
from talkhead.jobs.pose_source import TRACK_SUFFIXES


def landmarks_tab(handlers: Handlers, limits: Limits) -> None:
    """Lay out the tab, and connect its events."""
    with gr.Row(equal_height=False):
        with gr.Column():
            picture = picture_input("landmarks-picture")
            faces = FaceChoice("landmarks-", limits)
            sound = sound_input("landmarks-voice")
            choices = options(is_open=True)
            preview = Buttons("Preview", "preview", "preview-")
        with gr.Column():
            drawn = gr.Video(label="Motion", interactive=False, buttons=[], elem_id="drawn")
            state = gr.HTML(EMPTY, label="summary", elem_id="landmarks-state")
            made = gr.File(label="Track", interactive=False, elem_id="made-track")
            facts = facts_field()
    gr.Markdown("### Render a changed track", container=False)
    with gr.Row(equal_height=False):
        with gr.Column():
            gr.Markdown(
                "Change the track in any program, and bring it back. The video follows it as it"
                " is, with the face and the voice above, and without the options of motion.",
                container=False,
            )
            track = gr.File(
                label="Changed track",
                file_types=sorted(TRACK_SUFFIXES),
                height=170,
                elem_id="track",
            )
            follow = Buttons("Generate from the track", "generate-track", "track-")
        with gr.Column():
            result, rendered, details = result_fields("track-")
    faces.connect((picture,), choices[0])
    preview.connect(
        handlers.landmarks,
        [picture, sound, *choices],
        [drawn, made, state, facts],
        state,
        limits,
        api_name="landmarks",
        on_failure=FORGET_PROGRESS,
    )
    follow.connect(
        handlers.render_track,
        [picture, sound, track, *choices],
        [result, rendered, details],
        rendered,
        limits,
        api_name="render_track",
        on_failure=FORGET_PROGRESS,
    )

"""The layout of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from talkhead.app.handlers import Handlers, choose_face
from talkhead.app.limits import Limits
from talkhead.app.request import NO_EMOTION
from talkhead.app.shown import CANCELLED, EMPTY
from talkhead.app.studio import Studio
from talkhead.emotions import AUTO, EMOTIONS
from talkhead.limits import MAX_BLINKS, MAX_STRENGTH
from talkhead.media.sizes import DEFAULT_SIZE

TITLE = "talkhead"
SIZES = (DEFAULT_SIZE, "1920x1080", "1280x720", "640x360")
_CLEAN_EVERY_S = 60
_HEAD = """<h1>talkhead</h1>
<p>A face and a voice become a video of the face saying it.</p>"""
_NOTE = """Ask the person whose face or voice you use, and say that the video is synthetic. Uploads
and results are deleted after {minutes:g} minutes."""


class PictureInput(gr.Image):  # type: ignore[misc]  # gradio is not always installed
    """A picture as the file that the visitor sent, byte by byte.

    gradio's own component opens the picture, and fails without a message on what Pillow cannot
    read.
    """

    is_template = True

    def preprocess(self, payload: Any) -> str | None:
        """Return the path of the file."""
        return None if payload is None else payload.path


def build_page(studio: Studio) -> gr.Blocks:
    """Return the page.

    Args:
        studio: renders the videos.
    """
    handlers, limits = Handlers(studio), studio.limits
    page = gr.Blocks(
        title=TITLE, analytics_enabled=False, delete_cache=(_CLEAN_EVERY_S, limits.keep_s)
    )
    with page:
        gr.HTML(_HEAD, elem_id="head")
        with gr.Tabs(), gr.Tab("Video"):
            _video_tab(handlers, limits)
        gr.HTML(_NOTE.format(minutes=limits.keep_s / 60), elem_id="note")
    return page.queue(max_size=limits.max_waiting, default_concurrency_limit=limits.renders_at_once)


def _video_tab(handlers: Handlers, limits: Limits) -> None:
    with gr.Row(equal_height=False):
        with gr.Column():
            picture, video = _face_inputs()
            found = gr.State(time_to_live=limits.keep_s)
            hint = gr.Markdown(container=False)
            preview = gr.Image(
                label="Faces",
                elem_id="faces",
                visible=False,
                interactive=False,
                buttons=[],
                format="jpeg",
            )
            sound = gr.Audio(
                label="Voice", type="filepath", sources=["upload", "microphone"], elem_id="voice"
            )
            _examples(picture, sound)
            choices = _options()
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
            face,
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
    rendering = start.click(
        handlers.render,
        [picture, video, sound, *choices],
        [result, state, details],
        show_progress="minimal",
        show_progress_on=state,
        concurrency_id="render",
        concurrency_limit=limits.renders_at_once,
        trigger_mode="once",
        api_name="render",
    )
    stop.click(
        lambda: CANCELLED, None, state, cancels=rendering, queue=False, api_visibility="private"
    )


def _face_inputs() -> tuple[gr.Image, gr.Video]:
    with gr.Tabs():
        with gr.Tab("Picture"):
            picture = PictureInput(
                label="Face",
                type="filepath",
                sources=["upload", "webcam", "clipboard"],
                height=320,
                elem_id="picture",
            )
        with gr.Tab("Video to dub"):
            video = gr.Video(
                label="Video", sources=["upload", "webcam"], height=320, elem_id="film"
            )
    return picture, video


def _options() -> list[Any]:
    """Return the components of `Choices`, in its order."""
    with gr.Accordion("Options", open=False):
        with gr.Row():
            choose = gr.Dropdown(
                ["largest", "left", "right"],
                value="largest",
                label="Who speaks",
                info="Or a number from the left",
                allow_custom_value=True,
            )
            emotion = gr.Dropdown(
                [NO_EMOTION, AUTO, *EMOTIONS],
                value=NO_EMOTION,
                label="Emotion",
                info="auto follows the voice; pictures only",
            )
        with gr.Row():
            expression = gr.Slider(0, MAX_STRENGTH, value=1, step=0.05, label="Expression strength")
            pose = gr.Slider(0, MAX_STRENGTH, value=1, step=0.05, label="Head motion")
        with gr.Row():
            blink = gr.Slider(0, MAX_BLINKS, value=16, step=1, label="Blinks per minute")
            seed = gr.Number(0, label="Seed", precision=0, minimum=0)
        with gr.Row():
            fps = gr.Textbox(
                "", label="Frames per second", placeholder="25, or the video's", max_lines=1
            )
            size = gr.Dropdown(
                list(SIZES), value=DEFAULT_SIZE, label="Largest size", allow_custom_value=True
            )
    return [choose, emotion, expression, pose, blink, seed, fps, size]


def _examples(picture: gr.Image, sound: gr.Audio) -> None:
    """Offer the examples of a checkout; an installed talkhead has none."""
    folder = Path(__file__).resolve().parents[2] / "examples"
    files = [folder / "face.png", folder / "speech.wav"]
    if all(path.is_file() for path in files):
        gr.Examples(
            [[str(path) for path in files]],
            [picture, sound],
            label="Nothing at hand?",
            example_labels=["Try an example"],
        )

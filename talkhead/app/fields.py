"""Groups of fields that the tabs of the page share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from talkhead.app.request import NO_EMOTION, OWN_BACKGROUND
from talkhead.app.shown import EMPTY
from talkhead.emotions import AUTO, EMOTIONS
from talkhead.limits import MAX_BLINKS, MAX_STRENGTH
from talkhead.media.sizes import DEFAULT_SIZE

SIZES = (DEFAULT_SIZE, "1920x1080", "1280x720", "640x360")


def face_inputs(prefix: str = "") -> tuple[gr.Image, gr.Video]:
    """Return the fields for a picture and for a video; `prefix` begins their ids."""
    with gr.Tabs():
        with gr.Tab("Picture"):
            picture = picture_input(f"{prefix}picture")
        with gr.Tab("Video to dub"):
            video = gr.Video(
                label="Video", sources=["upload", "webcam"], height=320, elem_id=f"{prefix}film"
            )
    return picture, video


def picture_input(elem_id: str) -> gr.Image:
    """Return the field for a picture."""
    picture = gr.Image(
        label="Face",
        type="filepath",
        sources=["upload", "webcam", "clipboard"],
        height=320,
        elem_id=elem_id,
    )
    # gradio opens the picture, and fails without a message on what Pillow cannot read. (A
    # subclass would have it write a stub beside this file.)
    picture.preprocess = file_of
    return picture


def sound_input(elem_id: str) -> gr.Audio:
    """Return the field for a voice."""
    return gr.Audio(
        label="Voice",
        type="filepath",
        sources=["upload", "microphone"],
        buttons=["download"],
        elem_id=elem_id,
    )


def options(*, is_open: bool = False, with_background: bool = True) -> list[Any]:
    """Return the components of `Choices`, in its order; the background, which is last, or not."""
    with gr.Accordion("Options", open=is_open):
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
            expression = gr.Slider(0, MAX_STRENGTH, value=1, step=0.05, label="Mouth motion")
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
        chosen = [choose, emotion, expression, pose, blink, seed, fps, size]
        if with_background:
            background = gr.Dropdown(
                [OWN_BACKGROUND, "white", "black", "#00b140"],
                value=OWN_BACKGROUND,
                label="Background",
                info="Or another colour, by name or as #rrggbb",
                allow_custom_value=True,
            )
            chosen.append(background)
    return chosen


def result_fields(prefix: str = "") -> tuple[gr.Video, gr.HTML, gr.JSON]:
    """Return a finished video, the line below it, and its facts; `prefix` begins their ids."""
    video = gr.Video(
        label="Result", interactive=False, buttons=["download"], elem_id=f"{prefix}result"
    )
    state = gr.HTML(EMPTY, label="summary", elem_id=f"{prefix}state")
    return video, state, facts_field()


def facts_field() -> gr.JSON:
    """Return the facts of a job, which a visitor may unfold."""
    with gr.Accordion("Details", open=False):
        return gr.JSON(label="facts", show_label=False)


def examples(picture: gr.Image, sound: gr.Audio) -> None:
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


def file_of(payload: Any) -> str | None:
    """Return the path of the file that a visitor sent."""
    return None if payload is None else str(payload.path)

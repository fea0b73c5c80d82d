"""The preview under the face's fields, where a visitor clicks on the one who speaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from talkhead.app.faces import FoundFaces, find_faces
from talkhead.app.limits import Limits
from talkhead.app.shown import TITLE, message_of


@dataclass(frozen=True)
class SeenFaces:
    """The file whose faces a visitor sees, and the faces; None if there are none."""

    face: str
    found: FoundFaces | None


class FaceChoice:
    """The preview of one tab.

    Args:
        prefix: begins its id.
        limits: the limits of this server.
    """

    def __init__(self, prefix: str, limits: Limits) -> None:
        self._seen = gr.State(time_to_live=limits.keep_s)
        self._hint = gr.Markdown(container=False)
        self._preview = gr.Image(
            show_label=False,
            elem_id=f"{prefix}faces",
            elem_classes="faces",
            visible=False,
            interactive=False,
            buttons=[],
            format="jpeg",
        )

    def connect(self, faces: Sequence[gr.components.Component], choice: gr.Dropdown) -> None:
        """Show the faces of each new file, and set the choice to the one clicked on."""
        for face in faces:
            face.change(
                see_faces,
                [face, self._seen],
                [self._seen, self._preview, self._hint, choice],
                show_progress="hidden",
                concurrency_id="faces",
                api_visibility="private",
            )
        self._preview.select(
            choose_face,
            self._seen,
            [self._preview, choice],
            show_progress="hidden",
            queue=False,
            api_visibility="private",
        )


def see_faces(face: str | None, seen: SeenFaces | None) -> tuple[Any, ...]:
    """Find the faces of a picture or a video.

    A component reports a new file twice; the second time, nothing changes.

    Returns:
        State, the preview with its boxes, a note, and the choice.
    """
    if face == (seen.face if seen else None):
        return gr.skip(), gr.skip(), gr.skip(), gr.skip()
    nothing = gr.update(value=None, visible=False)
    if not face:
        return None, nothing, "", "largest"
    try:
        found = find_faces(Path(face))
    except Exception as error:
        message = message_of(error, [Path(face)])
        if message is None:
            raise
        gr.Warning(message, title=TITLE, duration=None)
        return SeenFaces(face, None), nothing, "", "largest"
    more = len(found.boxes) > 1
    note = f"{len(found.boxes)} faces: click on the one that speaks" if more else ""
    preview = gr.update(value=found.drawn(found.largest), visible=True) if more else nothing
    return SeenFaces(face, found), preview, note, "largest"


def choose_face(seen: SeenFaces | None, event: gr.SelectData) -> tuple[Any, str]:
    """Choose the face that was clicked on, and draw the boxes again."""
    if seen is None or seen.found is None:
        return gr.skip(), "largest"
    number = seen.found.number_at(*event.index)
    return seen.found.drawn(number), str(number)

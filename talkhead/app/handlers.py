"""The functions behind the page's events, which are the endpoints of its API too."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from talkhead.app.faces import FoundFaces, find_faces
from talkhead.app.request import NO_EMOTION, Choices, face_of, sound_of
from talkhead.app.shown import EMPTY, message_of, progress_html, result_html
from talkhead.app.studio import Studio
from talkhead.app.work import CancelledError
from talkhead.media.sizes import DEFAULT_SIZE
from talkhead.provenance.note import public_name

Updates = Generator[tuple[Any, ...], None, None]
_PRIVATE = {"output", "weights"}


class Handlers:
    """Serves the events of the page.

    Args:
        studio: renders the videos.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def render(
        self,
        picture: str | None = None,
        video: str | None = None,
        sound: str | None = None,
        choose: str = "largest",
        emotion: str = NO_EMOTION,
        expression_strength: float = 1.0,
        pose_strength: float = 1.0,
        blink: float = 16.0,
        seed: float = 0,
        fps: str = "",
        max_size: str = DEFAULT_SIZE,
    ) -> Updates:
        """Render a video of a face that says a sound.

        Give a picture, or a video to dub. The result is the mp4, a line of HTML on it, and facts as
        `talkhead render --json` prints them.
        """
        choices = Choices(
            choose, emotion, expression_strength, pose_strength, blink, seed, fps, max_size
        )
        given = [Path(path) for path in (picture, video, sound) if path]
        with _errors(given):
            steps = self._studio.render(face_of(picture, video), sound_of(sound), choices)
            yield None, EMPTY, None
            facts: dict[str, Any] = {}
            while True:
                try:
                    step = next(steps)
                except StopIteration as ended:
                    facts = ended.value
                    break
                yield gr.skip(), progress_html(step), gr.skip()
            yield facts["output"], result_html(facts), self._public(facts)

    def faces(self, face: str | None) -> tuple[Any, ...]:
        """Find the faces of a picture or a video.

        Returns:
            State, the preview with its boxes, a note, and the choice.
        """
        if not face:
            return None, gr.update(value=None, visible=False), "", "largest"
        with _errors([Path(face)]):
            found = find_faces(Path(face))
        more = len(found.boxes) > 1
        note = f"{len(found.boxes)} faces: click on the one that speaks" if more else ""
        preview = gr.update(value=found.drawn(found.largest), visible=more)
        return found, preview, note, "largest"

    def _public(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in facts.items() if key not in _PRIVATE}
        return kept | {"weights": public_name(facts["weights"])}


def choose_face(found: FoundFaces | None, event: gr.SelectData) -> tuple[Any, str]:
    """Choose the face that was clicked on, and draw the boxes again."""
    if found is None:
        return gr.skip(), "largest"
    number = found.number_at(*event.index)
    return found.drawn(number), str(number)


@contextmanager
def _errors(paths: Iterable[Path]) -> Iterator[None]:
    """Show a known error as the one line that the command line prints."""
    try:
        yield
    except CancelledError:
        raise gr.Error("cancelled", duration=5, print_exception=False) from None
    except Exception as error:
        message = message_of(error, paths)
        if message is None:
            raise
        raise gr.Error(message, title="talkhead", duration=None, print_exception=False) from error

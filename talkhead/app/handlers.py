"""The functions behind the page's events, which are the endpoints of its API too."""

from __future__ import annotations

import html
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from talkhead.app.faces import FoundFaces, find_faces
from talkhead.app.limits import check_count
from talkhead.app.request import NO_EMOTION, Choices, face_of, sound_of
from talkhead.app.shown import (
    DONE,
    EMPTY,
    WAITING,
    message_of,
    progress_html,
    result_html,
    rows_html,
)
from talkhead.app.studio import Studio
from talkhead.app.work import CancelledError, Step
from talkhead.media.sizes import DEFAULT_SIZE
from talkhead.provenance.note import public_name

Updates = Generator[tuple[Any, ...], None, None]
TITLE = "talkhead"
_PRIVATE = {"output", "weights"}


@dataclass(frozen=True)
class SeenFaces:
    """The file whose faces a visitor sees, and the faces; None if there are none."""

    face: str
    found: FoundFaces | None


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
        with _errors(_paths(picture, video, sound)):
            steps = self._studio.render(face_of(picture, video), sound_of(sound), choices)
            yield None, EMPTY, None
            facts = yield from _shown(steps, lambda line: (gr.skip(), line, gr.skip()))
            yield facts["output"], result_html(facts), _public(facts)

    def batch(
        self,
        picture: str | None = None,
        video: str | None = None,
        sounds: list[str] | None = None,
        choose: str = "largest",
        emotion: str = NO_EMOTION,
        expression_strength: float = 1.0,
        pose_strength: float = 1.0,
        blink: float = 16.0,
        seed: float = 0,
        fps: str = "",
        max_size: str = DEFAULT_SIZE,
    ) -> Updates:
        """Render a video for each of several sounds.

        Results come as they finish. A sound that fails does not stop the others. The result is the
        list of videos, and a table in HTML.
        """
        choices = Choices(
            choose, emotion, expression_strength, pose_strength, blink, seed, fps, max_size
        )
        given = [Path(each) for each in sounds or []]
        with _errors(_paths(picture, video)):
            face = face_of(picture, video)
            check_count(given, self._studio.limits)
            rows, made = [(sound.name, WAITING) for sound in given], []
            yield None, rows_html(rows)
            for number, sound in enumerate(given):
                steps = self._studio.render(face, sound, choices)
                show = partial(_with_row, rows, number)
                try:
                    facts = yield from _shown(steps, show)
                except Exception as error:
                    message = message_of(error, [face, sound])
                    if message is None:
                        raise
                    rows[number] = (sound.name, html.escape(message))
                else:
                    made.append(facts["output"])
                    rows[number] = (sound.name, DONE)
                yield made or None, rows_html(rows)

    def faces(self, face: str | None, seen: SeenFaces | None) -> tuple[Any, ...]:
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


def _public(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts without names of folders on this machine."""
    kept = {key: value for key, value in facts.items() if key not in _PRIVATE}
    return kept | {"weights": public_name(facts["weights"])}


def _paths(*names: str | None) -> list[Path]:
    return [Path(name) for name in names if name]


def _shown(
    steps: Generator[Step, None, dict[str, Any]], show: Callable[[str], tuple[Any, ...]]
) -> Generator[tuple[Any, ...], None, dict[str, Any]]:
    """Yield what `show` makes of each step's line and bar, and return the facts."""
    with closing(steps):
        while True:
            try:
                step = next(steps)
            except StopIteration as ended:
                facts: dict[str, Any] = ended.value
                return facts
            yield show(progress_html(step))


def _with_row(rows: list[tuple[str, str]], number: int, progress: str) -> tuple[Any, ...]:
    name = rows[number][0]
    return gr.skip(), rows_html([*rows[:number], (name, progress), *rows[number + 1 :]])


def choose_face(seen: SeenFaces | None, event: gr.SelectData) -> tuple[Any, str]:
    """Choose the face that was clicked on, and draw the boxes again."""
    if seen is None or seen.found is None:
        return gr.skip(), "largest"
    number = seen.found.number_at(*event.index)
    return seen.found.drawn(number), str(number)


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
        raise gr.Error(message, title=TITLE, duration=None, print_exception=False) from error

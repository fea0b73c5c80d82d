"""The functions behind the page's events, which are the endpoints of its API too."""

from __future__ import annotations

import functools
import html
import inspect
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from talkhead.app.limits import check_count
from talkhead.app.request import Choices, face_of, picture_of, sound_of, track_of
from talkhead.app.shown import (
    DONE,
    EMPTY,
    TITLE,
    WAITING,
    message_of,
    progress_html,
    result_html,
    rows_html,
    track_html,
)
from talkhead.app.studio import Studio
from talkhead.app.work import CancelledError, Step
from talkhead.provenance.note import public_name

Updates = Generator[tuple[Any, ...], None, None]
_PRIVATE = {"output", "preview", "weights"}


def takes_choices(handler: Callable[..., Updates]) -> Callable[..., Updates]:
    """Give a handler the fields of `Choices` as arguments, under the names that the API shows.

    The handler's own arguments come first; then come `choices` and the request. gradio looks at
    the signature for the names and defaults, and for where to put the request.
    """
    *own, _, request = inspect.signature(handler).parameters.values()
    shown = [
        inspect.Parameter(one.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=one.default)
        for one in fields(Choices)
    ]
    signature = inspect.Signature([*own, *shown, request])

    @functools.wraps(handler)
    def with_fields(*given: Any, **named: Any) -> Updates:
        bound = signature.bind(*given, **named)
        bound.apply_defaults()
        values = bound.arguments
        choices = Choices(*(values[one.name] for one in shown))
        yield from handler(
            *(values[one.name] for one in own), choices, request=values[request.name]
        )

    with_fields.__signature__ = signature  # type: ignore[attr-defined]
    return with_fields


class Handlers:
    """Serves the events of the page.

    Args:
        studio: renders the videos.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    @takes_choices
    def render(
        self,
        picture: str | None = None,
        video: str | None = None,
        sound: str | None = None,
        choices: Choices | None = None,
        request: gr.Request | None = None,
    ) -> Updates:
        """Render a video of a face that says a sound.

        Give a picture, or a video to dub. The result is the mp4, a line of HTML on it, and facts as
        `talkhead render --json` prints them.
        """
        with self.visit(request, picture, video, sound):
            face = face_of(picture, video)
            yield from self._rendered(face, sound_of(sound), choices or Choices(), request)

    @takes_choices
    def render_track(
        self,
        picture: str | None = None,
        sound: str | None = None,
        track: str | None = None,
        choices: Choices | None = None,
        request: gr.Request | None = None,
    ) -> Updates:
        """Render a video of a picture that follows a landmark track.

        The options of motion change nothing here. The result is that of `/render`.
        """
        with self.visit(request, picture, sound, track):
            face, follow = picture_of(picture), track_of(track)
            yield from self._rendered(face, sound_of(sound), choices or Choices(), request, follow)

    @takes_choices
    def landmarks(
        self,
        picture: str | None = None,
        sound: str | None = None,
        choices: Choices | None = None,
        request: gr.Request | None = None,
    ) -> Updates:
        """Predict the motion of a face that says a sound.

        The result is a video that draws it, the landmark track, a line of HTML, and facts as
        `talkhead landmarks --json` prints them.
        """
        with self.visit(request, picture, sound):
            face, voice = picture_of(picture), sound_of(sound)
            steps = self._studio.landmarks(face, voice, choices or Choices())
            yield None, None, EMPTY, None
            facts = yield from _shown(steps, lambda line: (gr.skip(), gr.skip(), line, gr.skip()))
            self._keep(request, facts["output"], facts["preview"])
            yield facts["preview"], facts["output"], track_html(facts), _public(facts)

    @takes_choices
    def batch(
        self,
        picture: str | None = None,
        video: str | None = None,
        sounds: list[str] | None = None,
        choices: Choices | None = None,
        request: gr.Request | None = None,
    ) -> Updates:
        """Render a video for each of several sounds.

        Results come as they finish. A sound that fails does not stop the others. The result is the
        list of videos, and a table in HTML.
        """
        given = [Path(each) for each in sounds or []]
        with self.visit(request, picture, video, *map(str, given)):
            face = face_of(picture, video)
            check_count(given, self._studio.limits)
            rows, made = [(sound.name, WAITING) for sound in given], []
            yield None, rows_html(rows)
            for number, sound in enumerate(given):
                steps = self._studio.render(face, sound, choices or Choices())
                show = partial(_with_row, rows, number)
                try:
                    facts = yield from _shown(steps, show)
                except Exception as error:
                    message = message_of(error, [face, sound])
                    if message is None:
                        raise
                    rows[number] = (sound.name, html.escape(message))
                else:
                    self._keep(request, facts["output"])
                    made.append(facts["output"])
                    rows[number] = (sound.name, DONE)
                yield made or None, rows_html(rows)

    def leave(self, request: gr.Request) -> None:
        """Delete the files of a visitor who has closed the page."""
        self._studio.storage.forget(request.session_hash)

    def _rendered(
        self,
        face: Path,
        sound: Path,
        choices: Choices,
        request: gr.Request | None,
        track: Path | None = None,
    ) -> Updates:
        steps = self._studio.render(face, sound, choices, track)
        yield None, EMPTY, None
        facts = yield from _shown(steps, lambda line: (gr.skip(), line, gr.skip()))
        self._keep(request, facts["output"])
        yield facts["output"], result_html(facts), _public(facts)

    def _keep(self, request: gr.Request | None, *names: str) -> None:
        """Note whose files these are."""
        if request is not None and request.session_hash is not None:
            self._studio.storage.keep(request.session_hash, map(Path, names))

    @contextmanager
    def visit(self, request: gr.Request | None, *names: str | None) -> Iterator[None]:
        """Note a visitor's files, and show a known error as the line that the command prints."""
        given = [name for name in names if name]
        self._keep(request, *given)
        with known_errors(map(Path, given)):
            yield


def _public(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts without names of folders on this machine."""
    kept = {key: value for key, value in facts.items() if key not in _PRIVATE}
    return kept | {"weights": public_name(facts["weights"])}


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


@contextmanager
def known_errors(paths: Iterable[Path]) -> Iterator[None]:
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

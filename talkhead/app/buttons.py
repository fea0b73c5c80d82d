"""The buttons that start a render and cancel it, wired alike in every tab."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from talkhead.app.limits import Limits
from talkhead.app.shown import CANCELLED, SHOW_IN_LINE


class Buttons:
    """A start button, and a cancel button beside it.

    Args:
        text: what the start button says.
        prefix: begins the id of the cancel button.
        elem_id: id of the start button.
    """

    def __init__(self, text: str, elem_id: str, prefix: str = "") -> None:
        with gr.Row():
            self.start = gr.Button(text, variant="primary", scale=3, elem_id=elem_id)
            self.stop = gr.Button("Cancel", variant="stop", scale=1, elem_id=f"{prefix}cancel")

    def connect(
        self,
        work: Callable[..., Any],
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        state: gr.HTML,
        limits: Limits,
        *,
        api_name: str,
        on_failure: str,
        stopped: gr.HTML | None = None,
    ) -> None:
        """Connect the events.

        Args:
            work: a generator that yields values for the outputs; cancelling closes it.
            inputs: its arguments.
            outputs: what it fills, with `state` among them.
            state: shows the progress.
            limits: the limits of this server.
            api_name: the endpoint of its API.
            on_failure: JavaScript that gives the state after a failure.
            stopped: shows that the work was cancelled; None for `state`.
        """
        if stopped is not None:
            self.start.click(None, None, stopped, js="() => ''", api_visibility="private")
        self.start.click(None, None, state, js=SHOW_IN_LINE, api_visibility="private")
        rendering = self.start.click(
            work,
            list(inputs),
            list(outputs),
            show_progress="hidden",
            concurrency_id="render",
            concurrency_limit=limits.renders_at_once,
            trigger_mode="once",
            api_name=api_name,
        )
        rendering.failure(None, state, state, js=on_failure, api_visibility="private")
        # The line comes after the last one of the cancelled render.
        self.stop.click(None, cancels=rendering, queue=False, api_visibility="private").then(
            lambda: CANCELLED, None, stopped or state, queue=False, api_visibility="private"
        )

"""The layout of the page."""

from __future__ import annotations

import gradio as gr

from talkhead.app.batch_tab import batch_tab
from talkhead.app.handlers import Handlers
from talkhead.app.landmarks_tab import landmarks_tab
from talkhead.app.live import LiveHandlers
from talkhead.app.live_tab import live_tab
from talkhead.app.shown import TITLE
from talkhead.app.studio import Studio
from talkhead.app.video_tab import video_tab

_CLEAN_EVERY_S = 60
_HEAD = """<h1>talkhead</h1>
<p>A face and a voice become a video of the face saying it.</p>"""
_NOTE = """Ask the person whose face or voice you use, and say that the video is synthetic. Uploads
and results are deleted after {minutes:g} minutes."""


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
        with gr.Tabs():
            with gr.Tab("Video"):
                video_tab(handlers, limits)
            with gr.Tab("Several voices"):
                batch_tab(handlers, limits)
            with gr.Tab("Landmarks"):
                landmarks_tab(handlers, limits)
            with gr.Tab("Live"):
                live_tab(LiveHandlers(studio, handlers), limits)
        gr.HTML(_NOTE.format(minutes=limits.keep_s / 60), elem_id="note")
        page.unload(handlers.leave)
    studio.storage.share()
    return page.queue(max_size=limits.max_waiting, default_concurrency_limit=limits.renders_at_once)

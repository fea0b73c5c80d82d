"""Serve the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import gradio as gr

from talkhead.app.page import build_page
from talkhead.app.studio import Studio
from talkhead.app.theme import CSS, theme
from talkhead.errors import TalkheadError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Address:
    """Where the page is, and who may see it."""

    host: str = LOOPBACK
    port: int = 7860
    logins: Sequence[tuple[str, str]] = field(default=(), repr=False)
    """Users and passwords; without any, everyone who reaches the page may use it."""
    share: bool = False
    """Also open a tunnel through a server of gradio's, with a public address."""


@contextmanager
def running_page(studio: Studio, address: Address) -> Iterator[list[str]]:
    """Serve the page while the context is open.

    Args:
        studio: renders the videos, in the folder of `storage.private_folder`.
        address: where the page is.

    Yields:
        Its address on this machine, and the public one if it is shared.

    Raises:
        TalkheadError: the address cannot be used.
    """
    page = build_page(studio)
    try:
        yield _launch(page, studio, address)
    finally:
        studio.close()
        page.close(verbose=False)


def _launch(page: gr.Blocks, studio: Studio, address: Address) -> list[str]:
    try:
        _, local, public = page.launch(
            server_name=address.host,
            server_port=address.port,
            auth=list(address.logins) or None,
            share=address.share,
            max_file_size=studio.limits.max_upload_mb * 10**6,
            theme=theme(),
            css=CSS,
            footer_links=["api", "settings"],
            allowed_paths=[],
            # Nothing is stored in the browser, no request leaves the machine, no program besides
            # this one is started.
            run_history=False,
            enable_monitoring=False,
            mcp_server=False,
            ssr_mode=False,
            pwa=False,
            show_error=False,
            prevent_thread_lock=True,
            quiet=True,
        )
    except (OSError, ValueError) as error:
        raise TalkheadError(
            f"{address.host}, port {address.port}, cannot be opened ({error}): choose another"
        ) from error
    if address.share and not public:
        raise TalkheadError("no public address could be made: check the network, or do not share")
    return [local, public] if public else [local]

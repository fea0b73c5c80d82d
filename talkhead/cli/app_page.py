"""`talkhead app`: serve the web page."""

from __future__ import annotations

import ipaddress
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from talkhead.cli.device import DeviceOption, DtypeOption
from talkhead.cli.options import WeightsOption
from talkhead.cli.output import OfflineOption, tell_revision
from talkhead.errors import TalkheadError
from talkhead.extras import require_extra
from talkhead.media.files import check_input

LOGIN_VARIABLE = "TALKHEAD_LOGIN"
ACCESS, LIMITS = "Access", "Limits"


def app_page(
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=1, max=65535, help="Port to listen on.")
    ] = 7860,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in a browser.")
    ] = False,
    auth: Annotated[
        Path | None,
        typer.Option(
            "--auth",
            metavar="FILE",
            help="File with a line USER:PASSWORD for each user.",
            show_default=f"the variable {LOGIN_VARIABLE}, if it is set",
            rich_help_panel=ACCESS,
        ),
    ] = None,
    share: Annotated[
        bool,
        typer.Option(
            "--share",
            help="Also give the page a public address, through a server of Gradio's.",
            rich_help_panel=ACCESS,
        ),
    ] = False,
    max_upload: Annotated[
        int,
        typer.Option(
            "--max-upload", metavar="MB", min=1, help="Largest file.", rich_help_panel=LIMITS
        ),
    ] = 200,
    max_seconds: Annotated[
        float,
        typer.Option(
            "--max-seconds",
            metavar="S",
            min=1,
            help="Longest sound, and longest video to dub.",
            rich_help_panel=LIMITS,
        ),
    ] = 600,
    keep: Annotated[
        float,
        typer.Option(
            "--keep",
            metavar="MINUTES",
            min=1,
            help="Age at which uploads and results are deleted.",
            rich_help_panel=LIMITS,
        ),
    ] = 60,
    weights: WeightsOption = "default",
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    offline: OfflineOption = False,
) -> None:
    """Serve a web page that renders videos, and its HTTP API, until Ctrl+C.

    Uploads and results are deleted after a time, and when the command ends.
    """
    require_extra("app", "the page")
    logins = read_logins(auth)
    from talkhead.app.limits import Limits, renders_at_once
    from talkhead.app.storage import private_folder
    from talkhead.app.studio import Studio
    from talkhead.cli.device import usable_cores
    from talkhead.device import divide_threads, resolve_device, resolve_dtype
    from talkhead.weights import locate_weights

    torch_device = resolve_device(device)
    torch_dtype = resolve_dtype(dtype, torch_device)
    found = locate_weights(weights, offline=offline)
    tell_revision(found)
    num_cores = usable_cores() if torch_device.type == "cpu" else 1
    limits = Limits(
        max_upload_mb=max_upload,
        max_seconds=max_seconds,
        keep_s=round(keep * 60),
        renders_at_once=renders_at_once(num_cores),
    )
    divide_threads(limits.renders_at_once)
    with private_folder() as folder:
        from talkhead.app.server import Address, running_page

        studio = Studio(found, torch_device, torch_dtype, folder, limits)
        studio.load()
        with running_page(studio, Address(host, port, logins, share)) as urls:
            for url in urls:
                typer.echo(url)
            if not logins and (share or not is_loopback(host)):
                typer.echo(
                    "talkhead: warning: everyone who reaches this address can use the page: give"
                    " users passwords with --auth",
                    err=True,
                )
            typer.echo("talkhead: the page is open until Ctrl+C", err=True)
            if open_browser:
                typer.launch(urls[0])
            with suppress(KeyboardInterrupt):
                while True:
                    time.sleep(3600)


def read_logins(path: Path | None) -> list[tuple[str, str]]:
    """Return users and passwords from a file, or from the environment.

    A password on the command line would be seen by everyone on the machine.

    Raises:
        TalkheadError: the file cannot be read, or a line has another form.
    """
    if path is not None:
        check_input(path)
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise TalkheadError(f"{path} is not a text in UTF-8: write it again") from error
        name = str(path)
    else:
        lines, name = os.environ.get(LOGIN_VARIABLE, "").splitlines(), LOGIN_VARIABLE
    logins = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        user, colon, password = line.partition(":")
        if not user or not colon or not password:
            raise TalkheadError(f"{name}, line {number}, is not USER:PASSWORD")
        logins.append((user, password))
    if path is not None and not logins:
        raise TalkheadError(f"{path} names no user: write a line USER:PASSWORD")
    return logins


def is_loopback(host: str) -> bool:
    """Return whether only programs of this machine reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""The `talkhead` command and its subcommands."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from talkhead import __version__
from talkhead.cli import (
    adapt,
    app_page,
    benchmark,
    doctor,
    eval,
    inspect,
    landmarks,
    live,
    prepare,
    render,
    train,
    weights,
)
from talkhead.cli.device import use_one_blas_thread
from talkhead.cli.errors import exit_code_of
from talkhead.cli.streams import prepare_streams

app = typer.Typer(
    name="talkhead",
    help="Generate a talking-head video from a portrait or video and speech.",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",  # rewraps paragraphs
    # A bug shows Python's own traceback, which can be searched for and pasted.
    pretty_exceptions_enable=False,
)
app.command("render")(render.render)
app.command("live")(live.live)
app.command("app")(app_page.app_page)
app.command("landmarks")(landmarks.landmarks)
app.command("prepare")(prepare.prepare)
app.command("train")(train.train)
app.command("adapt")(adapt.adapt)
app.command("eval")(eval.evaluate)
app.command("inspect")(inspect.inspect)
app.command("benchmark")(benchmark.benchmark)
app.command("doctor")(doctor.doctor)
app.add_typer(weights.app, name="weights")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"talkhead {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> NoReturn:
    """Run the command line and exit with its exit code."""
    prepare_streams()
    use_one_blas_thread()
    command = typer.main.get_command(app)
    sys.exit(
        exit_code_of(
            lambda: command.main(sys.argv[1:], prog_name="talkhead", standalone_mode=False)
        )
    )

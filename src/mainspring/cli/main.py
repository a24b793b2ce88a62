"""The command line itself: one file for each noun or verb, joined here."""

from __future__ import annotations

from importlib.metadata import version as installed
from typing import Annotated

import typer

from mainspring.cli.check import check
from mainspring.cli.migrate import migrate
from mainspring.cli.queues import queues
from mainspring.cli.run import run
from mainspring.cli.schedules import schedules

cli = typer.Typer(
    name="mainspring",
    help="Work that must not be lost: durable jobs, schedules and workflows.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
cli.command("run")(run)
cli.command("migrate")(migrate)
cli.command("check")(check)
cli.add_typer(schedules)
cli.add_typer(queues)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"mainspring {installed('mainspring')}")
        raise typer.Exit


@cli.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Work that must not be lost: durable jobs, schedules and workflows."""

"""`mainspring queues …`: look at queues, pause and resume them."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from mainspring.app.app import App
from mainspring.cli.options import Json
from mainspring.cli.settings import Exit
from mainspring.cli.stores import AppPlace, UrlOption, ask_app
from mainspring.cli.tables import print_json, print_table
from mainspring.model.states import STATES

queues = typer.Typer(name="queues", help="Look at queues, pause and resume them.", no_args_is_help=True)

Names = Annotated[list[str], typer.Argument(metavar="QUEUE...", help="The queues.", show_default=False)]

_HEADS: Final = ("QUEUE", "", *(state.upper() for state in STATES))


@queues.command("ls")
def list_(*, json: Json = False, url: UrlOption = "", app: AppPlace = "") -> None:
    """List the queues that have jobs, and those that are paused: how many jobs of each state there are.

    Exit codes: 0 done; 1 the store cannot be reached, or refuses; 2 no store is named.
    """

    async def verb(used: App) -> Exit:
        counts = await used.queues.counts()
        paused = await (await used.store()).paused()
        names = sorted({*counts, *paused})
        if json:
            print_json([{"queue": name, "paused": name in paused, "jobs": counts.get(name, {})} for name in names])
        elif names:
            rows = [
                (name, "paused" if name in paused else "", *(counts.get(name, {}).get(state, 0) for state in STATES))
                for name in names
            ]
            print_table(_HEADS, rows)
        else:
            typer.echo("no queues", err=True)
        return Exit.CLEAN

    raise typer.Exit(ask_app(url, app, verb))


@queues.command("pause")
def pause(names: Names, *, url: UrlOption = "", app: AppPlace = "") -> None:
    """Pause queues in the whole fleet: their jobs stay ready, those that run go on.

    A queue need not have jobs. Pausing one that is paused changes nothing.

    Exit codes: 0 done; 1 the store cannot be reached, or refuses; 2 no store is named.
    """

    async def verb(used: App) -> Exit:
        for name in names:
            await used.queues.pause(name)
            print(f"{name} is paused")
        return Exit.CLEAN

    raise typer.Exit(ask_app(url, app, verb))


@queues.command("resume")
def resume(names: Names, *, url: UrlOption = "", app: AppPlace = "") -> None:
    """Resume paused queues. Resuming one that is not paused changes nothing.

    Exit codes: 0 done; 1 the store cannot be reached, or refuses; 2 no store is named.
    """

    async def verb(used: App) -> Exit:
        for name in names:
            await used.queues.resume(name)
            print(f"{name} is resumed")
        return Exit.CLEAN

    raise typer.Exit(ask_app(url, app, verb))

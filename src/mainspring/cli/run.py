"""`mainspring run`: the worker processes of an app, kept up by a small parent."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated

import typer

from mainspring.cli.logs import configure
from mainspring.cli.parent import Parent
from mainspring.cli.settings import RunSettings


class Format(StrEnum):
    """How the log is written."""

    text = "text"
    json = "json"


class Level(StrEnum):
    """From which level on the log is written."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"
    critical = "critical"


def run(
    *,
    app: Annotated[
        str, typer.Argument(metavar="MODULE:APP", help="Where the app is, such as shop.main:app.", show_default=False)
    ],
    processes: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    concurrency: Annotated[int, typer.Option(min=1, help="Jobs at once in each process.")] = 10,
    queues: Annotated[str, typer.Option(metavar="A,B", help="Work these queues only. [default: all]")] = "",
    drain: Annotated[bool, typer.Option("--drain", help="Stop when nothing is due any more in these queues.")] = False,
    reload: Annotated[bool, typer.Option("--reload", help="Start anew when the code changes (development).")] = False,
    grace: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="What running jobs have to end at a stop.")
    ] = 30.0,
    stall_limit: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Kill and replace a process that stands still so long; 0: never."),
    ] = 300.0,
    lease_time: Annotated[
        float,
        typer.Option(min=1, metavar="SECONDS", help="How long a worker may be silent before others run its jobs."),
    ] = 15.0,
    log_level: Annotated[Level, typer.Option(help="What is logged, from this level on.")] = Level.info,
    log_format: Annotated[Format, typer.Option(help="One JSON object a line, or text.")] = Format.text,
) -> None:
    """Work the jobs of an app until a signal comes.

    SIGTERM or Ctrl-C: running jobs have the grace to end, the others are handed back. Once more: everything is
    handed back now. A third time: the processes are killed, and their jobs rescued by others.

    A process that dies is replaced, and its jobs run again. One whose code does not let the event loop turn keeps its
    jobs, until the stall limit: this process tells the store that it lives. Several of these can work on one store at
    once; a store in memory is refused, since one process only sees it.

    Exit codes: 0 stopped cleanly; 1 a process died while it was to stop, or none came up in 3 tries (a store that is
    away is waited for); 2 the app cannot be run; 3 results could not be written, those jobs run again; 70 a process
    stood still and was killed.
    """
    named = tuple(name.strip() for name in queues.split(",") if name.strip())
    if queues and not named:
        raise typer.BadParameter("name at least one queue, or leave --queues out for all", param_hint="--queues")
    settings = RunSettings(
        app=app,
        processes=processes,
        concurrency=concurrency,
        queues=named or None,
        drain=drain,
        reload=reload,
        grace=grace,
        stall_limit=stall_limit or None,
        lease_time=lease_time,
        log_level=log_level.value,
        log_format=log_format.value,
    )
    configure(settings.log_level, settings.log_format)
    raise typer.Exit(asyncio.run(_serve(settings)))


async def _serve(settings: RunSettings) -> int:
    return await Parent(settings).run()

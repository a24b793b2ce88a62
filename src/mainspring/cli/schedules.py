"""`mainspring schedules …`: look at schedules, and act on them as people do.

What only these verbs need is imported by them, so that `mainspring run` starts without it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Annotated, Final

import typer

from mainspring.app.app import App
from mainspring.cli.options import Json, Tz, zone_given
from mainspring.cli.settings import Exit
from mainspring.cli.stores import AppPlace, Refusal, UrlOption, ask_app
from mainspring.errors import ScheduleNotFound

schedules = typer.Typer(
    name="schedules", help="Look at schedules, pause, resume and trigger them.", no_args_is_help=True
)

MOST_SHOWN: Final = 10_000
"""Fires and runs that are shown at most; a schedule keeps no more runs."""

Id = Annotated[str, typer.Argument(metavar="ID", help="The schedule.", show_default=False)]
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="The schedules.", show_default=False)]


class State(StrEnum):
    """The states of a schedule, to choose from."""

    active = "active"
    paused = "paused"
    finished = "finished"


@schedules.command("ls")
def list_(
    *,
    state: Annotated[
        list[State] | None, typer.Option(help="Only those in this state; may be repeated.", show_default=False)
    ] = None,
    after: Annotated[str, typer.Option(metavar="ID", help="Only ids behind this one.", show_default=False)] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 1000,
    tz: Tz = "",
    json: Json = False,
    url: UrlOption = "",
    app: AppPlace = "",
) -> None:
    """List the schedules, by id.

    For each: its state, its trigger, when it fires next (on the clock of `--tz`), the state of its newest run, and how
    many slots have run, were missed (too late) and skipped (another run went on). With `--app`, schedules of tasks that
    the app does not know are named.

    Exit codes: 0 done; 1 the store cannot be reached, or refuses; 2 no store is named.
    """
    from mainspring.cli import schedule_reads as reads  # noqa: PLC0415  # see above

    wanted = reads.Wanted(tuple(each.value for each in state or ()), after, limit)
    zone = zone_given(tz)
    raise typer.Exit(ask_app(url, app, lambda used: reads.print_list(used, wanted, zone, as_json=json)))


@schedules.command("show")
def show(
    id: Id,  # noqa: A002  # the word on the command line
    *,
    fires: Annotated[int, typer.Option(min=0, max=MOST_SHOWN, help="So many of its next fires.")] = 5,
    runs: Annotated[int, typer.Option(min=0, max=MOST_SHOWN, help="So many of its last runs.")] = 10,
    tz: Tz = "",
    json: Json = False,
    url: UrlOption = "",
    app: AppPlace = "",
) -> None:
    """Show one schedule: what was declared, why it is paused, its next fires and its last runs.

    Times are on the clock of `--tz`; without it in UTC, and the fires on the clock of the trigger.

    Exit codes: 0 done; 1 there is no such schedule, or the store refuses; 2 no store is named.
    """
    from mainspring.cli import schedule_reads as reads  # noqa: PLC0415  # see above

    zone = zone_given(tz) if tz else None
    wanted = reads.Parts(fires, runs)
    raise typer.Exit(ask_app(url, app, _known(id, lambda used: reads.print_one(used, id, wanted, zone, as_json=json))))


@schedules.command("preview")
def preview(
    id: Annotated[  # noqa: A002  # the word on the command line
        str, typer.Argument(metavar="[ID]", help="The schedule; or say what to preview.", show_default=False)
    ] = "",
    *,
    cron: Annotated[str, typer.Option(metavar="EXPRESSION", help='Such as "0 9 * * 1-5".', show_default=False)] = "",
    daily: Annotated[str, typer.Option(metavar="HH:MM", help="Such as 02:30.", show_default=False)] = "",
    every: Annotated[
        str, typer.Option(metavar="SECONDS", help="Such as 60; from --after on.", show_default=False)
    ] = "",
    tz: Annotated[
        str,
        typer.Option(
            metavar="ZONE", help="Of --cron and --daily, and of the times shown. [default: UTC]", show_default=False
        ),
    ] = "",
    after: Annotated[
        str, typer.Option(metavar="TIME", help="Fires later than this. [default: now]", show_default=False)
    ] = "",
    count: Annotated[int, typer.Option("--count", "-n", min=0, max=MOST_SHOWN, help="So many.")] = 10,
    json: Json = False,
    url: UrlOption = "",
    app: AppPlace = "",
) -> None:
    """Show the next fires of a schedule, or of a trigger that is only thought of: that needs no store.

    For each the local time, the time in UTC, and what daylight saving time does to it: moved (the clock jumps over its
    time), first or second time (the clock shows it twice).

    Such as: `mainspring schedules preview --cron "30 2 * * *" --tz Europe/Berlin --after 2026-03-27`

    Exit codes: 0 done; 1 there is no such schedule, or the store refuses; 2 no store is named, or that is no trigger.
    """
    from mainspring.cli import preview as previews  # noqa: PLC0415  # see above

    zone = zone_given(tz) if tz else None
    if not id:
        trigger = previews.trigger_given(cron, daily, every, tz)
        previews.print_slots(trigger.preview(count, after=previews.after_given(after, zone)), zone, as_json=json)
        return
    if cron or daily or every or after:
        raise typer.BadParameter(
            "an ID is for a stored schedule, --cron, --daily, --every and --after for another trigger: not both",
            param_hint="ID",
        )

    async def stored(used: App) -> Exit:
        previews.print_slots(await used.schedules.next_fires(id, count), zone, as_json=json)
        return Exit.CLEAN

    raise typer.Exit(ask_app(url, app, _known(id, stored)))


@schedules.command("pause")
def pause(ids: Ids, *, url: UrlOption = "", app: AppPlace = "") -> None:
    """Pause schedules: no slot fires, and those that pass meanwhile are gone. What runs goes on.

    Exit codes: 0 done; 1 there is no such schedule, or the store refuses; 2 no store is named.
    """

    async def one(used: App, id: str) -> None:  # noqa: A002  # as above
        await used.schedules.pause(id)
        print(f"{id} is paused")

    raise typer.Exit(ask_app(url, app, _each(ids, one)))


@schedules.command("resume")
def resume(ids: Ids, *, url: UrlOption = "", app: AppPlace = "") -> None:
    """Resume paused schedules, with the first slot after now. Failed runs are counted anew.

    One with a trigger of a class of your own needs `--app`.

    Exit codes: 0 done; 1 there is no such schedule, or the store refuses; 2 no store is named.
    """

    async def one(used: App, id: str) -> None:  # noqa: A002  # as above
        await used.schedules.resume(id)
        print(f"{id} is resumed")

    raise typer.Exit(ask_app(url, app, _each(ids, one)))


@schedules.command("trigger")
def trigger(
    id: Id,  # noqa: A002  # the word on the command line
    *,
    url: UrlOption = "",
    app: AppPlace = "",
) -> None:
    """Run a schedule now, beside its slots, paused or not; prints the id of the job.

    While another run goes on its rule of overlap holds: it may be skipped, which is code 1.

    Exit codes: 0 done; 1 it was skipped, there is no such schedule, or the store refuses; 2 no store is named.
    """

    async def run(used: App) -> Exit:
        job = await used.schedules.trigger(id)
        if job is None:
            raise Refusal(f"{id} was skipped: another run of it goes on")
        print(job.id)
        return Exit.CLEAN

    raise typer.Exit(ask_app(url, app, _known(id, run)))


@schedules.command("rm")
def remove(
    ids: Ids,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Return when its running jobs have ended.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel the jobs of its that have not ended.")] = False,
    url: UrlOption = "",
    app: AppPlace = "",
) -> None:
    """Remove schedules. Their jobs go on, unless `--cancel` is given.

    One that code declares comes back when a worker of its app starts: pause it, or delete it from the code.

    Exit codes: 0 done; 1 there is no such schedule, or the store refuses; 2 no store is named.
    """

    async def one(used: App, id: str) -> None:  # noqa: A002  # as above
        declared_by = (await used.schedules.get(id)).declared_by
        if not await used.schedules.remove(id, wait=wait, cancel=cancel):
            raise await _unknown(used, id)
        print(f"{id} is removed")
        if declared_by:
            typer.echo(
                f"{id} is declared in the code of {declared_by}, and comes back when a worker of that starts: delete it "
                "from the code, or pause it instead",
                err=True,
            )

    raise typer.Exit(ask_app(url, app, _each(ids, one)))


def _each(ids: list[str], one: Callable[[App, str], Awaitable[None]]) -> Callable[[App], Awaitable[Exit]]:
    async def all_of_them(used: App) -> Exit:
        for each in ids:
            try:
                await one(used, each)
            except ScheduleNotFound:
                raise await _unknown(used, each) from None
        return Exit.CLEAN

    return all_of_them


def _known(id: str, verb: Callable[[App], Awaitable[Exit]]) -> Callable[[App], Awaitable[Exit]]:  # noqa: A002  # as above
    async def known(used: App) -> Exit:
        try:
            return await verb(used)
        except ScheduleNotFound:
            raise await _unknown(used, id) from None

    return known


async def _unknown(used: App, id: str) -> Refusal:  # noqa: A002  # as above
    from mainspring.cli import schedule_reads as reads  # noqa: PLC0415  # see above

    return await reads.unknown(used, id)

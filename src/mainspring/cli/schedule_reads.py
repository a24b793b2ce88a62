"""What `mainspring schedules ls` and `show` read of a store and print."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, tzinfo
from difflib import get_close_matches
from typing import Final, NamedTuple

import typer

from mainspring.app.app import App
from mainspring.app.schedule import Schedule
from mainspring.cli import schedule_words as words
from mainspring.cli.preview import print_slots
from mainspring.cli.settings import Exit
from mainspring.cli.stores import Refusal
from mainspring.cli.tables import print_json, print_pairs, print_table
from mainspring.cli.trigger_words import slot_json
from mainspring.errors import EncodingError, InvalidTrigger, ScheduleUnreadable
from mainspring.model.schedule import Run, ScheduleState
from mainspring.model.triggers import Slot, Trigger

_AT_ONCE: Final = 10
"""Reads of newest runs at a time: as many as there are connections."""


_BACK: Final = 3
"""Records among which the newest run is: at most two of slots left out are behind it."""


class Wanted(NamedTuple):
    """Which schedules `ls` lists: those in these states (none: all), with ids behind `after`, at most `limit`."""

    states: tuple[ScheduleState, ...]
    after: str
    limit: int


class Parts(NamedTuple):
    """How much `show` shows."""

    fires: int
    runs: int


async def print_list(app: App, wanted: Wanted, zone: tzinfo, *, as_json: bool) -> Exit:
    """The lines of `ls`."""
    found = await app.schedules.list(states=wanted.states, after=wanted.after, limit=wanted.limit + 1)
    listed = await _with_last_runs(app, found[: wanted.limit])
    unknown_tasks = [each for each in listed if each.task_known is False]
    if as_json:
        print_json([words.as_json(each) for each in listed])
    elif listed:
        print_table(words.HEADS, [words.row(each, zone) for each in listed])
    else:
        typer.echo("no schedules", err=True)
    for each in unknown_tasks:
        typer.echo(words.unknown_task(each.record), err=True)
    if len(found) > len(listed):
        typer.echo(f"there are more: go on with --after {found[len(listed) - 1].id}, or raise --limit", err=True)
    return Exit.CLEAN


async def print_one(app: App, id: str, wanted: Parts, zone: tzinfo | None, *, as_json: bool) -> Exit:  # noqa: A002  # the word of the face
    """What `show` says; without a zone in UTC, the fires on the trigger's own clock. Raises ScheduleNotFound."""
    schedule = await app.schedules.get(id)
    runs = await (await app.store()).runs(id, limit=max(wanted.runs, _BACK))
    trigger = _trigger(schedule)
    listed = words.Listed(schedule.record, trigger, _last(runs), _knows(app, schedule))
    slots = () if trigger is None else await app.schedules.next_fires(id, wanted.fires)
    shown = runs[::-1][: wanted.runs]
    if as_json:
        more = {"fires": [slot_json(each, zone) for each in slots], "last_runs": [*map(words.run_json, shown)]}
        print_json({**words.as_json_in_full(listed), **more})
    else:
        print_pairs(words.pairs(listed, zone or UTC))
        _print_parts(slots, shown, zone)
    return Exit.CLEAN


async def unknown(app: App, id: str) -> Refusal:  # noqa: A002  # the word of the face
    """What is said when there is no such schedule, with an id that is there and much like it."""
    like = get_close_matches(id, [each.id for each in await app.schedules.list()], n=1)
    return Refusal(f"there is no schedule {id!r}" + (f"; did you mean {like[0]!r}?" if like else ""))


async def _with_last_runs(app: App, schedules: Sequence[Schedule]) -> list[words.Listed]:
    store = await app.store()
    listed: list[words.Listed] = []
    for start in range(0, len(schedules), _AT_ONCE):
        some = schedules[start : start + _AT_ONCE]
        runs = await asyncio.gather(*(store.runs(each.id, limit=_BACK) for each in some))
        listed += [
            words.Listed(each.record, _trigger(each), _last(newest), _knows(app, each))
            for each, newest in zip(some, runs, strict=True)
        ]
    return listed


def _last(runs: Sequence[Run]) -> Run | None:
    """The newest that has a job."""
    return next((run for run in reversed(runs) if run.job is not None), None)


def _knows(app: App, schedule: Schedule) -> bool | None:
    """Whether the app has the task; None where no app was named, and of what cannot be read."""
    if schedule.record.unreadable or not len(app.registry):
        return None
    template = schedule.record.definition.template
    return app.registry.knows(template.task, template.version)


def _trigger(schedule: Schedule) -> Trigger | None:
    """None of a kind that only its own code knows, and of one that cannot be read at all."""
    try:
        return schedule.trigger
    except (InvalidTrigger, EncodingError, ScheduleUnreadable):
        return None


def _print_parts(slots: Sequence[Slot], runs: Sequence[Run], zone: tzinfo | None) -> None:
    if slots:
        typer.echo("\nnext fires")
        print_slots(slots, zone, as_json=False)
    if runs:
        typer.echo("\nlast runs")
        print_table(words.RUN_HEADS, [words.run_row(each, zone or UTC) for each in runs])

"""Changing schedules: read them, decide, write what is still as it was read, and look again at the rest."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, TypeVar

from mainspring.app.keyed import ADD_RETRY
from mainspring.engine.patient import patiently
from mainspring.errors import ScheduleBusy, ScheduleNotFound
from mainspring.model.schedule import ScheduleRecord
from mainspring.model.states import LIVE
from mainspring.store.base import SchedulePut, Store

T = TypeVar("T")

Decide = Callable[[ScheduleRecord | None, float], ScheduleRecord]
"""What is to be written, from the row as it is (None: there is none; it may be that of a removed one) and the store's
now. The same object: nothing is to be written."""

OPEN: Final = tuple(sorted(LIVE))
"""The states of jobs that have not ended."""

ROUNDS: Final = 50
FIRST_WAIT: Final = 0.01
LONGEST_WAIT: Final = 0.25
"""How often a write is tried while others are faster, and the longest waits in between, in seconds: 6 s in all."""


async def asked(ask: Callable[[], Awaitable[T]], what: str, *, unclear: Callable[[], None] | None = None) -> T:
    """The answer of the store, for which an enqueue's patience is had; see `patiently`."""
    return await patiently(ask, what, ADD_RETRY, unclear=unclear)


async def written(store: Store, decisions: Mapping[str, Decide]) -> dict[str, ScheduleRecord]:
    """Decide about each of these ids and write them, those that need it in one commit; returns the rows as they are now.

    Where somebody else was faster, it is decided again on what he has written. Raises ScheduleBusy when that happens
    each time for some seconds, StoreUnavailable after 10 s without the store, and what the decisions raise.
    """
    rows: dict[str, ScheduleRecord] = {}
    left = dict(decisions)
    for number in range(ROUNDS):
        if number:
            await asyncio.sleep(random.uniform(0, min(FIRST_WAIT * 2**number, LONGEST_WAIT)))
        left = await _round(store, left, rows)
        if not left:
            return rows
    raise ScheduleBusy(min(left), f"schedule {min(left)!r} is changed or fired by others all the time; repeat it later")


def there(schedule: str, row: ScheduleRecord | None) -> ScheduleRecord:
    """The row. Raises ScheduleNotFound when there is none, or only what is left of a removed one."""
    if row is None or row.dropped is not None:
        raise ScheduleNotFound(schedule, f"there is no schedule {schedule!r}: never put, or removed")
    return row


async def _round(store: Store, decisions: Mapping[str, Decide], rows: dict[str, ScheduleRecord]) -> dict[str, Decide]:
    """Try once; returns those that somebody else has changed meanwhile."""
    seen = await asked(partial(store.get_schedules, list(decisions)), "reading schedules")
    stored = {each.id: each for each in seen.schedules}
    puts: list[SchedulePut] = []
    for schedule, decide in decisions.items():
        row = stored.get(schedule)
        rows[schedule] = decide(row, seen.now)
        if rows[schedule] is not row:
            puts.append(SchedulePut(rows[schedule], row))
    if not puts:
        return {}
    answers = await asked(partial(store.put_schedules, puts), "writing schedules")
    return {
        put.record.id: decisions[put.record.id]
        for put, answer in zip(puts, answers, strict=True)
        if answer == "conflict"
    }

"""Changing schedules: read them, decide, write what is still as it was read, and look again at the rest."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeVar

from mainspring.app.keyed import ADD_RETRY
from mainspring.engine.gather import Gather
from mainspring.engine.patient import patiently
from mainspring.errors import ScheduleBusy, ScheduleNotFound, StoreUnavailable
from mainspring.model.schedule import ScheduleRecord
from mainspring.model.states import LIVE
from mainspring.retries.policy import Retry
from mainspring.store.base import SchedulePut, Store, inside_of

T = TypeVar("T")

Decide = Callable[[ScheduleRecord | None, float], ScheduleRecord]
"""What is to be written, from the row as it is (None: there is none; it may be that of a removed one) and the store's
now. The same object: nothing is to be written."""

OPEN: Final = tuple(sorted(LIVE))
"""The states of jobs that have not ended."""

NOT_AGAIN: Final = Retry(on=StoreUnavailable, attempts=1)
"""Each question of a batch has its own patience: a batch that is asked again as a whole would be decided twice."""

ROUNDS: Final = 50
FIRST_WAIT: Final = 0.01
LONGEST_WAIT: Final = 0.25
"""How often a write is tried while others are faster, and the longest waits in between, in seconds: 6 s in all."""


async def asked(ask: Callable[[], Awaitable[T]], what: str, *, unclear: Callable[[], None] | None = None) -> T:
    """The answer of the store, for which an enqueue's patience is had; see `patiently`."""
    return await patiently(ask, what, ADD_RETRY, unclear=unclear)


class Change(NamedTuple):
    """A change of one schedule that somebody waits for."""

    schedule: str
    decide: Decide


class Changes:
    """Changes single schedules; those that are asked for at the same time are read, and written, together.

    Each is answered on its own: what one decision raises, or somebody else's faster change, holds up no other.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._direct = store.features.survives == "nothing"
        self._gather: Gather[Change, ScheduleRecord | Exception | None] = Gather(
            partial(_attempted, store), what="schedules", retry=NOT_AGAIN
        )

    async def __call__(self, schedule: str, decide: Decide) -> ScheduleRecord:
        """The row as it is now. Raises as `written`."""
        change = Change(schedule, decide)
        # Inside a job's transaction the store must see who asks, to refuse what could only wait for itself.
        alone = self._direct or inside_of(self._store) is not None
        for number in range(ROUNDS):
            if number:
                await _pause(number)
            row = (await _attempted(self._store, (change,)))[0] if alone else await self._gather(change)
            if isinstance(row, ScheduleRecord):
                return row
            if row is not None:
                raise row
        raise _busy(schedule)

    async def flush(self) -> None:
        """Return when nothing waits or is in flight."""
        await self._gather.flush()


async def written(store: Store, decisions: Mapping[str, Decide]) -> dict[str, ScheduleRecord]:
    """Decide about each of these ids and write them, those that need it in one commit; returns the rows as they are now.

    Where somebody else was faster, it is decided again on what he has written. Raises ScheduleBusy when that happens
    each time for some seconds, StoreUnavailable after 10 s without the store, and what the decisions raise.
    """
    rows: dict[str, ScheduleRecord] = {}
    left = dict(decisions)
    for number in range(ROUNDS):
        if number:
            await _pause(number)
        left = await _round(store, left, rows)
        if not left:
            return rows
    raise _busy(min(left))


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


async def _attempted(store: Store, changes: Sequence[Change]) -> list[ScheduleRecord | Exception | None]:
    """Try these once: the row, or what the decision raised; None where somebody else was faster.

    Of several for one schedule, each is decided on what the one before has made of it.
    """
    ids = list({change.schedule for change in changes})
    seen = await patiently(partial(store.get_schedules, ids), "reading schedules", ADD_RETRY)
    stored = {each.id: each for each in seen.schedules}
    rows: dict[str, ScheduleRecord] = {}
    answers: list[ScheduleRecord | Exception | None] = []
    for schedule, decide in changes:
        before = rows.get(schedule) or stored.get(schedule)
        try:
            row = decide(before, seen.now)
        except Exception as error:  # noqa: BLE001  # it goes to whoever asked for this one
            answers.append(error)
            continue
        answers.append(row)
        if row is not before:
            rows[schedule] = row
    if not rows:
        return answers
    puts = [SchedulePut(row, stored.get(schedule)) for schedule, row in rows.items()]
    put = await patiently(partial(store.put_schedules, puts), "writing schedules", ADD_RETRY)
    if "conflict" not in put:
        return answers
    lost = {each.record.id for each, answer in zip(puts, put, strict=True) if answer == "conflict"}
    return [None if change.schedule in lost else answer for change, answer in zip(changes, answers, strict=True)]


async def _pause(number: int) -> None:
    """Let those who were faster get out of the way."""
    await asyncio.sleep(random.uniform(0, min(FIRST_WAIT * 2**number, LONGEST_WAIT)))


def _busy(schedule: str) -> ScheduleBusy:
    return ScheduleBusy(schedule, f"schedule {schedule!r} is changed or fired by others all the time; repeat it later")

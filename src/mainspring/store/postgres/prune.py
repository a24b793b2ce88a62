"""Removing what ended long ago: in bounded batches, and by the day where a whole day is over (RULES H11c, H11d, M8).

Small days and `jobs_kept` are pruned job by job as soon as their retention is over. A large day is left alone until
all that completed in it is over, at most a day later: then the few jobs that stay move to `jobs_kept`, in bounded
steps, and the day is detached and dropped, which costs next to nothing. What has a short retention cannot wait for
that: of a large day one call then reads a bounded stretch, and the next call goes on behind it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from datetime import date, timedelta
from time import monotonic
from typing import Final, NamedTuple

from mainspring.errors import StoreError, StoreUnsuitable
from mainspring.store.postgres.base import Base
from mainspring.store.postgres.days import Day, all_days, closed, detach, first_id, start_of
from mainspring.store.postgres.faults import NO_RIGHT
from mainspring.store.postgres.flush import forget_groups
from mainspring.store.postgres.place import Connection, Place
from mainspring.store.postgres.pool import Pool
from mainspring.store.postgres.reads import filled
from mainspring.store.postgres.tallies import fold
from mainspring.store.postgres.transact import sqlstate
from mainspring.store.serial.rows import PARENT_FAILED

log = logging.getLogger("mainspring.store.postgres")

LARGE: Final = 32 * 2**20
"""Bytes from which on a day is large: some 100,000 jobs."""

PATIENT: Final = 12 * 3600.0
"""Seconds of retention from which on a large day is waited for."""

STRETCH: Final = 500
"""Blocks of a day that one statement reads, of 8 KiB: it sorts what is over in them."""

STRETCHES: Final = 20
"""How many of these one call reads: several days if they are small, a part of a large one."""

SORTED_AT_ONCE: Final = 2000
"""Jobs of a day to be dropped that one statement looks at."""

SORTING: Final = 1.0
"""Seconds that one call spends with sorting out."""

SOON: Final = 0.1
"""Seconds for which anything here waits for a lock; then it is tried again another time."""

DETACHING: Final = 2.0
"""Seconds for which the readers of now are waited for when a day is detached."""

_BELONGINGS: Final = ("attempts", "progress", "blobs")
_AGAIN: Final = frozenset({"55P03", "55000", "57014", "40P01", "42P01", "42P07"})
"""What another process does at the same time, or a reader who takes long: it is tried again another time."""


class Ages(NamedTuple):
    """States, and before which time a job must have ended in them to be removed."""

    states: list[str]
    before: list[float]

    @classmethod
    def of(cls, retention: Mapping[str, float], now: float) -> Ages:
        """From seconds of retention; nothing is as old as more than there were since 1970."""
        known = {state: now - age for state, age in retention.items() if age <= now}
        return cls(list(known), list(known.values()))

    def only(self, states: set[str]) -> Ages:
        """Those of some states."""
        known = [(state, before) for state, before in zip(self.states, self.before, strict=True) if state in states]
        return Ages([state for state, _ in known], [before for _, before in known])

    def over(self, day: date) -> bool:
        """Whether all that completed on this day is to be removed."""
        ends = start_of(day + timedelta(days=1))
        return any(each == "completed" and ends <= at for each, at in zip(self.states, self.before, strict=True))


class Pruner:
    """Prunes for one process, and remembers how far it came in what is large."""

    def __init__(self, pool: Pool, place: Place) -> None:
        self._pool = pool
        self._place = place
        self._sql = statements(place)
        self._blocks: dict[str, int] = {}
        self._sorted: dict[date, str] = {}
        self._singly = 0  # removed while a day was sorted out
        self._owner = True  # until the server says that the tables are somebody else's

    async def prune(self, retention: Mapping[str, float], limit: int) -> int:
        """See `Upkeep.prune`. Returns 0 while another process prunes. A day that is dropped may hold more than `limit`.

        Waits for no lock longer than a moment. What cannot be done now is tried again by the next call.
        """
        async with self._pool.use() as connection:
            days, now = await all_days(connection, self._place)
        ages = Ages.of(retention, now)
        ends = monotonic() + SORTING
        self._singly = 0
        for day in days if self._owner else ():
            try:
                removed = await tried(self._drop_when_over(day, ages, now, ends)) + self._singly
            except StoreUnsuitable as error:
                if sqlstate(error) != NO_RIGHT:
                    raise
                self._owner = False
                log.warning("days are pruned job by job: only the owner of the tables may drop one: %s", error)
                break
            if removed:
                return removed
        return await tried(self._prune_jobs(ages, retention, limit)) if ages.states else 0

    async def _is_my_turn(self, connection: Connection) -> bool:
        """Until the end of this transaction."""
        return await connection.fetchval(self._sql["turn"], self._place.schema) is True

    # --- job by job

    async def _prune_jobs(self, ages: Ages, retention: Mapping[str, float], limit: int) -> int:
        async with self._pool.transaction(SOON) as connection:
            if not await self._is_my_turn(connection):
                return 0
            days, _ = await all_days(connection, self._place)
            await connection.execute(self._sql["keep_to_the_index"], "on")
            removed = await self._remove(connection, "jobs_kept", ages, limit)
            for day in days:
                if removed < limit and day.attached and not day.leaving:
                    left = ages
                    if day.size >= LARGE and self._owner:
                        left = ages.only({state for state in ages.states if not _can_wait(state, retention)})
                    removed += await self._prune_day(connection, day.table, left, limit - removed)
            return removed

    async def _prune_day(self, connection: Connection, table: str, ages: Ages, limit: int) -> int:
        """From where the last call ended, at most once round."""
        parts = {"table": table}
        if not ages.states or not await connection.fetchval(filled(self._sql["any"], parts), max(ages.before)):
            return 0
        blocks: int = await connection.fetchval(filled(self._sql["blocks"], parts))
        removed, at = 0, self._blocks.pop(table, 0)
        for _ in range(min(STRETCHES, 1 + blocks // STRETCH)):
            at = at if at < blocks else 0
            stretch = filled(self._sql["within"], {"from": str(at), "to": str(at + STRETCH)})
            removed += await self._remove(connection, table, ages, limit - removed, stretch)
            if removed >= limit:
                break
            at += STRETCH
        self._blocks[table] = at
        return removed

    async def _remove(
        self, connection: Connection, table: str, ages: Ages, limit: int, window: str = "", *more: object
    ) -> int:
        text = filled(self._sql["prune"], {"table": table, "limit": str(limit), "window": window})
        row = await connection.fetchrow(text, *ages, PARENT_FAILED, *more)
        assert row is not None
        removed, waited_on, joined = row
        await forget_groups(connection, self._sql, waited_on or (), joined or ())
        return int(removed)

    # --- by the day

    async def _drop_when_over(self, day: Day, ages: Ages, now: float, ends: float) -> int:
        """How many jobs went with this day."""
        if day.attached:
            if not (day.leaving or (closed(day, now) and await self._is_ready(day, ages, ends))):
                return 0
            await self._detach(day)
        return await self._drop(day, ages)

    async def _is_ready(self, day: Day, ages: Ages, ends: float) -> bool:
        """Whether nothing is left in this day but what can go with it. Sorts it out, as long as this call may."""
        if (await self._pool.fetch(filled(self._sql["is_empty"], {"table": day.table})))[0][0]:
            return True
        if not ages.over(day.date):
            return False
        more: bool | None = True
        while more and monotonic() < ends:
            more = await self._sort_out(day, ages)
        return more is False and await self._forget(day, ends)

    async def _sort_out(self, day: Day, ages: Ages) -> bool | None:
        """One step; whether there are more. None: somebody else prunes just now."""
        at = self._sorted.get(day.date, first_id(day.date))
        parts = {"table": day.table, "limit": str(SORTED_AT_ONCE)}
        removed = 0
        async with self._pool.transaction(SOON) as connection:
            if not await self._is_my_turn(connection):
                return None
            row = await connection.fetchrow(filled(self._sql["sort_out"], parts), *ages, PARENT_FAILED, at)
            assert row is not None
            last, looked, singly = row
            if singly:
                removed = await self._remove(
                    connection, day.table, ages, len(singly), "AND j.id = ANY ($4::uuid[])", sorted(singly)
                )
        self._singly += removed
        if looked < SORTED_AT_ONCE:
            self._sorted.pop(day.date, None)
            return False
        self._sorted[day.date] = last
        return True

    async def _forget(self, day: Day, ends: float) -> bool:
        """Remove what belongs to the jobs of a day; False when there is more of it than one call may do."""
        ids = first_id(day.date), first_id(day.date + timedelta(days=1))
        for belongings in _BELONGINGS:
            parts = {"belongings": belongings, "limit": str(SORTED_AT_ONCE)}
            while int((await self._execute(filled(self._sql["forget"], parts), *ids)).split()[-1]):
                if monotonic() > ends:
                    return False
        return True

    async def _execute(self, text: str, *parameters: object) -> str:
        async with self._pool.transaction(SOON) as connection:
            return await connection.execute(text, *parameters)

    async def _detach(self, day: Day) -> None:
        if day.leaving:
            async with self._pool.transaction(SOON, timed=False) as connection:
                await detach(connection, self._place, day)
        else:
            async with asyncio.timeout(DETACHING), self._pool.use(timed=False) as connection:
                await detach(connection, self._place, day)

    async def _drop(self, day: Day, ages: Ages) -> int:
        """Drop a table that is no partition any more: nobody else knows of it."""
        parts = {"table": day.table, "day": day.table}
        async with self._pool.transaction(SOON, timed=False) as connection:
            await connection.execute(filled(self._sql["keep_the_rest"], parts), *ages)
            gone: int = await connection.fetchval(filled(self._sql["tally_the_day"], parts), *ages)
            await connection.execute(filled(self._sql["drop"], parts))
        return gone


class PruneVerbs(Base):
    """`Upkeep.prune`, and the upkeep of the tables themselves, which goes with it."""

    _pruner: Pruner | None = None

    async def prune(self, retention: dict[str, float], limit: int = 1000) -> int:
        await self._transact.make_days()
        if self._pruner is None:
            self._pruner = Pruner(self._pool, self._place)
        removed = await self._pruner.prune(retention, limit)
        await fold(self._pool, self._place)
        return removed


async def tried(work: Awaitable[int]) -> int:
    """What it answers; 0 when it met another process, or a reader who takes long: there will be another time."""
    try:
        return await work
    except TimeoutError:
        return 0
    except StoreError as error:
        if sqlstate(error) not in _AGAIN:
            raise
        return 0


def statements(place: Place) -> dict[str, str]:
    """The statements of `prune.sql`, and what of others is needed here, with their places taken as far as they can."""
    sql = place.sql("prune")
    parts = {
        "spared": sql["spared"],
        "ended_jobs": sql["ended_jobs"],
        "root": f"({filled(sql['as_id'], {'column': 'j.root'})})",
        "waits_on": f"({filled(sql['as_id'], {'column': 'j.waits_on'})})",
    }
    texts = {name: filled(text, parts) for name, text in sql.items()}
    texts |= {name: place.sql("flush")[name] for name in ("lock_groups", "forget_groups")}
    texts["drop"] = place.sql("days")["drop"]
    texts["keep_to_the_index"] = place.sql("reads")["keep_to_the_index"]
    return texts


def _can_wait(state: str, retention: Mapping[str, float]) -> bool:
    """Whether jobs of a large day in this state can wait until the day goes as a whole."""
    completed = retention.get("completed")
    age = retention[state]
    return completed is not None and age >= PATIENT and completed <= age + PATIENT

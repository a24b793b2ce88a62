"""Running a verb of `store.serial` as one transaction: lock and load what it asks for, run it, write what it did."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, TypeVar

from mainspring.errors import KeyBusy, StoreError, StoreUnavailable
from mainspring.ids import IdSource
from mainspring.retries.awaiting import call_async
from mainspring.retries.backoff import exponential, jittered
from mainspring.retries.failures import Terms
from mainspring.retries.policy import Retry
from mainspring.store.postgres.days import Days, days_of, ensure_days
from mainspring.store.postgres.floors import Floors
from mainspring.store.postgres.flush import flush
from mainspring.store.postgres.loaded import NotLoaded
from mainspring.store.postgres.loads import Loads
from mainspring.store.postgres.place import Connection, Place
from mainspring.store.postgres.pool import Pool
from mainspring.store.postgres.schedule_flush import PutMeanwhile
from mainspring.store.postgres.schedule_sql import schedule_sql
from mainspring.store.postgres.work import Work

T = TypeVar("T")
Verb = Callable[[Work, float], T]
"""A verb over rows, and the store's now."""

Prepare = Callable[[Loads], Awaitable[float | None]]
"""Loads what a verb will ask for, and could ask for one by one only. May answer with the store's now."""

QUESTIONS: Final = 1000
"""How often a verb may ask for more: far more than the longest chain of consequences."""

NO_DAY: Final = "23514"
"""SQLSTATE of a row that no partition takes: its day has been dropped since we looked."""

TAKEN: Final = "23505"
"""SQLSTATE of a second row with the same id: two of us add it at the same time."""

_COLLIDED: Final = frozenset({"40P01", "40001", NO_DAY, TAKEN})


class EndedMeanwhile(StoreUnavailable):
    """A job was added again, and has ended since we looked for it; nothing may be committed (RULES C3)."""


def sqlstate(error: BaseException) -> str:
    """What the server said, of an error of ours that was made from the server's."""
    return getattr(error.__cause__, "sqlstate", None) or ""


def collided(error: BaseException) -> bool:
    """Whether two transactions met, and one of them has to begin again."""
    return isinstance(error, KeyBusy | EndedMeanwhile | PutMeanwhile) or (
        isinstance(error, StoreError | ValueError) and sqlstate(error) in _COLLIDED
    )


AGAIN: Final = Retry(on=collided, attempts=20, backoff=jittered(exponential(0.005, cap=0.05)))
"""How a transaction that met another one begins again: for about half a second, then its caller is told (RULES C10)."""

MEETING: Final = Terms(AGAIN, "transaction", inner=True)


class Transact:
    """Runs verbs, each in a transaction of its own, or within one that is open."""

    def __init__(
        self,
        pool: Pool,
        place: Place,
        ids: IdSource,
        became_ready: Callable[[Collection[str]], None],
        floors: Floors,
    ) -> None:
        """`became_ready` is told of the queues that got work by what was committed; `floors`: where sweeps look."""
        self._pool = pool
        self._became_ready = became_ready
        self._place = place
        self._floors = floors
        self._sql = {**place.sql("loads"), **{f"write {name}": text for name, text in place.sql("flush").items()}}
        self._flush = place.sql("flush")
        self._schedules = schedule_sql(place)
        self.ids = ids
        self.days = Days.none()

    async def run(
        self,
        verb: Verb[T],
        jobs: Sequence[str] = (),
        groups: Sequence[str] = (),
        keys: Sequence[str] = (),
        prepare: Prepare | None = None,
    ) -> T:
        """The verb's answer, when it is committed. `jobs`, `groups` and `keys` are loaded before it is asked."""

        async def attempt() -> T:
            queues: set[str] = set()
            async with self._pool.transaction() as connection:
                answer = await self.within(connection, verb, jobs, groups, queues, keys, prepare)
            if queues:
                self._became_ready(queues)
            return answer

        async def attempt_in_known_days() -> T:
            try:
                return await attempt()
            except Exception as error:
                if sqlstate(error) == NO_DAY:
                    await self.look_at_days()
                raise

        return await call_async(attempt_in_known_days, MEETING)

    async def within(
        self,
        connection: Connection,
        verb: Verb[T],
        jobs: Sequence[str] = (),
        groups: Sequence[str] = (),
        ready: set[str] | None = None,
        keys: Sequence[str] = (),
        prepare: Prepare | None = None,
    ) -> T:
        """The same in the transaction that this connection has open; whoever opened it commits.

        `ready` is given the queues that will then have got work.
        """
        now: float | None = None
        loads = Loads(connection, self._sql, self._place.schema, self._floors.floor, self._schedules)
        if prepare is not None:
            now = await prepare(loads)
        if now is None:
            now = float(await connection.fetchval(self._sql["now"]))
        await loads.groups(groups)
        await loads.jobs(jobs)
        await loads.keys(keys)  # last: others who want one of them do not get it until our commit
        for _ in range(QUESTIONS):
            work = Work(loads.loaded)
            try:
                answer = verb(work, now)
            except NotLoaded as missing:
                await loads.answer(missing)
                continue
            await flush(connection, self._flush, work, self.days, self._schedules)
            await self._check_added(connection, work.live_of(jobs))
            if ready is not None:
                ready |= work.queues_with_work()
            return answer
        raise AssertionError(f"a verb asked for more {QUESTIONS} times")

    async def _check_added(self, connection: Connection, ids: Sequence[str]) -> None:
        """Nobody else can add these any more. Who did between our look and our insert may have ended them as well."""
        if ids and await connection.fetch(self._sql["ended"], ids):
            raise EndedMeanwhile(f"a job of this call has ended meanwhile at {self._place.shown}; repeat the call")

    async def look_at_days(self) -> None:
        """Learn which days the table of ended jobs has."""
        async with self._pool.use() as connection:
            self.days = await days_of(connection, self._place)

    async def make_days(self) -> None:
        """Make the days that are missing in the table of ended jobs, and learn which there are."""
        async with self._pool.use() as connection:
            self.days = await ensure_days(connection, self._place)

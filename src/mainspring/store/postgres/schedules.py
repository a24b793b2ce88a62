"""The verbs about schedules. Puts and reads are one statement each; fires run the verb of `store.serial` for a batch."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any, Final

from mainspring.ids import IdSource, new_id
from mainspring.model.ledger import ended_run, seen_run
from mainspring.model.schedule import Fire, FireAnswer, Run, ScheduleRecord
from mainspring.retries.awaiting import call_async
from mainspring.store.base import Due, DueSchedule, PutAnswer, RunNow, SchedulePut, SchedulesSeen
from mainspring.store.postgres.base import Base
from mainspring.store.postgres.claims import PER_JOB
from mainspring.store.postgres.firing import FireBatch
from mainspring.store.postgres.floors import Floors
from mainspring.store.postgres.loads import Loads
from mainspring.store.postgres.place import Place
from mainspring.store.postgres.pool import Before
from mainspring.store.postgres.records import columns_of
from mainspring.store.postgres.schedule_records import put_values, run_of, schedule_of, standing_job
from mainspring.store.postgres.schedule_sql import firing_sql, schedule_sql
from mainspring.store.postgres.transact import MEETING
from mainspring.store.postgres.usual import Usual
from mainspring.store.postgres.wake import SCHEDULES
from mainspring.store.postgres.work import Work
from mainspring.store.serial import fire as firing
from mainspring.store.serial import schedules
from mainspring.store.serial.schedules import FIRST, KEPT_DROPPED

PAGE: Final = 1000
"""Schedules that one statement of a prune looks at."""

PAGES: Final = 20
"""Pages that one prune looks at; the next one goes on behind them."""

CHEAP: Final = 0.01
"""Seconds that a look at what is due may cost without being put off the next time."""

RUN_WIDTH: Final = 14
"""Columns of a run."""


class ScheduleVerbs(Base):
    """`store.base.Schedules`."""

    def __init__(self, place: Place, *, ids: IdSource = new_id, before: Before | None = None) -> None:
        super().__init__(place, ids=ids, before=before)
        self._texts = schedule_sql(place)
        self._firing = firing_sql(place)
        self._due_floors = Floors(CHEAP)
        self._pruned_to = ""

    # --- reads

    async def get_schedules(self, ids: Sequence[str]) -> SchedulesSeen:
        return _seen(await self._pool.fetch(self._texts["get"], sorted(set(ids))))

    async def list_schedules(
        self, *, after: str = "", limit: int = 1000, declared_by: Sequence[str] | None = None
    ) -> SchedulesSeen:
        by_code = declared_by is not None and "" not in declared_by
        codes = None if declared_by is None else sorted(set(declared_by))
        name = "list_declared" if by_code else "list"
        return _seen(await self._pool.fetch(self._texts[name], after, limit, codes))

    async def due_schedules(self, limit: int = 1000, *, without: Collection[str] = ()) -> Due:
        """See `Schedules.due_schedules`. While dead entries cannot be removed, it does not walk over them (RULES H4)."""
        began = ended = time.monotonic()
        floors, number = self._due_floors, 0
        floor, forgotten = floors.begin(began), floors.forgotten
        try:
            rows = await self._pool.fetch(self._texts["due"], limit, list(without), floor.due)
            ended, number = time.monotonic(), len(rows)
        finally:
            ended = max(ended, time.monotonic())
            floors.took(floor, max(ended - began - number * PER_JOB, 0.0), ended)
        now, left_out, next_due, *_ = rows[0]
        found = [_due(tuple(row)) for row in rows if row[4] is not None]
        first = found[0].schedule.due if found else next_due
        if floors.forgotten == forgotten:
            floors.found(now, min((each for each in (first, left_out) if each is not None), default=None), None)
        return Due(found[:limit], now, found[limit].schedule.due if len(found) > limit else next_due)

    async def runs(self, schedule: str, *, from_number: int = 0, limit: int = 10_000) -> list[Run]:
        rows = await self._pool.fetch(self._texts["runs"], schedule, from_number, limit)
        return [_run_seen(tuple(row)) for row in rows]

    async def wait_schedules(self, timeout: float) -> bool:  # as in the contract
        heard = await self._wake.wait_schedules(timeout)
        if heard:
            self._due_floors.forget()
        return heard

    # --- what people change

    async def put_schedules(self, puts: Sequence[SchedulePut]) -> list[PutAnswer]:
        """See `Schedules.put_schedules`. One statement; what it could not write is looked at closer."""
        if not puts:
            return []
        ids = [each.record.id for each in puts]
        written: frozenset[str] = frozenset()
        if len(set(ids)) == len(ids):
            written = await call_async(lambda: self._put(puts), MEETING)
        rest = [each for each in puts if each.record.id not in written]
        answers: list[PutAnswer] = []
        if rest:
            answers = await self._transact.run(lambda rows, _: schedules.put(rows, rest))
        closer = iter(answers)
        if "put" in answers:
            self._schedules_changed()
        return ["put" if each in written else next(closer) for each in ids]

    async def drop_schedules(self, ids: Sequence[str]) -> list[bool]:
        dropped = await self._transact.run(lambda rows, now: schedules.drop(rows, now, ids))
        if any(dropped):
            self._schedules_changed()
        return dropped

    async def _put(self, puts: Sequence[SchedulePut]) -> frozenset[str]:
        """Those that were written."""
        ordered = sorted(puts, key=lambda each: each.record.id)
        columns = columns_of(put_values(each.record, each.stored) for each in ordered)
        told = self._wake.due_now((SCHEDULES,))
        try:
            rows = await self._pool.fetch(self._texts["put"], *columns, self._wake.channel, told)
        except BaseException:
            self._wake.tell((SCHEDULES,))
            raise
        if rows[0][0]:
            self._schedules_changed(told)
        return frozenset(rows[0][0])

    def _schedules_changed(self, told: str = "") -> None:
        self._due_floors.forget()  # something may be due earlier than all that was seen
        self._became_ready((SCHEDULES,), told)

    # --- fires

    async def fire(self, fires: Sequence[Fire]) -> list[FireAnswer]:
        """See `Schedules.fire`. A schedule whose job wants a key that is in an open transaction is `stale`, too."""
        if not fires:
            return []
        answers: dict[str, FireAnswer] = {}
        if len({each.schedule for each in fires}) == len(fires):
            answers = await self._fire_as_usual(fires)
        rest = [each for each in fires if each.schedule not in answers]
        closer: list[FireAnswer] = []
        if rest:
            batch = FireBatch(rest)
            closer = await self._transact.run(lambda rows, now: batch.fire(rows, now, self._ids), prepare=batch.prepare)
        looked_at = iter(closer)
        return [answers[each.schedule] if each.schedule in answers else next(looked_at) for each in fires]

    async def _fire_as_usual(self, fires: Sequence[Fire]) -> dict[str, FireAnswer]:
        """The answers to those that were fired, or refused, without a lock; the others are to be looked at closer."""
        usual = Usual(self._pool, self._firing, self._texts, fires)
        answers, work = await usual.decide(self._ids)
        if not work.schedules_put:
            return answers
        queues = work.queues_with_work()
        told = self._wake.due_now(queues)
        try:
            moved = await usual.write(work, self._wake.channel, told)
        except BaseException:
            self._wake.tell(queues)  # it may have taken along the notice of another commit
            raise
        if moved:
            self._became_ready(queues, told)
        else:
            self._wake.tell(queues)
        return {each: answer for each, answer in answers.items() if each in moved or each not in work.schedules_put}

    async def trigger(self, asked: Sequence[RunNow]) -> list[FireAnswer]:
        return await self._transact.run(lambda rows, now: firing.trigger(rows, now, self._ids, asked))

    # --- upkeep

    async def prune_runs(self, limit: int = 1000) -> int:
        """See `Schedules.prune_runs`. Waits for nobody: what others have in hand is left to the next call.

        Of very many schedules one call looks at 20,000; the next one goes on behind them.
        """
        await self._note_ends(limit)
        removed = 0
        for _ in range(PAGES):
            rows = await self._pool.fetch(
                self._texts["prune_page"], self._pruned_to, PAGE, limit - removed, KEPT_DROPPED
            )
            last, looked, went = rows[0]
            removed += went
            if removed >= limit:
                break  # this page may have more
            self._pruned_to = last if looked == PAGE else ""
            if not self._pruned_to:
                break
        await self._pool.fetch(self._texts["remove_dropped"], limit, KEPT_DROPPED)
        return int(removed)

    async def _note_ends(self, limit: int) -> None:
        """Write down the ends of all runs whose job has ended, page by page."""
        after: tuple[str, int] | None = FIRST
        while after is not None:
            rows = await self._pool.fetch(self._texts["ended_runs"], *after, limit)
            ended = [(row[0], row[1]) for row in rows if row[3]]
            if ended:
                await self._note(ended)
            last = rows[-1] if rows else None
            after = (last[0], last[1]) if last is not None and last[2] == limit else None

    async def _note(self, keys: Sequence[tuple[str, int]]) -> None:
        found: list[Run] = []

        async def prepare(loads: Loads) -> None:
            found[:] = await loads.schedules.these_runs(keys)

        def verb(rows: Work, now: float) -> None:
            jobs = rows.jobs([run.job for run in found if run.job is not None])
            rows.put_runs([ended_run(run, job, now) for run, job in zip(found, jobs, strict=True)])

        await self._transact.run(verb, prepare=prepare)


def _seen(rows: Sequence[Any]) -> SchedulesSeen:
    """Of rows that begin with the store's now; there is one at least."""
    return SchedulesSeen([_schedule(row) for row in rows if row[1] is not None], rows[0][0])


def _due(row: tuple[Any, ...]) -> DueSchedule:
    """Three times, what is known of the ends of runs, and the schedule."""
    active, ended = row[3] or (0, None)
    return DueSchedule(schedule_of(row[4:]), active > 0, ended)


def _schedule(row: Any) -> ScheduleRecord:
    return schedule_of(row[1:])


def _run_seen(row: tuple[Any, ...]) -> Run:
    """Now, the run, its end once more, and how its job stands."""
    run = run_of(row[1 : RUN_WIDTH + 1])
    job = row[RUN_WIDTH + 2 :]
    return seen_run(run, None if run.job is None or job[0] is None else standing_job(run.job, job), row[0])

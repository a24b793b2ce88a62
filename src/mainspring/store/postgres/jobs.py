"""The verbs about jobs. The hot ones are one statement; those with consequences run as a verb of `store.serial`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import repeat
from typing import Final

from mainspring.errors import EncodingError, JobBusy, KeyBusy, StoreUnavailable
from mainspring.model.moves import expired
from mainspring.model.record import Answer, JobRecord, NewGroup, NewJob, Settlement
from mainspring.store.base import Added, CancelAnswer, ChangeAnswer, Claim, Claimed, Lane, ReplayAnswer
from mainspring.store.postgres import faults
from mainspring.store.postgres.base import Base
from mainspring.store.postgres.claims import Bounds, Reach, depth, unfinished
from mainspring.store.postgres.records import LARGE, claimed_job, is_lean, job_of, lean_values, new_values
from mainspring.store.postgres.transact import NO_DAY, TAKEN, sqlstate
from mainspring.store.serial import add, control, settle
from mainspring.store.serial.claim import claim_order
from mainspring.store.serial.finish import apply
from mainspring.store.serial.rows import Unit

UNCLEAR_KEPT: Final = 100_000
"""Ids of jobs whose add ended without an answer, that are remembered."""


class JobVerbs(Base):
    """`store.base.Jobs`, but for `lanes`, which is a read."""

    async def add(self, jobs: Sequence[NewJob], groups: Sequence[NewGroup] = ()) -> list[Added]:
        ids = [new.id for new in jobs]
        if not ids or groups or not self._unclear.isdisjoint(ids) or not all(map(is_plain, jobs)):
            return await self._add_with_consequences(jobs, groups)
        queues = {new.queue for new in jobs}
        told = self._wake.due_now(queues)
        try:
            if await self._add_plain(jobs, ids, told):
                self._became_ready(queues, told)
                return [Added(each, True) for each in ids]
        except BaseException:
            self._wake.tell(queues)  # it may have taken along the notice of another commit
            raise
        return await self._add_with_consequences(jobs, groups)

    async def claim(self, claim: Claim) -> Claimed:
        if claim.repeat:
            rows = await self._pool.fetch(self._sql["claimed_as"], claim.worker, claim.number)
            if rows:
                return Claimed(sorted(map(job_of, rows), key=claim_order), await self.now())
        bounds = self._bounds.setdefault(claim.worker, Bounds())
        taken: list[JobRecord] = []
        lanes: Sequence[Lane] = claim.lanes
        while True:
            limit = claim.limit - len(taken)
            claimed, late = await self._claim(claim, lanes, bounds, limit)
            taken += claimed.jobs
            lanes = unfinished(lanes, claimed.jobs, 0 if late or bounds.stepped else depth(limit, len(lanes)))
            if not lanes or len(taken) >= claim.limit:
                return Claimed(sorted(taken, key=claim_order), claimed.now)
            if late:
                await self._expire(late)

    async def settle(self, settlements: Sequence[Settlement]) -> list[Answer]:
        """See `Jobs.settle`. Plain completions, which are most, are one statement; what it leaves goes on.

        Raises JobBusy when somebody holds one of the jobs locked: the others can be settled without it (RULES C10).
        """
        try:
            return await self._settle_all(settlements)
        except StoreUnavailable as error:
            if sqlstate(error) == faults.LOCK_TIMEOUT:
                raise JobBusy(str(error)) from error
            raise

    async def cancel(self, ids: Sequence[str], reason: str = "cancelled by request") -> list[CancelAnswer]:
        return await self._transact.run(lambda rows, now: control.cancel(rows, now, self._ids, ids, reason), ids)

    async def replay(self, ids: Sequence[str], *, force: bool = False, fresh: bool = False) -> list[ReplayAnswer]:
        return await self._transact.run(
            lambda rows, now: control.replay(rows, now, self._ids, ids, force=force, fresh=fresh), ids
        )

    async def reschedule(self, ids: Sequence[str], due: float) -> list[ChangeAnswer]:
        return await self._transact.run(lambda rows, now: control.reschedule(rows, now, self._ids, ids, due), ids)

    async def delete(self, ids: Sequence[str]) -> list[ChangeAnswer]:
        return await self._transact.run(lambda rows, _: control.delete(rows, ids), ids)

    # --- add

    async def _add_plain(self, jobs: Sequence[NewJob], ids: Sequence[str], told: str) -> bool:
        """One statement for jobs that are all new; False: some are not, and nothing was added."""
        lean = all(map(is_lean, jobs))
        try:
            if lean and len(jobs) == 1:
                rows = await self._pool.fetch(self._sql["add_one"], *lean_values(jobs[0]), self._wake.channel, told)
            else:
                columns = zip(*map(lean_values if lean else new_values, jobs), strict=True)
                rows = await self._pool.fetch(
                    self._sql["add" if lean else "add_more"], *columns, self._wake.channel, told, min(ids), max(ids)
                )
        except StoreUnavailable:
            if len(self._unclear) < UNCLEAR_KEPT:
                self._unclear.update(ids)
            raise
        except EncodingError as error:
            if sqlstate(error) != TAKEN:
                raise
            return False
        return bool(rows[0][0])

    async def _add_with_consequences(self, jobs: Sequence[NewJob], groups: Sequence[NewGroup]) -> list[Added]:
        """Keys, flows, and what may have been added before: the rows are looked at first."""
        answers = await self._transact.run(
            lambda rows, now: add.add(rows, now, self._ids, jobs, groups),
            ids_of(jobs),
            [group.id for group in groups] + [new.waits_on for new in jobs if new.waits_on],
            [new.unique for new in jobs if new.unique is not None],
        )
        self._unclear.difference_update(new.id for new in jobs)
        return answers

    # --- claim

    async def _claim(
        self, claim: Claim, lanes: Sequence[Lane], bounds: Bounds, limit: int, reach: Reach | None = None
    ) -> tuple[Claimed, list[str]]:
        """One look at the lanes: the jobs, now running, and those that turned out to have expired."""
        began = time.monotonic()
        reach = bounds.reach(began) if reach is None else reach
        stretches = bounds.stretches(lanes, reach)
        number = 0
        try:
            rows = await self._pool.fetch(
                self._sql["claim"],
                *(zip(*stretches, strict=True) if stretches else repeat((), 8)),
                limit,
                claim.worker,
                claim.number,
                claim.suspects > 0,
                depth(limit, len(lanes)),
            )
            number = len(rows)
        finally:
            ended = time.monotonic()
            bounds.took(reach, ended - began, number, ended)
        now, late = rows[0][0], rows[0][1]
        jobs = [] if rows[0][2] is None else [claimed_job(row[2:], now, claim.worker, claim.number) for row in rows]
        jobs.sort(key=claim_order)
        bounds.claimed(lanes, limit, jobs, reach, now, late=bool(late))
        if reach == "known" and not (jobs or late):  # who has nothing to do looks at all priorities, at any cost
            return await self._claim(claim, lanes, bounds, limit, "open")
        return Claimed(jobs, now), late or []

    async def _expire(self, ids: Sequence[str]) -> None:
        def verb(rows: Unit, now: float) -> None:
            late = [job for job in rows.jobs(ids) if job is not None]
            apply(rows, now, self._ids, [(job, expired(job, now)) for job in late if job.state == "ready"])

        await self._transact.run(verb, ids)

    # --- settle

    async def _settle_all(self, settlements: Sequence[Settlement]) -> list[Answer]:
        self._pool.check()
        plain = [each for each in settlements if is_completion(each)]
        if len(plain) < len(settlements):
            others = {each.job for each in settlements if not is_completion(each)}
            plain = [each for each in plain if each.job not in others]  # of several of one lease the first counts
        taken = await self._complete(plain) if plain else frozenset()
        if taken is None and len(plain) == len(settlements):
            return ["accepted"] * len(settlements)
        ended = {each.job for each in plain} if taken is None else taken
        answers = iter(await self._settle([each for each in settlements if each.job not in ended]))
        return ["accepted" if each.job in ended else next(answers) for each in settlements]

    async def _settle(self, settlements: Sequence[Settlement]) -> list[Answer]:
        """As one transaction; those that could not get a key for a follow-up hold up no others (RULES C10)."""
        try:
            return await self._settle_together(settlements)
        except KeyBusy as busy:
            free = [each for each in settlements if not any(new.unique in busy.keys for new in each.follow_ups)]
            if 0 < len(free) < len(settlements):
                await self._settle(free)  # asked again, they are answered as accepted
            raise

    async def _settle_together(self, settlements: Sequence[Settlement]) -> list[Answer]:
        if not settlements:
            return []
        following = [new for each in settlements for new in each.follow_ups]
        return await self._transact.run(
            lambda rows, now: settle.settle(rows, now, self._ids, settlements),
            [each.job for each in settlements] + ids_of(following),
            [group.id for each in settlements for group in each.groups],
            [new.unique for new in following if new.unique is not None],
        )

    async def _complete(self, plain: Sequence[Settlement]) -> frozenset[str] | None:
        """End these; None when all are ended, else those that are. The others need a closer look."""
        low, high = self._transact.days
        # In the order of ids, so that two of these wait for each other in turn.
        ordered = sorted([each for each in plain if low <= each.job < high], key=lambda each: each.job)
        if not ordered or len({each.job for each in ordered}) < len(ordered):
            return frozenset()
        try:
            rows = await self._pool.fetch(
                self._sql["complete"],
                [each.job for each in ordered],
                [each.lease for each in ordered],
                [each.ran for each in ordered],
                [None if each.result is None else each.result.decode() for each in ordered],
            )
        except EncodingError as error:
            if sqlstate(error) != NO_DAY:
                raise
            return frozenset()  # a day has been dropped since we looked: the closer look finds out
        number, taken = rows[0]
        if number == len(plain):
            return None
        return frozenset(taken or ()) if number < len(ordered) else frozenset(each.job for each in ordered)


def ids_of(jobs: Sequence[NewJob]) -> list[str]:
    """The jobs that adding these looks at: themselves, and what they wait on."""
    return [new.id for new in jobs] + [new.waits_on for new in jobs if new.waits_on]


def is_plain(new: NewJob) -> bool:
    """Whether it can be added without a look at others, and is small."""
    return new.unique is None and new.waits_on is None and new.group is None and len(new.payload) <= LARGE


def is_completion(settlement: Settlement) -> bool:
    """Whether this says no more than: the job is completed."""
    return (
        settlement.kind == "complete"
        and not settlement.follow_ups
        and not settlement.groups
        and not settlement.reason
        and settlement.error is None
        and settlement.counters is None
        and (settlement.result is None or len(settlement.result) <= LARGE)
    )

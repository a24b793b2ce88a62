"""The verbs about jobs. The hot ones are one statement; those with consequences run as a verb of `store.serial`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import repeat
from typing import Final

from mainspring.errors import EncodingError, StoreUnavailable
from mainspring.model.moves import expired
from mainspring.model.record import Answer, JobRecord, NewGroup, NewJob, Settlement
from mainspring.store.base import Added, CancelAnswer, ChangeAnswer, Claim, Claimed, ReplayAnswer
from mainspring.store.postgres.base import Base
from mainspring.store.postgres.claims import Bounds, depth
from mainspring.store.postgres.records import LARGE, is_lean, job_of, lean_values, new_values
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
        if await self._add_plain(jobs, ids, told):
            self._became_ready(queues, told)
            return [Added(each, True) for each in ids]
        return await self._add_with_consequences(jobs, groups)

    async def claim(self, claim: Claim) -> Claimed:
        if claim.repeat:
            rows = await self._pool.fetch(self._sql["claimed_as"], claim.worker, claim.number)
            if rows:
                return Claimed(sorted(map(job_of, rows), key=claim_order), await self.now())
        bounds = self._bounds.setdefault(claim.worker, Bounds())
        taken: list[JobRecord] = []
        while True:
            claimed, late = await self._claim(claim, bounds, claim.limit - len(taken))
            taken += claimed.jobs
            if not late or len(taken) >= claim.limit:
                return Claimed(sorted(taken, key=claim_order), claimed.now)
            await self._expire(late)

    async def settle(self, settlements: Sequence[Settlement]) -> list[Answer]:
        """See `Jobs.settle`. Plain completions, which are most, are one statement; what it leaves goes on."""
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
        columns = zip(*map(lean_values if lean else new_values, jobs), strict=True)
        try:
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

    async def _claim(self, claim: Claim, bounds: Bounds, limit: int) -> tuple[Claimed, list[str]]:
        """One look at the lanes: the jobs, now running, and those that turned out to have expired."""
        began = time.monotonic()
        bottom = bounds.from_bottom(began)
        stretches = bounds.stretches(claim.lanes, bottom=bottom)
        rows = await self._pool.fetch(
            self._sql["claim"],
            *(zip(*stretches, strict=True) if stretches else repeat((), 8)),
            limit,
            claim.worker,
            claim.number,
            claim.suspects > 0,
            depth(limit, len(claim.lanes)),
        )
        now, late = rows[0][0], rows[0][1]
        jobs = [] if rows[0][2] is None else sorted((job_of(row[2:]) for row in rows), key=claim_order)
        ended = time.monotonic()
        bounds.claimed(jobs, bottom=bottom, short=len(jobs) < limit, cost=ended - began, now=ended)
        return Claimed(jobs, now), late or []

    async def _expire(self, ids: Sequence[str]) -> None:
        def verb(rows: Unit, now: float) -> None:
            late = [job for job in rows.jobs(ids) if job is not None]
            apply(rows, now, self._ids, [(job, expired(job, now)) for job in late if job.state == "ready"])

        await self._transact.run(verb, ids)

    # --- settle

    async def _settle(self, settlements: Sequence[Settlement]) -> list[Answer]:
        following = [new for each in settlements for new in each.follow_ups]
        return await self._transact.run(
            lambda rows, now: settle.settle(rows, now, self._ids, settlements),
            [each.job for each in settlements] + ids_of(following),
            [group.id for each in settlements for group in each.groups],
            [new.unique for new in following if new.unique is not None],
        )

    async def _complete(self, plain: Sequence[Settlement]) -> frozenset[str] | None:
        """End these; None when all are ended, else those that are. The others need a closer look."""
        one_each = {each.job: each for each in plain}
        if len(one_each) < len(plain):
            return frozenset()
        ordered = [one_each[job] for job in sorted(one_each)]  # so that two of these wait for each other in turn
        try:
            return await self._completed(ordered)
        except ValueError as error:
            if sqlstate(error) != NO_DAY:
                raise
            await self._transact.look_at_days()
            return await self._completed(ordered)

    async def _completed(self, ordered: Sequence[Settlement]) -> frozenset[str] | None:
        rows = await self._pool.fetch(
            self._sql["complete"],
            [each.job for each in ordered],
            [each.lease for each in ordered],
            [each.ran for each in ordered],
            [None if each.result is None else each.result.decode() for each in ordered],
            *self._transact.days,
        )
        number, taken = rows[0]
        return None if number == len(ordered) else frozenset(taken or ())


def ids_of(jobs: Sequence[NewJob]) -> list[str]:
    """The ids of new jobs, and of what they wait on."""
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

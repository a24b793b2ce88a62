"""The verbs about workers, and the bounded work that any of them does for all."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mainspring.store.base import Beat, BeatReply, Held, Swept, Worker
from mainspring.store.postgres.base import Base
from mainspring.store.postgres.lifeline import beat_through
from mainspring.store.serial import upkeep
from mainspring.store.serial.rows import Unit


class UpkeepVerbs(Base):
    """`store.base.Upkeep`, but for `prune`."""

    async def join(self, worker: Worker) -> float:
        rows = await self._pool.fetch(
            self._sql["join"], worker.id, worker.name, worker.host, worker.pid, list(worker.queues), worker.lease_time
        )
        return float(rows[0][0])

    async def beat(self, beat: Beat) -> BeatReply:
        return await beat_through(self._pool, self._sql["beat"], beat)

    async def held(self, worker: str) -> list[Held]:
        return [Held(job, lease) for job, lease in await self._pool.fetch(self._sql["held"], worker)]

    async def leave(self, worker: str, *, died: bool = False, started: Sequence[str] | None = None) -> None:
        await self._transact.run(
            lambda rows, now: upkeep.leave(rows, now, self._ids, worker, died=died, started=started)
        )
        self._bounds.pop(worker, None)

    async def sweep(self, worker: str, limit: int = 1000) -> Swept:
        """See `Upkeep.sweep`. Mostly there is nothing to do, and two looks say so."""
        now, due, late, next_due = (await self._pool.fetch(self._sql["look"]))[0]
        judge = await self._must_judge(worker)
        if not due and not late and not judge:
            return Swept(now, next_due)

        def verb(rows: Unit, now: float) -> Swept:
            steady = judge and upkeep.steady(rows, now, worker)
            return upkeep.tidy(rows, now, self._ids, worker, limit, upkeep.silent(now) if steady else None)

        swept = await self._transact.run(verb)
        now, _, _, next_due = (await self._pool.fetch(self._sql["look"]))[0]
        return swept._replace(next_due=next_due)

    async def wait(self, queues: Sequence[str], timeout: float) -> bool:
        return await self._wake.wait(queues, timeout)

    async def pause(self, queue: str) -> None:
        await self._pool.fetch(self._sql["pause"], queue)

    async def resume(self, queue: str) -> None:
        await self._pool.fetch(self._sql["resume"], queue)
        self._became_ready([queue])

    async def _must_judge(self, worker: str) -> bool:
        """Whether somebody seems dead, and this worker may say so."""
        may, silent = (await self._pool.fetch(self._sql["watch"], worker))[0]
        if not may:
            return False
        began = time.monotonic()
        if silent or not self._strays.allows(began):
            return bool(silent)
        stray = (await self._pool.fetch(self._sql["strays"]))[0][0]
        self._strays.took(time.monotonic() - began, began)
        return bool(stray)

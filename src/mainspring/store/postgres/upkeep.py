"""The verbs about workers, and the bounded work that any of them does for all."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mainspring.store.base import Beat, BeatReply, Held, Swept, Worker
from mainspring.store.postgres.base import Base
from mainspring.store.postgres.claims import Bounds, Ration
from mainspring.store.postgres.floors import Floor
from mainspring.store.postgres.lifeline import beat_through
from mainspring.store.serial import upkeep
from mainspring.store.serial.rows import Unit


class UpkeepVerbs(Base):
    """`store.base.Upkeep`, but for `prune`."""

    async def join(self, worker: Worker) -> float:
        rows = await self._pool.fetch(
            self._sql["join"], worker.id, worker.name, worker.host, worker.pid, list(worker.queues), worker.lease_time
        )
        now = float(rows[0][0])
        self._bounds.setdefault(worker.id, Bounds(now))
        self._floors.joined(now)
        return now

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
        looked, due = await self._look(self._floors.begin(time.monotonic()))
        judge = await self._must_judge(worker)
        if not due and not judge:
            return looked

        def verb(rows: Unit, now: float) -> Swept:
            steady = judge and upkeep.steady(rows, now, worker)
            return upkeep.tidy(rows, now, self._ids, worker, limit, upkeep.silent(now) if steady else None)

        swept = await self._transact.run(verb)
        looked, _ = await self._look(self._floors.floor)
        return swept._replace(next_due=looked.next_due)

    async def wait(self, queues: Sequence[str], timeout: float) -> bool:
        return await self._wake.wait(queues, timeout)

    async def pause(self, queue: str) -> None:
        await self._pool.fetch(self._sql["pause"], queue)

    async def resume(self, queue: str) -> None:
        await self._pool.fetch(self._sql["resume"], queue)
        self._became_ready([queue])

    async def _must_judge(self, worker: str) -> bool:
        """Whether somebody seems dead, and this worker may say so."""
        seen = await self._rationed(self._watching, "watch", worker)
        if seen is None or not seen[0]:
            return False
        if seen[1]:
            return True
        stray = await self._rationed(self._strays, "strays")
        return stray is not None and bool(stray[0])

    async def _look(self, floor: Floor) -> tuple[Swept, bool]:
        """What a sweep that does nothing says, and whether there is something due or late."""
        began = time.monotonic()
        try:
            now, due, first_due, first_late = (await self._pool.fetch(self._sql["look"], *floor))[0]
        finally:
            ended = time.monotonic()
            self._floors.took(floor, ended - began, ended)
        self._floors.found(now, first_due, first_late)
        return Swept(now, min((each for each in (first_due, first_late) if each is not None), default=None)), due

    async def _rationed(self, ration: Ration, name: str, *parameters: object) -> Sequence[object] | None:
        """The one row of a statement; None when it has cost so much that it may not be asked again now."""
        began = time.monotonic()
        if not ration.allows(began):
            return None
        try:
            return tuple((await self._pool.fetch(self._sql[name], *parameters))[0])
        finally:
            ended = time.monotonic()
            ration.took(ended - began, ended)

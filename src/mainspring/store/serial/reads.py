"""The reads, the clock, and pausing of queues."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.model.moves import last_attempt
from mainspring.model.record import AttemptRecord, Group, JobRecord
from mainspring.store.base import Count, Filter, Page, WorkerSeen
from mainspring.store.serial.backend import Backend
from mainspring.store.serial.rows import Rows


class ReadVerbs(Backend):
    """`store.base.Reads`, and what of `store.base.Life` is the same in every backend."""

    async def get(self, ids: Sequence[str]) -> list[JobRecord | None]:
        return await self._read(lambda rows: rows.jobs(ids))

    async def find(
        self,
        filter: Filter,  # noqa: A002
        *,
        cursor: str | None = None,
        limit: int = 100,
        newest: bool = False,
    ) -> Page:
        return await self._read(lambda rows: rows.find(filter, cursor, limit, newest))

    async def attempts(self, job: str) -> list[AttemptRecord]:
        def verb(rows: Rows) -> list[AttemptRecord]:
            record = rows.jobs([job])[0]
            last = None if record is None else last_attempt(record)
            return rows.attempts(job) + ([] if last is None else [last])

        return await self._read(verb)

    async def groups(self, ids: Sequence[str]) -> list[Group | None]:
        return await self._read(lambda rows: rows.groups(ids))

    async def counts(self) -> list[Count]:
        return await self._read(lambda rows: rows.counts())

    async def progress(self, job: str) -> bytes | None:
        return await self._read(lambda rows: rows.progress(job))

    async def workers(self) -> list[WorkerSeen]:
        found = await self._read(lambda rows: rows.workers())
        return [WorkerSeen(row.worker, row.joined, row.beat, row.stalled, running) for row, running in found]

    async def paused(self) -> list[str]:
        return await self._read(lambda rows: sorted(rows.paused()))

    def lifeline(self) -> None:
        """None: no store with one writer goes by beats alone where several processes use it (RULES C8, C9)."""

    async def now(self) -> float:
        return self._clock.now()

    async def migrate(self) -> list[str]:
        return []

    async def pending(self) -> list[str]:
        return []

    async def pause(self, queue: str) -> None:
        await self._write(lambda rows: rows.set_paused(queue, True))

    async def resume(self, queue: str) -> None:
        await self._write(lambda rows: rows.set_paused(queue, False))

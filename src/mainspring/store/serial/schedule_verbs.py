"""The verbs about schedules, each as one call that the backend runs alone."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from mainspring.model.schedule import Fire, FireAnswer, Run
from mainspring.store.base import Due, PutAnswer, RunNow, SchedulePut, SchedulesSeen
from mainspring.store.serial import fire as firing
from mainspring.store.serial import schedules
from mainspring.store.serial.backend import Backend
from mainspring.store.serial.rows import Rows


class ScheduleVerbs(Backend):
    """`store.base.Schedules`, but for `wait_schedules`, which is the backend's."""

    async def get_schedules(self, ids: Sequence[str]) -> SchedulesSeen:
        def verb(rows: Rows) -> SchedulesSeen:
            found = rows.schedules(sorted(set(ids)))
            return SchedulesSeen([record for record in found if record is not None], self._clock.now())

        return await self._read(verb)

    async def list_schedules(
        self, *, after: str = "", limit: int = 1000, declared_by: Sequence[str] | None = None
    ) -> SchedulesSeen:
        return await self._read(
            lambda rows: SchedulesSeen(rows.list_schedules(after, limit, declared_by), self._clock.now())
        )

    async def put_schedules(self, puts: Sequence[SchedulePut]) -> list[PutAnswer]:
        answers = await self._write(lambda rows: schedules.put(rows, puts))
        self._hint_schedules()
        return answers

    async def drop_schedules(self, ids: Sequence[str]) -> list[bool]:
        answers = await self._write(lambda rows: schedules.drop(rows, self._clock.now(), ids))
        self._hint_schedules()
        return answers

    async def due_schedules(self, limit: int = 1000, *, without: Collection[str] = ()) -> Due:
        return await self._read(lambda rows: schedules.due(rows, self._clock.now(), limit, without))

    async def fire(self, fires: Sequence[Fire]) -> list[FireAnswer]:
        return await self._write(lambda rows: firing.fire(rows, self._clock.now(), self._ids, fires))

    async def trigger(self, asked: Sequence[RunNow]) -> list[FireAnswer]:
        return await self._write(lambda rows: firing.trigger(rows, self._clock.now(), self._ids, asked))

    async def runs(self, schedule: str, *, from_number: int = 0, limit: int = 10_000) -> list[Run]:
        return await self._read(lambda rows: schedules.runs_of(rows, self._clock.now(), schedule, from_number, limit))

    async def prune_runs(self, limit: int = 1000) -> int:
        after: tuple[str, int] | None = schedules.FIRST
        while after is not None:
            after = await self._noted(after, limit)
            await asyncio.sleep(0)
        return await self._write(lambda rows: schedules.prune(rows, self._clock.now(), limit))

    async def _noted(self, after: tuple[str, int], limit: int) -> tuple[str, int] | None:
        """A page of open runs is a step of its own: others get their turn between."""
        noted = await self._write(lambda rows: schedules.note_ends(rows, self._clock.now(), after, limit))
        return noted.after

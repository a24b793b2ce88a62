"""The verbs about workers and upkeep."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.store.base import Beat, BeatReply, Held, Swept, Worker
from mainspring.store.serial import upkeep
from mainspring.store.serial.backend import Backend
from mainspring.store.serial.rows import Rows


class WorkerVerbs(Backend):
    """`store.base.Upkeep`, but for `wait`, which is the backend's."""

    async def join(self, worker: Worker) -> float:
        return await self._write(lambda rows: upkeep.join(rows, self._clock.now(), worker))

    async def beat(self, beat: Beat) -> BeatReply:
        return await self._write(lambda rows: upkeep.beat(rows, self._clock.now(), beat))

    async def held(self, worker: str) -> list[Held]:
        return await self._read(lambda rows: upkeep.held(rows, worker))

    async def leave(self, worker: str, *, died: bool = False, started: Sequence[str] | None = None) -> None:
        await self._write(
            lambda rows: upkeep.leave(rows, self._clock.now(), self._ids, worker, died=died, started=started)
        )

    async def sweep(self, worker: str, limit: int = 1000) -> Swept:
        def verb(rows: Rows) -> Swept:
            now = self._clock.now()
            return upkeep.sweep(rows, now, self._ids, worker, limit, self._lapsed(rows, worker, now))

        return await self._write(verb)

    async def prune(self, retention: dict[str, float], limit: int = 1000) -> int:
        return await self._write(lambda rows: upkeep.prune(rows, self._clock.now(), retention, limit))

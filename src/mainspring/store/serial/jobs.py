"""The verbs about jobs, each as one call that the backend runs alone."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.model.record import Answer, NewGroup, NewJob, Settlement
from mainspring.store.base import Added, CancelAnswer, ChangeAnswer, Claim, Claimed, Lane, ReplayAnswer
from mainspring.store.serial import add, control, settle
from mainspring.store.serial import claim as claiming
from mainspring.store.serial.backend import Backend
from mainspring.store.serial.rows import Rows


class JobVerbs(Backend):
    """`store.base.Jobs`."""

    async def add(self, jobs: Sequence[NewJob], groups: Sequence[NewGroup] = ()) -> list[Added]:
        return await self._write(lambda rows: add.add(rows, self._clock.now(), self._ids, jobs, groups))

    async def claim(self, claim: Claim) -> Claimed:
        def verb(rows: Rows) -> Claimed:
            now = self._clock.now()
            return Claimed(claiming.claim(rows, now, self._ids, claim), now)

        return await self._write(verb)

    async def lanes(self) -> list[Lane]:
        return await self._read(lambda rows: rows.lanes())

    async def settle(self, settlements: Sequence[Settlement]) -> list[Answer]:
        return await self._write(lambda rows: settle.settle(rows, self._clock.now(), self._ids, settlements))

    async def cancel(self, ids: Sequence[str], reason: str = "cancelled by request") -> list[CancelAnswer]:
        return await self._write(lambda rows: control.cancel(rows, self._clock.now(), self._ids, ids, reason))

    async def replay(self, ids: Sequence[str], *, force: bool = False, fresh: bool = False) -> list[ReplayAnswer]:
        return await self._write(
            lambda rows: control.replay(rows, self._clock.now(), self._ids, ids, force=force, fresh=fresh)
        )

    async def reschedule(self, ids: Sequence[str], due: float) -> list[ChangeAnswer]:
        return await self._write(lambda rows: control.reschedule(rows, self._clock.now(), self._ids, ids, due))

    async def delete(self, ids: Sequence[str]) -> list[ChangeAnswer]:
        return await self._write(lambda rows: control.delete(rows, ids))

"""The store in PostgreSQL, put together."""

from __future__ import annotations

from typing import Final

from mainspring.ids import IdSource, new_id
from mainspring.store.base import Features, Finding
from mainspring.store.postgres.checks import findings
from mainspring.store.postgres.jobs import JobVerbs
from mainspring.store.postgres.lifeline import PostgresLifeline
from mainspring.store.postgres.opening import open_schema, pending
from mainspring.store.postgres.place import Place
from mainspring.store.postgres.pool import Before
from mainspring.store.postgres.prune import PruneVerbs
from mainspring.store.postgres.reads import ReadVerbs
from mainspring.store.postgres.schedules import ScheduleVerbs
from mainspring.store.postgres.transactions import TransactionVerbs
from mainspring.store.postgres.upkeep import UpkeepVerbs
from mainspring.store.serial.later import LaterParts

FEATURES: Final = Features(
    name="postgres", wake="notify", survives="power", shared=True, transaction=True, strict_order=False, schedules=True
)


class PostgresStore(JobVerbs, UpkeepVerbs, PruneVerbs, ReadVerbs, ScheduleVerbs, TransactionVerbs, LaterParts):
    """Jobs in a schema of a PostgreSQL database, version 15 or newer, for any number of processes and machines.

    Every verb returns when it is committed. All times are the server's. A worker that falls silent for its lease time
    is taken for dead by one that did not (RULES C1). Nothing relies on a session, so a pooler in transaction mode may
    stand between, with `prepared=off` and `notify=off` in the URL.

        store = PostgresStore(Place.parse("postgresql://app@db.example/app?schema=work"))
    """

    def __init__(self, place: Place, *, ids: IdSource = new_id, before: Before | None = None) -> None:
        """`before` is run on a connection each time it is taken; tests set the clock in it."""
        super().__init__(place, ids=ids, before=before)
        self._before: Final = before

    @property
    def features(self) -> Features:
        return FEATURES

    async def open(self) -> None:
        await self.migrate()

    async def migrate(self) -> list[str]:
        """See `Life.migrate`. Opening does it, so on an open store there is nothing left to run."""
        if self._pool.is_open:
            return []
        await self._pool.open()
        try:
            ran = await open_schema(self._pool, self._place)
            await self._transact.make_days()
            await self.know_place()
        except BaseException:
            await self._pool.close()
            raise
        return ran

    async def pending(self) -> list[str]:
        """See `Life.pending`. Makes a connection of its own for it."""
        return await pending(self._place)

    async def close(self) -> None:
        await self._wake.close()
        await self._guests.close()
        await self._pool.close()

    def lifeline(self) -> PostgresLifeline:
        """See `Life.lifeline`. Liveness goes by beats here, and one connection is enough for them."""
        return PostgresLifeline(self._place, before=self._before)

    async def check(self) -> list[Finding]:
        return await findings(self._pool, self._place)

"""Transactions: others', in which jobs are added, and the store's own, in which attempts run."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mainspring.ids import IdSource, new_id
from mainspring.model.record import NewGroup, NewJob
from mainspring.store.base import Added, Transaction
from mainspring.store.borrowed import borrow, borrow_awaited
from mainspring.store.postgres.base import Base
from mainspring.store.postgres.foreign import Foreign, at_once
from mainspring.store.postgres.guest import Guest, Host
from mainspring.store.postgres.place import Place
from mainspring.store.postgres.pool import Before, Pool
from mainspring.store.postgres.wake import payload_of
from mainspring.store.postgres.within import Adding, Identity, Known


class TransactionVerbs(Base):
    """`store.base.Transactions`. Attempts have connections of their own, opened when the first one needs one."""

    def __init__(self, place: Place, *, ids: IdSource = new_id, before: Before | None = None) -> None:
        super().__init__(place, ids=ids, before=before)
        self._guests = Pool(place, before=before, plain=True)
        self._known: Known | None = None
        self._adding = Adding(self._transact, self._sql["add_more"], self._wake.channel)

    async def transaction(self, worker: str, job: str) -> Transaction:
        self._pool.check()
        await self._guests.open()
        host = Host(self._place, self._transact, self._adding, self._sql["complete"], self._became_ready)
        return await Guest.begun(host, self._guests.use(timed=False))

    async def add_within(self, tx: object, jobs: Sequence[NewJob], groups: Sequence[NewGroup] = ()) -> list[Added]:
        self._pool.check()
        borrowed = await borrow_awaited(tx, "postgresql", self._place.shown)
        return await self._add_through(Foreign(borrowed), borrowed.origin, jobs, groups)

    def add_within_sync(self, tx: object, jobs: Sequence[NewJob], groups: Sequence[NewGroup] = ()) -> list[Added]:
        self._pool.check()
        borrowed = borrow(tx, "postgresql", self._place.shown)
        return at_once(self._add_through(Foreign(borrowed, blocks=True), borrowed.origin, jobs, groups))

    async def know_place(self) -> None:
        """Learn what tells this database from others; before the first job is added through others' connections."""
        rows = await self._pool.fetch(*Identity.question(self._place))
        self._known = Known(self._place, Identity(*rows[0]))

    async def _add_through(
        self, connection: Foreign, origin: object, jobs: Sequence[NewJob], groups: Sequence[NewGroup]
    ) -> list[Added]:
        assert self._known is not None
        await self._known.check(connection, origin)
        if not jobs and not groups:
            return []
        return await self._adding.add(connection, jobs, groups, self._told({new.queue for new in jobs}))

    def _told(self, queues: Collection[str]) -> str:
        """What goes out with the commit, whenever that is (RULES M6)."""
        return payload_of(queues) if self._place.notify else ""

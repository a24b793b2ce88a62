"""Adding jobs in a transaction that is open on a connection which is not the store's."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from time import monotonic
from typing import Final, NamedTuple

from mainspring.errors import KeyBusy, WrongTransaction
from mainspring.model.record import NewGroup, NewJob
from mainspring.retries.backoff import exponential
from mainspring.retries.failures import Failures, Terms
from mainspring.retries.policy import Retry
from mainspring.store.base import Added
from mainspring.store.postgres.foreign import Foreign
from mainspring.store.postgres.jobs import is_plain
from mainspring.store.postgres.place import Place
from mainspring.store.postgres.records import new_values
from mainspring.store.postgres.transact import Transact
from mainspring.store.serial import add

KEY_BUSY: Final = Terms(Retry(on=KeyBusy, backoff=exponential(0.01, factor=2.4)), "a key", inner=True)
"""For a unique key that another open transaction has in its hands: a quarter of a second in all (RULES C10)."""


class Identity(NamedTuple):
    """A schema of a database: other servers may have one of the same name, but not with this number of its table."""

    database: str
    table: int | None

    @staticmethod
    def question(place: Place) -> tuple[str, str]:
        """What to ask a connection."""
        return "SELECT current_database()::text, to_regclass($1::text)::oid::bigint", f"{place.quoted}.jobs"


class Known:
    """Which database the store is in, and the connections of others that are known to lead there."""

    def __init__(self, place: Place, identity: Identity) -> None:
        self._place = place
        self._identity = identity
        self._same: weakref.WeakSet[object] = weakref.WeakSet()

    async def check(self, connection: Foreign, origin: object) -> None:
        """Raise WrongTransaction for a connection to another database."""
        if _is_in(self._same, origin):
            return
        rows = await connection.fetch(*Identity.question(self._place))
        found = Identity(*rows[0])
        if found != self._identity:
            there = "which has no tables of Mainspring" if found.table is None else "whose tables are others"
            raise WrongTransaction(
                f"this connection is to the database {found.database!r}, {there} in schema {self._place.quoted}; the jobs"
                f" of this app are in {self._place.shown}: give a connection to that, or enqueue without tx="
            )
        _put_in(self._same, origin)


class Adding(NamedTuple):
    """What adding through others' connections takes of the store."""

    transact: Transact
    sql: str
    """The statement `add_more`."""
    channel: str

    async def add(
        self, connection: Foreign, jobs: Sequence[NewJob], groups: Sequence[NewGroup], told: str
    ) -> list[Added]:
        """Add jobs in its open transaction. `told`: what the notice says that goes out with its commit.

        Raises KeyBusy, JobNotFound, and what the driver raises.
        """
        if jobs and not groups and all(map(is_plain, jobs)):
            ids = [new.id for new in jobs]
            columns = zip(*map(new_values, jobs), strict=True)
            rows = await connection.fetch(self.sql, *columns, self.channel, told, min(ids), max(ids))
            if rows[0][0]:
                return [Added(each, True) for each in ids]
        answers = await self._with_consequences(connection, jobs, groups)
        if told:
            await connection.fetch("SELECT pg_notify($1::text, $2::text)::text", self.channel, told)
        return answers

    async def _with_consequences(
        self, connection: Foreign, jobs: Sequence[NewJob], groups: Sequence[NewGroup]
    ) -> list[Added]:
        ids = self.transact.ids
        failures = Failures(KEY_BUSY)
        while True:
            try:
                return await self.transact.within(
                    connection.as_ours(),
                    lambda rows, now: add.add(rows, now, ids, jobs, groups),
                    [new.id for new in jobs],
                    [group.id for group in groups],
                )
            except KeyBusy as error:
                wait = failures.add(error, monotonic())
                if wait is None:
                    raise
                await connection.pause(wait)


def _is_in(known: weakref.WeakSet[object], origin: object) -> bool:
    try:
        return origin in known
    except TypeError:  # it cannot be remembered
        return False


def _put_in(known: weakref.WeakSet[object], origin: object) -> None:
    try:
        known.add(origin)
    except TypeError:
        pass  # asked again each time

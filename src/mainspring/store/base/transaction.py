"""Transactions: the caller's own, which jobs are added in, and the store's, in which an attempt runs.

`tx` is an open connection or session of a driver that the store knows; it is never committed or rolled back here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Final, Protocol

from mainspring.model.record import Answer, NewGroup, NewJob, Settlement
from mainspring.store.base.jobs import Added


class Transaction(Protocol):
    """One open transaction of the store, for one attempt. It ends once, by `settle` or by `rollback` (RULES H2)."""

    @property
    def connection(self) -> object:
        """What the attempt works with: a connection of the store's own kind. It must not end the transaction."""
        ...

    @property
    def over(self) -> bool:
        """Whether it has ended, or is about to: nothing can be added any more."""
        ...

    async def add(self, jobs: Sequence[NewJob], groups: Sequence[NewGroup] = ()) -> list[Added]:
        """`Jobs.add` in this transaction. Nobody sees the jobs before it is committed."""
        ...

    async def settle(self, settlement: Settlement) -> Answer:
        """Write the settlement as the last statements, and commit. Not accepted: everything is rolled back.

        Raises what the database says, with everything rolled back; StoreUnavailable when that is not known: then the
        job itself says whether it was committed.
        """
        ...

    async def rollback(self) -> None:
        """Take everything back and let go. Does nothing after the end, and never raises."""
        ...


class Transactions(Protocol):
    """What stores with `Features.transaction` can do; the others raise Unsupported."""

    async def transaction(self, worker: str, job: str) -> Transaction:
        """Begin one, for an attempt of this worker at this job. Raises StoreUnavailable."""
        ...

    async def add_within(self, tx: object, jobs: Sequence[NewJob], groups: Sequence[NewGroup] = ()) -> list[Added]:
        """`Jobs.add` in the caller's transaction: visible when that is committed, gone when it is rolled back.

        For connections that are awaited. Raises WrongTransaction for one that blocks, for one that is not connected to
        this store's database, and for one that has no transaction; else what the driver raises.
        """
        ...

    def add_within_sync(self, tx: object, jobs: Sequence[NewJob], groups: Sequence[NewGroup] = ()) -> list[Added]:
        """The same for connections that block, in the calling thread."""
        ...


class Inside:
    """That an attempt runs inside a transaction of this store.

    `committing`: its function has returned, and it cannot be ended any more. `committed`: to be called when it is.
    """

    __slots__ = ("committed", "committing", "store", "transaction")

    def __init__(self, store: Transactions, transaction: Transaction) -> None:
        self.store = store
        self.transaction = transaction
        self.committing = False
        self.committed: list[Callable[[], None]] = []


INSIDE: Final[ContextVar[Inside | None]] = ContextVar("mainspring_inside", default=None)
"""The transaction of the attempt that runs here."""


def inside_of(store: Transactions) -> Inside | None:
    """The open transaction of this store that the code runs in, if it does."""
    inside = INSIDE.get()
    return inside if inside is not None and inside.store is store and not inside.transaction.over else None

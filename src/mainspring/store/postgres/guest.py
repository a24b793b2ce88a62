"""A transaction of the store's own, in which one attempt runs (RULES H2).

The task gets a connection as the driver makes it: ours have codecs that would surprise it. Its job is not locked before
it has returned; then the settlement and the commit follow at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Final, NamedTuple

import asyncpg

from mainspring.errors import AppError, MainspringError, StoreUnavailable
from mainspring.model.record import Answer, NewGroup, NewJob, Settlement
from mainspring.store.base import Added
from mainspring.store.borrowed import Asyncpg
from mainspring.store.postgres import faults
from mainspring.store.postgres.foreign import Foreign
from mainspring.store.postgres.jobs import is_completion
from mainspring.store.postgres.place import Connection, Place
from mainspring.store.postgres.transact import NO_DAY, Transact
from mainspring.store.postgres.within import Adding
from mainspring.store.serial import settle

FAILED: Final = "25P02"
"""SQLSTATE of every statement after one that failed, in the same transaction."""


class Host(NamedTuple):
    """What such a transaction takes of the store. `complete`: its statement; `tell`: says which queues got work."""

    place: Place
    transact: Transact
    adding: Adding
    complete: str
    tell: Callable[[Collection[str]], None]


class Guest:
    """`Transaction` in PostgreSQL. Made by `begun`."""

    def __init__(self, host: Host, connection: Connection, stack: AsyncExitStack) -> None:
        self.connection: Final = connection
        self.over = False
        self._host = host
        self._stack = stack
        self._transaction = connection.transaction()
        self._foreign = Foreign(Asyncpg(connection))
        self._one_by_one = asyncio.Lock()
        self._queues: set[str] = set()
        self._left = False

    @classmethod
    async def begun(cls, host: Host, connection: AbstractAsyncContextManager[Connection]) -> Guest:
        """An open one, on this connection. Raises StoreUnavailable."""
        stack = AsyncExitStack()
        guest = cls(host, await stack.enter_async_context(connection), stack)
        try:
            async with asyncio.timeout(host.place.timeout):
                await guest._transaction.start()
        except BaseException as error:
            guest.connection.terminate()
            await stack.aclose()
            raise _ours(error, host.place) from error
        return guest

    async def add(self, jobs: Sequence[NewJob], groups: Sequence[NewGroup] = ()) -> list[Added]:
        async with self._one_by_one:
            if self.over:
                raise AppError("this transaction is over; ctx.connection can be used until its function returns")
            answers = await self._host.adding.add(self._foreign, jobs, groups, "")
        self._queues.update(new.queue for new in jobs)
        return answers

    async def settle(self, settlement: Settlement) -> Answer:
        self.over = True
        place = self._host.place
        try:
            async with asyncio.timeout(place.timeout), self._one_by_one:
                return await self._settled(settlement)
        except TimeoutError as error:
            self.connection.terminate()
            raise faults.silent(place) from error

    async def rollback(self) -> None:
        if self._left:
            return
        self._left = self.over = True
        try:
            async with asyncio.timeout(self._host.place.timeout):
                if self.connection.is_in_transaction():
                    await self._end()
                await self.connection.reset()  # of what the task may have set
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            self.connection.terminate()  # which rolls back as well
        except BaseException:
            self.connection.terminate()
            raise
        finally:
            await self._stack.aclose()

    async def _settled(self, settlement: Settlement) -> Answer:
        place = self._host.place
        if not (self.connection.is_closed() or self.connection.is_in_transaction()):
            raise AppError(
                f"the transaction of job {settlement.job} was ended by a statement of its task; leave that to the worker,"
                " and raise an error to roll back"
            )
        try:
            answer = await self._written(settlement)
        except BaseException as error:
            if faults.sqlstate_of(error) == NO_DAY:
                await self._host.transact.look_at_days()
                raise StoreUnavailable(f"the tables of {place.shown} have just changed; it is tried again") from error
            raise _ours(error, place) from error
        if answer != "accepted":
            return answer
        try:
            await self._transaction.commit()
        except BaseException as error:
            if faults.spoils(error) or self.connection.is_closed():
                raise _ours(error, place) from error
            raise  # a constraint of the task's own tables, which is checked now
        if self._queues:
            self._host.tell(self._queues)
        return answer

    async def _written(self, settlement: Settlement) -> Answer:
        host = self._host
        low, high = host.transact.days
        if is_completion(settlement) and low <= settlement.job < high:
            result = None if settlement.result is None else settlement.result.decode()
            values = ([settlement.job], [settlement.lease], [settlement.ran], [result])
            if (await self._foreign.fetch(host.complete, *values))[0][0]:
                return "accepted"
        ids = host.transact.ids
        answers = await host.transact.within(
            self._foreign.as_ours(),
            lambda rows, now: settle.settle(rows, now, ids, [settlement]),
            [settlement.job],
            (),
            self._queues,
        )
        return answers[0]

    async def _end(self) -> None:
        try:
            await self._transaction.rollback()
        except asyncpg.InterfaceError:  # a commit that failed: the driver takes it for ended
            await self.connection.execute("ROLLBACK")


def _ours(error: BaseException, place: Place) -> BaseException:
    """What to raise: ours for what the driver and the network say, everything else as it is."""
    if faults.sqlstate_of(error) == FAILED:
        return AppError(
            "a statement of the task had failed, and PostgreSQL takes nothing more in its transaction: let the error end"
            " the attempt, or try such a statement in `async with ctx.connection.transaction():`"
        )
    if isinstance(error, MainspringError) or not (
        isinstance(error, (OSError, TimeoutError)) or faults.is_from_driver(error)
    ):
        return error
    return faults.translated(error, place)

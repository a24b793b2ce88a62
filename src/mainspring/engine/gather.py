"""Natural group commit: while one batch is in flight, the next items gather, and go as one when it returns.

Idle, an item is sent at once; busy, batches grow by themselves. No timer, no size to tune (RULES H7).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Generic, TypeVar

from mainspring.engine.patient import STORE_RETRY, patiently
from mainspring.errors import StoreClosed, StoreFull, StoreUnavailable, StoreUnsuitable
from mainspring.retries.policy import Retry

T = TypeVar("T")
R = TypeVar("R")

BATCH_LIMIT: Final = 1000
WEIGHT_LIMIT: Final = 1 << 20

_NOT_FOR_DATA: Final = (StoreUnavailable, StoreClosed, StoreFull, StoreUnsuitable)


class Gather(Generic[T, R]):
    """Sends single items in batches, one batch at a time, and hands each answer to whoever waits for it.

    `send` gets at most `limit` items, whose `weigh` (bytes, say) adds up to at most `weight_limit` unless one alone is
    heavier; it answers each in order. A batch that could not be sent is repeated by `retry`; one that is refused for
    its content is split in halves until the culprit is alone, and only that one gets the error (RULES C10).

    A caller that is cancelled before its batch is sent: the item is not sent. In flight: it goes on.

    >>> async def main() -> list[int]:
    ...     async def send(items: list[int]) -> list[int]:
    ...         print(items)
    ...         return [item * 2 for item in items]
    ...     double = Gather(send)
    ...     return await asyncio.gather(*(double(item) for item in (1, 2, 3)))
    >>> asyncio.run(main())
    [1, 2, 3]
    [2, 4, 6]
    """

    def __init__(
        self,
        send: Callable[[list[T]], Awaitable[Sequence[R]]],
        *,
        what: str = "batch",
        retry: Retry = STORE_RETRY,
        limit: int = BATCH_LIMIT,
        weigh: Callable[[T], int] | None = None,
        weight_limit: int = WEIGHT_LIMIT,
        answered: Callable[[list[T], Sequence[R]], None] | None = None,
        refused: Callable[[T, Exception], None] | None = None,
        unclear: Callable[[], None] | None = None,
    ) -> None:
        self._send = send
        self._what = what
        self._retry = retry
        self._limit = limit
        self._weigh = weigh
        self._weight_limit = weight_limit
        self._answered = answered
        self._refused = refused
        self._unclear = unclear
        self._items: list[T] = []
        self._futures: dict[int, asyncio.Future[R]] = {}
        self._taken = 0  # how many items were ever taken: the key of item i of `_items` is `_taken + i`
        self._in_flight = 0
        self._flying: list[asyncio.Future[R] | None] | None = None
        self._sender: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Items that wait or are in flight."""
        return len(self._items) + self._in_flight

    async def __call__(self, item: T) -> R:
        """Send the item with the next batch; returns its answer. Raises what the store said about this item."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._futures[self._taken + len(self._items)] = future
        self.put(item)
        return await future

    def put(self, item: T) -> None:
        """Send the item with the next batch; nobody waits. `answered` and `refused` hear of it."""
        self._items.append(item)
        if self._sender is None:
            # Runs after everything that is ready now, so what is put in the same turn of the loop goes along.
            self._sender = asyncio.get_running_loop().create_task(self._run(), name=f"gather:{self._what}")
            self._sender.add_done_callback(self._never_began)

    async def flush(self) -> None:
        """Return when nothing waits or is in flight. Cancelling this cancels nothing else."""
        while self._sender is not None:
            await asyncio.wait([self._sender])

    async def abandon(self) -> int:
        """Stop sending: what waits or is in flight is given up. Returns how many items that were."""
        left = len(self)
        if self._sender is not None:
            self._sender.cancel()
            with suppress(asyncio.CancelledError):
                await self._sender
        return left

    async def _run(self) -> None:
        error: BaseException = asyncio.CancelledError()
        try:
            while self._items:
                items, futures = self._take()
                if items:
                    self._in_flight, self._flying = len(items), futures
                    await self._deliver(items, futures)
                    self._in_flight, self._flying = 0, None
        except BaseException as failure:
            error = failure
            raise
        finally:
            self._sender = None
            if self._items or self._in_flight:
                self._drop(error)

    def _never_began(self, sender: asyncio.Task[None]) -> None:
        """A loop that is torn down cancels tasks that have not run at all; then `_run` has tidied up nothing."""
        if self._sender is sender:
            self._sender = None
            self._drop(asyncio.CancelledError())

    def _take(self) -> tuple[list[T], list[asyncio.Future[R] | None] | None]:
        """The next batch, and who waits for it; None when nobody does. Items whose caller has gone are left out."""
        count = min(len(self._items), self._limit)
        if self._weigh is not None:
            count = self._fitting(count, self._weigh)
        items = self._items[:count]
        del self._items[:count]
        first, self._taken = self._taken, self._taken + count
        if not self._futures:
            return items, None
        waiting = [self._futures.pop(key, None) for key in range(first, first + count)]
        kept = [(item, each) for item, each in zip(items, waiting, strict=True) if each is None or not each.cancelled()]
        return [item for item, _ in kept], [each for _, each in kept]

    def _fitting(self, count: int, weigh: Callable[[T], int]) -> int:
        total = 0
        for index in range(count):
            total += weigh(self._items[index])
            if total > self._weight_limit:
                return max(index, 1)
        return count

    async def _deliver(self, items: list[T], futures: list[asyncio.Future[R] | None] | None) -> None:
        try:
            answers = await patiently(partial(self._send, items), self._what, self._retry, unclear=self._unclear)
        except Exception as error:  # noqa: BLE001  # every error goes to whoever waits for the item
            if len(items) > 1 and not isinstance(error, _NOT_FOR_DATA):
                half = len(items) // 2
                await self._deliver(items[:half], None if futures is None else futures[:half])
                await self._deliver(items[half:], None if futures is None else futures[half:])
                return
            self._refuse(items, futures, error)
            return
        if futures is not None:
            for future, answer in zip(futures, answers, strict=True):
                if future is not None and not future.done():
                    future.set_result(answer)
        if self._answered is not None:
            self._answered(items, answers)

    def _refuse(self, items: list[T], futures: list[asyncio.Future[R] | None] | None, error: Exception) -> None:
        for index, item in enumerate(items):
            future = None if futures is None else futures[index]
            if future is None:
                if self._refused is not None:
                    self._refused(item, error)
            elif not future.done():
                future.set_exception(error)

    def _drop(self, error: BaseException) -> None:
        for future in (*self._futures.values(), *(self._flying or ())):
            if future is None or future.done():
                continue
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(error)
        self._in_flight, self._flying = 0, None
        self._futures.clear()
        self._taken += len(self._items)
        self._items.clear()

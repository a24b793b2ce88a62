"""An app's way to its store: opened at the first use, bound to the loop that opened it, reached from any thread."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from mainspring.app.background import background_loop, is_background
from mainspring.app.chunks import last_of_each, parts_of
from mainspring.app.keyed import ADD_RETRY, Keyed, add_patiently, weight
from mainspring.app.results import Results
from mainspring.app.schedule_writes import Changes
from mainspring.clock import Clock
from mainspring.engine.blocking import result_of, running_loop
from mainspring.engine.gather import Gather
from mainspring.errors import AppClosed, AppError, WrongLoop
from mainspring.events import Hub
from mainspring.ids import IdSource, new_id
from mainspring.model.flow import Flow
from mainspring.model.record import NewGroup, NewJob
from mainspring.model.schedule import ScheduleRecord
from mainspring.store.base import INSIDE, Added, CancelAnswer, Store, inside_of
from mainspring.store.open import open_store

T = TypeVar("T")
log = logging.getLogger("mainspring.app")

URL_VARIABLE: Final = "MAINSPRING_URL"


class LocalWorker(Protocol):
    """A worker of this process, which is told at once what others learn from the store."""

    def added(self, new: NewJob) -> None:
        """This process has added a job."""
        ...

    def cancel(self, job_ids: Sequence[str]) -> None:
        """This process has asked for the end of these jobs."""
        ...

    def schedules_changed(self) -> None:
        """This process has put or changed schedules."""
        ...

    def serves(self, queue: str, task: str, version: str) -> bool:
        """Whether it runs such jobs."""
        ...

    def fires(self, schedule: ScheduleRecord) -> bool:
        """Whether this schedule, which is due, will be fired."""
        ...

    @property
    def paused(self) -> frozenset[str]:
        """The queues of which it has heard that they are paused."""
        ...


class Opened:
    """An open store, with what gathers requests to it. Belongs to one loop."""

    __slots__ = ("add", "changes", "direct", "keyed", "loop", "pid", "results", "store", "workers")

    def __init__(self, store: Store, hub: Hub, loop: asyncio.AbstractEventLoop) -> None:
        self.store = store
        self.loop = loop
        self.pid = os.getpid()
        self.results = Results(store, hub)
        # A store that writes nothing has nothing to gain from batches, which cost a task each.
        self.direct = store.features.survives == "nothing"
        self.add: Gather[NewJob, Added] = Gather(store.add, what="enqueue", retry=ADD_RETRY, weigh=weight)
        # A key that somebody's open transaction holds must not stall those without one (RULES C10).
        self.keyed = Keyed(store)
        self.changes = Changes(store)
        self.workers: list[LocalWorker] = []

    async def enqueue(self, new: NewJob, tx: object = None) -> Added:
        """Store one job, together with those that others enqueue at the same time; or in a transaction."""
        if tx is not None or INSIDE.get() is not None:
            within = await self._add_within(tx, (new,))
            if within is not None:
                return within[0]
        if self.direct:
            added = (await self.store.add((new,)))[0]
        else:
            added = await (self.add(new) if new.unique is None else self.keyed(new))
        if added.created:
            for worker in self.workers:
                worker.added(new)
        return added

    async def enqueue_flows(self, flows: Sequence[Flow], tx: object = None) -> list[Added]:
        """Store all jobs and groups of these flows as one step; answers for the last job of each."""
        jobs, groups = parts_of(flows)
        answers = await self._add_within(tx, jobs, groups)
        if answers is None:
            answers = await add_patiently(self.store, jobs, groups)
            self._tell(jobs, answers)
        return last_of_each(flows, answers)

    async def _add_within(
        self, tx: object, jobs: Sequence[NewJob], groups: Sequence[NewGroup] = ()
    ) -> list[Added] | None:
        """In the caller's transaction, or in that of the attempt that calls; None when there is neither."""
        inside = inside_of(self.store)
        if inside is not None and (tx is None or tx is inside.transaction.connection):
            answers = await inside.transaction.add(jobs, groups)
            inside.committed.append(partial(self._tell, jobs, answers))
            return answers
        return None if tx is None else await self.store.add_within(tx, jobs, groups)

    def _tell(self, jobs: Sequence[NewJob], answers: Sequence[Added]) -> None:
        """Workers of this process hear at once what was added."""
        for worker in self.workers:
            for new, added in zip(jobs, answers, strict=True):
                if added.created:
                    worker.added(new)

    def paused(self) -> frozenset[str]:
        """The queues of which a worker of this process has heard that they are paused."""
        return frozenset(queue for worker in self.workers for queue in worker.paused)

    def schedules_changed(self) -> None:
        """Workers of this process hear at once that schedules were put or changed."""
        for worker in self.workers:
            worker.schedules_changed()

    async def cancel(self, job_id: str, reason: str) -> CancelAnswer:
        """End a job, or ask its worker to: one of this process at once, others with their next beat."""
        answer = (await self.store.cancel([job_id], reason))[0]
        if answer == "requested":
            for worker in self.workers:
                worker.cancel([job_id])
        return answer


class Connection:
    """Opens and closes one store, and says who may use it from where (API.md D12)."""

    def __init__(
        self,
        url: str | None,
        *,
        store: Store | None = None,
        clock: Clock | None = None,
        ids: IdSource = new_id,
        hub: Hub | None = None,
    ) -> None:
        self._url = url
        self._given = store
        self.clock = clock
        self.ids = ids
        self.hub = Hub() if hub is None else hub
        self._opened: Opened | None = None
        self._opening: asyncio.Task[Opened] | None = None
        self._users = 0
        self._lent = False
        self._closed: bool = False
        self._at_work: list[tuple[asyncio.AbstractEventLoop, int]] = []
        self._until_loop_ends: AsyncGenerator[None, None] | None = None

    @property
    def url(self) -> str | None:
        """The URL: as given, else from the environment."""
        return self._url or os.environ.get(URL_VARIABLE) or None

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that the store is open in, if it is open and the loop still lives."""
        there = self._opened
        if there is None or there.loop.is_closed() or there.pid != os.getpid():
            return None
        return there.loop

    @property
    def working(self) -> bool:
        """Whether a worker of this process runs jobs of the app now."""
        return self._opened is not None and bool(self._opened.workers)

    @property
    def closed(self) -> bool:
        """Whether it was closed on purpose, so that it opens no more by itself."""
        return self._closed

    async def opened(self) -> Opened:
        """The open store; opens it at the first use.

        Raises WrongLoop in a loop that did not open it, AppClosed after `close`, StoreUrlError, and what opening says.
        """
        there = self._opened
        loop = asyncio.get_running_loop()
        if there is not None and there.loop is loop:
            return there
        if self._closed:
            raise AppClosed("this app was closed; open it again with `async with app:`")
        opened = await self._open(loop)
        if self._users == 0 and self._until_loop_ends is None:
            # Opened by its first use: nobody will close it, so the end of the loop (asyncio.run) does.
            self._until_loop_ends = self._close_with_loop()
            await anext(self._until_loop_ends)
        return opened

    async def enter(self) -> Opened:
        """Open it for a block; `leave` closes it when no block is left. Raises as `opened`, but opens again."""
        opened = await self._open(asyncio.get_running_loop())
        self._closed = False
        self._users += 1
        return opened

    async def leave(self) -> None:
        """The end of a block."""
        self._users -= 1
        if self._users <= 0:
            await self.close()

    async def close(self) -> None:
        """Write what was enqueued, and let go. Closing twice is fine. Raises WrongLoop from another loop."""
        there = self._opened
        self._users = 0
        self._closed = True
        if there is None:
            return
        if not there.loop.is_closed() and there.loop is not asyncio.get_running_loop():
            raise self._wrong_loop(there.loop)
        self._opened = None
        await self._let_go(there)

    def call(self, verb: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run an async verb from blocking code, in any thread: in the loop that has the app open, else in ours.

        Raises AppError inside that loop itself, where it could only wait for itself.
        """
        here = running_loop()
        loop = self.loop
        if loop is None:
            if here is not None:
                raise AppError("there is an event loop here: await the verb itself instead of calling it by .sync")
            loop = background_loop()
        elif loop is here:
            raise AppError("this is the app's own event loop, which .sync would block for ever: await the verb itself")
        return result_of(verb, loop)

    def add_within(self, tx: object, jobs: Sequence[NewJob], groups: Sequence[NewGroup] = ()) -> list[Added]:
        """Store jobs in the transaction of a connection that blocks, in the calling thread, whatever loop runs there.

        Opens the store as `call` does. Raises WrongTransaction, Unsupported, and what the driver raises.
        """
        there = self._opened
        if self.loop is None or there is None:
            if running_loop() is not None:
                raise AppError("there is an event loop here, and this app is not open yet: say `async with app:` first")
            there = self.call(self.opened)
        return there.store.add_within_sync(tx, jobs, groups)

    @contextmanager
    def lent(self, store: Store, *, clock: Clock | None = None, ids: IdSource | None = None) -> Generator[None]:
        """While the block lasts, use this open store, which somebody else closes. Raises AppError when it is open."""
        if self.loop is not None:
            raise AppError("an app that is open cannot be lent a store; close it first")
        before = self._given, self.clock, self.ids, self._closed
        self._given, self.clock, self.ids = store, clock or self.clock, ids or self.ids
        self._closed, self._lent = False, True
        try:
            yield
        finally:
            if self._opened is not None:
                self._opened.results.close()
            self._given, self.clock, self.ids, self._closed = before
            self._opened, self._until_loop_ends, self._users, self._lent = None, None, 0, False

    @contextmanager
    def at_work(self, *, alone: bool) -> Generator[None]:
        """A worker starts, runs and ends in this block. Raises AppError when it is to be alone, and another one is there."""
        here = (asyncio.get_running_loop(), os.getpid())
        if alone and any(not loop.is_closed() and pid == os.getpid() for loop, pid in self._at_work):
            raise AppError(
                "this app works jobs in this process already; for more at once say app.running(concurrency=…), and for a"
                " second worker with other settings make another App"
            )
        self._at_work.append(here)
        try:
            yield
        finally:
            self._at_work.remove(here)

    # --- opening

    async def _open(self, loop: asyncio.AbstractEventLoop) -> Opened:
        self._forget_lost_loop()
        there = self._opened
        if there is not None:
            if there.loop is not loop:
                raise self._wrong_loop(there.loop)
            return there
        if self._opening is None:
            self._opening = loop.create_task(self._open_store(loop), name="mainspring:open")
        elif self._opening.get_loop() is not loop:
            raise self._wrong_loop(self._opening.get_loop())
        return await asyncio.shield(self._opening)

    async def _open_store(self, loop: asyncio.AbstractEventLoop) -> Opened:
        try:
            store = self._store()
            if not self._lent:
                await store.open()
            self._opened = Opened(store, self.hub, loop)
            return self._opened
        finally:
            self._opening = None

    def _store(self) -> Store:
        if self._given is not None:
            return self._given
        url = self.url
        if url is None:
            raise AppError(f'this app has no store; write App("sqlite:///work.db"), or set {URL_VARIABLE}')
        return open_store(url, clock=self.clock, ids=self.ids)

    def _forget_lost_loop(self) -> None:
        """A loop that ended without closing the app, or stayed behind in the process that was forked, is lost."""
        opening = self._opening
        if opening is not None and opening.get_loop().is_closed():
            self._opening = None
        there = self._opened
        if there is None or (not there.loop.is_closed() and there.pid == os.getpid()):
            return
        if there.pid == os.getpid():
            log.warning("the loop that had this app open has ended without closing it; it is opened anew")
        self._opened, self._until_loop_ends, self._users = None, None, 0

    # --- closing

    async def _close_with_loop(self) -> AsyncGenerator[None, None]:
        """An async generator that is never ended by us: asyncio closes it at the end of its loop."""
        try:
            yield
        finally:
            self._until_loop_ends = None
            there = self._opened
            if there is not None and self._users == 0 and there.loop is asyncio.get_running_loop():
                self._opened = None
                await self._let_go(there)

    async def _let_go(self, there: Opened) -> None:
        try:
            if there.loop is asyncio.get_running_loop():
                await there.add.flush()
                await there.keyed.flush()
                await there.changes.flush()
                there.results.close()
        finally:
            if not self._lent:
                await there.store.close()

    def _wrong_loop(self, loop: asyncio.AbstractEventLoop) -> WrongLoop:
        if is_background(loop):
            return WrongLoop(
                "blocking calls (.sync) have opened this app in their own thread; close it there first: app.sync.close()"
            )
        return WrongLoop(
            "this app is open in another event loop; from here call it by its .sync face (task.sync.enqueue(…))"
        )

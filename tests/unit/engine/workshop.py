"""What the tests of the engine share: a store in virtual time, tasks in a line, and a store that loses answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from mainspring.clock import FakeClock
from mainspring.codec import encode
from mainspring.engine.arguments import Parameters
from mainspring.engine.attempt import Processes
from mainspring.engine.registry import Mode, Registered, Registry
from mainspring.engine.settings import WorkerSettings
from mainspring.engine.worker import Worker
from mainspring.errors import StoreUnavailable
from mainspring.events import Hub
from mainspring.ids import new_id
from mainspring.model.record import JobRecord, NewJob
from mainspring.retries.policy import Retry
from mainspring.store.memory import MemoryStore
from mainspring.testing.virtual import VirtualLoop, run_virtual

T = TypeVar("T")


class Lossy(MemoryStore):
    """A memory store that does what it is asked, and loses answers: those of the calls named `verb:number` (from 0)."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.lose: set[str] = set()
        self.down = False
        self.calls: list[str] = []
        self._counts: dict[str, int] = {}

    async def _lossy(self, verb: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        name = f"{verb}:{self._counts.get(verb, 0)}"
        self._counts[verb] = self._counts.get(verb, 0) + 1
        self.calls.append(name)
        if self.down:
            raise StoreUnavailable("down")
        answer = await call()
        await asyncio.sleep(0)
        if name in self.lose or f"{verb}:*" in self.lose:
            raise StoreUnavailable(f"the answer of {name} was lost")
        return answer

    async def add(self, *args: Any, **kwargs: Any) -> Any:
        return await self._lossy("add", lambda: MemoryStore.add(self, *args, **kwargs))

    async def claim(self, *args: Any, **kwargs: Any) -> Any:
        return await self._lossy("claim", lambda: MemoryStore.claim(self, *args, **kwargs))

    async def settle(self, *args: Any, **kwargs: Any) -> Any:
        return await self._lossy("settle", lambda: MemoryStore.settle(self, *args, **kwargs))

    async def beat(self, *args: Any, **kwargs: Any) -> Any:
        return await self._lossy("beat", lambda: MemoryStore.beat(self, *args, **kwargs))

    async def sweep(self, *args: Any, **kwargs: Any) -> Any:
        return await self._lossy("sweep", lambda: MemoryStore.sweep(self, *args, **kwargs))

    async def held(self, *args: Any, **kwargs: Any) -> Any:
        return await self._lossy("held", lambda: MemoryStore.held(self, *args, **kwargs))

    async def leave(self, *args: Any, **kwargs: Any) -> Any:
        return await self._lossy("leave", lambda: MemoryStore.leave(self, *args, **kwargs))

    async def lanes(self, *args: Any, **kwargs: Any) -> Any:
        return await self._lossy("lanes", lambda: MemoryStore.lanes(self, *args, **kwargs))


class Workshop:
    """A store and a registry; workers on them; jobs by one word."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.clock = loop.clock if isinstance(loop, VirtualLoop) else FakeClock()
        self.store = Lossy(self.clock)
        self.registry = Registry()
        self.hub = Hub()
        self.loop = loop

    def task(
        self,
        fn: Callable[..., object],
        name: str = "t",
        *,
        mode: Mode = "async",
        retry: Retry | None = None,
        timeout: float | None = None,
        concurrency: int | None = None,
        context: bool = False,
        store_result: bool = True,
        queue: str = "default",
    ) -> None:
        parameters = Parameters(fn, task=name, takes_context=context)
        self.registry.add(
            Registered(
                name=name,
                fn=fn,
                mode=mode,
                parameters=parameters,
                takes_context=context,
                retry=retry,
                timeout=timeout,
                concurrency=concurrency,
                store_result=store_result,
                queue=queue,
            )
        )

    def worker(self, *, processes: Processes | None = None, state: object = None, **settings: Any) -> Worker:
        return Worker(
            self.store,
            self.registry,
            WorkerSettings(**settings),
            state=state,
            hub=self.hub,
            clock=self.clock,
            processes=processes,
            random=lambda: 0.5,
        )

    async def add(self, task: str = "t", arguments: dict[str, object] | None = None, **fields: Any) -> str:
        new = NewJob(id=new_id(), task=task, payload=encode(arguments or {}), **fields)
        await self.store.add([new])
        return new.id

    async def job(self, identifier: str) -> JobRecord:
        record = (await self.store.get([identifier]))[0]
        assert record is not None
        return record

    async def until(self, condition: Callable[[], bool], within: float = 600.0) -> None:
        ends = self.loop.time() + within
        while not condition():
            assert self.loop.time() < ends, "it did not come true"
            await asyncio.sleep(0.01)

    async def ended(self, *identifiers: str, within: float = 600.0) -> list[JobRecord]:
        """These jobs, when all of them have ended."""
        ends = self.loop.time() + within
        while True:
            jobs = [await self.job(each) for each in identifiers]
            if all(job.terminal for job in jobs):
                return jobs
            assert self.loop.time() < ends, f"not ended: {[job for job in jobs if not job.terminal]}"
            await asyncio.sleep(0.01)


@asynccontextmanager
async def workshop() -> AsyncIterator[Workshop]:
    shop = Workshop()
    await shop.store.open()
    try:
        yield shop
    finally:
        await shop.store.close()


def virtual(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Runs an async test in virtual time."""

    def run() -> None:
        run_virtual(test())

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    run.__module__ = test.__module__
    return run

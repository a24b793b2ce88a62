"""What the tests of the face share: an app on a memory store, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from mainspring import App, BoundTask, Context
from mainspring.clock import FakeClock, moment
from mainspring.ids import UuidSource
from mainspring.store.memory import MemoryStore
from mainspring.testing.virtual import VirtualLoop, run_virtual

T = TypeVar("T")

START = datetime(2026, 1, 1, tzinfo=UTC)
"""Where the virtual clock begins."""


def run(main: Callable[[App], Awaitable[T]], **options: Any) -> T:
    """Run `main(app)` in virtual time; the app is on a memory store with the loop's clock."""

    async def started() -> T:
        return await main(app)

    clock = FakeClock()
    app = App(store=MemoryStore(clock=clock), clock=clock, ids=UuidSource(), **options)
    return run_virtual(started(), clock)


def run_open(main: Callable[[App], Awaitable[T]], **options: Any) -> T:
    """The same, with the app open all the while: its memory store outlives an `app.running()` inside."""

    async def opened(app: App) -> T:
        async with app:
            return await main(app)

    return run(opened, **options)


def tick(app: App, seen: list[datetime] | None = None, takes: float = 0.0) -> Callable[[], BoundTask[None]]:
    """A task that notes when it runs; returns how to bind it."""

    @app.task(name="tick")
    async def work(ctx: Context) -> None:
        store = await app.store()
        if seen is not None:
            seen.append(moment(await store.now()))
        await asyncio.sleep(takes)

    return lambda: work.bind()


__all__ = ["START", "VirtualLoop", "run", "run_open", "tick"]

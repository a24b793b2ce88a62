"""What the tests of the face share: an app on a memory store, in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from mainspring import App
from mainspring.clock import FakeClock
from mainspring.ids import UuidSource
from mainspring.store.memory import MemoryStore
from mainspring.testing.virtual import VirtualLoop, run_virtual

T = TypeVar("T")


def run(main: Callable[[App], Awaitable[T]], **options: Any) -> T:
    """Run `main(app)` in virtual time; the app is on a memory store with the loop's clock."""

    async def started() -> T:
        return await main(app)

    clock = FakeClock()
    app = App(store=MemoryStore(clock=clock), clock=clock, ids=UuidSource(), **options)
    return run_virtual(started(), clock)


__all__ = ["VirtualLoop", "run"]

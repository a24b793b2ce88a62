"""Apps that come and go on one memory store, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mainspring import App
from mainspring.clock import FakeClock
from mainspring.ids import UuidSource
from mainspring.store.memory import MemoryStore
from mainspring.testing.virtual import run_virtual


class Fleet:
    """Apps that follow each other on one store, as a program does whose code changes: `app(declare)` makes the next."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock)

    def app(self, declare: Callable[[App], object] | None = None, **options: Any) -> App:
        app = App(store=Lasting(self.store), clock=self.clock, ids=UuidSource(), **options)
        if declare is not None:
            declare(app)
        return app

    def run(self, main: Callable[[], Any]) -> None:
        run_virtual(main(), self.clock)


class Lasting:
    """A memory store that outlives its apps: closing it does nothing."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def close(self) -> None:
        pass


def run_open(fleet: Fleet, main: Callable[[], Any]) -> None:
    """Run `main` in virtual time, with the store open all the while."""

    async def opened() -> None:
        await fleet.store.open()
        await main()

    fleet.run(opened)

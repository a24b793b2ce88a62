"""How often a worker looks for others that have died."""

from __future__ import annotations

import asyncio

import pytest

from mainspring.engine.upkeep import LOCKS_GLANCED, LOCKS_WATCHED, Sweeps
from mainspring.store.base import Features, Swept
from mainspring.store.memory import MemoryStore
from mainspring.testing import run_virtual


class Looked(MemoryStore):
    """A store whose workers know by locks, and in which others hold jobs, or do not."""

    def __init__(self, *, watch: bool) -> None:
        super().__init__()
        self.sweeps = 0
        self._watch = watch

    @property
    def features(self) -> Features:
        return super().features._replace(wake="poll")

    async def sweep(self, worker: str, limit: int = 1000) -> Swept:
        self.sweeps += 1
        return Swept(0.0, None, watch=self._watch)


@pytest.mark.parametrize(("watch", "every"), [(True, LOCKS_WATCHED), (False, LOCKS_GLANCED)])
def test_C9_workers_that_hold_jobs_are_looked_at_every_100_ms(*, watch: bool, every: float) -> None:
    async def main() -> int:
        store = Looked(watch=watch)
        sweeps = Sweeps(store, "w", features=store.features, poll=1.0, random=lambda: 0.0, on_ready=lambda: None)
        task = asyncio.create_task(sweeps.run())
        await asyncio.sleep(10)
        task.cancel()
        return store.sweeps

    assert LOCKS_WATCHED <= 0.1
    assert run_virtual(main()) == pytest.approx(10 / every, abs=2)

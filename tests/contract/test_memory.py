"""The public contract suite over the store in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal

import pytest

from mainspring.clock import FakeClock
from mainspring.store.memory import MemoryStore
from mainspring.testing.contract import StoreContract, StoreHarness, fall_silent


class MemoryHarness:
    """The store in memory knows the dead by their silence, and keeps nothing."""

    liveness: Literal["beats", "locks"] = "beats"

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock)

    async def lapse(self, worker: str) -> None:
        await fall_silent(self.store, self.clock, worker)

    async def reopen(self) -> None:
        await self.store.close()
        await self.store.open()


class TestMemory(StoreContract):
    @pytest.fixture
    async def harness(self) -> AsyncIterator[StoreHarness]:
        harness = MemoryHarness()
        await harness.store.open()
        yield harness
        await harness.store.close()

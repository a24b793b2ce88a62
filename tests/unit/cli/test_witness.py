"""The parent's own connection to the store (RULES C6, C8)."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from mainspring.cli import witness as witness_module
from mainspring.cli.witness import Witness
from mainspring.cli.words import Ready
from mainspring.cli.workers import End, WorkerProcess
from mainspring.errors import StoreUnavailable
from mainspring.store.base import Beat, Store

READY = Ready("w-1", "sqlite:///work.db", True, "/srv", 0.0)


class FakeStore:
    def __init__(self) -> None:
        self.opened = 0
        self.beats: list[Beat] = []
        self.left: list[tuple[str, bool, Sequence[str] | None]] = []
        self.broken = False

    async def open(self) -> None:
        self.opened += 1

    async def close(self) -> None:
        self.opened -= 1

    async def beat(self, beat: Beat) -> None:
        if self.broken:
            raise StoreUnavailable("away")
        self.beats.append(beat)

    async def leave(self, worker: str, *, died: bool = False, started: Sequence[str] | None = None) -> None:
        if self.broken:
            raise StoreUnavailable("away")
        self.left.append((worker, died, started))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    store = FakeStore()
    monkeypatch.setattr(witness_module, "open_store", lambda url: cast("Store", store))
    return store


def end(worker: str | None, started: list[str] | None) -> End:
    return End(-9, "was killed by SIGKILL", worker, started, None, None, None, False)


def process(silence: float, ready: Ready | None = READY) -> WorkerProcess:
    return cast("WorkerProcess", SimpleNamespace(ready=ready, silence=silence))


async def test_C6_the_dead_are_reported_with_what_they_had_started(store: FakeStore) -> None:
    witness = Witness()
    await witness.know(READY)
    await witness.died(end("w-1", ["j-1"]))
    await witness.died(end("w-2", None))
    await witness.died(end(None, []))
    assert store.left == [("w-1", True, ["j-1"]), ("w-2", True, None)]
    await witness.close()
    assert store.opened == 0


async def test_C8_a_busy_worker_is_beaten_for_and_a_lively_one_is_not(store: FakeStore) -> None:
    witness = Witness()
    await witness.know(READY)
    await witness.beat([process(1.0), process(99.0, ready=None)], lease_time=15.0)
    assert store.beats == []
    await witness.beat([process(6.0)], lease_time=15.0)
    await witness.beat([process(6.5)], lease_time=15.0)  # a moment later: not twice
    assert store.beats == [Beat("w-1", stalled=True)]


@pytest.mark.parametrize(
    "ready", [Ready("w-1", None, True, "/srv", 0.0), Ready("w-1", "memory://", False, "/srv", 0.0)]
)
async def test_a_store_that_cannot_be_shared_is_left_alone(store: FakeStore, ready: Ready) -> None:
    witness = Witness()
    await witness.know(ready)
    await witness.died(end("w-1", []))
    await witness.beat([process(99.0)], lease_time=15.0)
    assert (store.opened, store.left, store.beats) == (0, [], [])


async def test_a_store_that_is_away_stops_nothing(store: FakeStore, caplog: pytest.LogCaptureFixture) -> None:
    witness = Witness()
    await witness.know(READY)
    store.broken = True
    await witness.died(end("w-1", []))
    await witness.beat([process(6.0)], lease_time=15.0)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]

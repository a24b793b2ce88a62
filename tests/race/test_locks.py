"""SQLite: the lock of a worker lasts exactly as long as something of it can still run."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from mainspring import App
from mainspring.clock import FakeClock
from mainspring.engine import drain
from mainspring.errors import StoreUnavailable
from mainspring.model.record import Answer, NewJob, Settlement
from mainspring.store.base import Claim, Lane, Worker
from mainspring.store.serial.rows import Rows
from mainspring.store.sqlite import SqliteStore

T = TypeVar("T")
LANES = [Lane("default", "work", "", 10)]


class Busy(SqliteStore):
    """A store whose writes fail while it is `down`, as they do when a backup holds the lock for too long."""

    down = False

    async def _write(self, verb: Callable[[Rows], T]) -> T:
        if self.down:
            raise StoreUnavailable("busy")
        return await super()._write(verb)

    async def settle(self, settlements: object) -> list[Answer]:
        if self.down:
            raise StoreUnavailable("busy")
        return await super().settle(settlements)  # type: ignore[arg-type]  # passed on as it came


async def test_C9_a_worker_that_could_not_say_that_it_leaves_is_dead(tmp_path: Path) -> None:
    """Its program goes on with the store open, and holds no lock for a worker that is no more."""
    ours = Busy(tmp_path / "work.db")
    await ours.open()
    await ours.join(Worker("ours"))
    await ours.add([NewJob(id="job", task="work")])
    await ours.claim(Claim("ours", 1, LANES, 1))
    ours.down = True
    with pytest.raises(StoreUnavailable):
        await ours.leave("ours")
    ours.down = False
    others = SqliteStore(tmp_path / "work.db")
    await others.open()
    await others.join(Worker("other"))
    swept = await others.sweep("other")
    assert swept.rescued == 1
    await others.close()
    await ours.close()


async def test_D25_nobody_runs_a_job_beside_a_thread_that_was_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app is closed, the program goes on, and so does the function: its lease is still held."""
    monkeypatch.setattr(drain, "UNWIND", 0.05)
    url = f"sqlite:///{tmp_path}/work.db"
    seen: list[str] = []
    goes_on = threading.Event()
    app, other = App(url), App(url)

    @app.task(name="work")
    def work() -> None:
        seen.append("begins")
        goes_on.wait(30)
        seen.append("ends")

    @other.task(name="work")
    async def beside() -> None:
        seen.append("beside")

    try:
        async with app.running(grace=0.0):
            await work.enqueue()
            while not seen:
                await asyncio.sleep(0.01)
        async with other.running(poll=0.05):
            await asyncio.sleep(0.5)  # five looks at the locks
        assert seen == ["begins"]
    finally:
        goes_on.set()


async def test_a_close_that_was_cancelled_is_finished(tmp_path: Path) -> None:
    """A time limit around the end of an app, while somebody holds the write lock: no thread and no lock stays."""
    store = SqliteStore(tmp_path / "work.db")
    await store.open()
    await store.join(Worker("ours"))
    holder = sqlite3.connect(tmp_path / "work.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    adding = asyncio.create_task(store.add([NewJob(id="job", task="work")]))
    await asyncio.sleep(0.05)
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0.05)
    closing.cancel()
    await asyncio.wait({closing})
    holder.execute("ROLLBACK")
    holder.close()
    await adding
    await store.close()
    assert not [each.name for each in threading.enumerate() if str(tmp_path) in each.name]


async def test_H9_a_claim_goes_by_the_time_at_which_it_is_served(tmp_path: Path) -> None:
    """It waits a minute for its turn to write: what expired meanwhile is not handed out, and its now is no minute old."""
    clock = FakeClock()
    store = SqliteStore(tmp_path / "work.db", clock=clock)
    await store.open()
    await store.join(Worker("w"))
    await store.add([NewJob(id="job", task="work", expires_in=5.0)])
    all_wait = threading.Event()

    def slow(_: Rows) -> None:
        all_wait.wait(30)
        clock.advance(60)

    slow_one = asyncio.create_task(store._write(slow))
    await asyncio.sleep(0)
    claiming = asyncio.create_task(store.claim(Claim("w", 1, LANES, 1)))
    await asyncio.sleep(0)
    all_wait.set()
    await slow_one
    claimed = await claiming
    assert claimed.jobs == []
    assert claimed.now == clock.now()
    await store.close()


async def test_a_settlement_that_no_row_can_hold_is_not_repeated_for_ever(tmp_path: Path) -> None:
    """C10: an error of data is none of the store's: it may not say that it is unavailable."""
    store = SqliteStore(tmp_path / "work.db")
    await store.open()
    await store.join(Worker("w"))
    await store.add([NewJob(id="job", task="work")])
    (job,) = (await store.claim(Claim("w", 1, LANES, 1))).jobs
    with pytest.raises(Exception, match=r"due|constraint|hold") as caught:
        await store.settle([Settlement(job=job.id, lease=job.lease, kind="retry", after=float("nan"))])
    assert not isinstance(caught.value, StoreUnavailable)
    await store.close()

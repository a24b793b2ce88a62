"""A worker whose leaving cannot be written is as good as dead: others must be able to take its jobs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from mainspring.errors import StoreUnavailable
from mainspring.model.record import NewJob
from mainspring.store.base import Claim, Lane, Worker
from mainspring.store.serial.rows import Rows
from mainspring.store.sqlite import SqliteStore

T = TypeVar("T")


class Busy(SqliteStore):
    """Somebody's backup holds the file's lock while `busy` is set."""

    busy = False

    async def _write(self, verb: Callable[[Rows], T]) -> T:
        if self.busy:
            raise StoreUnavailable("the database is busy")
        return await super()._write(verb)


async def test_C9_a_leave_that_was_not_written_frees_the_lock(tmp_path: Path) -> None:
    here, there = Busy(tmp_path / "jobs.db"), SqliteStore(tmp_path / "jobs.db")
    await here.open()
    await there.open()
    try:
        await here.join(Worker("gone"))
        await there.join(Worker("other"))
        await here.add([NewJob(id="job", task="t")])
        await here.claim(Claim("gone", 1, [Lane("default", "t", "", 1)], 1))
        here.busy = True
        with pytest.raises(StoreUnavailable):
            await here.leave("gone")
        assert (await there.sweep("other")).rescued == 1
        job = (await there.get(["job"]))[0]
        assert job is not None
        assert job.state == "ready"
    finally:
        await here.close()
        await there.close()


async def test_H9_a_claim_reads_the_clock_when_its_turn_comes(tmp_path: Path) -> None:
    """It may have waited for the writer: what expired meanwhile is not handed out."""

    class Waiting(SqliteStore):
        async def _write(self, verb: Callable[[Rows], T]) -> T:
            clock.advance(60)
            return await super()._write(verb)

    from mainspring.clock import FakeClock

    clock = FakeClock()
    store = Waiting(tmp_path / "jobs.db", clock=clock)
    await store.open()
    try:
        await store.join(Worker("w"))
        await store.add([NewJob(id="job", task="t", expires_in=30.0)])
        claimed = await store.claim(Claim("w", 1, [Lane("default", "t", "", 1)], 1))
        assert claimed.jobs == []
        assert claimed.now == clock.now()
    finally:
        await store.close()

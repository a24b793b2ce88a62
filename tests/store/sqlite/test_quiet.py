"""A sweep with nothing to do asks the database rarely, and yet misses nothing."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mainspring.clock import FakeClock
from mainspring.model.record import NewJob
from mainspring.store.base import Claim, Lane, Worker
from mainspring.store.sqlite import SqliteStore, quiet
from mainspring.store.sqlite.quiet import LogFile


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteStore]:
    """Trusts the times of the log at once, and always."""
    monkeypatch.setattr(quiet, "DOUBT", 0.0)
    monkeypatch.setattr(quiet, "LONGEST_TRUST", 3600.0)
    store = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await store.open()
    await store.join(Worker("me"))
    yield store
    await store.close()


async def quietly(store: SqliteStore) -> tuple[list[str], list[str]]:
    """Sweep until the answer is known; from now on every statement of the writer and the reader is kept."""
    await store.sweep("me")
    writes: list[str] = []
    reads: list[str] = []
    store._open().writer.connection.set_trace_callback(writes.append)
    store._open().reader.connection.set_trace_callback(reads.append)
    return writes, reads


async def test_a_sweep_with_nothing_to_do_writes_nothing(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet, "DOUBT", 3600.0)
    await store.add([NewJob(id="a", task="t", delay=30.0)])
    writes, reads = await quietly(store)
    first = await store.sweep("me")
    assert first.next_due is not None
    assert reads
    assert writes == []


async def test_the_same_answer_is_not_looked_up_again(store: SqliteStore, clock: FakeClock) -> None:
    await store.add([NewJob(id="a", task="t", delay=30.0)])
    writes, reads = await quietly(store)
    before = await store.sweep("me")
    clock.advance(10)
    after = await store.sweep("me")
    assert (writes, reads) == ([], [])
    assert after.now == before.now + 10
    assert after.next_due == before.next_due
    clock.advance(30)
    assert (await store.sweep("me")).promoted == 1, "what falls due is seen"


async def test_a_commit_of_another_is_seen(store: SqliteStore, tmp_path: Path, clock: FakeClock) -> None:
    other = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await other.open()
    await quietly(store)
    await other.add([NewJob(id="a", task="t", delay=5.0)])
    assert (await store.sweep("me")).next_due == clock.now() + 5
    await other.close()


async def test_C9_a_death_is_seen_without_a_commit(store: SqliteStore, tmp_path: Path, clock: FakeClock) -> None:
    other = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await other.open()
    await other.join(Worker("other"))
    await other.add([NewJob(id="a", task="t")])
    await other.claim(Claim("other", 1, [Lane("default", "t", "", 1)], 1))
    _, reads = await quietly(store)
    assert (await store.sweep("me")).rescued == 0
    assert reads == []
    other._open().liveness.free("other")
    assert (await store.sweep("me")).rescued == 1
    await other.close()


async def test_H9_a_clock_that_stepped_back_is_no_known_answer(store: SqliteStore, clock: FakeClock) -> None:
    _, reads = await quietly(store)
    clock.step(-100)
    await store.sweep("me")
    assert reads


def test_a_log_is_in_doubt_for_a_while_after_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change comes before the commit can be seen, and the next may bear the same time."""
    now = [1000.0]
    monkeypatch.setattr(quiet, "monotonic", lambda: now[0])
    path = tmp_path / "wal"
    path.write_bytes(b"a")
    log = LogFile(str(path))
    assert log.may_have_grown()
    now[0] += quiet.DOUBT / 2
    assert log.may_have_grown()
    log.seen()
    now[0] += quiet.SAME_TIME / 2
    assert log.may_have_grown()
    now[0] += quiet.SAME_TIME
    assert not log.may_have_grown()
    os.utime(path, ns=(0, 0))
    assert log.may_have_grown(), "its time has changed"
    now[0] += quiet.DOUBT
    log.may_have_grown()
    assert not log.may_have_grown()
    now[0] += quiet.LONGEST_TRUST
    assert log.may_have_grown(), "now and then in any case"
    log.doubt()
    now[0] += quiet.DOUBT / 2
    assert log.may_have_grown()

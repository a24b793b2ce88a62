"""What the rows of SQLite do beyond the contract: limits of a look, counts, places."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mainspring.clock import FakeClock
from mainspring.model.record import Failure, Hook, JobRecord, NewJob, Settlement
from mainspring.store.base import Claim, Filter, Lane, Worker
from mainspring.store.sqlite import SqliteStore, reads
from mainspring.store.sqlite.connect import MEMORY, Place, connect, prepare
from mainspring.store.sqlite.rows import SqliteRows

LANE = Lane("default", "t", "", 1000)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "jobs.db", clock=FakeClock())
    await store.open()
    await store.join(Worker("w"))
    yield store
    assert {each.subject: each.level for each in await store.check()}["counts"] == "ok"
    await store.close()


async def test_M5_find_stops_after_its_limit_and_says_where(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "SCAN_LIMIT", 10)
    await store.add([NewJob(id=f"j{n:02}", task="t", queue="rare" if n == 25 else "default") for n in range(30)])
    for newest, empty in ((False, 2), (True, 0)):
        cursor, pages = None, []
        while True:
            page = await store.find(Filter(queue="rare"), cursor=cursor, limit=5, newest=newest)
            pages.append([job.id for job in page.jobs])
            cursor = page.cursor
            if cursor is None:
                break
        assert list(chain.from_iterable(pages)) == ["j25"]
        assert pages.index(["j25"]) == empty
        assert len(pages) <= 4


async def test_pages_of_every_walk_have_no_gap_and_no_overlap(store: SqliteStore) -> None:
    await store.add(
        [NewJob(id=f"j{n:02}", task="t", tags=("x",), delay=0.0 if n % 2 else 60.0, parent="p") for n in range(20)]
    )
    await store.claim(Claim("w", 1, [LANE], 4))
    filters = {
        "all": (Filter(), 20),
        "task": (Filter(task="t"), 20),
        "ready": (Filter(states=("ready",)), 6),
        "running": (Filter(states=("running",)), 4),
        "scheduled": (Filter(states=("scheduled",)), 10),
        "two states": (Filter(states=("running", "ready")), 10),
        "tag": (Filter(tags=("x",), states=("scheduled",)), 10),
        "parent": (Filter(parent="p", task="t"), 20),
    }
    for wanted, number in filters.values():
        for newest in (False, True):
            found: list[str] = []
            cursor = None
            while True:
                page = await store.find(wanted, cursor=cursor, limit=3, newest=newest)
                found += [job.id for job in page.jobs]
                cursor = page.cursor
                if cursor is None:
                    break
            assert found == sorted(set(found), reverse=newest)
            assert len(found) == number


async def test_a_batch_of_completions_with_one_that_is_not_plain(store: SqliteStore) -> None:
    """The quick way for plain jobs gives up, and what it had done is neither lost nor counted twice."""
    await store.add([NewJob(id=f"j{n}", task="t") for n in range(4)])
    claimed = await store.claim(Claim("w", 1, [LANE], 10))
    await store.add([NewJob(id="child", task="other", waits_on="j2")])
    await store.cancel(["j3"])
    settlements = [Settlement(job=job.id, lease=job.lease, kind="complete", ran=1.0) for job in claimed.jobs]
    stale = Settlement(job="j0", lease=7, kind="complete")
    for _ in range(2):
        assert await store.settle([*settlements, stale]) == ["accepted"] * 4 + ["stale"]
    (child,) = await store.get(["child"])
    assert child is not None
    assert child.state == "ready"
    assert {(each.task, each.state): each.number for each in await store.counts()} == {
        ("t", "completed"): 4,
        ("other", "ready"): 1,
    }


async def test_a_place_that_another_job_has_now_is_not_mistaken(store: SqliteStore) -> None:
    """SQLite gives the place of the last row again when that row is deleted."""
    await store.add([NewJob(id="old", task="t")])
    (old,) = (await store.claim(Claim("w", 1, [LANE], 1))).jobs
    await store._open().writer.call(lambda rows: rows.remove(["old"]))
    await store.add([NewJob(id="new", task="t")])
    (new,) = (await store.claim(Claim("w", 2, [LANE], 1))).jobs
    assert await store.settle([Settlement(job="old", lease=old.lease, kind="complete")]) == ["unknown"]
    assert (await store.get(["new"])) == [new]


async def test_two_settlements_of_one_batch_of_callers(store: SqliteStore) -> None:
    await store.add([NewJob(id=f"j{n}", task="t") for n in range(50)])
    claimed = await store.claim(Claim("w", 1, [LANE], 50))
    calls = [
        store.settle([Settlement(job=job.id, lease=job.lease, kind="complete", result=b"1")])
        for job in claimed.jobs
        for _ in range(2)
    ]
    assert await asyncio.gather(*calls) == [["accepted"]] * 100
    assert [(each.state, each.number) for each in await store.counts()] == [("completed", 50)]


words = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
maybe = st.none() | words
times = st.floats(0, 4e9, allow_nan=False).map(lambda at: round(at, 6))
numbers = st.integers(0, 2**63 - 1)
records = st.builds(
    JobRecord,
    id=words,
    task=words,
    version=words,
    queue=words,
    payload=st.binary(),
    priority=st.integers(-(2**31), 2**31),
    tags=st.lists(words, max_size=3, unique=True).map(tuple),
    metadata=st.binary(),
    options=st.binary(),
    hooks=st.lists(st.builds(Hook, on=st.just("dead"), task=words, options=st.binary()), max_size=2).map(tuple),
    unique=st.none(),
    unique_until=st.none(),
    parent=maybe,
    root=maybe,
    correlation=maybe,
    trace=maybe,
    schedule=maybe,
    slot=st.none() | times,
    waits_on=maybe,
    group=st.none(),
    linked=st.just(False),
    state=st.sampled_from(["ready", "running", "dead", "completed", "scheduled", "waiting"]),
    reason=words,
    created=times,
    due=times,
    expires=st.none() | times,
    lease=numbers,
    settled=numbers,
    attempt=numbers,
    round=numbers,
    worker=maybe,
    claim=numbers,
    claimed=st.none() | times,
    started=st.none() | times,
    begun=st.none() | times,
    finished=st.none() | times,
    cancel_requested=st.booleans(),
    suspect=st.booleans(),
    crashes=numbers,
    rescues=numbers,
    counters=st.dictionaries(words, numbers, max_size=3),
    result=st.none() | st.binary(),
    error=st.none() | st.builds(Failure, type=words, message=words, traceback=words),
)


@given(records, st.none() | times | st.just(math.inf))
def test_STO_034_a_job_comes_back_as_it_was(record: JobRecord, until: float | None) -> None:
    if until is not None:
        record = replace(record, unique="key", unique_until=until, group="group", linked=True)
    place = Place(MEMORY)
    connection = connect(place)
    prepare(connection, place)
    rows = SqliteRows(connection)
    rows.insert([record])
    rows.write([(record, record)])
    assert rows.jobs([record.id]) == [record]
    connection.close()

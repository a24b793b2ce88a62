"""Plans that were made while the tables were empty: they are kept, and must do when there are millions of rows.

The server believes of an empty table that it stays so, and then sees no harm in walking over a whole index for each
row of a batch. A table that looks empty may hold any number of dead rows as well, which are walked over like the others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from mainspring.ids import new_id
from mainspring.model.record import Failure, NewJob, Settlement
from mainspring.model.schedule import Definition, Fire, Overlap, ScheduleRecord, SlotJob
from mainspring.store.base import Beat, Claim, Lane, RunNow, SchedulePut, Started, Worker
from mainspring.store.postgres.place import Place
from mainspring.store.postgres.store import PostgresStore
from tests.store.postgres.test_explain import Watch, within

pytestmark = pytest.mark.slow

ENDS_IN = 86_400.0
LARGE = ("jobs", "attempts", "blobs", "progress", "unique_keys", "schedules", "schedule_runs")
SMALL_INDEXES = ("jobs_suspects", "jobs_running", "jobs_cancelling", "jobs_scheduled", "jobs_expires", "finished_idx")
"""Of those that run, wait for a time and so on: never many live ones, and looked at from end to end seldom."""


@pytest.fixture
async def watch(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watch]:
    store = PostgresStore(Place.parse(postgres_url + "&notify=off"))
    await store.open()
    await store.join(Worker("w", lease_time=ENDS_IN))
    async with store._pool.use(timed=False) as connection:
        tables = await connection.fetch(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = $1 AND c.relkind = 'r'",
            store._place.schema,
        )
        for (table,) in tables:
            await connection.execute(f"VACUUM ANALYZE {table}")
    yield Watch(store, monkeypatch)
    await store.close()


async def running(store: PostgresStore, number: int, **more: Any) -> list[NewJob]:
    """So many jobs that the worker has claimed."""
    jobs = [NewJob(id=new_id(), task="t", **more) for _ in range(number)]
    await store.add(jobs)
    claimed = await store.claim(Claim("w", next(numbers), [Lane("default", "t", "", number)], number))
    assert len(claimed.jobs) == number
    return jobs


numbers: Iterator[int] = iter(range(1, 10_000))


async def beat(store: PostgresStore) -> None:
    jobs = await running(store, 3)
    await store.beat(Beat("w", [(jobs[0].id, b"1")], started=[Started(job.id, 1, 0.1) for job in jobs]))


async def held(store: PostgresStore) -> None:
    await store.held("w")


async def complete(store: PostgresStore) -> None:
    jobs = await running(store, 3)
    await store.settle([Settlement(job=job.id, lease=1, kind="complete") for job in jobs])


async def retry(store: PostgresStore) -> None:
    jobs = await running(store, 3)
    failed = Failure(type="ValueError", message="no")
    await store.settle([Settlement(job=job.id, lease=1, kind="retry", after=60.0, error=failed) for job in jobs])


async def die_with_a_key_and_large_arguments(store: PostgresStore) -> None:
    [job] = await running(store, 1, unique="k", payload=b'{"a": "' + b"x" * 5000 + b'"}')
    failed = Failure(type="ValueError", message="no")
    await store.settle([Settlement(job=job.id, lease=1, kind="dead", error=failed)])
    await store.replay([job.id])
    await store.cancel([job.id])


async def a_dependant_that_is_cancelled(store: PostgresStore) -> None:
    first = NewJob(id=new_id(), task="t")
    await store.add([first, NewJob(id=new_id(), task="t", waits_on=first.id, parent=first.id)])
    await store.cancel([first.id])
    await store.replay([first.id])
    await store.cancel([first.id])


async def leave_with_jobs_that_run(store: PostgresStore) -> None:
    await store.join(Worker("gone", lease_time=ENDS_IN))
    await store.add([NewJob(id=new_id(), task="lost")])
    await store.claim(Claim("gone", 1, [Lane("default", "lost", "", 1)], 1))
    await store.leave("gone", died=True)


async def sweep(store: PostgresStore) -> None:
    await store.add([NewJob(id=new_id(), task="late", expires_in=0.0), NewJob(id=new_id(), task="later", delay=60.0)])
    await store.sweep("w")


async def prune(store: PostgresStore) -> None:
    await complete(store)
    await store.prune({"completed": 0.0})


async def delete(store: PostgresStore) -> None:
    jobs = await running(store, 2)
    await store.settle([Settlement(job=job.id, lease=1, kind="complete") for job in jobs])
    await store.delete([job.id for job in jobs])


async def schedules(store: PostgresStore) -> list[ScheduleRecord]:
    """Some of each rule of overlap; what is due is so for the end of a run, or for a slot."""
    now = (await store.get_schedules([])).now
    overlaps: list[Overlap] = ["skip", "allow", "queue"]
    records = [
        ScheduleRecord(
            id=f"{new_id()}-{overlap}",
            definition=Definition(
                trigger=b"{}", template=NewJob(id="", task="t"), overlap=overlap, stop_after=2, keep=1, keep_for=0.0
            ),
            declared_by="code",
            begin=now,
            next=now,
            due=now,
            created=now,
            changed=now,
        )
        for overlap in overlaps
    ]
    assert await store.put_schedules([SchedulePut(each, None) for each in records]) == ["put"] * 3
    return records


async def fire(store: PostgresStore, names: list[str]) -> None:
    """What is stored of these, whatever it is due for; with a slot that was missed."""
    for each in (await store.get_schedules(names)).schedules:
        assert each.due is not None
        slot = SlotJob(each.due + 1, new_id(), new_id())
        fire = Fire(
            schedule=each.id,
            revision=each.revision,
            expected=each.due,
            slots=(slot,),
            missed=1,
            missed_from=each.due,
            missed_to=each.due,
            to=slot.slot,
            next=None if each.number > 2 else slot.slot + 1,
            due=slot.slot + 1,
        )
        assert await store.fire([fire]) in (["fired"], ["skipped"])


async def fire_again_and_again(store: PostgresStore) -> None:
    names = [each.id for each in await schedules(store)]
    for _ in range(4):
        await fire(store, names)
        await store.claim(Claim("w", next(numbers), [Lane("default", "t", "", 9)], 9))
        for name in names:
            held = [run.job for run in await store.runs(name) if run.open and run.job]
            await store.settle([Settlement(job=job, lease=1, kind="complete") for job in held[:1]])
    assert (await store.due_schedules(without=["none"])).schedules == []
    await store.trigger([RunNow(name, SlotJob(0.0, new_id(), new_id())) for name in names])


async def replay_a_run(store: PostgresStore) -> None:
    [name, *_] = [each.id for each in await schedules(store)]
    await fire(store, [name])
    [job] = [run.job for run in await store.runs(name) if run.job]
    await store.cancel([job])
    await store.prune_runs()
    assert await store.replay([job]) == ["replayed"]


async def change_and_look(store: PostgresStore) -> None:
    records = await schedules(store)
    await store.put_schedules([SchedulePut(replace(each, revision=2), each) for each in records])
    await store.put_schedules([SchedulePut(records[0], records[0])])
    await store.list_schedules()
    await store.list_schedules(declared_by=["code"])
    assert len((await store.due_schedules()).schedules) == 3


async def prune_runs(store: PostgresStore) -> None:
    names = [each.id for each in await schedules(store)]
    await fire(store, names)
    await store.cancel([run.job for name in names for run in await store.runs(name) if run.open and run.job])
    assert await store.prune_runs() == 3
    await store.drop_schedules(names)
    await store.prune_runs()


async def prune_jobs_of_runs(store: PostgresStore) -> None:
    names = [each.id for each in await schedules(store)]
    await fire(store, names)
    await store.cancel([run.job for name in names for run in await store.runs(name) if run.open and run.job])
    assert await store.prune({"cancelled": 0.0}) >= 3
    assert [run.state for name in names for run in await store.runs(name) if run.job] == ["cancelled"] * 3


VERBS: list[Callable[[PostgresStore], Awaitable[None]]] = [
    beat, held, complete, retry, die_with_a_key_and_large_arguments, a_dependant_that_is_cancelled,
    leave_with_jobs_that_run, sweep, prune, delete, fire_again_and_again, replay_a_run, change_and_look, prune_runs,
    prune_jobs_of_runs,
]  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
async def test_H4_no_plan_that_was_made_for_empty_tables_walks_over_a_whole_index(
    watch: Watch, verb: Callable[[PostgresStore], Awaitable[None]]
) -> None:
    watch.sent.clear()
    await verb(watch.store)
    sent = [each for each in watch.sent if each.text.lstrip().startswith(("SELECT", "WITH", "UPDATE", "DELETE"))]
    assert sent
    async with watch.store._pool.use(timed=False) as connection:
        plans = [plan for each in sent for plan in await watch.planned(connection, each)]
    walks = [f"{node['Relation Name']} by {node.get('Index Name')}" for plan in plans for node in walking(plan["Plan"])]
    assert walks == []


def walking(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Steps that read a large table, or an index of it, from end to end."""
    for node in within(plan):
        name = node.get("Relation Name", "")
        if name not in LARGE and not name.startswith("jobs_"):
            continue
        walks_index = node["Node Type"].startswith("Index") and "Index Cond" not in node
        if node["Node Type"] == "Seq Scan" or (walks_index and not node["Index Name"].endswith(SMALL_INDEXES)):
            yield node

"""PostgreSQL: ends that concern others, met by other verbs in between: no chain hangs (RULES C5, C11, H11)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Literal

import pytest

from mainspring.ids import new_id
from mainspring.model.record import JobRecord, NewGroup, NewJob, Settlement
from mainspring.store.postgres.store import PostgresStore
from tests.race.postgres_scene import Scene, scene_on
from tests.servers.fixtures import fresh_schema
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.postgres

How = Literal["complete", "dead"]


@pytest.fixture(scope="module")
def schema_url(postgres_server: Postgres) -> Iterator[str]:
    with fresh_schema(postgres_server) as schema:
        yield postgres_server.url(schema)


@pytest.fixture
async def scene(schema_url: str) -> AsyncIterator[Scene]:
    async with scene_on(schema_url) as scene:
        yield scene


def ends(job: JobRecord, how: How = "complete") -> Settlement:
    return Settlement(job=job.id, lease=job.lease, kind=how)


async def fan_in(scene: Scene, size: int, on_failure: Literal["stop", "wait"] = "stop") -> tuple[list[JobRecord], str]:
    """Members that run, and the job that waits for them."""
    group, last = new_id(), NewJob(id=new_id(), task="last")
    members = [NewJob(id=new_id(), task="work", group=group) for _ in range(size)]
    waiting = NewJob(id=last.id, task="last", waits_on=group)
    await scene.one.add([*members, waiting], [NewGroup(id=group, size=size, on_failure=on_failure)])
    jobs = await scene.claim()
    assert len(jobs) == size
    return jobs, last.id


async def chain(scene: Scene, *tasks: str) -> list[str]:
    jobs = [NewJob(id=new_id(), task=tasks[0])]
    for task in tasks[1:]:
        jobs.append(NewJob(id=new_id(), task=task, waits_on=jobs[-1].id))
    await scene.one.add(jobs)
    return [job.id for job in jobs]


async def test_C11_siblings_that_end_in_two_settlements_at_once_are_both_counted(scene: Scene) -> None:
    (first, second), last = await fan_in(scene, 2)
    halt = scene.a.halt("flush.put_groups")
    one = asyncio.create_task(scene.one.settle([ends(first)]))
    await halt.reached()
    two = asyncio.create_task(scene.two.settle([ends(second)]))
    await scene.blocked()
    halt.go()
    assert [await one, await two] == [["accepted"], ["accepted"]]
    assert (await scene.get(last)).state == "ready"


async def test_C11_many_siblings_in_one_settlement_and_twice(scene: Scene) -> None:
    jobs, last = await fan_in(scene, 40)
    batch = [ends(job) for job in jobs]
    for answers in await asyncio.gather(scene.one.settle(batch), scene.two.settle(batch)):
        assert answers == ["accepted"] * 40
    assert (await scene.get(last)).state == "ready"


@pytest.mark.parametrize("on_failure", ["stop", "wait"])
async def test_C11_a_failure_and_a_success_at_once(scene: Scene, on_failure: Literal["stop", "wait"]) -> None:
    (first, second), last = await fan_in(scene, 2, on_failure)
    halt = scene.a.halt("commit")
    one = asyncio.create_task(scene.one.settle([ends(first, "dead")]))
    await halt.reached()
    two = asyncio.create_task(scene.two.settle([ends(second)]))
    await scene.blocked()
    halt.go()
    await asyncio.gather(one, two)
    assert (await scene.get(last)).state == ("cancelled" if on_failure == "stop" else "ready")


@pytest.mark.parametrize(("how", "state"), [("complete", "ready"), ("dead", "cancelled")])
async def test_C5_a_job_is_added_behind_one_that_is_about_to_end(scene: Scene, how: How, state: str) -> None:
    """The end has locked its job, plain as it was, when somebody begins to wait for it."""
    [parent] = await scene.run()
    blocker = asyncio.create_task(scene.two.cancel([parent.id])) if how == "dead" else None
    if blocker is not None:
        await blocker
    halt = scene.a.halt("loads.jobs" if how == "dead" else "jobs.complete")
    ending = asyncio.create_task(scene.settle(scene.one, ends(parent, how)))
    await halt.reached()
    child = NewJob(id=new_id(), task="next", waits_on=parent.id)
    commit = scene.b.halt("commit")
    adding = asyncio.create_task(scene.two.add([child]))
    await commit.reached()  # it has locked the parent, and marked it
    halt.go()
    await scene.blocked()
    commit.go()
    assert await ending == ["accepted"]
    await adding
    assert (await scene.get(child.id)).state == state


@pytest.mark.parametrize(("how", "state"), [("complete", "ready"), ("dead", "cancelled")])
async def test_H11_a_job_is_added_behind_one_that_ends_while_it_is_looked_for(
    scene: Scene, how: How, state: str
) -> None:
    """It has not been found ended, is looked for among the live, and moves at that moment."""
    [parent] = await scene.run()
    halt = scene.b.halt("loads.jobs")
    child = NewJob(id=new_id(), task="next", waits_on=parent.id)
    adding = asyncio.create_task(scene.two.add([child]))
    await halt.reached()
    commit = scene.a.halt("commit")
    marked = Settlement(job=parent.id, lease=parent.lease, kind=how, reason="by a transaction")
    ending = asyncio.create_task(scene.one.settle([marked]))
    await commit.reached()
    halt.go()
    await scene.blocked()
    commit.go()
    await asyncio.gather(adding, ending)
    assert (await scene.get(child.id)).state == state


async def test_C5_who_joins_the_far_end_of_a_chain_that_is_falling_falls_too(scene: Scene) -> None:
    """All that hang on the dead job have been found, and are not locked yet; there one more is added behind the last."""
    ids = await chain(scene, "work", "second", "third")
    [first] = await scene.claim()
    far = scene.a.halt("loads.all_dependants")
    falling = asyncio.create_task(scene.one.settle([ends(first, "dead")]))
    await far.reached()
    locks = scene.a.halt("loads.jobs")
    far.go()
    await locks.reached()
    more = NewJob(id=new_id(), task="fourth", waits_on=ids[-1])
    await scene.two.add([more])
    locks.go()
    await falling
    assert [(await scene.get(each)).state for each in [*ids[1:], more.id]] == ["cancelled"] * 3


async def test_C5_who_joins_a_group_that_is_falling_falls_too(scene: Scene) -> None:
    """The same behind a group whose member falls."""
    first, group = NewJob(id=new_id(), task="work"), new_id()
    second = NewJob(id=new_id(), task="b", waits_on=first.id)
    member = NewJob(id=new_id(), task="b", waits_on=second.id, group=group)
    last = NewJob(id=new_id(), task="c", waits_on=group)
    await scene.one.add([first, second, member, last], [NewGroup(id=group, size=1)])
    [running] = await scene.claim()
    far = scene.a.halt("loads.all_dependants")
    falling = asyncio.create_task(scene.one.settle([ends(running, "dead")]))
    await far.reached()
    locks = scene.a.halt("loads.jobs")
    far.go()
    await locks.reached()
    more = NewJob(id=new_id(), task="d", waits_on=group)
    await scene.two.add([more])
    locks.go()
    await falling
    assert [(await scene.get(each.id)).state for each in (member, last, more)] == ["cancelled"] * 3


async def test_C5_a_group_is_kept_for_who_begins_to_wait_on_it(scene: Scene) -> None:
    """The last job that waited on a group is deleted, while another one is added behind the group."""
    [member], last = await fan_in(scene, 1)
    await scene.one.cancel([last])
    group = (await scene.get(last)).waits_on
    commit = scene.b.halt("commit")
    more = NewJob(id=new_id(), task="more", waits_on=group)
    adding = asyncio.create_task(scene.two.add([more]))
    await commit.reached()
    deleting = asyncio.create_task(scene.one.delete([last]))
    await scene.blocked()
    commit.go()
    await asyncio.gather(adding, deleting)
    assert await scene.one.settle([ends(member)]) == ["accepted"]
    assert (await scene.get(more.id)).state == "ready"


async def test_C11_a_member_is_replayed_while_its_sibling_ends(scene: Scene) -> None:
    (first, second), last = await fan_in(scene, 2, "wait")
    await scene.one.settle([ends(first, "dead")])
    halt = scene.a.halt("commit")
    replaying = asyncio.create_task(scene.one.replay([first.id]))
    await halt.reached()
    ending = asyncio.create_task(scene.two.settle([ends(second)]))
    await scene.blocked()
    halt.go()
    assert await replaying == ["replayed"]
    assert await ending == ["accepted"]
    assert (await scene.get(last)).state == "waiting"
    [again] = await scene.claim()
    await scene.one.settle([ends(again)])
    assert (await scene.get(last)).state == "ready"


async def test_C11_a_sibling_ends_while_a_member_is_replayed_after_all_fell(scene: Scene) -> None:
    (first, second), last = await fan_in(scene, 2)
    await scene.one.settle([ends(first, "dead")])
    assert (await scene.get(last)).state == "cancelled"
    halt = scene.b.halt("commit")
    ending = asyncio.create_task(scene.two.settle([ends(second)]))
    await halt.reached()
    replaying = asyncio.create_task(scene.one.replay([first.id]))
    await scene.blocked()
    halt.go()
    assert await replaying == ["replayed"]
    await ending
    [again] = await scene.claim()
    await scene.one.settle([ends(again)])
    assert (await scene.get(last)).state == "ready"


async def test_C11_rows_that_are_wanted_in_opposite_orders_end_in_no_error(scene: Scene) -> None:
    """A flow is added again while its member ends: group and member, member and group. The server ends the deadlock."""
    group = new_id()
    jobs = [NewJob(id=new_id(), task="work", group=group), NewJob(id=new_id(), task="last", waits_on=group)]
    await scene.one.add(jobs, [NewGroup(id=group, size=1)])
    [member] = await scene.claim()
    halt = scene.a.halt("loads.groups")
    ending = asyncio.create_task(scene.one.settle([ends(member)]))
    await halt.reached()
    adding = asyncio.create_task(scene.two.add(jobs, [NewGroup(id=group, size=1)]))
    await scene.blocked()
    halt.go()
    assert await ending == ["accepted"]
    assert await adding == [(new.id, False) for new in jobs]
    assert (await scene.get(jobs[1].id)).state == "ready"


@pytest.mark.parametrize("verb", ["cancel", "settle", "follow", "replay"])
async def test_C5_many_at_once_are_not_one_question_each(scene: Scene, verb: str) -> None:
    """Jobs whose ends concern others, in one call: how often the server is asked does not grow with their number."""
    number = 300
    group = new_id()
    members = [NewJob(id=new_id(), task="work", group=group, unique=f"k{n}") for n in range(number)]
    await scene.one.add(members, [NewGroup(id=group, size=number)])
    assert len(scene.a.said) < 40
    ids = [new.id for new in members]
    jobs = await scene.claim() if verb != "cancel" else []
    if verb == "replay":
        await scene.one.settle([ends(job, "dead") for job in jobs])
    scene.a.said.clear()
    if verb == "cancel":
        assert await scene.one.cancel(ids) == ["cancelled"] * number
    elif verb == "replay":
        assert await scene.one.replay(ids) == ["replayed"] * number
    elif verb == "settle":
        assert await scene.one.settle([ends(job) for job in jobs]) == ["accepted"] * number
    else:
        following = [
            Settlement(
                job=job.id, lease=job.lease, kind="complete",
                follow_ups=(NewJob(id=new_id(), task="next", unique=f"next {n}"), NewJob(id=new_id(), task="next")),
            )
            for n, job in enumerate(jobs)
        ]  # fmt: skip
        assert await scene.one.settle(following) == ["accepted"] * number
    assert len(scene.a.said) < 40, f"{len(scene.a.said)} statements"


async def test_H11_a_job_that_moves_is_found_by_every_verb(scene: Scene) -> None:
    """Cancel, replay, delete, get at the very moment at which a settlement moves it."""

    async def at_the_move(act: str, store: PostgresStore) -> object:
        [job] = await scene.run()
        halt = scene.a.halt("commit")
        moved = Settlement(job=job.id, lease=job.lease, kind="dead", reason="by a transaction")
        ending = asyncio.create_task(scene.one.settle([moved]))
        await halt.reached()
        acting = asyncio.create_task(getattr(store, act)([job.id]))
        if act != "get":
            await scene.blocked()
        else:
            assert (await acting)[0].state == "running"
        halt.go()
        await ending
        assert await scene.rows_of(job.id) == 1 or act == "delete"
        return await acting

    assert await at_the_move("cancel", scene.two) == ["ended"]
    assert await at_the_move("replay", scene.two) == ["replayed"]
    await scene.one.cancel([job.id for job in await scene.claim()])
    await at_the_move("get", scene.two)
    assert await at_the_move("delete", scene.two) == ["changed"]


async def test_H11_a_job_that_is_replayed_while_it_is_looked_for(scene: Scene) -> None:
    """It is no longer ended, and is found among the live."""
    [job] = await scene.run()
    await scene.one.settle([ends(job, "dead")])
    halt = scene.b.halt("loads.done")
    cancelling = asyncio.create_task(scene.two.cancel([job.id]))
    await halt.reached()
    assert await scene.one.replay([job.id]) == ["replayed"]
    halt.go()
    assert await cancelling == ["cancelled"]

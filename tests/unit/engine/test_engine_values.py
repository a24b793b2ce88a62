"""Small parts of the engine, each alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mainspring.clock import FakeClock
from mainspring.engine.buffer import Buffer, Entry
from mainspring.engine.context import Context
from mainspring.engine.limits import Lane, Limits
from mainspring.engine.liveness import Liveness
from mainspring.engine.patient import patiently
from mainspring.engine.registry import Registry
from mainspring.engine.running import Register, Running
from mainspring.engine.settings import WorkerSettings
from mainspring.engine.watchdog import EXIT_CODE, Overdue
from mainspring.errors import InvalidOption, StoreUnavailable
from mainspring.model.record import JobRecord
from mainspring.retries.backoff import constant
from mainspring.retries.policy import Retry
from tests.unit.engine.workshop import Workshop, virtual


async def nothing() -> None: ...


def limits_of(*, queues: tuple[str, ...] | None = None, concurrency: int = 10, **tasks: int | None) -> Limits:
    shop = Workshop.__new__(Workshop)
    shop.registry = Registry()
    for name, bound in tasks.items():
        shop.task(nothing, name, concurrency=bound)
    return Limits(shop.registry, WorkerSettings(concurrency=concurrency, queues=queues))


def job(identifier: str, *, priority: int = 0, due: float = 0.0) -> JobRecord:
    return JobRecord(id=identifier, task="t", state="running", created=0.0, due=due, priority=priority)


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"prefetch": -1},
        {"queues": ()},
        {"lease_time": 0.0},
        {"poll": -1.0},
        {"grace": float("inf")},
        {"stall_limit": 0.0},
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match=next(iter(wrong))):
        WorkerSettings(**wrong)


def test_the_buffer_gives_out_in_claim_order() -> None:
    lane = limits_of(t=None).lane("default", "t", "")
    buffer = Buffer()
    buffer.push([Entry(job("b"), lane, 0.0), Entry(job("d", due=1.0), lane, 0.0)])
    buffer.push([Entry(job("c", priority=5, due=9.0), lane, 0.0), Entry(job("a"), lane, 0.0)])
    out = [entry.job.id for _ in range(4) if (entry := buffer.pop()) is not None]
    assert out == ["c", "a", "b", "d"]
    assert buffer.pop() is None


def test_what_is_taken_out_of_the_buffer_is_gone() -> None:
    lane = limits_of(t=None).lane("default", "t", "")
    buffer = Buffer()
    buffer.push([Entry(job(each), lane, 0.0) for each in "abc"])
    assert [entry.job.id for entry in buffer.take(lambda entry: entry.job.id == "b")] == ["b"]
    assert len(buffer) == 2
    assert buffer.lanes() == [lane, lane]


def test_a_worker_asks_for_its_free_slots_when_nothing_was_measured() -> None:
    wish = limits_of(t=None).wish(4, [])
    assert wish is not None
    assert (wish.limit, [lane.cap for lane in wish.lanes]) == (6, [6])


def test_a_full_worker_asks_for_nothing() -> None:
    assert limits_of(t=None).wish(10, []) is None


def test_LIM_001_a_limited_task_is_capped_by_what_it_has() -> None:
    """LIM-001, LIM-002: its own limit, and the total."""
    limits = limits_of(t=3, u=None)
    lane = limits.lane("default", "t", "")
    lane.began()
    wish = limits.wish(1, [lane])
    assert wish is not None
    assert {each.task: each.cap for each in wish.lanes} == {"t": 1, "u": 8}
    assert wish.limited


def test_the_lanes_of_a_limited_task_share_its_limit_in_turns() -> None:
    limits = limits_of(t=1)
    limits.learn("b", "t")
    served: list[str] = []
    for _ in range(4):
        wish = limits.wish(0, [])
        assert wish is not None
        assert sum(each.cap for each in wish.lanes) == 1
        served += [each.queue for each in wish.lanes]
    assert sorted(served) == ["b", "b", "default", "default"]


def test_only_known_tasks_in_queues_asked_for_are_learnt() -> None:
    limits = limits_of(queues=("mail",), t=None)
    assert not limits.queues
    assert not limits.learn("default", "t")
    assert not limits.learn("mail", "stranger")
    assert limits.learn("mail", "t")
    assert not limits.learn("mail", "t")
    assert list(limits.queues) == ["mail"]


def test_a_beat_is_good_for_five_sixths_of_the_lease() -> None:
    clock = FakeClock()
    liveness = Liveness(30.0, clock)
    sent = liveness.now()
    sure: list[bool] = []
    for advance, answered in ((20, None), (5, None), (0, sent), (0, sent + 25)):
        clock.advance(advance)
        if answered is not None:
            liveness.answered(answered)
        sure.append(liveness.sure)
    assert sure == [True, False, False, True]


@virtual
async def test_a_store_is_asked_again_until_the_policy_gives_up() -> None:
    asked: list[float] = []
    loop = asyncio.get_running_loop()

    async def ask() -> str:
        asked.append(loop.time())
        if len(asked) < 4:
            raise StoreUnavailable("down")
        return "up"

    policy = Retry(on=StoreUnavailable, attempts=4, backoff=constant(7))
    assert await patiently(ask, "ask", policy) == "up"
    assert asked[-1] - asked[0] == pytest.approx(21)
    asked.clear()
    with pytest.raises(StoreUnavailable):
        await patiently(ask, "ask", Retry(on=StoreUnavailable, attempts=2, backoff=constant(7)))


@virtual
async def test_an_error_of_another_kind_is_not_asked_about_again() -> None:
    asked: list[int] = []

    async def ask() -> None:
        asked.append(1)
        raise ValueError

    with pytest.raises(ValueError):
        await patiently(ask, "ask")
    assert asked == [1]


@virtual
async def test_C7_a_job_that_is_overdue_for_too_long_ends_the_process() -> None:
    codes: list[int] = []
    loop = asyncio.get_running_loop()
    register = Register(loop)
    lane: Lane = limits_of(t=None).lane("default", "t", "")
    lane.plan.timeout = 5.0
    forever = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    register.add(Running(Context(job("a")), lane, forever, loop.time()))
    overdue = Overdue(300.0, register, end=codes.append)
    await asyncio.sleep(200)
    await overdue.look()
    assert codes == []
    await asyncio.sleep(106)
    await overdue.look()
    assert codes == [EXIT_CODE]
    forever.cancel()


async def stubborn() -> None:
    try:
        await asyncio.sleep(1e6)
    except asyncio.CancelledError:
        await asyncio.sleep(1e6)


def test_the_same_room_is_asked_for_in_the_same_words_until_something_changes() -> None:
    limits = limits_of(t=None)
    wish = limits.wish(0, [])
    assert wish is not None
    assert limits.wish(0, []) is wish
    fewer = limits.wish(3, [])
    assert fewer is not None
    assert fewer.limit == wish.limit - 3
    limits.learn("other", "t")
    more = limits.wish(0, [])
    assert more is not None
    assert [lane.queue for lane in more.lanes] == ["default", "other"]
    limits.claimed(0.01)
    limits.lane("other", "t", "").ran(0.000001)
    ahead = limits.wish(0, [])
    assert ahead is not None
    assert ahead.limit > wish.limit

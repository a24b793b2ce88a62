"""Workers that come, beat, fall silent and leave; the sweep; and pruning."""

from __future__ import annotations

import pytest

from mainspring.model.states import TERMINAL, State
from mainspring.store.base import Beat, BeatReply, Started, Worker
from mainspring.testing.contract.harness import StoreHarness
from mainspring.testing.contract.states import HOUR, Driver, lane

TERMINAL_STATES = sorted(TERMINAL)


class UpkeepContract:
    """`Upkeep.join`, `beat`, `leave`, and the sweep of times."""

    async def test_joining_twice_changes_nothing(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        await d.start(await d.add())
        before = await harness.store.workers()
        d.clock.advance(5)
        assert await harness.store.join(Worker("w1")) == d.clock.now()
        assert await harness.store.workers() == before

    async def test_a_beat_of_an_unknown_worker_says_so(self, harness: StoreHarness) -> None:
        now = harness.clock.now()
        assert await harness.store.beat(Beat("nobody")) == BeatReply(now, known=False)
        assert await harness.store.workers() == []

    async def test_a_beat_brings_what_is_paused(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        await d.join("w1")
        assert await harness.store.beat(Beat("w1")) == BeatReply(d.clock.now(), known=True)
        await harness.store.pause("b")
        await harness.store.pause("a")
        assert sorted((await harness.store.beat(Beat("w1"))).paused) == await harness.store.paused() == ["a", "b"]
        await harness.store.resume("a")
        assert (await harness.store.beat(Beat("w1"))).paused == ("b",)

    # --- leaving

    async def test_H8_a_beat_tells_what_has_started(self, harness: StoreHarness) -> None:
        """Seen on the job and, when its worker dies, in the history of the attempt."""
        d = Driver(harness)
        job, other = await d.start(await d.add()), await d.start(await d.add())
        began = d.clock.now()
        d.clock.advance(5)
        told = [Started(job.id, job.lease, 5.0), Started(other.id, other.lease + 1, 5.0), Started(d.new().id, 1, 5.0)]
        await harness.store.beat(Beat("w1", started=told))
        assert [(await d.job(each.id)).started for each in (job, other)] == [began, None]
        d.clock.advance(5)
        await harness.store.beat(Beat("w1", started=[Started(job.id, job.lease, 9.0)]))
        assert (await d.job(job.id)).started == began
        await d.kill("w1")
        assert [each.started for each in await harness.store.attempts(job.id)] == [began]

    async def test_M14_leaving_hands_everything_back(self, harness: StoreHarness) -> None:
        """RST-023."""
        d = Driver(harness)
        jobs = [await d.add("t") for _ in range(5)]
        await d.claim(lane("t"), worker="w2")
        other = await d.start(await d.add())
        await harness.store.leave("w2")
        for identifier in jobs:
            job = await d.job(identifier)
            assert (job.state, job.attempt, job.lease, job.worker, job.suspect) == ("ready", 0, 1, None, False)
        assert await d.job(other.id) == other
        assert await harness.store.held("w2") == []
        assert not (await harness.store.beat(Beat("w2"))).known
        await harness.store.leave("w2")

    async def test_a_worker_that_left_may_join_again(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        job = await d.start(await d.add(), worker="w2")
        await d.kill("w2")
        again = await d.start(job.id, worker="w2")
        assert again.lease == 2
        assert (await harness.store.beat(Beat("w2"))).known

    # --- sweep

    async def test_a_sweep_promotes_what_is_due_and_tells_what_is_next(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        start = d.clock.now()
        soon, later = await d.add(delay=10), await d.add(delay=30)
        swept = await d.sweep()
        assert (swept.now, swept.next_due, swept.promoted, swept.more) == (start, start + 10, 0, False)
        d.clock.advance(10)
        swept = await d.sweep()
        assert (swept.promoted, swept.next_due) == (1, start + 30)
        assert await d.states(soon, later) == ["ready", "scheduled"]
        job = await d.job(soon)
        assert (job.due, job.reason) == (start + 10, "")
        d.clock.advance(25)
        assert (await d.sweep()).next_due is None
        assert (await d.job(later)).due == d.clock.now(), "H4: promoted jobs land above older bounds"

    async def test_next_due_counts_what_may_expire(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        start = d.clock.now()
        await d.add(expires_in=20.0)
        await d.add(delay=60)
        assert (await d.sweep()).next_due == start + 20
        d.clock.advance(20)
        swept = await d.sweep()
        assert (swept.expired, swept.next_due) == (1, start + 60)

    async def test_a_running_job_does_not_expire(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        job = await d.start(await d.add(expires_in=20.0))
        d.clock.advance(21)
        assert (await d.sweep()).expired == 0
        assert await d.job(job.id) == job

    async def test_C9_a_sweep_says_whether_others_hold_jobs(self, harness: StoreHarness) -> None:
        """Only where a death can be seen at once is there anything to watch for."""
        at_once = harness.liveness == "locks"
        d = Driver(harness)
        await d.join("w2")
        assert not (await harness.store.sweep("w2")).watch
        job = await d.start(await d.add())
        assert job.worker == "w1"
        assert (await harness.store.sweep("w2")).watch or not at_once
        assert not (await harness.store.sweep("w1")).watch
        await d.settle(job, "complete")
        assert not (await harness.store.sweep("w2")).watch

    async def test_a_sweep_is_bounded_and_says_that_there_is_more(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        await harness.store.add([d.new("t", delay=10) for _ in range(7)])
        await harness.store.add([d.new("u", expires_in=10.0) for _ in range(7)])
        d.clock.advance(10)
        await d.join("sweeper")
        for _ in range(3):
            assert (await harness.store.sweep("sweeper", limit=3)).more is not None
        assert {(count.task, count.state) for count in await harness.store.counts()} == {
            ("t", "ready"),
            ("u", "expired"),
        }
        await harness.store.add([d.new("v", delay=10) for _ in range(4)])
        d.clock.advance(10)
        first = await harness.store.sweep("sweeper", limit=3)
        assert (first.promoted, first.more) == (3, True)
        second = await harness.store.sweep("sweeper", limit=3)
        assert (second.promoted, second.more) == (1, False)

    async def test_two_sweeps_do_the_work_once(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        await d.join("w1", "w2")
        jobs = [await d.add(delay=10) for _ in range(5)]
        d.clock.advance(10)
        assert (await d.sweep("w1")).promoted + (await d.sweep("w2")).promoted == 5
        assert await d.states(*jobs) == ["ready"] * 5

    # --- prune

    @pytest.mark.parametrize("state", TERMINAL_STATES)
    async def test_STO_018_prune_removes_what_ended_long_ago(self, harness: StoreHarness, state: State) -> None:
        """FAI-013, FAI-015: each state has its own retention; what is not named is kept."""
        d = Driver(harness)
        old = await d.bring(state, unique="k", unique_for=1000 * HOUR)
        other = await d.bring("completed" if state != "completed" else "dead")
        live = await d.bring("ready")
        d.clock.advance(2 * HOUR)
        young = await d.bring(state)
        d.clock.advance(1)
        assert await harness.store.prune({}) == 0
        assert await harness.store.prune({state: 3 * HOUR}) == 0
        assert await harness.store.prune({state: HOUR}) == 1
        assert await harness.store.get([old.id]) == [None]
        assert await harness.store.attempts(old.id) == []
        assert None not in await harness.store.get([other.id, live.id, young.id])
        await d.add(unique="k")
        assert await harness.store.prune({state: 0.0}) == 1
        assert await harness.store.get([young.id]) == [None]

    async def test_prune_is_bounded_and_takes_the_oldest_first(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        jobs: list[str] = []
        for number in range(5):
            jobs.append((await d.bring("dead" if number % 2 else "cancelled")).id)
            d.clock.advance(10)
        assert await harness.store.prune({"dead": 1.0}, limit=1) == 1
        assert await harness.store.get([jobs[1]]) == [None]
        assert await harness.store.prune({"dead": 1.0, "cancelled": 1.0}, limit=3) == 3
        assert await harness.store.prune({"dead": 1.0, "cancelled": 1.0}, limit=3) == 1

    async def test_M8_children_of_a_living_root_are_spared(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        root = await d.add()
        child = await d.add(root=root, parent=root)
        await d.end(child)
        stranger = (await d.bring("completed")).id
        d.clock.advance(HOUR)
        assert await harness.store.prune({"completed": 60.0}) == 1
        assert [job is None for job in await harness.store.get([root, child, stranger])] == [False, False, True]
        await d.end(root)
        assert await harness.store.prune({"completed": 60.0}) == 1
        assert await harness.store.get([child]) == [None]
        d.clock.advance(61)
        assert await harness.store.prune({"completed": 60.0}) == 1

    async def test_M8_many_spared_children_do_not_stop_the_pruning(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        root = await d.add()
        for _ in range(5):
            await d.end(await d.add(root=root))
        strangers = [(await d.bring("completed")).id for _ in range(2)]
        d.clock.advance(HOUR)
        assert await harness.store.prune({"completed": 60.0}, limit=3) == 2
        assert await harness.store.get(strangers) == [None, None]

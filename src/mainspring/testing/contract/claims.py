"""Claiming: by lanes, in order, each job once, and again under the same number when an answer was lost."""

from __future__ import annotations

import asyncio

from mainspring.model.record import Failure
from mainspring.store.base import Claim, Count, Held, Lane
from mainspring.testing.contract.harness import StoreHarness, hooks
from mainspring.testing.contract.states import HOUR, Driver, lane


class ClaimContract:
    """`Jobs.claim`."""

    async def test_a_claim_writes_lease_attempt_worker_and_time(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        identifier = await d.add("t")
        d.clock.advance(5)
        await d.join("w1")
        claimed = await harness.store.claim(Claim("w1", 17, [lane("t")], 10))
        assert claimed.now == d.clock.now()
        [job] = claimed.jobs
        assert (job.id, job.state, job.lease, job.attempt, job.settled) == (identifier, "running", 1, 1, 0)
        assert (job.worker, job.claim, job.claimed, job.begun) == ("w1", 17, d.clock.now(), d.clock.now())
        assert await d.job(identifier) == job

    async def test_STO_041_order_is_priority_then_due_then_id_over_all_lanes(self, harness: StoreHarness) -> None:
        """M4."""
        d = Driver(harness)
        later_due = d.new("a")
        low, high, mid = d.new("a", priority=-1), d.new("b", priority=9), d.new("c", priority=5)
        await harness.store.add([low, high, mid])
        first, second = d.new("b"), d.new("a")
        await harness.store.add([second, first])
        d.clock.advance(1)
        await harness.store.add([later_due])
        lanes = [lane("a"), lane("b"), lane("c")]
        got = [job.id for job in await d.claim(*lanes)]
        wanted = [high.id, mid.id, first.id, second.id, later_due.id, low.id]
        assert sorted(got) == sorted(wanted)
        if harness.store.features.strict_order:
            assert got == wanted

    async def test_STO_041_order_holds_from_claim_to_claim(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        waited = d.new("t")
        last, low = d.new("t"), d.new("t", priority=-1)
        await harness.store.add([low, last])
        d.clock.advance(1)
        high = d.new("t", priority=1)
        await harness.store.add([waited, high])
        got = [(await d.claim(lane("t"), limit=1))[0].id for _ in range(4)]
        assert sorted(got) == sorted([high.id, last.id, waited.id, low.id])
        if harness.store.features.strict_order:
            assert got == [high.id, last.id, waited.id, low.id]

    async def test_what_a_claim_returns_is_what_is_stored(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        identifier = await d.add("t", tags=("x",))
        for _ in range(3):
            job = await d.start(identifier)
            assert await d.job(identifier) == job
            d.clock.advance(5)
            await d.settle(job, "release", ran=1.0, error=Failure(type="E", message="m"), counters={"a": 1})
            d.clock.advance(5)

    async def test_STO_041_a_retry_goes_behind_what_was_due_before_it(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        old, young = await d.add("t"), await d.add("t")
        [job] = await d.claim(lane("t"), limit=1)
        d.clock.advance(1)
        await d.settle(job, "release")
        got = [job.id for job in await d.claim(lane("t"))]
        assert sorted(got) == sorted([old, young])
        if harness.store.features.strict_order:
            assert got == [young, old]

    async def test_STO_041_caps_hold_for_each_lane_and_the_limit_for_all(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        a = [await d.add("a") for _ in range(3)]
        b = [await d.add("b", priority=1) for _ in range(3)]
        got = {job.id for job in await d.claim(lane("a", 1), lane("b", 2), limit=10)}
        assert got == {a[0], b[0], b[1]}
        assert [job.id for job in await d.claim(lane("a", 2), lane("b", 2), limit=2)] == [b[2], a[1]]
        assert await d.claim(lane("a", 0), limit=5) == []
        assert await d.claim(lane("a"), limit=0) == []
        assert await d.claim() == []

    async def test_only_ready_jobs_are_handed_out(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        await d.add("t", delay=HOUR)
        first = await d.add()
        await d.add("t", waits_on=first)
        assert await d.claim(lane("t")) == []
        d.clock.advance(HOUR)
        assert await d.claim(lane("t")) == [], "a scheduled job becomes ready by a sweep, not by the time"

    async def test_H5_what_nobody_asks_for_hurts_nobody(self, harness: StoreHarness) -> None:
        """Unknown tasks and versions, and other queues, stay ready and are seen in the counts."""
        d = Driver(harness)
        strangers = [d.new("unknown", priority=100) for _ in range(50)]
        strangers += [d.new("t", version="2", priority=100), d.new("t", queue="other", priority=100)]
        mine = d.new("t")
        await harness.store.add([*strangers, mine])
        assert [job.id for job in await d.claim(lane("t"), limit=10)] == [mine.id]
        counts = await harness.store.counts()
        assert Count("default", "unknown", "", "ready", 50) in counts
        assert Count("default", "t", "2", "ready", 1) in counts
        assert Count("other", "t", "", "ready", 1) in counts
        assert len(await d.claim(lane("t", version="2"), lane("t", queue="other"))) == 2

    async def test_H5_names_of_lanes_are_exact(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        await d.add("task", version="1", queue="q")
        near = [
            Lane("q", "Task", "1", 9),
            Lane("q", "task", "", 9),
            Lane("Q", "task", "1", 9),
            Lane("q", "tas", "1", 9),
        ]
        assert await d.claim(*near) == []

    async def test_a_paused_queue_gives_nothing_until_it_is_resumed(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        paused, other = await d.add("t", queue="p"), await d.add("t", queue="o")
        await harness.store.pause("p")
        await harness.store.pause("p")
        lanes = (lane("t", queue="p"), lane("t", queue="o"))
        assert [job.id for job in await d.claim(*lanes)] == [other]
        assert await d.states(paused) == ["ready"]
        await d.add("t", queue="p")
        await harness.store.resume("p")
        assert len(await d.claim(*lanes)) == 2
        await harness.store.resume("p")

    async def test_concurrent_claims_share_the_jobs(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        added = {await d.add("t") for _ in range(40)}
        workers = [f"w{number}" for number in range(8)]
        await d.join(*workers)
        claims = await asyncio.gather(*(d.claim(lane("t"), worker=each, limit=7) for each in workers))
        taken = [job.id for jobs in claims for job in jobs]
        assert len(taken) == len(set(taken))
        assert set(taken) == added
        for worker, jobs in zip(workers, claims, strict=True):
            assert {job.worker for job in jobs} <= {worker}

    # --- expiry

    async def test_H8_a_late_job_is_ended_not_handed_out(self, harness: StoreHarness) -> None:
        """M3, and C5: it ends like any other, with its follow-ups."""
        d = Driver(harness)
        late = [await d.add("t", priority=5, expires_in=60.0, hooks=hooks(), unique=f"k{n}") for n in range(3)]
        waiting = await d.add(waits_on=late[0])
        good = await d.add("t")
        d.clock.advance(60)
        assert [job.id for job in await d.claim(lane("t", 1), limit=1)] == [good]
        assert await d.states(late[0], waiting) == ["expired", "cancelled"]
        await d.claim(lane("t"))
        await d.sweep()
        assert await d.states(*late) == ["expired"] * 3
        assert len(await d.tasked("on_expired")) == 3
        assert (await d.job(late[0])).attempt == 0
        await d.add(unique="k0")

    # --- lost answers

    async def test_C2_a_claim_under_the_same_number_returns_the_same_jobs(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        for priority in (1, 3, 2):
            await d.add("t", priority=priority)
        await d.add("u")
        await d.join("w1", "w2")
        request = d.request("w1", [lane("t")], limit=2)
        given = (await harness.store.claim(request)).jobs
        assert len(given) == 2
        again = (await harness.store.claim(request._replace(repeat=True))).jobs
        assert again == given
        assert len(await d.claim(lane("t"), worker="w2")) == 1
        third = (await harness.store.claim(request._replace(repeat=True))).jobs
        assert third == given

    async def test_C2_a_repeat_of_a_claim_that_never_arrived_is_a_claim(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        await d.add("t")
        await d.join("w1")
        [job] = (await harness.store.claim(Claim("w1", 5, [lane("t")], 9, repeat=True))).jobs
        assert (job.lease, job.claim) == (1, 5)

    async def test_C2_other_numbers_and_other_workers_get_other_jobs(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        await d.add("t")
        await d.join("w1", "w2")
        assert len((await harness.store.claim(Claim("w1", 1, [lane("t")], 9))).jobs) == 1
        assert (await harness.store.claim(Claim("w1", 2, [lane("t")], 9, repeat=True))).jobs == []
        assert (await harness.store.claim(Claim("w2", 1, [lane("t")], 9, repeat=True))).jobs == []

    async def test_C2_what_was_settled_meanwhile_is_not_given_again(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        for _ in range(2):
            await d.add("t")
        await d.join("w1")
        request = d.request("w1", [lane("t")])
        first, second = (await harness.store.claim(request)).jobs
        await d.settle(first, "complete")
        assert (await harness.store.claim(request._replace(repeat=True))).jobs == [second]

    async def test_C2_held_tells_the_leases_of_a_worker(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        for _ in range(3):
            await d.add("t")
        await d.join("w1", "w2")
        assert await harness.store.held("w1") == []
        jobs = await d.claim(lane("t"), worker="w1", limit=2)
        await d.claim(lane("t"), worker="w2")
        assert sorted(await harness.store.held("w1")) == sorted(Held(job.id, 1) for job in jobs)
        await d.settle(jobs[0], "release")
        assert await harness.store.held("w1") == [Held(jobs[1].id, 1)]
        assert await harness.store.held("nobody") == []

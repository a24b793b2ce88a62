"""Settling: mixed batches, fences, and the same settlement again."""

from __future__ import annotations

import asyncio

import pytest

from mainspring.codec import clean_text, encode
from mainspring.model.record import Failure, NewGroup, Settlement
from mainspring.model.states import SETTLE_KINDS, SettleKind, State
from mainspring.testing.contract.harness import GROUP, StoreHarness, settlement
from mainspring.testing.contract.states import Driver, lane

AFTER: dict[SettleKind, State] = {
    "complete": "completed",
    "retry": "scheduled",
    "repeat": "scheduled",
    "snooze": "scheduled",
    "sleep": "scheduled",
    "wait": "waiting",
    "release": "ready",
    "crash": "ready",
    "dead": "dead",
    "cancelled": "cancelled",
    "expired": "expired",
}
GIVEN_BACK = ("snooze", "sleep", "wait", "release")


class SettleContract:
    """`Jobs.settle`."""

    async def test_a_mixed_batch_is_answered_each_on_its_own(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        jobs = [await d.start(await d.add()) for _ in SETTLE_KINDS]
        gone = await d.bring("completed")
        await harness.store.delete([gone.id])
        stale = await d.bring("ready")
        batch = [settlement(job, kind, after=0.0) for job, kind in zip(jobs, SETTLE_KINDS, strict=True)]
        answers = await harness.store.settle([*batch, settlement(gone, "complete"), settlement(stale, "retry")])
        assert answers == ["accepted"] * len(SETTLE_KINDS) + ["unknown", "stale"]
        assert await d.states(*(job.id for job in jobs)) == [AFTER[kind] for kind in SETTLE_KINDS]
        assert await d.job(stale.id) == stale

    @pytest.mark.parametrize("kind", ["retry", "repeat", "snooze", "sleep", "release"])
    async def test_H9_after_is_added_to_the_clock_of_the_store(self, harness: StoreHarness, kind: SettleKind) -> None:
        d = Driver(harness)
        job = await d.start(await d.add())
        d.clock.advance(5)
        await d.settle(job, kind, after=60.5)
        after = await d.job(job.id)
        assert (after.state, after.due, after.reason) == ("scheduled", d.clock.now() + 60.5, kind)
        d.clock.advance(60)
        assert (await d.sweep()).promoted == 0
        d.clock.advance(1)
        assert (await d.sweep()).promoted == 1
        assert await d.states(job.id) == ["ready"]

    @pytest.mark.parametrize("kind", SETTLE_KINDS)
    async def test_attempts_count_as_the_table_says(self, harness: StoreHarness, kind: SettleKind) -> None:
        d = Driver(harness)
        identifier = await d.add()
        await d.end(identifier, "retry")
        await d.sweep()
        job = await d.start(identifier)
        assert (job.attempt, job.lease) == (2, 2)
        await d.settle(job, kind, ran=1.0)
        after = await d.job(identifier)
        assert (after.attempt, after.lease, after.settled) == (1 if kind in GIVEN_BACK else 2, 2, 2)

    async def test_what_an_attempt_said_is_kept(self, harness: StoreHarness) -> None:
        """FAI-007."""
        d = Driver(harness)
        job = await d.start(await d.add())
        d.clock.advance(10)
        error = Failure(type="OSError", message="no route", traceback="Traceback …\n  line 1")
        await d.settle(job, "retry", error=error, ran=4.0, counters={"a": 1, "b": 2})
        waiting = await d.job(job.id)
        assert (waiting.error, waiting.counters, waiting.worker, waiting.claimed) == (
            error,
            {"a": 1, "b": 2},
            None,
            None,
        )
        await d.sweep()
        again = await d.start(job.id)
        assert (again.error, again.counters, again.begun) == (None, {"a": 1, "b": 2}, job.begun)
        d.clock.advance(3)
        await d.settle(again, "complete", result=encode({"n": 2**63}), ran=2.0, reason="fine")
        done = await d.job(job.id)
        assert (done.result, done.error, done.reason) == (encode({"n": 2**63}), None, "fine")
        assert (done.worker, done.started, done.finished) == ("w1", d.clock.now() - 2, d.clock.now())

    @pytest.mark.parametrize("text", ["a\x00b", "\ud800", "\\u0000", "'; --", "😀" * 9000], ids=ascii)
    async def test_C10_a_cleaned_error_never_fails_its_batch(self, harness: StoreHarness, text: str) -> None:
        d = Driver(harness)
        jobs = [await d.start(await d.add()) for _ in range(3)]
        error = Failure(type=clean_text(text, 200), message=clean_text(text), traceback=clean_text(text))
        batch = [settlement(jobs[0], "complete"), settlement(jobs[1], "dead", error=error, reason=clean_text(text))]
        answers = await harness.store.settle([*batch, settlement(jobs[2], "complete")])
        assert answers == ["accepted"] * 3
        dead = await d.job(jobs[1].id)
        assert (dead.error, dead.reason) == (error, clean_text(text))

    async def test_repeat_opens_a_round_and_resets_what_was_used_up(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        identifier = await d.add()
        await d.end(identifier, "crash")
        await d.end(identifier, "repeat", counters={"a": 1})
        job = await d.job(identifier)
        assert (job.round, job.counters, job.crashes, job.begun, job.suspect) == (1, {}, 0, None, False)
        assert (job.attempt, job.lease) == (2, 2)

    # --- expires

    @pytest.mark.parametrize("kind", ["retry", "repeat", "snooze"])
    async def test_M3_a_next_run_beyond_expires_ends_the_job_at_once(
        self, harness: StoreHarness, kind: SettleKind
    ) -> None:
        """CAN-021."""
        d = Driver(harness)
        early, late = [await d.start(await d.add(expires_in=60.0)) for _ in range(2)]
        await harness.store.settle([settlement(early, kind, after=59.0), settlement(late, kind, after=60.0)])
        assert await d.states(early.id, late.id) == ["scheduled", "expired"]
        assert (await d.job(late.id)).reason

    async def test_M3_a_job_that_has_run_expires_like_one_that_has_not(self, harness: StoreHarness) -> None:
        """Its time is not forgotten by sweeps while it runs."""
        d = Driver(harness)
        job = await d.start(await d.add(expires_in=60.0))
        await d.sweep()
        await d.settle(job, "retry", after=30.0)
        d.clock.advance(31)
        await d.sweep()
        assert await d.states(job.id) == ["ready"]
        d.clock.advance(30)
        await d.sweep()
        assert await d.states(job.id) == ["expired"]

    @pytest.mark.parametrize("kind", ["sleep", "wait"])
    async def test_M3_a_workflow_that_has_begun_does_not_expire(self, harness: StoreHarness, kind: SettleKind) -> None:
        d = Driver(harness)
        job = await d.start(await d.add(expires_in=60.0))
        await d.settle(job, kind, after=90.0)
        assert (await d.job(job.id)).expires is None
        d.clock.advance(61)
        await d.sweep()
        assert await d.states(job.id) == [AFTER[kind]]

    # --- the same again, and too late

    @pytest.mark.parametrize("kind", SETTLE_KINDS)
    async def test_C3_the_same_settlement_again_is_accepted(self, harness: StoreHarness, kind: SettleKind) -> None:
        d = Driver(harness)
        job = await d.start(await d.add())
        again = settlement(job, kind, after=5.0, follow_ups=(d.new("child"),), ran=0.5)
        assert await harness.store.settle([again, again]) == ["accepted", "accepted"]
        before = await d.job(job.id)
        d.clock.advance(1)
        assert await harness.store.settle([again]) == ["accepted"]
        assert await d.job(job.id) == before
        assert len(await d.tasked("child")) == 1

    async def test_C3_accepted_also_after_the_job_went_on(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        job = await d.start(await d.add())
        await d.settle(job, "retry")
        await d.sweep()
        running = await d.start(job.id)
        assert running.lease == job.lease + 1
        assert await d.settle(job, "retry") == "accepted"
        assert await d.job(job.id) == running
        assert await d.settle(running, "dead") == "accepted"
        await harness.store.replay([job.id])
        assert await d.settle(running, "dead") == "accepted"
        assert await d.states(job.id) == ["ready"]

    async def test_C3_accepted_also_when_what_its_follow_ups_waited_on_is_gone(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        done, parent = await d.bring("completed"), await d.start(await d.add())
        child = d.new(waits_on=done.id)
        again = settlement(parent, "complete", follow_ups=(child,))
        assert await harness.store.settle([again]) == ["accepted"]
        await harness.store.delete([done.id])
        assert await harness.store.settle([again]) == ["accepted"]
        assert await d.states(child.id) == ["ready"]

    @pytest.mark.parametrize("kind", SETTLE_KINDS)
    async def test_a_lease_that_was_taken_away_is_stale(self, harness: StoreHarness, kind: SettleKind) -> None:
        """JOB-006: fences hold while the job waits, runs elsewhere, and after its end."""
        d = Driver(harness)
        zombie = await d.start(await d.add(), worker="doomed")
        late = settlement(zombie, kind, result=b"0", follow_ups=(d.new("child"),))
        await d.kill("doomed")
        await self.assert_stale(d, late)
        current = await d.start(zombie.id, worker="w2")
        assert current.lease == zombie.lease + 1
        await self.assert_stale(d, late)
        await d.settle(current, "complete", result=b"1")
        await self.assert_stale(d, late)
        assert (await d.job(zombie.id)).result == b"1"
        assert await d.tasked("child") == []

    async def test_a_plain_completion_of_an_old_lease_is_stale_too(self, harness: StoreHarness) -> None:
        """The commonest settlement may have a way of its own; the fence stands there as well."""
        d = Driver(harness)
        zombie, other = await d.start(await d.add(), worker="doomed"), await d.start(await d.add())
        await d.kill("doomed")
        late = settlement(zombie, "complete", result=b"0")
        await self.assert_stale(d, late)
        current = await d.start(zombie.id, worker="w2")
        assert await harness.store.settle([late, settlement(other, "complete")]) == ["stale", "accepted"]
        assert await d.job(zombie.id) == current
        assert await d.states(other.id) == ["completed"]
        assert await d.settle(current, "complete", result=b"1") == "accepted"
        await self.assert_stale(d, late)

    async def assert_stale(self, d: Driver, late: Settlement) -> None:
        """This settlement changes nothing."""
        before = await d.job(late.job)
        assert await d.harness.store.settle([late]) == ["stale"]
        assert await d.job(late.job) == before

    async def test_a_lease_that_was_handed_back_by_leaving_is_stale(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        job = await d.start(await d.add(), worker="w2")
        await harness.store.leave("w2")
        assert await d.settle(job, "complete") == "stale"
        assert await d.states(job.id) == ["ready"]

    async def test_a_job_that_was_never_claimed_accepts_nothing(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        job = await d.bring("ready")
        assert job.lease == 0
        assert await d.settle(job, "complete") == "stale"
        assert await d.job(job.id) == job

    async def test_of_two_settlements_of_one_lease_the_first_counts(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        job = await d.start(await d.add())
        both = [settlement(job, "complete", result=b"1"), settlement(job, "dead")]
        assert (await harness.store.settle(both))[0] == "accepted"
        assert await d.states(job.id) == ["completed"]

    # --- follow-ups

    async def test_follow_ups_come_with_the_completion(self, harness: StoreHarness) -> None:
        """WFL-010, WFL-016: all or none, in one step."""
        d = Driver(harness)
        parent = await d.start(await d.add("t"))
        children = tuple(d.new("t", parent=parent.id, root=parent.id) for _ in range(3))
        late = d.new(waits_on=children[0].id)
        seen: list[tuple[bool, int]] = []

        async def watch() -> None:
            for _ in range(20):
                jobs = await harness.store.get([parent.id, *(child.id for child in children)])
                seen.append((jobs[0] is not None and jobs[0].terminal, sum(job is not None for job in jobs[1:])))
                await asyncio.sleep(0)

        await asyncio.gather(watch(), d.settle(parent, "complete", follow_ups=(*children, late)))
        assert set(seen) <= {(False, 0), (True, 3)}
        assert await d.states(parent.id, *(child.id for child in children)) == ["completed"] + ["ready"] * 3
        assert await d.states(late.id) == ["waiting"]
        assert len(await d.claim(lane("t"))) == 3

    async def test_follow_ups_may_be_a_group(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        parent = await d.start(await d.add())
        members = tuple(d.new(group=GROUP) for _ in range(2))
        last = d.new(waits_on=GROUP)
        await d.settle(parent, "complete", follow_ups=(*members, last), groups=(NewGroup(id=GROUP, size=2),))
        assert await d.states(last.id) == ["waiting"]
        for member in members:
            await d.end(member.id)
        assert await d.states(last.id) == ["ready"]

    async def test_follow_ups_may_wait_on_the_job_that_adds_them(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        done, dead = await d.start(await d.add()), await d.start(await d.add())
        after_done, after_dead = d.new(waits_on=done.id), d.new(waits_on=dead.id)
        await harness.store.settle(
            [settlement(done, "complete", follow_ups=(after_done,)), settlement(dead, "dead", follow_ups=(after_dead,))]
        )
        assert await d.states(after_done.id, after_dead.id) == ["ready", "cancelled"]

    async def test_a_running_job_may_add_to_a_repeat(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        parent = await d.start(await d.add())
        child = d.new()
        await d.settle(parent, "repeat", after=5.0, follow_ups=(child,))
        assert await d.states(parent.id, child.id) == ["scheduled", "ready"]

    # --- many at once

    async def test_STO_012_many_workers_on_separate_jobs(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        jobs = [await d.add() for _ in range(24)]
        await d.join("sweeper")

        async def work(number: int, identifier: str) -> None:
            for _ in range(4):
                await d.settle(await d.start(identifier, worker=f"w{number}"), "release", ran=1.0)
            await d.settle(await d.start(identifier, worker=f"w{number}"), "complete")

        await asyncio.gather(*(work(number, each) for number, each in enumerate(jobs)))
        for identifier in jobs:
            job = await d.job(identifier)
            assert (job.state, job.lease, job.attempt) == ("completed", 5, 1)
            assert len(await harness.store.attempts(identifier)) == 5

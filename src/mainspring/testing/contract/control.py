"""What people do to jobs besides cancelling: replay, reschedule, delete."""

from __future__ import annotations

import pytest

from mainspring.model.record import Failure
from mainspring.model.states import LIVE, TERMINAL, SettleKind, State
from mainspring.store.base import Beat
from mainspring.testing.contract.harness import StoreHarness
from mainspring.testing.contract.states import HOUR, Driver, lane

FAILED = ("dead", "expired", "cancelled")
TERMINAL_STATES, LIVE_STATES = sorted(TERMINAL), sorted(LIVE)


class ControlContract:
    """`Jobs.replay`, `reschedule` and `delete`."""

    # --- replay

    @pytest.mark.parametrize("state", FAILED)
    async def test_replay_makes_an_ended_job_ready(self, harness: StoreHarness, state: State) -> None:
        """FAI-010."""
        d = Driver(harness)
        job = await d.bring(state)
        d.clock.advance(5)
        assert await harness.store.replay([job.id]) == ["replayed"]
        again = await d.job(job.id)
        assert (again.state, again.due, again.finished, again.reason) == ("ready", d.clock.now(), None, "replay")
        await d.end(job.id)
        assert await d.states(job.id) == ["completed"]

    async def test_replay_resets_what_was_used_up(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        identifier = await d.add()
        await d.end(identifier, "crash")
        await d.end(identifier, "retry", counters={"rule": 4}, error=Failure(type="E", message="m"))
        await d.sweep()
        await d.end(identifier, "dead")
        dead = await d.job(identifier)
        assert (dead.crashes, dead.counters, dead.attempt, dead.lease) == (1, {"rule": 4}, 3, 3)
        await harness.store.replay([identifier])
        job = await d.job(identifier)
        assert (job.crashes, job.rescues, job.counters, job.suspect, job.begun) == (0, 0, {}, False, None)
        assert (job.attempt, job.lease, job.round) == (3, 3, 0)
        running = await d.start(identifier)
        assert (running.attempt, running.lease) == (4, 4)

    async def test_C13_a_fresh_replay_opens_a_round(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        job = await d.bring("dead")
        assert await harness.store.replay([job.id], fresh=True) == ["replayed"]
        assert (await d.job(job.id)).round == 1

    async def test_D43_a_replayed_job_does_not_expire_again(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        identifier = await d.add(expires_in=60.0)
        d.clock.advance(61)
        await d.sweep()
        assert await d.states(identifier) == ["expired"]
        assert await harness.store.replay([identifier]) == ["replayed"]
        assert (await d.job(identifier)).expires is None
        await d.sweep()
        assert (await d.start(identifier)).lease == 1

    async def test_FAI_012_a_completed_job_is_refused_without_force(self, harness: StoreHarness) -> None:
        """M16."""
        d = Driver(harness)
        job = await d.bring("completed")
        assert await harness.store.replay([job.id]) == ["refused"]
        assert await d.job(job.id) == job
        assert await harness.store.replay([job.id], force=True) == ["replayed"]
        again = await d.job(job.id)
        assert (again.state, again.result) == ("ready", None)

    async def test_M16_what_a_completed_job_has_let_go_stays_so(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        first = await d.add()
        second = await d.add(waits_on=first)
        await d.end(first)
        await harness.store.replay([first], force=True)
        assert await d.states(first, second) == ["ready", "ready"]
        await d.end(first, "dead")
        assert await d.states(second) == ["ready"]

    @pytest.mark.parametrize("kind", ["complete", "dead"])
    async def test_M16_a_job_that_waits_for_something_else_is_not_touched(
        self, harness: StoreHarness, kind: SettleKind
    ) -> None:
        """It waits for a signal by now; its parent, replayed by force, ends a second time."""
        d = Driver(harness)
        first = await d.add()
        second = await d.add(waits_on=first)
        await d.end(first)
        await d.end(second, "wait", reason="signal approved")
        before = await d.job(second)
        await harness.store.replay([first], force=True)
        await d.end(first, kind)
        assert await d.job(second) == before

    async def test_D30_the_replay_of_the_first_of_many_puts_all_back(self, harness: StoreHarness) -> None:
        """More links than the interpreter has frames."""
        d = Driver(harness)
        jobs = [d.new()]
        for _ in range(1500):
            jobs.append(d.new(waits_on=jobs[-1].id))
        await harness.store.add(jobs)
        await d.end(jobs[0].id, "dead")
        assert {record.state for record in await harness.store.get([each.id for each in jobs[1:]]) if record} == {
            "cancelled"
        }
        assert await harness.store.replay([jobs[0].id]) == ["replayed"]
        assert {record.state for record in await harness.store.get([each.id for each in jobs[1:]]) if record} == {
            "waiting"
        }

    async def test_replay_while_what_it_waits_on_has_not_ended_waits(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        first = await d.add()
        second = await d.add(waits_on=first)
        await harness.store.cancel([second])
        assert await harness.store.replay([second]) == ["replayed"]
        assert await d.states(second) == ["waiting"]
        await d.end(first)
        assert await d.states(second) == ["ready"]

    @pytest.mark.parametrize("state", LIVE_STATES)
    async def test_a_job_that_has_not_ended_is_not_replayed(self, harness: StoreHarness, state: State) -> None:
        d = Driver(harness)
        job = await d.bring(state)
        assert await harness.store.replay([job.id], force=True, fresh=True) == ["refused"]
        assert await d.job(job.id) == job

    async def test_each_replay_is_answered_on_its_own(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        dead, live = await d.bring("dead"), await d.bring("ready")
        answers = await harness.store.replay([dead.id, live.id, d.new().id, dead.id])
        assert answers == ["replayed", "refused", "unknown", "refused"]

    # --- reschedule

    @pytest.mark.parametrize("state", ["scheduled", "ready"])
    async def test_reschedule_moves_a_job_both_ways(self, harness: StoreHarness, state: State) -> None:
        d = Driver(harness)
        job = await d.bring(state)
        later = d.clock.now() + 100
        assert await harness.store.reschedule([job.id], later) == ["changed"]
        moved = await d.job(job.id)
        assert (moved.state, moved.due) == ("scheduled", later)
        assert await d.claim(lane(job.task)) == []
        assert (await d.sweep()).next_due == later
        assert await harness.store.reschedule([job.id], d.clock.now() - 5) == ["changed"]
        moved = await d.job(job.id)
        assert (moved.state, moved.due) == ("ready", d.clock.now())
        assert [each.id for each in await d.claim(lane(job.task))] == [job.id]

    async def test_a_job_that_was_moved_is_promoted_at_its_new_time(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        early, late = await d.add(delay=10), await d.add(delay=10)
        await harness.store.reschedule([late], d.clock.now() + 20)
        await harness.store.reschedule([early], d.clock.now() + 5)
        for passed, states in ((5, ["ready", "scheduled"]), (5, ["ready", "scheduled"]), (10, ["ready", "ready"])):
            d.clock.advance(passed)
            await d.sweep()
            assert await d.states(early, late) == states

    async def test_each_reschedule_is_answered_on_its_own(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        good, running, gone = await d.bring("ready"), await d.bring("running"), d.new().id
        answers = await harness.store.reschedule([running.id, good.id, gone], d.clock.now() + HOUR)
        assert answers == ["refused", "changed", "unknown"]
        assert await d.job(running.id) == running

    # --- delete

    @pytest.mark.parametrize("state", TERMINAL_STATES)
    async def test_an_ended_job_goes_with_all_that_belongs_to_it(self, harness: StoreHarness, state: State) -> None:
        """STO-003."""
        d = Driver(harness)
        job = await d.bring(state, unique="k")
        if job.lease:
            assert await harness.store.attempts(job.id)
        assert await harness.store.delete([job.id, job.id]) in (["changed", "unknown"], ["changed", "changed"])
        assert await harness.store.get([job.id]) == [None]
        assert await harness.store.attempts(job.id) == []
        assert await harness.store.progress(job.id) is None
        assert await harness.store.counts() == []
        assert await harness.store.delete([job.id]) == ["unknown"]

    async def test_a_deleted_job_leaves_no_history_and_no_progress(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        identifier = await d.add()
        await d.end(identifier, "release", ran=1.0)
        running = await d.start(identifier)
        await harness.store.beat(Beat("w1", progress=[(identifier, b"1")]))
        await d.settle(running, "dead")
        assert len(await harness.store.attempts(identifier)) == 2
        await harness.store.delete([identifier])
        assert await harness.store.attempts(identifier) == []
        assert await harness.store.progress(identifier) is None

    @pytest.mark.parametrize("state", LIVE_STATES)
    async def test_a_job_that_has_not_ended_is_not_deleted(self, harness: StoreHarness, state: State) -> None:
        d = Driver(harness)
        job, ended = await d.bring(state), await d.bring("completed")
        assert await harness.store.delete([job.id, ended.id]) == ["refused", "changed"]
        assert await d.job(job.id) == job

    async def test_a_deleted_job_stays_away(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        job = await d.start(await d.add())
        await d.settle(job, "dead")
        await harness.store.delete([job.id])
        assert await d.settle(job, "dead") == "unknown"
        assert await harness.store.replay([job.id]) == ["unknown"]
        assert await harness.store.cancel([job.id]) == ["unknown"]
        assert await harness.store.reschedule([job.id], 0.0) == ["unknown"]
        assert await harness.store.get([job.id]) == [None]

"""What a slot does while another run goes on, and when runs fail: decided in the fire, by the store (RULES H13)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from mainspring.model.record import NewJob
from mainspring.model.schedule import BY_REQUEST, FAILED
from mainspring.model.states import SettleKind
from mainspring.testing.contract.scheduling import MINUTE, NIGHTLY, ScheduleDriver, SchedulesFixture
from mainspring.testing.contract.states import HOUR

ENDS = ("complete", "dead", "cancelled", "expired")


class OverlapContract(SchedulesFixture):
    """`overlap` and `stop_after`."""

    # --- skip

    @pytest.mark.parametrize("kind", ENDS)
    async def test_H13_skip_while_a_run_goes_on(self, d: ScheduleDriver, kind: str) -> None:
        """S3-16: however it ends, the next slot after its end runs."""
        await d.put()
        assert [await d.fire() for _ in range(3)] == ["fired", "skipped", "skipped"]
        after = await d.stored()
        assert (after.runs, after.skipped, after.missed, after.number) == (1, 2, 0, 2)
        assert await d.ledger() == [(1, "slot", 1, "ready"), (2, "skipped", 2, "skipped")]
        skipped = (await d.runs())[1]
        assert (skipped.slot, skipped.last_slot) == (after.fired_to - MINUTE, after.fired_to)
        await d.end_last(kind)
        assert await d.fire() == "fired"

    @pytest.mark.parametrize("state", ["ready", "scheduled", "running", "waiting"])
    async def test_H13_a_run_goes_on_until_its_job_has_ended(self, d: ScheduleDriver, state: str) -> None:
        await d.put()
        assert await d.fire() == "fired"
        [job] = await d.jobs_of()
        if state != "ready":
            running = await d.start(job.id)
            if state != "running":
                kind: SettleKind = "retry" if state == "scheduled" else "wait"
                assert await d.settle(running, kind, after=HOUR) == "accepted"
        assert await d.states_of() == [state]
        assert (await d.fire(), await d.trigger()) == ("skipped", "skipped")

    async def test_a_run_that_a_person_asked_for_goes_on_too(self, d: ScheduleDriver) -> None:
        await d.put()
        assert await d.trigger() == "fired"
        assert (await d.fire(), await d.trigger()) == ("skipped", "skipped")
        await d.end_last()
        assert await d.fire() == "fired"

    @pytest.mark.parametrize("kind", ENDS)
    async def test_several_slots_that_are_caught_up_run_one_after_the_other(self, d: ScheduleDriver, kind: str) -> None:
        """S3-08: in order, and on, whatever becomes of each."""
        await d.put(misfire="all")
        assert await d.fire(slots=3) == "fired"
        jobs = await d.jobs_of()
        assert len({job.slot for job in jobs}) == 3
        assert sorted(job.slot or 0.0 for job in jobs) == [run.slot for run in await d.runs()]
        in_order = [run.job for run in await d.runs() if run.job is not None]
        assert await d.states(*in_order) == ["ready", "waiting", "waiting"]
        assert (await d.fire(), (await d.stored()).runs) == ("skipped", 3)
        for number, job in enumerate(in_order):
            assert await d.states(*in_order[number:]) == ["ready"] + ["waiting"] * (2 - number)
            await d.end_as(job, kind)
        assert await d.fire() == "fired"

    async def test_one_of_those_that_wait_can_be_cancelled(self, d: ScheduleDriver) -> None:
        await d.put(misfire="all")
        await d.fire(slots=3)
        first, second, third = [run.job or "" for run in await d.runs()]
        assert await d.store.cancel([second]) == ["cancelled"]
        assert await d.states(first, second, third) == ["ready", "cancelled", "ready"], "nothing is left to wait for"

    # --- allow

    async def test_allow_lets_them_all_run(self, d: ScheduleDriver) -> None:
        """S3-17."""
        await d.put(overlap="allow")
        assert [await d.fire(), await d.fire(slots=2), await d.trigger()] == ["fired"] * 3
        assert await d.states_of() == ["ready"] * 4
        assert await d.ledger() == [(1, "slot", 1, "ready"), (2, "slot", 1, "ready"), (3, "slot", 1, "ready"),
                                    (4, "trigger", 1, "ready")]  # fmt: skip

    # --- queue

    @pytest.mark.parametrize("kind", ENDS)
    async def test_H13_queue_lets_one_wait(self, d: ScheduleDriver, kind: str) -> None:
        """S3-18: one runs and one waits; a third is skipped; however the first ends, the second goes on."""
        await d.put(overlap="queue")
        assert [await d.fire() for _ in range(4)] == ["fired", "fired", "skipped", "skipped"]
        assert await d.trigger() == "skipped"
        first, second = [run.job or "" for run in await d.runs() if run.job]
        assert await d.states(first, second) == ["ready", "waiting"]
        await d.end_as(first, kind)
        assert await d.states(second) == ["ready"]
        assert [await d.fire() for _ in range(2)] == ["fired", "skipped"]
        third = [run.job or "" for run in await d.runs() if run.job][-1]
        assert await d.states(second, third) == ["ready", "waiting"]
        await d.end_as(second, kind)
        await d.end_as(third, kind)
        assert await d.trigger() == "fired"
        assert (await d.stored()).skipped == 3

    async def test_queue_several_slots_at_once(self, d: ScheduleDriver) -> None:
        """When none runs all of them are caught up; else one waits."""
        await d.put(overlap="queue", misfire="all")
        assert await d.fire(slots=2) == "fired"
        assert await d.states_of() == ["ready", "waiting"]
        assert await d.fire(slots=2) == "skipped"
        first, second = [run.job or "" for run in await d.runs() if run.job]
        await d.end_as(first, "complete")
        assert await d.fire(slots=3) == "fired"
        third = [run.job or "" for run in await d.runs() if run.job][-1]
        assert await d.states(second, third) == ["ready", "waiting"]
        assert ((await d.stored()).runs, (await d.stored()).skipped) == (3, 4)

    async def test_queue_behind_a_run_that_people_asked_for(self, d: ScheduleDriver) -> None:
        await d.put(overlap="queue")
        assert (await d.trigger(), await d.fire()) == ("fired", "fired")
        assert await d.states_of() == ["ready", "waiting"]

    async def test_queue_when_the_one_that_waits_is_cancelled(self, d: ScheduleDriver) -> None:
        await d.put(overlap="queue")
        await d.fire()
        await d.fire()
        first, second = [run.job or "" for run in await d.runs()]
        await d.end_as(second, "cancelled")
        assert await d.fire() == "fired"
        third = (await d.runs())[-1].job or ""
        assert await d.states(first, second, third) == ["ready", "cancelled", "waiting"]
        await d.end_as(first, "dead")
        assert await d.states(third) == ["ready"]

    async def test_queue_after_the_rule_was_changed(self, d: ScheduleDriver) -> None:
        """A run that was made to be overtaken cannot be waited for: the slot is skipped until it has ended."""
        await d.put()
        await d.fire()
        await d.change(overlap="queue")
        assert await d.fire() == "skipped"
        await d.end_last()
        assert [await d.fire() for _ in range(2)] == ["fired", "fired"]
        await d.change(overlap="allow")
        assert await d.fire() == "fired"
        await d.change(overlap="skip")
        assert await d.fire() == "skipped"

    async def test_queue_several_slots_while_the_key_of_all_is_taken(self, d: ScheduleDriver) -> None:
        """S3-18: one could wait; it cannot be added, and neither can the one behind it: each run has its job."""
        await d.put(overlap="queue", misfire="all", template=NewJob(id="", task="t", unique="k"))
        assert await d.fire() == "fired"
        assert await d.fire(slots=3) == "skipped"
        [job] = await d.jobs_of()
        assert await d.ledger() == [(1, "slot", 1, "ready"), (2, "skipped", 3, "skipped")]
        after = await d.stored()
        assert (after.runs, after.skipped) == (1, 3)
        assert await d.trigger() == "skipped"
        await d.end(job.id)
        assert await d.fire(slots=2) == "fired"
        assert [run.job for run in await d.runs() if run.job] == [job.id for job in await d.jobs_of()]
        after = await d.stored()
        assert (after.runs, after.skipped) == (2, 4), "when none runs, the first of those that catch up has the key"

    async def test_queue_leaves_nothing_behind(self, d: ScheduleDriver) -> None:
        """The group that a next run could wait on goes with its job."""
        await d.put(overlap="queue", keep=1)
        await d.ran()
        await d.fire()
        await d.fire()
        groups = [job.group or "" for job in await d.jobs_of()]
        assert all(group is not None for group in await d.store.groups(groups))
        for _ in range(2):
            job = next(job for job in await d.jobs_of() if job.state == "ready")
            await d.end(job.id)
        d.clock.advance(HOUR)
        await d.store.prune_runs()
        while await d.store.prune({"completed": 1.0}):
            pass
        assert await d.jobs_of() == []
        assert await d.store.groups(groups) == [None] * 3

    # --- replay

    async def test_a_replayed_run_goes_on(self, d: ScheduleDriver) -> None:
        await d.put()
        await d.ran("dead")
        await d.ran()
        first = (await d.runs())[0].job or ""
        assert await d.store.replay([first]) == ["replayed"]
        assert await d.fire() == "skipped"
        await d.end(first)
        assert await d.fire() == "fired"

    async def test_queue_behind_a_replayed_run(self, d: ScheduleDriver) -> None:
        await d.put(overlap="queue")
        await d.ran("dead")
        first = (await d.runs())[0].job or ""
        assert await d.store.replay([first]) == ["replayed"]
        assert await d.fire() == "fired"
        second = (await d.runs())[1].job or ""
        assert await d.states(first, second) == ["ready", "waiting"]
        await d.end(first)
        assert await d.states(second) == ["ready"]

    async def test_queue_behind_a_replayed_run_whose_group_is_gone(self, d: ScheduleDriver) -> None:
        await d.put(overlap="queue")
        assert [await d.fire() for _ in range(2)] == ["fired", "fired"]
        first, second = [run.job or "" for run in await d.runs()]
        await d.end(first, "dead")
        await d.end(second)
        assert await d.store.delete([second]) == ["changed"]
        assert await d.store.replay([first]) == ["replayed"]
        answer = await d.fire()
        assert answer in ("fired", "skipped"), "as far as a store keeps the group"
        await d.end(first)
        assert "waiting" not in await d.states_of()
        assert await d.fire() == "fired"

    # --- stop_after

    async def test_H13_stop_after_runs_that_failed(self, d: ScheduleDriver) -> None:
        """S3-15: the fire pauses it instead, and says so; nothing is skipped or missed by that."""
        await d.put(stop_after=2)
        await d.ran("dead")
        assert await d.fire() == "fired"
        before = await d.stored()
        await d.end_last("dead")
        assert await d.fire() == "stopped"
        after = await d.stored()
        assert after == replace(before, paused=FAILED, revision=before.revision + 1, changed=d.clock.now())
        assert await d.due() == {}
        assert len(await d.jobs_of()) == 2
        assert [run.state for run in await d.runs()] == ["dead", "dead"], "their ends were written down"

    async def test_a_run_that_expired_has_failed_too(self, d: ScheduleDriver) -> None:
        await d.put(stop_after=2)
        await d.ran("dead")
        await d.ran("expired")
        assert await d.fire() == "stopped"

    @pytest.mark.parametrize("between", ["complete", "cancelled"])
    async def test_only_failures_in_a_row_stop_it(self, d: ScheduleDriver, between: str) -> None:
        await d.put(stop_after=2)
        for kind in ("dead", between, "dead"):
            await d.ran(kind)
        assert await d.fire() == "fired"

    async def test_failures_count_through_missed_and_skipped_slots(self, d: ScheduleDriver) -> None:
        await d.put(stop_after=3)
        for _ in range(3):
            assert await d.fire(missed=2) == "fired"
            assert await d.fire() == "skipped"
            await d.end_last("dead")
        assert await d.fire(missed=1) == "stopped"

    async def test_failures_count_anew_after_people_have_looked(self, d: ScheduleDriver) -> None:
        await d.put(stop_after=1)
        await d.ran("dead")
        assert await d.fire() == "stopped"
        d.clock.advance(1)
        await d.pause(reason="")
        assert await d.fire() == "fired"
        await d.end_last("dead")
        assert await d.fire() == "stopped"

    async def test_who_asks_for_a_run_gets_one_of_a_stopped_schedule(self, d: ScheduleDriver) -> None:
        await d.put(stop_after=1)
        await d.ran("dead")
        assert (await d.fire(), await d.trigger()) == ("stopped", "fired")
        await d.pause(reason=BY_REQUEST)
        await d.end_last()
        assert await d.trigger() == "fired"

    async def test_a_failing_run_ends_no_schedule_by_itself(self, d: ScheduleDriver) -> None:
        """S3-10."""
        await d.put(template=NewJob(id="", task="t"))
        for _ in range(5):
            await d.ran("dead")
        assert (await d.stored()).state == "active"
        assert [run.kind for run in await d.runs(NIGHTLY)] == ["slot"] * 5

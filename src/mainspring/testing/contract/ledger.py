"""The record of runs: what became of each slot, kept with the schedule and not with its jobs."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from mainspring.model.record import Failure, NewJob
from mainspring.model.schedule import Run
from mainspring.testing.contract.harness import StoreHarness
from mainspring.testing.contract.scheduling import DAY, MINUTE, NIGHTLY, ScheduleDriver, SchedulesFixture
from mainspring.testing.contract.states import HOUR


class RunsContract(SchedulesFixture):
    """`runs` and `prune_runs`."""

    async def test_a_run_is_seen_in_the_state_of_its_job(self, d: ScheduleDriver) -> None:
        """S3-30: from the fire to the end, whether that was written down or not."""
        await d.put()
        await d.fire()
        fired = d.clock.now()
        [run] = await d.runs()
        assert run.job is not None
        expected = Run(schedule=NIGHTLY, number=1, kind="slot", slot=fired, job=run.job, fired=fired, state="ready")
        assert run == expected
        d.clock.advance(2)
        job = await d.start(run.job)
        [run] = await d.runs()
        assert run == replace(expected, state="running", attempts=1)
        d.clock.advance(5)
        error = Failure(type="shop.Broken", message="no paper", traceback="Traceback…")
        assert await d.settle(job, "dead", ran=3.0, error=error) == "accepted"
        ended = replace(
            expected, state="dead", attempts=1, started=fired + 4, ended=fired + 7, error="shop.Broken: no paper"
        )
        assert await d.runs() == [ended]
        assert ended.duration == 3
        await d.store.prune_runs()
        assert await d.runs() == [ended], "the same when it is written down"
        await d.store.delete([job.id])
        assert await d.runs() == [ended], "and when the job is gone"

    async def test_a_run_that_was_cancelled_before_it_started(self, d: ScheduleDriver) -> None:
        await d.put()
        await d.ran("cancelled")
        [run] = await d.runs()
        assert (run.state, run.attempts, run.started, run.duration) == ("cancelled", 0, None, None)

    @pytest.mark.parametrize("seen", [True, False])
    async def test_a_job_that_is_gone(self, d: ScheduleDriver, seen: bool) -> None:
        """Nobody has seen its end, unless it was written down before."""
        await d.put()
        await d.ran()
        [run] = await d.runs()
        if seen:
            await d.store.prune_runs()
        assert run.job is not None
        assert await d.store.delete([run.job]) == ["changed"]
        [run] = await d.runs()
        assert (run.state, run.open) == ("completed" if seen else "removed", False)
        assert await d.fire() == "fired"
        assert [run.state for run in await d.runs()] == ["completed" if seen else "removed", "ready"]

    async def test_numbers_and_merged_records(self, d: ScheduleDriver) -> None:
        """S3-09, S3-31: what was left out between two runs is one record of each kind."""
        await d.put()
        assert await d.fire(missed=2, slots=0) == "moved"
        assert await d.fire(missed=3) == "fired"
        assert [await d.fire() for _ in range(3)] == ["skipped"] * 3
        assert await d.fire(missed=1) == "skipped"
        await d.end_last()
        assert await d.fire() == "fired"
        assert await d.ledger() == [
            (1, "missed", 5, "missed"),
            (2, "slot", 1, "completed"),
            (3, "skipped", 4, "skipped"),
            (4, "missed", 1, "missed"),
            (5, "slot", 1, "ready"),
        ]
        runs = await d.runs()
        slots = [(run.slot, run.last_slot) for run in runs]
        first = (await d.stored()).created + MINUTE
        assert slots == [
            (first, first + 4 * MINUTE),
            (first + 5 * MINUTE, None),
            (first + 6 * MINUTE, first + 10 * MINUTE),
            (first + 9 * MINUTE, first + 9 * MINUTE),
            (first + 11 * MINUTE, None),
        ]
        assert [run.fired for run in runs] == [first + number * MINUTE for number in (5, 5, 10, 10, 11)]
        after = await d.stored()
        assert (after.runs, after.missed, after.skipped, after.number) == (2, 6, 4, 5)

    async def test_the_newest_from_a_number(self, d: ScheduleDriver) -> None:
        """S3-33."""
        await d.put("other")
        await d.ran(identifier="other")
        await d.put(overlap="allow")
        for _ in range(5):
            await d.fire()

        async def numbers(**wanted: int) -> list[int]:
            return [run.number for run in await d.store.runs(NIGHTLY, **wanted)]

        assert await numbers() == [1, 2, 3, 4, 5]
        assert await numbers(limit=2) == [4, 5]
        assert await numbers(from_number=2, limit=3) == [3, 4, 5]
        assert await numbers(from_number=4) == [4, 5]
        assert await numbers(from_number=6) == []
        assert await d.store.runs("nothing") == []

    async def test_runs_survive_the_schedule(self, harness: StoreHarness, d: ScheduleDriver) -> None:
        """For a day, like its watermark; put again meanwhile, the numbers go on."""
        await d.put()
        await d.ran()
        await d.store.drop_schedules([NIGHTLY])
        before = await d.runs()
        assert [run.state for run in before] == ["completed"]
        left = await d.stored()
        again = replace(d.record(), revision=left.revision + 1, fired_to=left.fired_to, number=left.number)
        assert await d.write(again, left) == "put"
        await d.fire()
        assert await d.ledger() == [(1, "slot", 1, "completed"), (2, "slot", 1, "ready")]
        if harness.store.features.survives != "nothing":
            runs = await d.runs()
            await harness.reopen()
            assert await harness.store.runs(NIGHTLY) == runs

    # --- what is kept

    async def test_so_many_are_kept(self, d: ScheduleDriver) -> None:
        """S3-34: also when fires are all that ever happens."""
        await d.put(keep=3)
        for _ in range(6):
            await d.ran()
        assert [run.number for run in await d.runs()] == [4, 5, 6]
        assert (await d.stored()).runs == 6
        await d.change(keep=2)
        assert await d.store.prune_runs() == 1
        assert [run.number for run in await d.runs()] == [5, 6]

    async def test_a_run_that_goes_on_is_kept(self, d: ScheduleDriver) -> None:
        await d.put(keep=1, keep_for=5.0, overlap="allow")
        for _ in range(3):
            await d.fire()
        first = (await d.runs())[0].job
        assert first is not None
        await d.end(first)
        await d.fire()
        assert [run.number for run in await d.runs()] == [2, 3, 4]
        d.clock.advance(DAY)
        assert await d.store.prune_runs() == 0
        for job in await d.jobs_of():
            if not job.terminal:
                await d.end(job.id)
        assert await d.store.prune_runs() == 3
        assert await d.runs() == []
        assert (await d.stored()).number == 4

    async def test_kept_for_a_time(self, d: ScheduleDriver) -> None:
        await d.put("short", keep_for=10.0)
        await d.put("long")
        for identifier in ("short", "long"):
            await d.ran(identifier=identifier)
        d.clock.advance(10)
        assert await d.store.prune_runs() == 0
        d.clock.advance(0.125)
        assert await d.store.prune_runs() == 1
        assert (await d.runs("short"), len(await d.runs("long"))) == ([], 1)

    async def test_so_many_at_a_time(self, d: ScheduleDriver) -> None:
        await d.put(keep_for=1.0, overlap="allow")
        for _ in range(5):
            await d.ran()
        d.clock.advance(MINUTE)
        assert [await d.store.prune_runs(2) for _ in range(4)] == [2, 2, 1, 0]

    async def test_ends_are_written_down_before_jobs_are_pruned(self, d: ScheduleDriver) -> None:
        """Of all open runs, however many a step looks at."""
        names = ["a", "b", "c", "d", "e"]
        for each in names:
            await d.put(each)
            await d.ran(identifier=each)
        await d.put("open")
        await d.fire("open")
        d.clock.advance(HOUR)
        await d.store.prune_runs(2)
        await d.store.prune({"completed": 1.0})
        assert [await d.jobs_of(each) for each in names] == [[]] * 5
        assert [[run.state for run in await d.runs(each)] for each in [*names, "open"]] == [["completed"]] * 5 + [
            ["ready"]
        ]

    @pytest.mark.parametrize("kind", ["complete", "dead", "cancelled"])
    async def test_an_end_that_is_pruned_before_it_was_written_down(self, d: ScheduleDriver, kind: str) -> None:
        """The job ends and its retention is over between `prune_runs` and `prune`: the run still says how it ended."""
        await d.put(template=NewJob(id="", task="t", unique="k"))
        await d.put("beside", overlap="allow")
        await d.fire("beside")
        await d.fire()
        await d.store.prune_runs()
        job = (await d.runs())[0].job or ""
        d.clock.advance(1)
        if kind == "dead":
            await d.end(job, "dead", ran=0.5, error=Failure(type="shop.Broken", message='no "paper" \\ left'))
        else:
            await d.end_as(job, kind)
        [ended] = await d.runs()
        assert not ended.open
        d.clock.advance(10)
        assert await d.store.prune({"completed": 1.0, "dead": 1.0, "cancelled": 1.0}) == 1
        assert await d.runs() == [ended]
        assert (await d.jobs_of(), await d.states_of("beside")) == ([], ["ready"])
        await d.store.prune_runs()
        assert await d.runs() == [ended]
        assert await d.fire() == "fired"
        assert [run.state for run in await d.runs()] == [ended.state, "ready"]

    async def test_a_dropped_schedule_goes_with_its_runs(self, d: ScheduleDriver) -> None:
        """But not before they have ended."""
        await d.put(overlap="allow")
        await d.ran()
        for _ in range(3):
            await d.fire()
        await d.end_last("cancelled")
        await d.store.drop_schedules([NIGHTLY])
        d.clock.advance(DAY + 1)
        assert await d.store.prune_runs() == 2
        assert await d.ledger() == [(2, "slot", 1, "ready"), (3, "slot", 1, "ready")]
        assert (await d.stored()).number == 4
        for run in await d.runs():
            await d.end(run.job or "")
        assert await d.store.prune_runs() == 2
        assert (await d.runs(), (await d.store.get_schedules([NIGHTLY])).schedules) == ([], [])

    # --- replay

    async def test_replay_opens_a_run_again(self, d: ScheduleDriver) -> None:
        """S3-32: and its next end is written over the first one."""
        await d.put()
        await d.ran("dead")
        await d.ran()
        await d.store.prune_runs()
        first = (await d.runs())[0]
        assert first.job is not None
        assert await d.store.replay([first.job]) == ["replayed"]
        again = (await d.runs())[0]
        assert (again.state, again.ended, again.started, again.error, again.attempts) == ("ready", None, None, "", 1)
        d.clock.advance(1)
        await d.end(first.job)
        await d.store.prune_runs()
        assert await d.ledger() == [(1, "slot", 1, "completed"), (2, "slot", 1, "completed")]
        assert [run.attempts for run in await d.runs()] == [2, 1]

    async def test_replay_of_a_job_whose_run_is_gone(self, d: ScheduleDriver) -> None:
        await d.put(keep=1)
        await d.ran("dead")
        first = (await d.runs())[0].job
        await d.ran()
        assert first is not None
        assert await d.store.replay([first]) == ["replayed"]
        assert await d.ledger() == [(2, "slot", 1, "completed")]

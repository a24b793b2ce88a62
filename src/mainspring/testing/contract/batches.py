"""Fires in batches, fires repeated, fires that people ask for, and what else decides whether a slot becomes a job."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from mainspring.errors import StoreUnavailable
from mainspring.model.record import NewJob
from mainspring.model.schedule import BY_REQUEST, FireAnswer
from mainspring.store.base import RunNow, SchedulePut
from mainspring.testing.contract.lost import LostAnswers
from mainspring.testing.contract.scheduling import MINUTE, NIGHTLY, ScheduleDriver, SchedulesFixture


class FireBatchesContract(SchedulesFixture):
    """`fire` and `trigger`, beyond one slot at a time."""

    # --- batches and repeats

    async def test_a_thousand_fires_in_one_call(self, d: ScheduleDriver) -> None:
        """S3-20: each is answered on its own."""
        names = [f"s{number:04}" for number in range(1000)]
        records = [d.record(each, template=NewJob(id="", task="t")) for each in names]
        assert set(await d.store.put_schedules([SchedulePut(each, None) for each in records])) == {"put"}
        paused = replace(records[1], paused=BY_REQUEST, revision=2)
        await d.write(paused, records[1])
        await d.store.drop_schedules([names[2]])
        changed = await d.change(names[3], keep=3)
        d.clock.advance(MINUTE)
        fires = [d.decided(record) for record in records]
        fires[4] = replace(fires[4], schedule="nothing")
        answers = await d.store.fire(fires)
        expected: list[FireAnswer] = ["fired", "paused", "unknown", "stale", "unknown"]
        assert answers == expected + ["fired"] * 995
        assert await d.stored(names[3]) == changed
        due = await d.store.due_schedules()
        assert [each.schedule.id for each in due.schedules] == [names[3], names[4]]
        [counted] = [each for each in await d.store.counts() if each.task == "t"]
        assert counted.number == 996

    async def test_two_fires_of_one_schedule_in_a_call(self, d: ScheduleDriver) -> None:
        """The first counts; the others have to look again."""
        record = await d.put(overlap="allow")
        d.clock.advance(3 * MINUTE)
        first = d.decided(record)
        second = d.decided(replace(record, next=first.next, due=first.due))
        assert await d.store.fire([first, second, first]) == ["fired", "stale", "fired"]
        assert len(await d.jobs_of()) == 1
        assert await d.store.fire([second]) == ["fired"]
        assert await d.ledger() == [(1, "slot", 1, "ready"), (2, "slot", 1, "ready")]

    async def test_C3_the_answer_of_every_verb_about_schedules_is_lost_once(self, d: ScheduleDriver) -> None:
        lost = LostAnswers(d.store)
        record = d.record(overlap="allow")
        assert await lost.sure("put_schedules", [SchedulePut(record, None)]) == ["put"]
        d.clock.advance(MINUTE)
        fire = d.decided(record)
        assert await lost.sure("fire", [fire]) == ["fired"]
        asked = RunNow(NIGHTLY, d.slot_job(0.0))
        assert await lost.sure("trigger", [asked]) == ["fired"]
        assert [job.id for job in await d.jobs_of()] == [fire.slots[0].job, asked.job.job]
        assert await d.ledger() == [(1, "slot", 1, "ready"), (2, "trigger", 1, "ready")]
        for _ in range(2):
            await d.end_as((await d.jobs_of())[-1].id, "cancelled") if _ else await d.end_as(
                fire.slots[0].job, "complete"
            )
        await lost.sure("prune_runs")
        assert [run.state for run in await d.runs()] == ["completed", "cancelled"]
        with pytest.raises(StoreUnavailable):
            await LostAnswers(d.store).call("drop_schedules", [NIGHTLY])
        assert await d.store.drop_schedules([NIGHTLY]) == [False]
        assert (await d.stored()).dropped == d.clock.now()

    async def test_C3_a_fire_repeated_long_after_is_known(self, d: ScheduleDriver) -> None:
        record = await d.put()
        d.clock.advance(MINUTE)
        fire = d.decided(record)
        assert await d.store.fire([fire]) == ["fired"]
        await d.end_last()
        assert await d.fire() == "fired"
        assert await d.store.fire([fire]) == ["fired"]
        assert len(await d.jobs_of()) == 2

    # --- run now

    async def test_run_now_is_a_job_without_a_slot(self, d: ScheduleDriver) -> None:
        """S3-24: the next slot, the watermark and the count of runs stay as they are."""
        record = await d.put(template=NewJob(id="", task="t", payload=b"7"))
        assert await d.trigger() == "fired"
        [job] = await d.jobs_of()
        assert (job.schedule, job.slot, job.payload, job.state) == (NIGHTLY, None, b"7", "ready")
        assert await d.stored() == replace(record, number=1)
        [run] = await d.runs()
        assert (run.kind, run.slot, run.job, run.fired) == ("trigger", None, job.id, d.clock.now())

    async def test_run_now_in_batches(self, d: ScheduleDriver) -> None:
        await d.put("a", overlap="allow")
        await d.put("b")
        asked = [RunNow(each, d.slot_job(0.0)) for each in ("a", "b", "a", "b", "nothing")]
        assert await d.store.trigger(asked) == ["fired", "fired", "fired", "skipped", "unknown"]
        assert [run.job for run in await d.runs("a")] == [asked[0].job.job, asked[2].job.job]
        assert (await d.stored("b")).number == 1, "what did not run leaves nothing"

    async def test_a_slot_and_run_now_at_once(self, d: ScheduleDriver) -> None:
        """Their run records have different numbers, and both jobs are there."""
        record = await d.put(overlap="allow")
        d.clock.advance(MINUTE)
        asked = [[RunNow(NIGHTLY, d.slot_job(0.0))] for _ in range(3)]
        results = await asyncio.gather(d.store.fire([d.decided(record)]), *(d.store.trigger(each) for each in asked))
        fired = sum(answer == ["fired"] for answer in results)
        assert fired >= 3, "somebody may have been told to look again, by the one who held the row"
        assert len(await d.jobs_of()) == fired == len({run.job for run in await d.runs()})
        assert (await d.stored()).number == fired

    @pytest.mark.parametrize("gone", ["deleted", "pruned", "pruned at once"])
    async def test_C3_run_now_again_after_its_job_is_gone(self, d: ScheduleDriver, gone: str) -> None:
        """Its record tells of it: asked for once, it runs once."""
        await d.put(overlap="allow")
        asked = RunNow(NIGHTLY, d.slot_job(0.0))
        assert await d.store.trigger([asked]) == ["fired"]
        await d.end(asked.job.job)
        match gone:
            case "deleted":
                assert await d.store.delete([asked.job.job]) == ["changed"]
            case _:
                d.clock.advance(MINUTE)
                if gone == "pruned":
                    await d.store.prune_runs()
                await d.store.prune({"completed": 1.0})
        assert await d.jobs_of() == []
        assert await d.store.trigger([asked, asked]) == ["fired", "fired"]
        assert await d.jobs_of() == []
        assert len(await d.runs()) == 1

    async def test_run_now_twice_in_a_call_is_one(self, d: ScheduleDriver) -> None:
        await d.put(overlap="allow")
        asked = RunNow(NIGHTLY, d.slot_job(0.0))
        assert await d.store.trigger([asked, asked]) == ["fired", "fired"]
        assert await d.ledger() == [(1, "trigger", 1, "ready")]

    async def test_run_now_of_the_same_ones_in_opposite_orders(self, d: ScheduleDriver) -> None:
        """Nobody waits for one that waits for him."""
        names = [f"s{number}" for number in range(8)]
        for each in names:
            await d.put(each, overlap="allow")
        orders = [names, names[::-1]] * 3
        asked = [[RunNow(each, d.slot_job(0.0)) for each in order] for order in orders]
        assert await asyncio.gather(*(d.store.trigger(each) for each in asked)) == [["fired"] * 8] * 6
        assert [len(await d.runs(each)) for each in names] == [6] * 8

    # --- unique keys

    async def test_a_slot_whose_key_is_taken_is_skipped(self, d: ScheduleDriver) -> None:
        record = await d.put(template=NewJob(id="", task="t", unique="k"), overlap="allow")
        holder = await d.add(unique="k")
        assert await d.fire() == "skipped"
        after = await d.stored()
        assert (after.runs, after.skipped, after.fired_to) == (0, 1, record.due)
        assert await d.jobs_of() == []
        assert [run.kind for run in await d.runs()] == ["skipped"]
        assert await d.trigger() == "skipped"
        assert await d.stored() == after, "what a person asked for leaves nothing when it cannot be done"
        assert await d.fire() == "skipped"
        assert await d.ledger() == [(1, "skipped", 2, "skipped")]
        await d.end(holder)
        assert await d.fire() == "fired"

    async def test_one_taken_key_hurts_no_other_fire(self, d: ScheduleDriver) -> None:
        names = ["a", "b", "c"]
        for each in names:
            await d.put(each, template=NewJob(id="", task="t", unique="same" if each != "b" else None), overlap="queue")
        d.clock.advance(MINUTE)
        answers = await d.store.fire([d.decided(await d.stored(each)) for each in names])
        assert answers == ["fired", "fired", "skipped"]
        assert [len(await d.jobs_of(each)) for each in names] == [1, 1, 0]

    # --- triggers that count from the end of a run

    async def test_due_tells_of_the_last_run_where_the_next_slot_is_not_known(self, d: ScheduleDriver) -> None:
        """S3-04: an interval from the end of the last run."""
        await d.put(from_end=True)
        d.clock.advance(MINUTE)
        seen = (await d.due())[NIGHTLY]
        assert (seen.active, seen.ended) == (False, None), "its first slot is known"
        fire = replace(d.decided(seen.schedule), next=None, due=d.clock.now() + 1)
        assert await d.store.fire([fire]) == ["fired"]
        d.clock.advance(1)
        seen = (await d.due())[NIGHTLY]
        assert (seen.active, seen.ended) == (True, None)
        await d.end_last("dead")
        ended = d.clock.now()
        d.clock.advance(1)
        seen = (await d.due())[NIGHTLY]
        assert (seen.active, seen.ended) == (False, ended)
        await d.store.prune_runs()
        assert (await d.due())[NIGHTLY] == seen, "also when the end was written down"

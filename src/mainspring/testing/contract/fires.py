"""Firing: each slot becomes a job once, whoever decides it, whatever happens meanwhile (RULES H13)."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from msgspec.structs import replace

from mainspring.model.record import Hook, NewJob
from mainspring.model.schedule import FireAnswer
from mainspring.store.base import PutAnswer, SchedulePut
from mainspring.testing.contract.harness import hooks
from mainspring.testing.contract.scheduling import DAY, MINUTE, NIGHTLY, ScheduleDriver, SchedulesFixture
from mainspring.testing.contract.states import lane

STATES = ("new", "active", "paused", "finished", "dropped")


class FiresContract(SchedulesFixture):
    """`fire` and `trigger`."""

    async def test_a_fire_makes_a_job_of_the_template(self, d: ScheduleDriver) -> None:
        """S3-01: the slot, the schedule, and all of the template are on it; it is ready at once."""
        template = NewJob(
            id="", task="report", version="v2", queue="mail", payload=b'{"a":1}', priority=4, tags=("x",),
            metadata=b'{"m":1}', options=b'{"o":1}', hooks=hooks(), correlation="c", expires_in=30.0,
        )  # fmt: skip
        record = await d.put(template=template)
        d.clock.advance(MINUTE + 0.25)
        now = d.clock.now()
        fire = d.decided(record)
        assert await d.store.fire([fire]) == ["fired"]
        [job] = await d.claim(lane("report", queue="mail", version="v2"))
        assert (job.id, job.schedule, job.slot) == (fire.slots[0].job, NIGHTLY, record.due)
        assert (job.created, job.due, job.expires) == (now, now, now + 30)
        expected = replace(template, id=job.id, schedule=NIGHTLY, slot=record.due)
        fields = ("task", "version", "queue", "payload", "priority", "tags", "metadata", "options", "hooks", "unique",
                  "correlation", "parent", "root", "waits_on", "group")  # fmt: skip
        assert {each: getattr(job, each) for each in fields} == {each: getattr(expected, each) for each in fields}
        after = replace(record, next=fire.next, due=fire.due, fired_to=fire.to, runs=1, number=1)
        assert await d.stored() == after

    async def test_a_delay_of_the_template_counts_from_the_fire(self, d: ScheduleDriver) -> None:
        await d.put(template=NewJob(id="", task="t", delay=7.5))
        assert await d.fire() == "fired"
        [job] = await d.jobs_of()
        assert (job.state, job.due) == ("scheduled", d.clock.now() + 7.5)

    async def test_what_the_template_says_to_its_end_is_done(self, d: ScheduleDriver) -> None:
        await d.put(template=NewJob(id="", task="t", hooks=(Hook(on="dead", task="mourn"),)))
        await d.ran("dead")
        [job] = await d.tasked("mourn")
        assert (job.parent, job.schedule) == ((await d.jobs_of())[0].id, None)

    async def test_missed_slots_are_counted_and_recorded(self, d: ScheduleDriver) -> None:
        """S3-06, S3-09: those that were too late are seen."""
        record = await d.put()
        assert await d.fire(slots=1, missed=3) == "fired"
        after = await d.stored()
        assert (after.runs, after.missed, after.skipped, after.number) == (1, 3, 0, 2)
        assert record.due is not None
        missed, run = await d.runs()
        assert (missed.kind, missed.slot, missed.last_slot) == ("missed", record.due, record.due + 2 * MINUTE)
        assert (run.kind, run.slot, after.fired_to) == ("slot", record.due + 3 * MINUTE, run.slot)

    async def test_a_fire_without_slots_only_moves_on(self, d: ScheduleDriver) -> None:
        record = await d.put()
        d.clock.advance(MINUTE)
        fire = replace(d.decided(record, slots=0), next=None, due=d.clock.now() + 5)
        assert await d.store.fire([fire]) == ["moved"]
        assert await d.stored() == replace(record, next=None, due=fire.due)
        assert await d.runs() == []

    async def test_only_missed_slots_are_a_fire_too(self, d: ScheduleDriver) -> None:
        await d.put()
        assert await d.fire(slots=0, missed=4) == "moved"
        assert await d.ledger() == [(1, "missed", 4, "missed")]
        assert (await d.jobs_of(), await d.due()) == ([], {})

    async def test_the_last_slot_finishes_it(self, d: ScheduleDriver) -> None:
        """S3-11, S3-14: by the trigger, or because it has run often enough, whatever the scheduler thought."""
        await d.put("by trigger")
        await d.put("by count", max_runs=2)
        d.clock.advance(MINUTE)
        last = replace(d.decided(await d.stored("by trigger")), next=None, due=None)
        assert await d.store.fire([last, d.decided(await d.stored("by count"))]) == ["fired", "fired"]
        await d.end_last(identifier="by count")
        assert await d.fire("by count") == "fired"
        for each in ("by trigger", "by count"):
            after = await d.stored(each)
            assert (after.state, after.next, after.due) == ("finished", None, None)
        assert (await d.store.due_schedules()).next_due is None

    # --- H13

    @pytest.mark.parametrize("state", STATES)
    async def test_H13_each_verb_in_each_state(self, d: ScheduleDriver, state: str) -> None:
        """A fire, decided when it was active, with the right revision; and a person's verbs."""
        answers: dict[str, tuple[FireAnswer, FireAnswer, PutAnswer, bool]] = {
            "new": ("unknown", "unknown", "put", False),
            "active": ("fired", "fired", "conflict", True),
            "paused": ("paused", "fired", "conflict", True),
            "finished": ("stale", "fired", "conflict", True),
            "dropped": ("unknown", "unknown", "conflict", False),
        }
        record = d.record(overlap="allow")
        if state != "new":
            assert await d.write(record, None) == "put"
        match state:
            case "paused":
                await d.pause()
            case "finished":
                await d.finish()
            case "dropped":
                await d.store.drop_schedules([NIGHTLY])
            case _:
                pass
        d.clock.advance(MINUTE)
        there = (await d.store.get_schedules([NIGHTLY])).schedules
        assert set(await d.due()) == ({NIGHTLY} if state == "active" else set())
        assert len((await d.store.list_schedules()).schedules) == (state in ("active", "paused", "finished"))
        fire = d.decided(record)
        if there:
            fire = replace(fire, revision=there[0].revision)
        fired, triggered, put, dropped = answers[state]
        assert await d.store.fire([fire]) == [fired]
        assert await d.trigger() == triggered
        assert len(await d.jobs_of()) == (fired == "fired") + (triggered == "fired")
        assert [run.kind for run in await d.runs()] == ["slot", "trigger"][
            fired != "fired" : 1 + (triggered == "fired")
        ]
        assert await d.write(d.record(keep=4), None) == put
        if put == "conflict":
            assert await d.store.drop_schedules([NIGHTLY]) == [dropped]
            assert await d.store.fire([fire]) == ["unknown"]

    @pytest.mark.parametrize("wrong", ["revision", "expected", "watermark"])
    async def test_H13_a_fire_that_is_not_of_this_row_is_stale(self, d: ScheduleDriver, wrong: str) -> None:
        await d.put()
        await d.ran()
        record = await d.stored()
        d.clock.advance(MINUTE)
        fire = d.decided(record)
        match wrong:
            case "revision":
                fire = replace(fire, revision=record.revision - 1)
            case "expected":
                fire = replace(fire, expected=fire.expected + 0.000001)
            case _:
                old = d.slot_job(record.fired_to)
                fire = replace(fire, slots=(old, *fire.slots))
        assert await d.store.fire([fire]) == ["stale"]
        assert await d.stored() == record
        assert len(await d.jobs_of()) == 1

    async def test_H13_of_many_schedulers_with_the_same_read_one_wins(self, d: ScheduleDriver) -> None:
        ids = [f"s{number}" for number in range(5)]
        records = [await d.put(each) for each in ids]
        d.clock.advance(MINUTE)
        batches = [[d.decided(record) for record in records] for _ in range(8)]
        answers = await asyncio.gather(*(d.store.fire(each) for each in batches))
        for number, identifier in enumerate(ids):
            each = Counter(batch[number] for batch in answers)
            assert each == {"fired": 1, "stale": 7}
            [job] = await d.jobs_of(identifier)
            winner = next(turn for turn, batch in enumerate(answers) if batch[number] == "fired")
            assert job.id == batches[winner][number].slots[0].job
            assert (await d.stored(identifier)).runs == 1

    async def test_H13_paused_between_decision_and_fire(self, d: ScheduleDriver) -> None:
        record = await d.put()
        d.clock.advance(MINUTE)
        fire = d.decided(record)
        paused = await d.pause()
        assert await d.store.fire([fire, replace(fire, revision=paused.revision)]) == ["paused", "stale"]
        assert (await d.stored(), await d.jobs_of()) == (paused, [])

    async def test_H13_updated_between_decision_and_fire(self, d: ScheduleDriver) -> None:
        """S3-25: what was changed is never run as it was."""
        record = await d.put(template=NewJob(id="", task="t", payload=b'"old"'))
        d.clock.advance(MINUTE)
        fire = d.decided(record)
        changed = await d.change(template=NewJob(id="", task="t", payload=b'"new"'))
        assert await d.store.fire([fire]) == ["stale"]
        assert await d.store.fire([d.decided(changed)]) == ["fired"]
        assert [job.payload for job in await d.jobs_of()] == [b'"new"']

    async def test_H13_a_job_keeps_the_template_it_was_made_of(self, d: ScheduleDriver) -> None:
        await d.put(template=NewJob(id="", task="t", payload=b'"old"'), overlap="allow")
        await d.fire()
        await d.change(template=NewJob(id="", task="t", payload=b'"new"'))
        await d.fire()
        assert [job.payload for job in await d.jobs_of()] == [b'"old"', b'"new"']

    async def test_H13_update_and_fire_at_once(self, d: ScheduleDriver) -> None:
        """Whoever comes first: the other sees it. Never both on the same row."""
        for number in range(6):
            name = f"s{number}"
            record = await d.put(name)
            d.clock.advance(MINUTE)
            fire, put = d.decided(record), SchedulePut(d.changed(record, keep=5), record)
            calls = (d.store.fire([fire]), d.store.put_schedules([put]))
            fired, written = await asyncio.gather(*(calls if number % 2 else reversed(calls)))
            if not number % 2:
                fired, written = written, fired
            assert (fired, written) in ((["fired"], ["conflict"]), (["stale"], ["put"]))
            assert len(await d.jobs_of(name)) == (fired == ["fired"])

    async def test_H13_dropped_and_put_again_between_decision_and_fire(self, d: ScheduleDriver) -> None:
        record = await d.put()
        d.clock.advance(MINUTE)
        fire = d.decided(record)
        await d.store.drop_schedules([NIGHTLY])
        assert await d.store.fire([fire]) == ["unknown"]
        left = await d.stored()
        assert await d.write(replace(record, revision=left.revision + 1), left) == "put"
        assert await d.store.fire([fire]) == ["stale"]
        assert await d.jobs_of() == []

    async def test_H13_the_watermark_of_a_dropped_one_is_kept_for_a_day(self, d: ScheduleDriver) -> None:
        await d.put()
        await d.ran()
        await d.put("never ran")
        both = [NIGHTLY, "never ran"]
        await d.store.drop_schedules(both)
        d.clock.advance(DAY)
        assert await d.store.prune_runs() == 0
        assert [each.dropped is None for each in (await d.store.get_schedules(both)).schedules] == [False, False]
        d.clock.advance(0.125)
        assert await d.store.prune_runs() == 1
        assert (await d.store.get_schedules(both)).schedules == []
        assert (await d.put()).fired_to == 0, "as if it had never been"

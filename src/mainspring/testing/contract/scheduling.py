"""Puts and fires schedules through the store's own verbs, with slots a minute apart: a store never reads a trigger."""

from __future__ import annotations

from typing import TypedDict, Unpack

import pytest
from msgspec.structs import replace

from mainspring.model.record import JobRecord, NewJob
from mainspring.model.schedule import (
    BY_REQUEST,
    Definition,
    Fire,
    FireAnswer,
    Misfire,
    Overlap,
    Run,
    ScheduleRecord,
    SlotJob,
)
from mainspring.store.base import DueSchedule, Filter, PutAnswer, RunNow, SchedulePut
from mainspring.testing.contract.harness import StoreHarness
from mainspring.testing.contract.states import Driver

MINUTE = 60.0
DAY = 86_400.0
NIGHTLY = "nightly"


class DefinitionFields(TypedDict, total=False):
    """The fields of `Definition`."""

    trigger: bytes
    template: NewJob
    from_end: bool
    misfire: Misfire
    misfire_limit: int
    misfire_grace: float | None
    overlap: Overlap
    start_at: float | None
    end_at: float | None
    max_runs: int | None
    jitter: float
    stop_after: int | None
    keep: int
    keep_for: float | None


class ScheduleDriver(Driver):
    """A client, its workers, and schedulers that fire a slot each minute. One that is due is so in a minute."""

    def __init__(self, harness: StoreHarness) -> None:
        super().__init__(harness)
        self.store = harness.store

    # --- records

    def record(self, identifier: str = NIGHTLY, **fields: Unpack[DefinitionFields]) -> ScheduleRecord:
        """A new schedule that is not put yet. Its template has a task, and so a lane, of its own."""
        fields.setdefault("trigger", b'{"every":60}')
        fields.setdefault("template", NewJob(id="", task=f"task-of-{identifier}"))
        now = self.clock.now()
        return ScheduleRecord(
            id=identifier,
            definition=Definition(**fields),
            begin=now,
            next=now + MINUTE,
            due=now + MINUTE,
            created=now,
            changed=now,
        )

    async def stored(self, identifier: str = NIGHTLY) -> ScheduleRecord:
        """The schedule as it stands, dropped or not; it is asserted to be there."""
        [record] = (await self.store.get_schedules([identifier])).schedules
        return record

    async def write(self, record: ScheduleRecord, stored: ScheduleRecord | None) -> PutAnswer:
        """Put one row, decided on another."""
        [answer] = await self.store.put_schedules([SchedulePut(record, stored)])
        return answer

    async def put(self, identifier: str = NIGHTLY, **fields: Unpack[DefinitionFields]) -> ScheduleRecord:
        """Put a new schedule."""
        record = self.record(identifier, **fields)
        assert await self.write(record, None) == "put"
        return record

    def changed(self, record: ScheduleRecord, **fields: Unpack[DefinitionFields]) -> ScheduleRecord:
        """The same schedule after people have changed its definition; it is not put yet."""
        definition = replace(record.definition, **fields)
        return replace(record, definition=definition, revision=record.revision + 1, changed=self.clock.now())

    async def change(self, identifier: str = NIGHTLY, **fields: Unpack[DefinitionFields]) -> ScheduleRecord:
        """Change the definition of a stored schedule."""
        stored = await self.stored(identifier)
        record = self.changed(stored, **fields)
        assert await self.write(record, stored) == "put"
        return record

    async def pause(self, identifier: str = NIGHTLY, reason: str = BY_REQUEST) -> ScheduleRecord:
        """Pause, or with no reason resume, a stored schedule."""
        stored = await self.stored(identifier)
        record = replace(stored, paused=reason, revision=stored.revision + 1, changed=self.clock.now())
        assert await self.write(record, stored) == "put"
        return record

    async def finish(self, identifier: str = NIGHTLY) -> ScheduleRecord:
        """Let a stored schedule have no slot left."""
        stored = await self.stored(identifier)
        record = replace(stored, next=None, due=None, revision=stored.revision + 1)
        assert await self.write(record, stored) == "put"
        return record

    # --- firing

    async def due(self, limit: int = 1000) -> dict[str, DueSchedule]:
        """What a scheduler sees now."""
        return {each.schedule.id: each for each in (await self.store.due_schedules(limit)).schedules}

    def slot_job(self, slot: float) -> SlotJob:
        """A slot with ids made for it."""
        return SlotJob(slot, self._ids(), self._ids())

    def decided(self, record: ScheduleRecord, slots: int = 1, missed: int = 0) -> Fire:
        """What a scheduler decides on this read: the first slots are missed, the others are to run."""
        assert record.due is not None
        first = record.due
        times = [first + MINUTE * number for number in range(missed + slots)]
        left_out = times[:missed]
        following = first + MINUTE * len(times)
        return Fire(
            schedule=record.id,
            revision=record.revision,
            expected=record.due,
            slots=tuple(self.slot_job(each) for each in times[missed:]),
            missed=missed,
            missed_from=left_out[0] if left_out else None,
            missed_to=left_out[-1] if left_out else None,
            to=times[-1] if times else record.fired_to,
            next=following,
            due=following,
        )

    async def fire(self, identifier: str = NIGHTLY, slots: int = 1, missed: int = 0) -> FireAnswer:
        """Let time pass until so many slots are due, and fire them."""
        record = await self.stored(identifier)
        assert record.due is not None
        until = record.due + MINUTE * (slots + missed - 1)
        if until > self.clock.now():
            self.clock.advance(until - self.clock.now())
        [answer] = await self.store.fire([self.decided(record, slots, missed)])
        return answer

    async def ran(self, kind: str = "complete", identifier: str = NIGHTLY) -> None:
        """Fire one slot, and let its job end so."""
        assert await self.fire(identifier) == "fired"
        await self.end_last(kind, identifier)

    async def end_last(self, kind: str = "complete", identifier: str = NIGHTLY) -> None:
        """Let the job of the last run that has one end so; `cancelled` by a person, who does not wait for its start."""
        job = [run.job for run in await self.runs(identifier) if run.job is not None][-1]
        await self.end_as(job, kind)

    async def end_as(self, job: str, kind: str) -> None:
        """Let a job that is ready end so."""
        match kind:
            case "cancelled":
                assert await self.store.cancel([job]) == ["cancelled"]
            case "complete" | "dead" | "expired":
                await self.end(job, kind)
            case _:
                raise AssertionError(kind)

    async def trigger(self, identifier: str = NIGHTLY) -> FireAnswer:
        """Run it now."""
        [answer] = await self.store.trigger([RunNow(identifier, self.slot_job(0.0))])
        return answer

    # --- what came of it

    async def runs(self, identifier: str = NIGHTLY) -> list[Run]:
        """All run records."""
        return await self.store.runs(identifier)

    async def ledger(self, identifier: str = NIGHTLY) -> list[tuple[int, str, int, str | None]]:
        """Number, kind, count and state of all run records."""
        return [(run.number, run.kind, run.count, run.state) for run in await self.runs(identifier)]

    async def jobs_of(self, identifier: str = NIGHTLY) -> list[JobRecord]:
        """The jobs of this schedule, oldest first."""
        return (await self.store.find(Filter(schedule=identifier))).jobs

    async def states_of(self, identifier: str = NIGHTLY) -> list[str]:
        """The states of its jobs, oldest first."""
        return [job.state for job in await self.jobs_of(identifier)]


class SchedulesFixture:
    """Gives the tests a `d`, and skips them where a store says that it has no schedules."""

    @pytest.fixture
    def d(self, harness: StoreHarness) -> ScheduleDriver:
        if not harness.store.features.schedules:
            pytest.skip(f"the {harness.store.features.name} store says that it has no schedules")
        return ScheduleDriver(harness)

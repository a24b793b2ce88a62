"""A schedule whose definition cannot be read, as a newer version may have written it: it hurts no other (RULES C10)."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from mainspring.errors import ScheduleUnreadable
from mainspring.model.planning import paused
from mainspring.model.schedule import BY_REQUEST, ScheduleRecord, readable
from mainspring.store.base import SchedulePut
from mainspring.testing.contract.harness import StoreHarness
from mainspring.testing.contract.scheduling import DAY, MINUTE, NIGHTLY, ScheduleDriver, SchedulesFixture

OTHERS = ("a", "z")
"""One before it, one behind it."""


class UnreadableContract(SchedulesFixture):
    """S3-44: the row is told of, and is put again or removed; all other verbs work as if it were not there."""

    async def test_C10_it_is_read_among_the_others(self, harness: StoreHarness, d: ScheduleDriver) -> None:
        spoilt = await spoilt_one(harness, d)
        found = await d.stored()
        assert found.unreadable
        assert replace(found, unreadable="", definition=spoilt.definition) == spoilt
        with pytest.raises(ScheduleUnreadable, match=NIGHTLY) as raised:
            readable(found)
        assert raised.value.schedule == NIGHTLY
        listed = (await d.store.list_schedules()).schedules
        assert [each.id for each in listed] == ["a", NIGHTLY, "z"]
        assert [bool(each.unreadable) for each in listed] == [False, True, False]
        assert [run.number for run in await d.runs()] == [1]

    async def test_C10_what_is_due_besides_is_found_and_fired(self, harness: StoreHarness, d: ScheduleDriver) -> None:
        spoilt = await spoilt_one(harness, d)
        d.clock.advance(MINUTE)
        due = await d.due()
        assert due.keys() == {"a", NIGHTLY, "z"}
        assert due[NIGHTLY].schedule.unreadable
        # As by a scheduler that has read it before it was spoilt.
        batch = [d.decided(due["a"].schedule), d.decided(spoilt), d.decided(due["z"].schedule)]
        assert await d.store.fire(batch) == ["fired", "unknown", "fired"]
        assert await d.trigger() == "unknown"
        assert (len(await d.jobs_of()), len(await d.runs())) == (1, 1)
        assert (await d.due()).keys() == {NIGHTLY}
        rest = await d.store.due_schedules(without=[NIGHTLY])
        assert (rest.schedules, rest.next_due) == ([], rest.now + MINUTE)

    async def test_a_put_mends_it_and_its_watermark_stays(self, harness: StoreHarness, d: ScheduleDriver) -> None:
        spoilt = await spoilt_one(harness, d)
        found = await d.stored()
        mended = replace(
            found, unreadable="", definition=spoilt.definition, revision=found.revision + 1, changed=d.clock.now()
        )
        assert await d.store.put_schedules([SchedulePut(mended, found)]) == ["put"]
        assert await d.stored() == mended
        assert await d.fire() == "fired"
        assert (await d.stored()).runs == 2

    async def test_it_cannot_be_paused_for_that_would_write_it(self, harness: StoreHarness, d: ScheduleDriver) -> None:
        await spoilt_one(harness, d)
        with pytest.raises(ScheduleUnreadable, match="put it again or remove it"):
            paused(await d.stored(), d.clock.now(), BY_REQUEST)

    async def test_it_is_removed_and_can_be_put_anew(self, harness: StoreHarness, d: ScheduleDriver) -> None:
        spoilt = await spoilt_one(harness, d)
        assert await d.store.drop_schedules([NIGHTLY, "a", "no"]) == [True, True, False]
        assert [each.id for each in (await d.store.list_schedules()).schedules] == ["z"]
        left = await d.stored()
        assert (left.dropped, left.fired_to, left.number) == (d.clock.now(), spoilt.fired_to, 1)
        anew = replace(d.record(), revision=left.revision + 1, fired_to=left.fired_to, number=left.number)
        assert await d.write(anew, left) == "put"
        assert await d.stored() == anew

    async def test_its_ends_are_written_and_its_runs_pruned(self, harness: StoreHarness, d: ScheduleDriver) -> None:
        """What it keeps is known still."""
        await spoilt_one(harness, d)
        await d.end_last()
        assert await d.store.prune_runs() == 0
        assert [run.state for run in await d.runs()] == ["completed"]
        d.clock.advance(DAY + MINUTE)
        assert await d.store.prune_runs() == 1
        assert await d.runs() == []
        assert await d.store.drop_schedules([NIGHTLY]) == [True]
        d.clock.advance(DAY + MINUTE)
        await asyncio.wait_for(d.store.prune_runs(), 10)
        assert (await d.store.get_schedules([NIGHTLY])).schedules == []


async def spoilt_one(harness: StoreHarness, d: ScheduleDriver) -> ScheduleRecord:
    """It as it was, with a run behind it; the others are as far."""
    for each in (NIGHTLY, *OTHERS):
        await d.put(each, overlap="allow", keep=7, keep_for=DAY)
    for each in (NIGHTLY, *OTHERS):
        await d.fire(each)
    record = await d.stored()
    await harness.spoil(NIGHTLY)
    return record

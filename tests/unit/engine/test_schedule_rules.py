"""What a worker does with schedules, end to end in virtual time: slots, misfire, overlap, limits, failures, pauses."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from mainspring.model.cron import Cron
from mainspring.model.every import Every, Once
from mainspring.model.schedule import FAILED
from tests.unit.engine.timetable import START, timetable
from tests.unit.engine.workshop import virtual

DAY = 86_400.0


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(START + seconds, UTC)


@virtual
async def test_SCH_028_without_a_start_the_first_run_is_at_once_and_each_runs_at_its_slot() -> None:
    """Also JOB-001, JOB-003: a new schedule has no runs, and then as many as slots."""
    async with timetable() as table:
        await table.put("minutely", Every(60))
        assert (await table.schedule("minutely")).runs == 0
        await table.work(180)
        assert table.ran == [("minutely", slot, slot) for slot in (0.0, 60.0, 120.0, 180.0)]
        record = await table.schedule("minutely")
        assert (record.runs, record.missed, record.skipped, record.state) == (4, 0, 0, "active")


@virtual
async def test_nothing_drifts_when_runs_take_time() -> None:
    async with timetable() as table:
        table.takes = 7.3
        await table.put("minutely", Every(60))
        await table.work(3600)
        assert table.slots == [60.0 * number for number in range(61)]
        assert [when for _, _, when in table.ran] == table.slots


@virtual
async def test_RST_004_missed_slots_run_once_after_a_day_of_downtime() -> None:
    """Also S3-42: what is overdue runs once at once; the rest is counted and recorded."""
    async with timetable() as table:
        await table.put("hourly", Every(3600))
        await table.work(10)
        await table.advance(DAY)  # nobody works
        await table.work(3600)
        assert table.ran[0] == ("hourly", 0.0, 0.0)
        assert table.ran[1] == ("hourly", DAY, DAY + 10)  # the newest of those that have passed
        assert table.ran[2] == ("hourly", DAY + 3600, DAY + 3600)
        assert await table.ledger("hourly") == [
            ("slot", 0.0, 1),
            ("missed", 3600.0, 23),
            ("slot", DAY, 1),
            ("slot", DAY + 3600, 1),
        ]
        assert (await table.schedule("hourly")).missed == 23


@virtual
async def test_misfire_skip_runs_nothing_that_is_older_than_a_minute() -> None:
    async with timetable() as table:
        await table.put("hourly", Every(3600), misfire="skip")
        await table.work(10)
        await table.advance(DAY + 120)
        await table.work(30)
        assert table.slots == [0.0]
        assert (await table.ledger("hourly"))[1] == ("missed", 3600.0, 24)
        await table.work(3600)
        assert table.slots == [0.0, DAY + 3600]


@virtual
async def test_misfire_skip_runs_a_slot_that_is_a_few_seconds_late() -> None:
    async with timetable() as table:
        await table.put("hourly", Every(3600), misfire="skip")
        await table.advance(3630)
        await table.work(1)
        assert table.slots == [3600.0]


@virtual
async def test_misfire_all_runs_every_slot_in_order_up_to_its_limit() -> None:
    async with timetable() as table:
        await table.put("hourly", Every(3600), misfire="all", misfire_limit=5)
        await table.advance(DAY)
        await table.work(10)
        assert table.slots == [DAY - 3600 * number for number in (4, 3, 2, 1, 0)]
        assert (await table.schedule("hourly")).missed == 20
        assert await table.each_slot_once("hourly") == table.slots


@virtual
async def test_misfire_all_with_overlap_skip_runs_one_after_the_other() -> None:
    async with timetable() as table:
        table.takes = 5
        await table.put("hourly", Every(3600), misfire="all")
        await table.advance(3 * 3600)
        await table.work(60)
        began = 3 * 3600.0
        assert [(slot, when) for _, slot, when in table.ran] == [
            (0.0, began),
            (3600.0, began + 5),
            (7200.0, began + 10),
            (10800.0, began + 15),
        ]


@virtual
async def test_misfire_grace_bounds_how_late_a_slot_may_be() -> None:
    async with timetable() as table:
        await table.put("hourly", Every(3600), misfire="all", misfire_grace=2 * 3600)
        await table.advance(10 * 3600)
        await table.work(1)
        assert table.slots == [8 * 3600.0, 9 * 3600.0, 10 * 3600.0]
        assert (await table.schedule("hourly")).missed == 8


@virtual
async def test_jitter_delays_each_run_by_the_same_and_keeps_the_slot() -> None:
    async with timetable() as table:
        await table.put("minutely", Every(60), jitter=30)
        await table.work(600)
        late = {round(when - (slot or 0), 6) for _, slot, when in table.ran}
        assert len(late) == 1
        assert 0 < late.pop() < 30
        assert table.slots == [60.0 * number for number in range(10)]


@virtual
async def test_SCH_023_SCH_024_start_and_end_bound_the_slots() -> None:
    async with timetable() as table:
        await table.put("window", Every(60), start_at=30, end_at=150)
        await table.put("point", Every(60), start_at=100, end_at=100)
        await table.put("past", Every(60), end_at=-10)
        await table.work(600)
        ran = {name: [slot for each, slot, _ in table.ran if each == name] for name in ("window", "point", "past")}
        assert ran == {"window": [30.0, 90.0, 150.0], "point": [100.0], "past": []}
        assert {(await table.schedule(name)).state for name in ran} == {"finished"}


@virtual
async def test_SCH_026_SCH_027_max_runs_ends_it_with_the_last_run_and_not_later() -> None:
    async with timetable() as table:
        await table.put("thrice", Every(60), max_runs=3)
        await table.work(120)
        assert (await table.schedule("thrice")).state == "finished"
        await table.work(600)
        assert table.slots == [0.0, 60.0, 120.0]


@virtual
async def test_max_runs_holds_when_several_slots_are_caught_up() -> None:
    async with timetable() as table:
        await table.put("thrice", Every(3600), max_runs=3, misfire="all", overlap="allow")
        await table.advance(DAY)
        await table.work(10)
        assert len(table.slots) == 3
        assert (await table.schedule("thrice")).state == "finished"


@virtual
async def test_overlap_skip_leaves_out_the_slots_of_a_long_run() -> None:
    async with timetable() as table:
        table.takes = 150
        await table.put("minutely", Every(60), overlap="skip")
        await table.work(400)
        assert [(slot, when) for _, slot, when in table.ran] == [(0.0, 0.0), (180.0, 180.0), (360.0, 360.0)]
        assert await table.ledger("minutely") == [
            ("slot", 0.0, 1),
            ("skipped", 60.0, 2),
            ("slot", 180.0, 1),
            ("skipped", 240.0, 2),
            ("slot", 360.0, 1),
        ]


@virtual
async def test_overlap_allow_runs_beside_itself() -> None:
    async with timetable() as table:
        table.takes = 150
        await table.put("minutely", Every(60), overlap="allow")
        await table.work(240)
        assert [when for _, _, when in table.ran] == [0.0, 60.0, 120.0, 180.0, 240.0]


@virtual
async def test_overlap_queue_lets_one_wait_and_skips_the_others() -> None:
    async with timetable() as table:
        table.takes = 149
        await table.put("minutely", Every(60), overlap="queue")
        await table.work(640)
        assert [(slot, when) for _, slot, when in table.ran] == [
            (0.0, 0.0),
            (60.0, 149.0),
            (180.0, 298.0),
            (300.0, 447.0),
            (480.0, 596.0),
        ]
        assert (await table.schedule("minutely")).skipped == 5  # 120, 240, 360, 420, 540


@virtual
async def test_overlap_queue_goes_on_after_a_run_that_fails() -> None:
    async with timetable() as table:
        table.takes, table.fails = 90, True
        await table.put("minutely", Every(60), overlap="queue", max_runs=3)
        await table.work(600)
        assert len(table.ran) == 3


@virtual
async def test_SCD_023_SCD_024_a_failing_run_never_ends_a_schedule() -> None:
    """S3-17: the run is recorded as failed with its text, and the schedule goes on by its slots."""
    async with timetable() as table:
        table.fails = True
        await table.put("minutely", Every(60))
        await table.work(200)
        assert table.slots == [0.0, 60.0, 120.0, 180.0]
        runs = await table.runs("minutely")
        assert [run.state for run in runs] == ["dead"] * 4
        assert all(run.error.endswith("as it was told") for run in runs)


@virtual
async def test_stop_after_pauses_it_when_so_many_runs_in_a_row_have_failed() -> None:
    async with timetable() as table:
        table.fails = True
        await table.put("minutely", Every(60), stop_after=3)
        await table.work(600)
        assert table.slots == [0.0, 60.0, 120.0]
        record = await table.schedule("minutely")
        assert (record.state, record.paused) == ("paused", FAILED)
        table.fails = False
        await table.resume("minutely", Every(60))
        await table.work(120)
        assert table.slots[3:] == [660.0, 720.0]


@virtual
async def test_a_run_that_completes_between_failures_keeps_it_going() -> None:
    async with timetable() as table:

        async def every_third_completes() -> None:
            table.ran.append(("flaky", None, table.now))
            if len(table.ran) % 3:
                raise RuntimeError("not the third")

        table.task(every_third_completes, "flaky")
        await table.put("flaky", Every(60), task="flaky", stop_after=3)
        await table.work(600)
        assert len(table.ran) == 11


@virtual
async def test_anchor_end_counts_from_the_end_of_the_run() -> None:
    """S3-19."""
    async with timetable() as table:
        table.takes = 25
        await table.put("paced", Every(60, anchor="end"))
        await table.work(300)
        starts = [when for _, _, when in table.ran]
        assert len(starts) == 4
        gaps = [after - before for before, after in pairwise(starts)]
        assert all(85 <= gap < 86.1 for gap in gaps), gaps  # the end is seen within a second


@virtual
async def test_anchor_end_waits_for_a_long_run_and_does_not_overlap() -> None:
    async with timetable() as table:
        table.takes = 500
        await table.put("paced", Every(60, anchor="end"))
        await table.work(1200)
        starts = [when for _, _, when in table.ran]
        assert starts == [0.0, pytest.approx(560, abs=1.1), pytest.approx(1120, abs=2.2)]


@virtual
async def test_SCD_018_once_in_the_past_runs_at_once_and_a_single_time() -> None:
    """S3-21, RST-006: one that lies ahead runs once at its time, also after a restart."""
    async with timetable() as table:
        await table.put("past", Once(at(-5000)))
        await table.put("later", Once(at(5000)))
        await table.work(100)
        await table.work(10_000)
        assert [(name, when) for name, _, when in table.ran] == [("past", 0.0), ("later", 5000.0)]
        assert {(await table.schedule(name)).state for name in ("past", "later")} == {"finished"}


@virtual
async def test_S3_43_once_that_came_due_while_nobody_worked_runs_afterwards() -> None:
    async with timetable() as table:
        await table.put("later", Once(at(50)))
        await table.advance(1000)
        await table.work(10)
        await table.work(10)
        assert [(slot, when) for _, slot, when in table.ran] == [(50.0, 1000.0)]


@virtual
async def test_a_cron_of_a_zone_fires_by_the_wall_clock() -> None:
    async with timetable() as table:
        await table.put("nine", Cron("0 9 * * *", tz="Europe/Berlin"))
        await table.advance(8 * 3600 - 60)
        await table.work(120)
        await table.advance(DAY - 120)
        await table.work(120)
        assert [(slot, when) for _, slot, when in table.ran] == [(8 * 3600.0,) * 2, (DAY + 8 * 3600.0,) * 2]


@virtual
async def test_a_paused_schedule_lets_its_slots_pass() -> None:
    async with timetable() as table:
        await table.put("minutely", Every(60))
        async with table.working():
            await table.advance(70)
            await table.pause("minutely")
            await table.advance(600)
            await table.resume("minutely", Every(60))
            await table.advance(100)
        assert table.slots == [0.0, 60.0, 720.0]


@virtual
async def test_a_trigger_replaced_at_run_time_is_in_force_at_once() -> None:
    """H13: by another process on the same store; the history stays."""
    async with timetable() as table:
        await table.put("hourly", Every(3600))
        async with table.working():
            await table.advance(100)
            await table.put("hourly", Every(10, first="after"))
            await table.advance(30.5)
        assert table.slots == [0.0, 110.0, 120.0, 130.0]
        assert len(await table.runs("hourly")) == 4


@virtual
async def test_H13_replacing_does_not_fire_a_slot_again() -> None:
    async with timetable() as table:
        await table.put("daily", Cron("10 0 * * *"))
        async with table.working():
            await table.advance(601)
            table.clock.step(-5)  # before the slot again
            await table.put("daily", Cron("10 0 * * 1-7"))
            await table.advance(3600)
        assert table.slots == [600.0]
        assert (await table.schedule("daily")).next == START + DAY + 600


@virtual
async def test_a_removed_schedule_fires_no_more_and_its_watermark_holds_when_it_is_put_again() -> None:
    async with timetable() as table:
        hourly = Cron("10 * * * *")
        await table.put("hourly", hourly)
        async with table.working():
            await table.advance(601)
            assert await table.store.drop_schedules(["hourly"]) == [True]
            table.clock.step(-5)
            await table.put("hourly", hourly)
            await table.advance(1800)
            assert table.slots == [600.0]
            await table.advance(3600)
        assert table.slots == [600.0, 4200.0]

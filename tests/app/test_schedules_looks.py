"""`app.schedules`: lists, and what comes next; on a memory store in virtual time."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from mainspring import (
    App,
    Cron,
    Daily,
    Every,
    ScheduleSpec,
)
from mainspring.errors import InvalidOption
from tests.app.virtual_app import START
from tests.app.virtual_app import run_open as run

MINUTE = timedelta(minutes=1)


# --- looking


def test_JOB_014_schedules_are_listed_in_text_order() -> None:
    """Also S0-61."""

    async def main(app: App) -> None:
        for each in ("job-2", "job-10", "Job", "job-1", "ä"):
            await app.schedules.put(each, Every(60), app.remote("t").bind())
        assert [each.id for each in await app.schedules.list()] == ["Job", "job-1", "job-10", "job-2", "ä"]
        assert [each.id for each in await app.schedules.list(after="job-1", limit=2)] == ["job-10", "job-2"]

    run(main)


def test_JOB_015_JOB_016_JOB_017_lists_by_state_id_and_place() -> None:
    """Also S0-62, S3-08."""

    async def main(app: App) -> None:
        work = app.remote("t").bind()
        for each in "1234":
            await app.schedules.put(each, Every(60), work)
        await app.schedules.put("2", Every(60), work, end_at=START - MINUTE)
        await app.schedules.pause("3")

        async def listed(**options: Any) -> list[str]:
            return [each.id for each in await app.schedules.list(**options)]

        assert await listed(states=["active", "paused"]) == ["1", "3", "4"]
        assert await listed(states=["finished"]) == ["2"]
        assert await listed(ids=["4", "missing", "2", "4"]) == ["2", "4"]
        assert await listed(ids=[]) == []
        assert await listed(ids=["4", "2"], states=["active"]) == ["4"]
        assert await listed(offset=1, limit=2) == ["2", "3"]
        assert await listed(offset=10) == []
        wrong: list[dict[str, Any]] = [
            *({"offset": -1}, {"limit": 0}, {"limit": True}, {"states": ["dead"]}, {"states": "active"}, {"ids": "14"}),
        ]
        for options in wrong:
            with pytest.raises(InvalidOption):
                await listed(**options)

    run(main)


def test_a_list_by_state_looks_behind_the_first_thousand() -> None:
    async def main(app: App) -> None:
        task = app.remote("t")
        await app.schedules.put_many(ScheduleSpec(f"s{n:04}", Every(60), task.bind()) for n in range(2200))
        await app.schedules.pause("s2100")
        assert [each.id for each in await app.schedules.list(states=["paused"])] == ["s2100"]
        assert len(await app.schedules.list(limit=2100)) == 2100

    run(main)


def test_next_fires_are_those_that_will_come() -> None:
    """Also SCH-023 and S0-33: the end is a slot, too."""

    async def main(app: App) -> None:
        work = app.remote("t").bind()

        async def fires(trigger: Every | Cron, n: int = 5, **options: Any) -> list[float]:
            await app.schedules.put("a", trigger, work, **options)
            slots = await app.schedules.next_fires("a", n)
            await app.schedules.remove("a")
            return [(slot.local - START) / MINUTE for slot in slots]

        assert await fires(Every(60), 3) == [0, 1, 2]
        assert await fires(Every(60), 0) == []
        assert await fires(Every(60, first="after"), 2) == [1, 2]
        assert await fires(Every(60, anchor="end"), 2) == [0, 1]
        assert await fires(Every(60), max_runs=2) == [0, 1]
        assert await fires(Every(60), end_at=START + 2 * MINUTE) == [0, 1, 2]
        assert await fires(Every(60), 2, start_at=START + 9 * MINUTE) == [9, 10]
        assert await fires(Cron("*/30 * * * *"), 2) == [0, 30]
        for wrong in (-1, 2.0, True):
            with pytest.raises(InvalidOption, match="n is a whole number from 0"):
                await app.schedules.next_fires("a", wrong)  # type: ignore[arg-type]  # what an unchecked caller does

    run(main)


def test_numbers_that_no_store_can_hold_are_refused() -> None:
    async def main(app: App) -> None:
        with pytest.raises(InvalidOption, match="n is at most 10000, not 10001"):
            await app.schedules.next_fires("s", 10_001)
        with pytest.raises(InvalidOption, match="from_number is at most 9223372036854775807"):
            await app.schedules.runs("s", from_number=10**20)

    run(main)


def test_the_days_of_a_change_of_the_clocks_are_marked() -> None:
    async def main(app: App) -> None:
        berlin = Daily(time(2, 30), tz="Europe/Berlin")
        await app.schedules.put("a", berlin, app.remote("t").bind(), start_at=datetime(2026, 3, 28, 12, tzinfo=UTC))
        slots = await app.schedules.next_fires("a", 2)
        assert [(slot.local.isoformat(), slot.dst) for slot in slots] == [
            ("2026-03-29T03:00:00+02:00", "moved"),
            ("2026-03-30T02:30:00+02:00", "none"),
        ]

    run(main)

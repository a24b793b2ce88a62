"""What the log says of schedules: unknown tasks, missed slots, failed runs, pauses."""

from __future__ import annotations

import json
import logging

import pytest

from mainspring.cli.logs import JsonLines
from mainspring.engine import schedule_log as module
from mainspring.engine.schedule_log import Strangers, missed_line
from mainspring.model.every import Every
from mainspring.model.schedule import Fire
from mainspring.testing.virtual import run_virtual
from tests.unit.engine.timetable import START, timetable


def fire(schedule: str, missed: int, first: float, last: float) -> Fire:
    return Fire(
        schedule=schedule,
        revision=1,
        expected=START,
        missed=missed,
        missed_from=START + first,
        missed_to=START + last,
        to=START + last,
        next=None,
        due=None,
    )


def test_missed_slots_of_one_schedule_are_told_with_their_times() -> None:
    assert missed_line([fire("a", 1, 0, 0)]) == (
        "schedule 'a': 1 slot came too late and was missed: 2026-01-01 00:00:00+00:00"
    )
    assert missed_line([fire("a", 3, 0, 120)]) == (
        "schedule 'a': 3 slots came too late and were missed, from 2026-01-01 00:00:00+00:00 to "
        "2026-01-01 00:02:00+00:00"
    )


def test_missed_slots_of_several_schedules_are_counted() -> None:
    assert missed_line([fire(each, 1, 0, 0) for each in "ab"]) == (
        "2 slots came too late and were missed, of 2 schedules: 'a', 'b'"
    )
    assert missed_line([fire(each, 1, 0, 0) for each in "abcdef"]).endswith(
        "of 6 schedules: 'a', 'b', 'c', 'd', 'e', …"
    )


def test_a_schedule_of_a_task_that_is_not_known_here_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with timetable() as table:
            await table.put("renamed", Every(10), task="gone")
            await table.put("renamed too", Every(10), task="gone")
            await table.put("fine", Every(10))
            await table.work(100)

    run_virtual(main())
    said = [record.getMessage() for record in caplog.records if "does not know" in record.getMessage()]
    assert len(said) == 1
    assert said[0].startswith(
        "2 schedules ('renamed', 'renamed too') add jobs of task 'gone', which this worker does not know; where no other "
        "worker does, they wait for ever."
    )


def test_what_is_remembered_of_unknown_tasks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 2)

    async def main() -> None:
        async with timetable() as table:
            strangers = Strangers(lambda _task, _version: False)
            told: list[bool] = []
            for name in "aabcca":
                await table.put(name, Every(10), task="gone")
                strangers.note(await table.schedule(name))
                told.append(bool(strangers.lines()))
            assert told == [True, False, True, True, False, True]

    run_virtual(main())


def test_a_run_that_fails_names_its_schedule_and_slot(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with timetable() as table:
            table.fails = True
            await table.put("s", Every(60))
            await table.work(1)

    with caplog.at_level(logging.DEBUG, "mainspring.engine"):
        run_virtual(main())
    record, trace = (each for each in caplog.records if "attempt 1" in each.getMessage())
    assert record.levelname == "ERROR"
    assert " of t, schedule 's', slot 2026-01-01 00:00:00+00:00: attempt 1 failed, dead" in record.getMessage()
    said = json.loads(JsonLines().format(record))
    assert (said["schedule"], said["slot"], said["task"]) == ("s", "2026-01-01T00:00:00+00:00", "t")
    assert trace.levelname == "DEBUG"
    assert "Traceback" in trace.getMessage()
    assert "as it was told" in trace.getMessage()


def test_a_schedule_that_stops_says_after_how_many_which_error_and_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with timetable() as table:
            table.fails = True
            await table.put("failing", Every(10), stop_after=3)
            await table.work(60)
            assert (await table.schedule("failing")).state == "paused"

    run_virtual(main())
    assert (
        "schedule 'failing' is paused: its last 3 runs failed, the last with RuntimeError: as it was told. When that is "
        "mended, resume it: `mainspring schedules resume failing`, or app.schedules.resume('failing')" in caplog.text
    )

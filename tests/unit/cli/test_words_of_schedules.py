"""Triggers, durations, times and tables, as people read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import ClassVar
from zoneinfo import ZoneInfo

import pytest

from mainspring.cli.schedule_words import HEADS, Listed, next_words, row, run_row
from mainspring.cli.tables import print_pairs, print_table
from mainspring.cli.trigger_words import duration_words, iso, moment_words, trigger_words
from mainspring.model.cron import Cron, Daily
from mainspring.model.every import Every, Once
from mainspring.model.record import NewJob
from mainspring.model.schedule import Definition, Run, ScheduleRecord
from mainspring.model.triggers import Trigger

T = 1_767_225_600.0  # 2026-01-01


@dataclass(frozen=True, slots=True, repr=False)
class Lunar(Trigger):
    kind: ClassVar[str] = "lunar"

    def next_after(self, t: float, /) -> float | None:
        return t + 1

    def __repr__(self) -> str:
        return "Lunar()"


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (Every(60), "every 1 min"),
        (Every(90), "every 90 s"),
        (Every(0.5), "every 500 ms"),
        (Every(3600, anchor="end"), "1 h after each end"),
        (Cron("0 9 * * 1-5", tz="Europe/Berlin"), "cron 0 9 * * 1-5 (Europe/Berlin)"),
        (Daily(time(3)), "daily 03:00 (UTC)"),
        (Daily(time(3, 0, 7), tz="Asia/Tokyo"), "daily 03:00:07 (Asia/Tokyo)"),
        (Once(datetime(2030, 1, 1, tzinfo=UTC)), "once 2030-01-01 00:00:00+00:00"),
        (Every(60) | Daily(time(3)), "every 1 min | daily 03:00 (UTC)"),
        (Every(60).except_(Cron("* 0-6 * * *")), "every 1 min except cron * 0-6 * * * (UTC)"),
        (
            (Every(60) | Every(7)).except_(Cron("* 0-6 * * *")),
            "(every 1 min | every 7 s) except cron * 0-6 * * * (UTC)",
        ),
        (Lunar(), "Lunar()"),
        (Lunar() | Every(60), "Lunar() | every 1 min"),
    ],
)
def test_triggers_in_short(trigger: Trigger, words: str) -> None:
    assert trigger_words(trigger) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 s"), (0.001, "1 ms"), (0.0155, "15.5 ms"), (1.0, "1 s"), (1.25, "1.25 s"), (60.0, "1 min"),
        (61.0, "61 s"), (5400.0, "90 min"), (7200.0, "2 h"), (172800.0, "2 d"), (90061.0, "90061 s"),
    ],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words


def test_times_for_people_and_for_programs() -> None:
    assert moment_words(T, ZoneInfo("Europe/Berlin")) == "2026-01-01 01:00:00+01:00"
    assert moment_words(T + 0.25, UTC) == "2026-01-01 00:00:00.250+00:00"
    assert (iso(T), iso(T + 0.25), iso(None)) == ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.250000Z", None)


def record(**changes: object) -> ScheduleRecord:
    fields: dict[str, object] = {
        "id": "nightly", "definition": Definition(trigger=b'{"trigger":"lunar"}', template=NewJob(id="", task="work")),
        "begin": T, "next": T + 60, "due": T + 61, "created": T, "changed": T,
    }  # fmt: skip
    return ScheduleRecord(**{**fields, **changes})  # type: ignore[arg-type]  # one of them


def run(**changes: object) -> Run:
    fields: dict[str, object] = {"schedule": "nightly", "number": 7, "kind": "slot", "slot": T, "job": "j", "fired": T}
    return Run(**{**fields, **changes})  # type: ignore[arg-type]  # one of them


def test_a_line_of_a_schedule() -> None:
    listed = Listed(record(runs=3, missed=2, skipped=1), Every(60), run(state="dead"))
    line = dict(zip(HEADS, row(listed, UTC), strict=True))
    assert line == {
        "ID": "nightly", "STATE": "active", "TRIGGER": "every 1 min", "NEXT": "2026-01-01 00:01:01+00:00",
        "LAST": "dead", "RUNS": 3, "MISSED": 2, "SKIPPED": 1,
    }  # fmt: skip


def test_a_trigger_of_somebody_elses_code_is_named() -> None:
    assert row(Listed(record(), None, None), UTC)[2] == "lunar (own: name --app)"
    assert row(Listed(record(), None, None), UTC)[4] == "-"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "2026-01-01 00:01:01+00:00 (slot 2026-01-01 00:01:00+00:00, and its jitter)"),
        ({"due": T + 60}, "2026-01-01 00:01:00+00:00"),
        ({"paused": "by request"}, "-"),
        ({"next": None, "due": None}, "-"),
        ({"next": None}, "after the run"),
    ],
)
def test_when_it_fires_next(changes: dict[str, object], words: str) -> None:
    assert next_words(record(**changes), UTC) == words


def test_a_line_of_a_run() -> None:
    ended = run(state="completed", started=T + 1, ended=T + 2.5, attempts=2)
    assert run_row(ended, UTC) == (
        7, "slot", "2026-01-01 00:00:00+00:00", "completed", "2026-01-01 00:00:01+00:00", "1.5 s", 2, "j", "",
    )  # fmt: skip
    several = run(kind="missed", job=None, count=12, last_slot=T + 700, state="missed", ended=T)
    assert run_row(several, UTC)[1:6] == ("12 missed", "2026-01-01 00:00:00+00:00", "missed", "-", "-")
    asked = run(kind="trigger", slot=None, state="ready")
    assert run_row(asked, UTC)[1:4] == ("trigger", "-", "ready")
    long = run(state="dead", ended=T, error="ValueError: " + "x" * 100 + "\nmore")
    assert str(run_row(long, UTC)[-1]) == f"ValueError: {'x' * 67}…"


def test_a_table_is_as_wide_as_its_cells_and_on_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("ID", "N"), [("a", 1), ("two\nlines", 100)])
    assert capsys.readouterr().out == "ID              N\na               1\n'two\\nlines'  100\n"


def test_colours_are_for_terminals(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("typer.echo", said.append)
    monkeypatch.setattr("typer.secho", lambda text, **_: said.append(text))
    print_table(("ID", "STATE", "X"), [("dead", "dead", "of dead")])
    assert said[1] == "\x1b[31mdead\x1b[0m  \x1b[31mdead\x1b[0m   of dead"


def test_pairs_without_a_value_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs([("id", "a"), ("start at", ""), ("state", "active")])
    assert capsys.readouterr().out.replace("\x1b[1m", "").replace("\x1b[0m", "") == "id     a\nstate  active\n"
    show: Callable[[], None] = lambda: print_pairs([])  # noqa: E731  # an empty list is no error
    show()

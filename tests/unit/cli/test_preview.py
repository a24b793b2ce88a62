"""`mainspring schedules preview` of a trigger that is only thought of: no store is needed."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner, Result

from mainspring.cli.main import cli


@pytest.fixture(autouse=True)
def no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAINSPRING_URL", raising=False)


def preview(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["schedules", "preview", *arguments])


def test_a_time_that_the_clock_jumps_over_is_shown_as_moved() -> None:
    done = preview("--cron", "30 2 * * *", "--tz", "Europe/Berlin", "--after", "2026-03-28T12:00", "-n", "2")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "LOCAL                      UTC                        DST",
        "2026-03-29 03:00:00+02:00  2026-03-29 01:00:00+00:00  moved: the clock jumps over its time",
        "2026-03-30 02:30:00+02:00  2026-03-30 00:30:00+00:00",
    ]


def test_times_that_the_clock_shows_twice_are_told_apart() -> None:
    done = preview(
        "--cron", "*/30 * * * *", "--tz", "Europe/Berlin", "--after", "2026-10-25T01:59", "-n", "4", "--json"
    )
    assert done.exit_code == 0
    assert json.loads(done.stdout) == [
        {"utc": "2026-10-25T00:00:00Z", "local": "2026-10-25T02:00:00+02:00", "dst": "first"},
        {"utc": "2026-10-25T00:30:00Z", "local": "2026-10-25T02:30:00+02:00", "dst": "first"},
        {"utc": "2026-10-25T01:00:00Z", "local": "2026-10-25T02:00:00+01:00", "dst": "second"},
        {"utc": "2026-10-25T01:30:00Z", "local": "2026-10-25T02:30:00+01:00", "dst": "second"},
    ]


def test_daily_and_every() -> None:
    daily = preview("--daily", "09:00", "--tz", "Asia/Tokyo", "--after", "2026-01-01T00:00+00:00", "-n", "1")
    assert daily.stdout.splitlines()[1] == "2026-01-02 09:00:00+09:00  2026-01-02 00:00:00+00:00"
    every = preview("--every", "0.5", "--after", "2026-01-01T00:00:00Z", "-n", "2", "--tz", "Asia/Tokyo")
    assert every.stdout.splitlines()[1:] == [
        "2026-01-01 09:00:00.500+09:00  2026-01-01 00:00:00.500+00:00",
        "2026-01-01 09:00:01+09:00      2026-01-01 00:00:01+00:00",
    ]


def test_ten_from_now_in_utc_unless_told_otherwise() -> None:
    lines = preview("--cron", "0 0 29 2 *").stdout.splitlines()[1:]
    assert len(lines) == 10
    assert all(line.count("-02-29 00:00:00+00:00") == 2 for line in lines)


def test_no_fires_are_no_lines() -> None:
    done = preview("--every", "60", "-n", "0")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "no fires\n")
    assert json.loads(preview("--every", "60", "-n", "0", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give one of them: an ID, --cron, --daily or --every"),
        (["--cron", "* * * * *", "--every", "1"], "give one of them"),
        (["--cron", "0 0 30 2 *"], "never"),
        (["--cron", "every day"], "--cron"),
        (["--cron", "* * * * *", "--tz", "Mars/Olympus"], "no time zone 'Mars/Olympus'"),
        (["--daily", "25:00"], "'25:00' is no time of a day"),
        (["--every", "0"], "--every"),
        (["--every", "5m"], "an interval is a number of seconds such as 300"),
        (["--every", "60", "--after", "tomorrow"], "'tomorrow' is no time"),
        (["--every", "60", "--after", "9999-12-31T00:00"], "--after"),
        (["nightly", "--every", "60"], "not both"),
        (["nightly", "--after", "2026-01-01"], "not both"),
        (["nightly"], "name a store"),
    ],
)
def test_what_cannot_be_meant_is_answered_with_code_2(arguments: list[str], says: str) -> None:
    done = CliRunner().invoke(cli, ["schedules", "preview", *arguments], env={"COLUMNS": "300", "NO_COLOR": "1"})
    assert done.exit_code == 2, done.output
    assert says in done.stderr
    assert "Traceback" not in done.stderr
